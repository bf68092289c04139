"""What a multi-task training looks at after each epoch."""

from types import SimpleNamespace

import numpy as np
import pytest

from hamur.training import TaskEvaluation

PREFERENCES = np.array([[0.0, 1.0], [0.25, 0.75], [1.0, 0.0]])


@pytest.fixture
def evaluated():
    """weights -> (evaluation, report) of fixed logits (50, 3, 2)."""
    rng = np.random.default_rng(4)
    table = SimpleNamespace(labels=rng.integers(0, 2, (50, 2)).astype(np.float32))
    logits = rng.standard_normal((50, 3, 2))
    model = SimpleNamespace(num_tasks=2, predictor=lambda batch_size: None)

    def evaluate(weights):
        evaluation = TaskEvaluation(model, table, PREFERENCES, np.array([0.6, 0.7]), weights)
        evaluation.predictor = SimpleNamespace(logits=lambda *_: logits)
        return evaluation()

    return evaluate


def test_the_weighted_loss_weighs_every_point_by_its_own_preference(evaluated):
    report = evaluated(PREFERENCES)
    losses = report["losses"]
    each = [r @ losses[i] for i, r in enumerate(PREFERENCES)]
    assert report["weighted_loss"] == pytest.approx(-np.mean(each))
    # Moving weight from one task to the other must show: the points differ.
    assert abs(np.mean(each) - losses.sum(axis=1).mean() / 2) > 1e-3


def test_one_weighing_for_all_points(evaluated):
    report = evaluated([0.2, 0.8])
    assert report["weighted_loss"] == pytest.approx(-(report["losses"].mean(axis=0) @ [0.2, 0.8]))
