"""Metrics of several tasks by hand and against their definitions; the front's files."""

import csv

import numpy as np
import pytest

from hamur import metrics
from hamur.data.table import Table
from hamur.reporting import front, plots

NAMES = ("click", "conversion")


def rows(count=400, seed=0):
    """Labels (N, 2) of a funnel, logits (N, 3, 2), pages."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3, 2)).astype(np.float32)
    click = rng.random(count) < 1 / (1 + np.exp(-logits[:, 0, 0]))
    bought = click & (rng.random(count) < 0.4)
    labels = np.column_stack([click, bought]).astype(np.int8)
    return labels, logits, np.repeat(np.arange(count // 4), 4).astype(np.int64)


def table_of(labels, group):
    n = len(labels)
    zeros = np.zeros((n, 1), np.int32)
    return Table(zeros, zeros.astype(np.float32), labels, zeros[:, 0], group=group)


def test_metrics_of_two_tasks():
    labels, logits, group = rows()
    entropy = metrics.label_entropy(labels)
    report = metrics.task_metrics(labels, logits[:, 0], entropy, NAMES, group)
    p = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    for k, name in enumerate(NAMES):
        entry = report[name]
        assert entry["auc"] == pytest.approx(metrics.auc(labels[:, k], p[:, k]))
        assert entry["logloss"] == pytest.approx(metrics.log_loss(labels[:, k], p[:, k]))
        assert entry["ne"] == pytest.approx(entry["logloss"] / entropy[k])
        assert entry["pcoc"] == pytest.approx(p[:, k].sum() / labels[:, k].sum())
        assert 0 < entry["gauc_coverage"] < 1
    clicked = labels[:, 0] == 1
    ratio = p[clicked, 1] / p[clicked, 0]
    assert report["conversion"]["cvr_auc"] == pytest.approx(metrics.auc(labels[clicked, 1], ratio))


def test_the_constant_predictor_has_ne_one_and_certain_logits_stay_finite():
    labels, _, _ = rows()
    rates = labels.mean(0)
    logits = np.tile(np.log(rates / (1 - rates)), (len(labels), 1))
    entropy = metrics.label_entropy(labels)
    np.testing.assert_allclose(
        metrics.normalized_entropy(labels, logits[:, None], entropy), 1.0, atol=1e-12
    )
    assert metrics.cross_entropy(np.array([0.0]), np.array([800.0])) == 800.0


def test_one_class_gives_none_with_a_reason():
    labels, logits, group = rows()
    labels[:, 1] = 0
    report = metrics.task_metrics(labels, logits[:, 0], np.ones(2), NAMES, group)
    assert report["conversion"]["auc"] is None and report["conversion"]["reason"] == "one class"
    assert report["click"]["auc"] == metrics.auc(labels[:, 0], logits[:, 0, 0])
    with pytest.raises(ValueError, match="task 'conversion' has one class only"):
        metrics.label_entropy(labels, NAMES)


def test_base_entropy_of_training_rows():
    labels = np.array([[1, 0], [0, 0], [0, 0], [0, 1]])
    h = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(metrics.label_entropy(labels), [h, h])


def test_bootstrap_brackets_the_figure_and_sees_a_degenerate_front():
    labels, logits, group = rows(1200)
    table, entropy = table_of(labels, group), metrics.label_entropy(labels)
    preferences = np.array([[0, 1], [0.5, 0.5], [1, 0]])
    found = front.bootstrap(preferences, logits, table, entropy, 40, seed=1)
    low, high = found["span_ne"]
    assert low[0] < np.ptp(metrics.normalized_entropy(labels, logits, entropy)[:, 0]) < high[0]
    assert found["front_degenerate"] is False
    same = front.bootstrap(
        preferences, np.repeat(logits[:, :1], 3, axis=1), table, entropy, 5, seed=1
    )
    assert same["span_ne"] == [[0.0, 0.0], [0.0, 0.0]] and same["front_degenerate"] is True
    alone = (table_of(labels, each) for each in (None, np.arange(len(labels))))
    ungrouped, each_its_own = (
        front.bootstrap(preferences, logits, table, entropy, 5, seed=1) for table in alone
    )
    assert ungrouped == each_its_own and ungrouped["span_ne"] != found["span_ne"]


def test_front_files_hold_every_source(tmp_path):
    labels, logits, group = rows()
    entropy = metrics.label_entropy(labels)
    preferences = np.array([[0, 1], [0.5, 0.5], [1, 0]])
    entries = front.front_entries(preferences, logits, table_of(labels, group), entropy, NAMES)
    sources = {"model": entries, "posthoc": entries[:2], "reference": entries, "exact": []}
    front.write_front(tmp_path / "front.csv", sources, NAMES)
    plots.front_plot(tmp_path / "front.png", sources, NAMES, "a title")
    with (tmp_path / "front.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["source"] for line in lines] == ["model"] * 3 + ["posthoc"] * 2 + ["reference"] * 3
    assert float(lines[1]["auc_click"]) == pytest.approx(
        entries[1]["tasks"]["click"]["auc"], abs=1e-6
    )
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    measures = front.measures(entries, NAMES, entries)
    assert "hv_ne" in front.measures_table(measures, NAMES)
    assert front.front_table(entries, NAMES).count("\n") == 4
