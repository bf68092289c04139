"""Which epoch's weights are kept, when training stops, and what an epoch costs in predictions."""

import dataclasses

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from hamur import training
from hamur.models.prediction import RankingPredictor
from hamur.training.checkpoint import load_weights, snapshot
from tests.support.runs import (
    Drift,
    assert_equal_arrays,
    make_model,
    make_trainer,
    script_reports,
)

PEAK_AT_TWO = [0.60, 0.70, 0.65, 0.69]
uncompiled = pytest.mark.usefixtures("uncompiled")


@pytest.mark.parametrize(
    ("step", "averaging"),
    [(Drift(), 0.0), (training.supervised_step, 0.0), (training.supervised_step, 0.9)],
    ids=["drift", "supervised", "averaged"],
)
def test_the_weights_of_the_best_epoch_are_tested_and_saved(
    step, averaging, tiny_schema, tiny_splits, tmp_path, monkeypatch
):
    model = make_model("mlp_adp", tiny_schema)
    seen = script_reports(monkeypatch, model, PEAK_AT_TWO)
    scores = []
    predict = RankingPredictor.__call__
    monkeypatch.setattr(
        RankingPredictor, "__call__", lambda *args: scores.append(predict(*args)) or scores[-1]
    )
    trainer = make_trainer(step, epochs=4, averaging=averaging, save_dir=str(tmp_path))
    run = trainer.fit(model, tiny_splits.train, tiny_splits.valid)
    assert (run.epochs, run.best_epoch, run.best) == (4, 2, 0.70)
    assert [row["auc"] for row in run.history] == PEAK_AT_TWO
    assert_equal_arrays(load_weights(tmp_path / "model.safetensors"), snapshot(model))
    if not averaging:
        assert_equal_arrays(snapshot(model), seen[1])
    of_epoch_two = scores[1]
    np.testing.assert_array_equal(training.predict(model, tiny_splits.valid), of_epoch_two)
    assert np.abs(of_epoch_two - scores[2]).max() > 1e-4


@uncompiled
@pytest.mark.parametrize(
    ("patience", "auc", "epochs", "best"),
    [
        (1, [0.6, 0.7, 0.7, 0.9], 3, 2),  # an equal figure is no improvement
        (2, [0.6, 0.7, 0.6, 0.71, 0.7, 0.6, 0.9], 6, 4),
        (None, [0.9, 0.1, 0.1, 0.1], 4, 1),
    ],
)
def test_training_stops_after_patience_epochs_without_improvement(
    patience, auc, epochs, best, tiny_schema, tiny_splits, monkeypatch
):
    model = make_model("mlp", tiny_schema)
    script_reports(monkeypatch, model, auc)
    trainer = make_trainer(Drift(), epochs=len(auc), patience=patience)
    run = trainer.fit(model, tiny_splits.train, tiny_splits.valid)
    assert (run.epochs, run.best_epoch) == (epochs, best)


@uncompiled
@pytest.mark.parametrize(("criterion", "best"), [("auc", 1), ("macro_auc", 2), ("worst_auc", 3)])
def test_the_criterion_picks_the_epoch(criterion, best, tiny_schema, tiny_splits, monkeypatch):
    model = make_model("mlp", tiny_schema)
    figures = {"macro_auc": [0.5, 0.9, 0.8], "worst_auc": [0.4, 0.3, 0.5]}
    script_reports(monkeypatch, model, [0.9, 0.7, 0.8], **figures)
    trainer = make_trainer(Drift(), epochs=3, criterion=criterion)
    run = trainer.fit(model, tiny_splits.train, tiny_splits.valid)
    assert run.best_epoch == best


@uncompiled
def test_the_log_loss_picks_the_epoch_where_it_is_lowest(
    tiny_schema, tiny_splits, monkeypatch, capsys
):
    """Also of validation rows of one class, which have no AUC."""
    valid = tiny_splits.valid
    valid = dataclasses.replace(valid, labels=np.ones_like(valid.labels))
    model = make_model("mlp", tiny_schema)
    script_reports(monkeypatch, model, [None] * 3, logloss=[0.5, 0.3, 0.4])
    trainer = make_trainer(Drift(), epochs=3, criterion="logloss", quiet=False)
    run = trainer.fit(model, tiny_splits.train, valid)
    assert (run.best_epoch, run.best) == (2, -0.3)
    assert [row["logloss"] for row in run.history] == [0.5, 0.3, 0.4]
    assert "valid auc undefined  logloss 0.30000" in capsys.readouterr().out


@uncompiled
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_one_prediction_pass_an_epoch_gives_all_figures(
    averaging, tiny_schema, tiny_splits, monkeypatch
):
    passes = []
    logits = RankingPredictor.logits
    monkeypatch.setattr(
        RankingPredictor, "logits", lambda *args: passes.append(args) or logits(*args)
    )
    trainer = make_trainer(Drift(), epochs=3, averaging=averaging)
    run = trainer.fit(make_model("mlp", tiny_schema), tiny_splits.train, tiny_splits.valid)
    assert len(passes) == 3
    assert {"auc", "logloss", "macro_auc", "worst_auc"} <= set(run.history[0])
    assert {f"auc_domain_{d}" for d in range(3)} <= set(run.history[0])


@uncompiled
def test_every_epoch_trains_in_training_mode(tiny_schema, tiny_splits):
    """Validation evaluates; the next epoch's batch norms must use and move batch statistics."""
    modes = []

    def watch(model, optimizer, quotas, seed):
        drift = Drift()(model, optimizer, quotas, seed)

        def step(batch, learning_rate, number):
            modes.append(model.training and model.tower.blocks[0].norm.training)
            return drift(batch, learning_rate, number)

        return step

    model = make_model("mlp", tiny_schema)
    make_trainer(watch, epochs=2).fit(model, tiny_splits.train, tiny_splits.valid)
    assert modes and all(modes)
    assert not model.training


@uncompiled
def test_a_loss_that_is_not_finite_names_epoch_and_step(tiny_schema, tiny_splits):
    def diverging(model, optimizer, quotas, seed):
        return lambda batch, rate, number: Tensor(np.float32(np.nan if number == 13 else 0.5))

    with pytest.raises(ValueError, match="step 3 of epoch 2; lower the learning rate"):
        make_trainer(diverging, epochs=3).fit(make_model("mlp", tiny_schema), *tiny_splits[:2])


@uncompiled
def test_progress_is_printed_unless_quiet(tiny_schema, tiny_splits, capsys):
    model = make_model("mlp", tiny_schema)
    make_trainer(Drift(), epochs=2).fit(model, *tiny_splits[:2])
    assert capsys.readouterr().out == ""
    make_trainer(Drift(), epochs=2, quiet=False).fit(model, *tiny_splits[:2])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("the training takes about ")
    assert lines[1].startswith("epoch   1  loss 0.50000  valid auc") and lines[1].endswith("*")


@uncompiled
def test_parameters_of_the_model_are_left_as_objects(tiny_schema, tiny_splits):
    """A caller that holds a parameter sees the trained values."""
    model = make_model("mlp", tiny_schema)
    held = model.output.bias
    before = held.asnumpy().copy()
    make_trainer(Drift(), epochs=1).fit(model, *tiny_splits[:2])
    assert isinstance(held, Parameter) and held is model.output.bias
    assert np.abs(held.asnumpy() - before).min() > 0.1
