"""Training that fails: what is divergence, what is only a bad model, and what each leaves."""

import dataclasses
import json
import math
from functools import partial
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur import training
from hamur.commands import cross_domain, multi_task, ranking
from hamur.data import load_aliexpress
from hamur.training import DivergenceError, TaskEvaluation
from hamur.training.divergence import UNTRAINED, constant_losses, judge
from tests.support.commands import exit_code
from tests.support.runs import make_model, make_trainer

uncompiled = pytest.mark.usefixtures("uncompiled")


def set_bias(value):
    """A training scheme that sets the output bias to a number."""

    def scheme(model, optimizer, quotas, seed):
        bias = model.output.bias

        def step(batch, learning_rate, number):
            bias.set_data(Tensor(np.full(bias.shape, value, np.float32)))
            return Tensor(0.5, ms.float32)

        return step

    return scheme


def fit(value, schema, splits, **options):
    model = make_model("mlp", schema)
    trainer = make_trainer(set_bias(value), **{"epochs": 2, **options})
    return trainer.fit(model, *splits[:2])


@uncompiled
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_told_before_any_metric_reads_them(
    value, tiny_schema, tiny_splits
):
    """An infinite logit is a probability of 1: certain, and wrong."""
    text = "the scores of the validation rows are not finite at the end of epoch 1; lower the lear"
    text = text if math.isnan(value) else "diverged: after epoch 2 the lowest validation log loss"
    with pytest.raises(DivergenceError, match=text):
        fit(value, tiny_schema, tiny_splits)


@uncompiled
def test_a_model_worse_than_a_constant_is_marked_and_one_far_worse_diverged(
    tiny_schema, tiny_splits, tmp_path, caplog
):
    run = fit(1.5, tiny_schema, tiny_splits)
    assert run.worse_than_constant and run.lowest_loss > run.constant_loss
    assert "the model is worse than no model" in caplog.text
    options = dict(save_dir=str(tmp_path))
    with pytest.raises(
        DivergenceError, match=r"\d; lower the learning rate \(`learning_rate`\)\.$"
    ):
        fit(40.0, tiny_schema, tiny_splits, **options)
    with pytest.raises(DivergenceError):  # a finished one, which resuming does not make better
        fit(40.0, tiny_schema, tiny_splits, resume=True, **options)


