"""Metrics against scikit-learn, by hand, and by the laws they must obey."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from hamur import metrics


def predictions(rows: int, num_domains: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Labels, probabilities with ties, domains; every domain holds both classes."""
    random = np.random.default_rng(seed)
    domain = np.arange(rows) % num_domains
    labels = (np.arange(rows) // num_domains) % 2
    probabilities = np.round(random.random(rows) * 0.6 + 0.3 * labels, 2)
    order = random.permutation(rows)
    return labels[order], probabilities[order], domain[order]


@pytest.mark.parametrize("num_domains", [1, 2, 7])
def test_pooled_macro_and_worst_auc_equal_scikit_learn(num_domains):
    labels, probabilities, domain = predictions(700, num_domains)
    report = metrics.by_group(labels, probabilities, domain, num_domains)
    expected = [
        roc_auc_score(labels[domain == d], probabilities[domain == d]) for d in range(num_domains)
    ]
    assert report["auc"] == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-12)
    assert report["macro_auc"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert report["worst_auc"] == pytest.approx(min(expected), abs=1e-12)
    assert report["defined_domains"] == num_domains
    assert list(report["domains"]) == [str(d) for d in range(num_domains)]
    for d, value in enumerate(expected):
        entry = report["domains"][str(d)]
        assert entry["auc"] == pytest.approx(value, abs=1e-12)
        assert entry["rows"] == (domain == d).sum()
        assert entry["positives"] == labels[domain == d].sum()
        assert "reason" not in entry


def test_log_loss_equals_scikit_learn():
    labels, probabilities, _ = predictions(301, 1)
    expected = sklearn_log_loss(labels, probabilities)
    assert metrics.log_loss(labels, probabilities) == pytest.approx(expected, abs=1e-12)


def test_log_loss_of_a_certain_error_is_finite():
    assert metrics.log_loss([1, 0], [0.0, 0.0]) == pytest.approx(-math.log(2**-52) / 2)


def test_values_a_reader_checks_by_hand():
    # Of the four (positive, negative) pairs 0.8>0.6, 0.8>0.3, 0.4<0.6, 0.4>0.3, three are won.
    labels, probabilities = np.array([1, 0, 1, 0]), np.array([0.8, 0.6, 0.4, 0.3])
    assert metrics.auc(labels, probabilities) == 0.75
    assert metrics.mean_label(labels, probabilities) == 0.5
    assert metrics.mean_probability(labels, probabilities) == pytest.approx(0.525)
    assert metrics.calibration(labels, probabilities) == pytest.approx(1.05)
    loss = -(math.log(0.8) + math.log(0.4) + math.log(0.4) + math.log(0.7)) / 4
    assert metrics.log_loss(labels, probabilities) == pytest.approx(loss)


def test_one_class_and_empty_domains_are_none_with_a_reason():
    labels = np.array([1, 0, 1, 1, 0, 0])
    domain = np.array([0, 0, 1, 1, 3, 3])
    report = metrics.by_group(labels, np.linspace(0.1, 0.9, 6), domain, num_domains=4)
    mixed, positives, empty, negatives = (report["domains"][str(d)] for d in range(4))
    assert mixed["auc"] == 0.0 and "reason" not in mixed
    assert positives["auc"] is None and positives["reason"] == "one class"
    assert positives["logloss"] > 0 and positives["calibration"] < 1
    assert negatives["auc"] is None and negatives["calibration"] is None
    assert empty["rows"] == empty["positives"] == 0 and empty["reason"] == "no rows"
    assert all(empty[name] is None for name in metrics.METRICS)
    assert report["macro_auc"] == report["worst_auc"] == 0.0
    assert report["defined_domains"] == 1


def test_nothing_defined_is_reported_not_raised():
    report = metrics.by_group(np.ones(3), np.full(3, 0.5), np.arange(3), 3)
    assert report["auc"] is report["macro_auc"] is report["worst_auc"] is None
    assert report["defined_domains"] == 0 and report["reason"] == "one class"
    separate = metrics.by_group(np.array([1, 0]), np.full(2, 0.5), np.arange(2), 2)
    assert separate["auc"] == 0.5 and separate["macro_auc"] is None
    assert separate["reason"] == "one class in every domain"
    nothing = metrics.by_group(np.zeros(0), np.zeros(0), np.zeros(0, int), 2)
    assert nothing["rows"] == 0 and nothing["reason"] == "no rows"


def test_no_warning_for_undefined_values(recwarn):
    metrics.by_group(np.ones(3), np.full(3, 0.5), np.arange(3), 4)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("labels", "probabilities", "domain", "text"),
    [
        ([1, 2], [0.1, 0.2], [0, 0], "labels must be 0 or 1; row 1 is 2"),
        ([1, 0], [0.1, np.nan], [0, 0], "NaN: the training diverged.*row 1 is nan"),
        ([1, 0], [1.5, 0.1], [0, 0], r"in \[0, 1\].*row 0 is 1.5"),
        ([1, 0], [0.1, 0.2], [0, 2], r"domain must be in 0..1; row 1 is 2"),
        ([1, 0], [0.1, 0.2], [-1, 0], r"domain must be in 0..1; row 0 is -1"),
        ([1, 0], [0.1, 0.2, 0.3], [0, 0], r"'probabilities': \(3,\)"),
    ],
)
def test_wrong_input_names_the_row(labels, probabilities, domain, text):
    with pytest.raises(ValueError, match=text):
        metrics.by_group(np.array(labels), np.array(probabilities), np.array(domain), 2)


