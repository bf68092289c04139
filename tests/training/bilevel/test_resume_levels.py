"""A run of both levels that was killed goes on as if it had not been."""

import json
import shutil

import numpy as np
import pytest
from mindspore.graph.api import _cell_graph_executor

from hamur.training.checkpoint import snapshot
from tests.support.pairs import Levels, random_pair


@pytest.fixture(scope="module")
def pair():
    return random_pair(2, users=24)


@pytest.fixture
def compilations(monkeypatch):
    """Names of the cells that were compiled so far."""
    names, compile_once = [], _cell_graph_executor.compile

    def counted(cell, *arguments, **options):
        phase, new = compile_once(cell, *arguments, **options)
        if new:
            names.append(type(cell).__name__)
        return phase, new

    monkeypatch.setattr(_cell_graph_executor, "compile", counted)
    return names


ALL_NEUMANN = dict(
    estimator="neumann", hyper_scope="all", row_normalise=0, tuning=dict(residual_every=2)
)


@pytest.mark.parametrize(
    ("fresh", "estimator"),
    [
        (False, {}),
        pytest.param(False, ALL_NEUMANN, marks=pytest.mark.slow),
        pytest.param(True, {}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(pair, tmp_path, compilations, fresh, estimator):
    """fresh: in other objects; else in those that went on, whose every state must go back.
    After the first epoch, which uses every function, nothing is compiled."""

    def begin():
        options = dict(model_name="conet_biao", epochs=3, patience=0, **estimator)
        return Levels(pair, save_dir=tmp_path / "run", **options)

    def outcome(levels):
        while not levels.finished():
            levels.epoch()
        levels.close()
        timing = ("seconds", "rows_per_second")
        rows = [
            {name: value for name, value in row.items() if not name.endswith(timing)}
            for row in levels.run.history
        ]
        return json.dumps(rows), levels.run.best_epoch, snapshot(levels.model)

    levels = begin()
    levels.epoch()
    shutil.copytree(tmp_path / "run", tmp_path / "after the first")
    first_epoch = list(compilations)
    whole = outcome(levels)
    assert compilations == first_epoch
    used = {"WeightedStep", "Features", "Gradients"}
    used |= {"SecondDerivatives"} if estimator else {"FieldLogits"}
    assert used <= set(first_epoch)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "after the first").rename(tmp_path / "run")
    levels = begin() if fresh else levels
    levels.load()
    parts = outcome(levels)
    assert whole[:2] == parts[:2]
    for name, value in whole[2].items():
        np.testing.assert_array_equal(value, parts[2][name], err_msg=name)


def test_resuming_with_another_step_size_is_refused(pair, tmp_path):
    Levels(pair, save_dir=tmp_path, model_name="conet_s").epoch()
    other = Levels(pair, save_dir=tmp_path, model_name="conet_s", learning_rate=0.1)
    with pytest.raises(ValueError, match="learning_rate"):
        other.load()
