"""A run of both levels compiles nothing after its first epoch, and resumes to the same bits with an
estimator that has a state; with the default one: tests/contract."""

import json
import shutil

import pytest

from hamur.training.checkpoint import snapshot
from tests.support.pairs import Levels, random_pair
from tests.support.runs import assert_equal_arrays, compiled_graphs

ALL_NEUMANN = dict(
    estimator="neumann", hyper_scope="all", row_normalise=0, tuning=dict(residual_every=2)
)


def outcome(levels):
    while not levels.finished():
        levels.epoch()
    levels.close()
    timing = ("seconds", "rows_per_second")
    history = [
        {name: value for name, value in row.items() if not name.endswith(timing)}
        for row in levels.run.history
    ]
    return json.dumps(history), levels.run.best_epoch, snapshot(levels.model)


@pytest.mark.parametrize("estimator", [{}, pytest.param(ALL_NEUMANN, marks=pytest.mark.slow)])
def test_nothing_is_compiled_after_the_first_epoch_and_a_resumed_run_is_equal(tmp_path, estimator):
    """Resumed in the objects that went on, whose every state must go back."""
    folder, copy = tmp_path / "run", tmp_path / "after the first"
    levels = Levels(random_pair(2, users=24), save_dir=folder, epochs=3, patience=0, **estimator)
    with compiled_graphs() as first:
        levels.epoch()
    assert {"WeightedStep", "Features", "Gradients"} <= set(first)
    shutil.copytree(folder, copy)
    with compiled_graphs() as later:
        whole = outcome(levels)
    assert later == []
    if estimator:
        shutil.rmtree(folder)
        copy.rename(folder)
        levels.load()
        resumed = outcome(levels)
        assert resumed[:2] == whole[:2]
        assert_equal_arrays(resumed[2], whole[2])