def test_a_good_model_of_a_bad_last_epoch_is_none_of_both(tiny_schema, tiny_splits, uncompiled):
    """The lowest loss counts."""

    def scheme(model, optimizer, quotas, seed):
        def step(batch, learning_rate, number):
            value = 0.0 if number < steps else 40.0
            model.output.bias.set_data(Tensor(np.full(model.output.bias.shape, value, np.float32)))
            return Tensor(0.5, ms.float32)

        return step

    steps = -(-len(tiny_splits.train) // 64)
    model = make_model("mlp", tiny_schema)
    run = make_trainer(scheme, epochs=2).fit(model, *tiny_splits[:2])
    assert run.lowest_loss < UNTRAINED < run.history[1]["logloss"]


def test_the_rule_is_told_by_numbers(caplog):
    assert judge(0.6, 0.7, 3) is False and judge(0.71, 0.7, 3) is True
    assert judge(6.9, 0.7, 1) is True
    with pytest.raises(DivergenceError, match=r"after epoch 1 the lowest .* is 7\.1, that of a"):
        judge(7.1, 0.7, 1)
    # Of a label of one row in a thousand: a model that predicts 1/2 is not trained, no more.
    assert judge(math.log(2.0), 0.0079, 1) is True
    with pytest.raises(DivergenceError):
        judge(math.inf, 0.0079, 1)


def test_the_constant_predictor_has_the_base_rate_of_the_training_rows():
    train, valid = np.array([[1, 0], [0, 0], [0, 1], [0, 1]]), np.array([[1, 1], [0, 1]])
    expected = [-(math.log(0.25) + math.log(0.75)) / 2, -math.log(0.5)]
    assert constant_losses(train, valid).tolist() == pytest.approx(expected)


def test_the_best_point_of_a_front_is_held_against_the_constant_predictor():
    rng = np.random.default_rng(1)
    table = SimpleNamespace(labels=rng.integers(0, 2, (40, 2)).astype(np.float32))
    logits = rng.standard_normal((40, 3, 2)) * np.array([[9.0], [0.1], [9.0]])
    model = SimpleNamespace(num_tasks=2, predictor=lambda batch_size: None)
    constant, entropy = np.array([0.6, 0.3]), np.array([0.6, 0.7])
    for weights, expected in ((None, constant.mean()), (np.array([1.0, 0.0]), 0.6)):
        evaluation = TaskEvaluation(model, table, np.eye(3, 2), entropy, weights)
        evaluation.predictor = SimpleNamespace(logits=lambda *_: logits)
        loss, of_constant = evaluation.against_constant(evaluation(), constant)
        assert of_constant == pytest.approx(expected)
        z, y = logits[:, 1], table.labels
        mean = (np.logaddexp(0.0, z) - z * y).mean(axis=0)
        assert loss == pytest.approx(mean.mean() if weights is None else mean[0])


def test_training_rows_of_one_class_are_refused(tiny_schema, tiny_splits, uncompiled):
    labels = np.zeros_like(tiny_splits.train.labels)
    splits = tiny_splits._replace(train=dataclasses.replace(tiny_splits.train, labels=labels))
    with pytest.raises(ValueError, match=r"one class: all .* training rows have 'like' 0"):
        fit(0.0, tiny_schema, splits)


def tiny_pair(tmp_path):
    """Flags of two small tables with common users."""
    rng = np.random.default_rng(0)
    for name in "st":
        lines = ["user,item,rating,timestamp"]
        for user in range(30):
            days = np.sort(rng.permutation(60)[:6]) * 86_400 + 10**9
            lines += [f"u{user},i{rng.integers(9)},{rng.integers(1, 6)},{day}" for day in days]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return ["--source_table", str(tmp_path / "s.csv"), "--target_table", str(tmp_path / "t.csv")]


@pytest.fixture
def families(tmp_path, tiny_schema, tiny_splits):
    """{family: function of flags that runs its script in this process}"""
    small = ["--model_name", "conet", "--embed_dim", "4", *tiny_pair(tmp_path)]
    tasks = ["--model_name", "sharedbottom", "--embed_dim", "4"]
    return {
        "ranking": partial(
            ranking.main, lambda path: (tiny_splits, tiny_schema), "x.py", "", model_name="mlp"
        ),
        "tasks": lambda argv: multi_task.main(load_aliexpress, "x.py", "", [*tasks, *argv]),
        "cross-domain": lambda argv: cross_domain.main("x.py", "", [*small, *argv]),
    }


@pytest.mark.parametrize("family", ["ranking", "tasks", "cross-domain"])
def test_a_step_of_a_million_ends_with_3_and_leaves_no_results(
    family, families, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    flags = ["--learning_rate", "1e6", "--epoch" if family != "cross-domain" else "--epochs", "1"]
    flags += ["--quiet", "--save_dir", "run"]
    assert exit_code(families[family], flags) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("x.py: error: diverged: ")
    assert "lower the learning rate" in lines[0] and "epoch 1" in lines[0]
    assert (tmp_path / "run" / "config.json").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()
    if (tmp_path / "run" / "last").exists():  # the same command does not take it for finished
        assert exit_code(families[family], flags) == 2
        assert "an unfinished run" in capsys.readouterr().err


def test_a_bad_model_is_marked_in_the_results(families, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "supervised_step", set_bias(1.5))
    assert exit_code(families["ranking"], ["--epoch", "1", "--quiet", "--save_dir", "run"]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train"][
        "worse_than_constant"
    ]
    assert capsys.readouterr().err.startswith("warning: after epoch 1 the lowest validation log")