def test_every_metric_of_the_dict_is_in_the_report(monkeypatch):
    monkeypatch.setitem(metrics.METRICS, "brier", lambda y, p: float(np.mean((y - p) ** 2)))
    report = metrics.by_group(np.array([1, 0]), np.array([0.5, 0.5]), np.array([0, 0]))
    assert report["brier"] == report["domains"]["0"]["brier"] == 0.25


def test_gauc_is_the_row_weighted_mean_of_scikit_learns_auc():
    labels, scores, group = predictions(600, 11)
    labels[group == 3] = 1  # one class: left out
    parts = [
        ((group == g).sum(), roc_auc_score(labels[group == g], scores[group == g]))
        for g in range(11)
        if g != 3
    ]
    rows, values = zip(*parts, strict=True)
    expected = np.average(values, weights=rows)
    assert metrics.gauc(labels, scores, group * 1000) == pytest.approx(expected, abs=1e-12)


def test_gauc_of_nothing_defined_is_nan():
    assert math.isnan(metrics.gauc(np.ones(3), np.arange(3), np.zeros(3)))
    assert math.isnan(metrics.gauc(np.zeros(0), np.zeros(0), np.zeros(0)))


rows_of_labels_and_scores = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-50, 50), st.integers(0, 3)), min_size=2, max_size=60
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


@settings(deadline=None)
@given(rows_of_labels_and_scores)
def test_auc_ignores_monotone_transforms(rows):
    labels, scores, group = np.array(rows).T
    for transform in (lambda s: s / 7.0, np.arctan, lambda s: s.astype(float) ** 3):
        assert metrics.auc(labels, transform(scores)) == metrics.auc(labels, scores)
        np.testing.assert_equal(
            metrics.gauc(labels, transform(scores), group), metrics.gauc(labels, scores, group)
        )


@settings(deadline=None)
@given(rows_of_labels_and_scores)
def test_negated_scores_give_the_complement(rows):
    labels, scores, _ = np.array(rows).T
    assert metrics.auc(labels, -scores) == pytest.approx(1 - metrics.auc(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(rows_of_labels_and_scores, st.randoms(use_true_random=False))
def test_report_ignores_the_order_of_rows(rows, random):
    shuffled = random.sample(rows, len(rows))

    def report(rows):
        labels, scores, domain = np.array(rows).T
        return metrics.by_group(labels, (scores + 50) / 100, domain, 4)

    first, second = report(rows), report(shuffled)
    for a, b in zip(
        [first, *first["domains"].values()], [second, *second["domains"].values()], strict=True
    ):
        numbers = [k for k in a if k != "domains"]
        assert list(a) == list(b)
        for name in numbers:
            assert a[name] == pytest.approx(b[name], abs=1e-12)
