"""What is said of the rows of a domain: planted truths are found, chance is called chance."""

import numpy as np
import pytest
from scipy import stats

from hamur import metrics
from hamur.metrics import diagnosis
from hamur.metrics.exact_front import sigmoid


def rows(number, seed=0, kept=1.0):
    """Labels drawn from the probabilities, of which this share of positives is kept."""
    rng = np.random.default_rng(seed)
    probabilities = sigmoid(rng.normal(-0.5, 1.0, number))
    labels = (rng.random(number) < probabilities).astype(np.int8)
    rest = (labels == 0) | (rng.random(number) < kept)
    return labels[rest], probabilities[rest]


def test_bins_have_as_many_rows_and_never_part_equal_values():
    place = diagnosis.equal_bins(np.random.default_rng(0).random(1000))
    assert np.bincount(place).tolist() == [100] * 10
    values = np.array([0.1] * 50 + [0.2] * 3 + [0.3] * 47)
    assert len(set(zip(values, diagnosis.equal_bins(values)))) == 3
    assert diagnosis.equal_bins(np.full(5, 0.5)).tolist() == [0] * 5


def test_a_reliability_curve_by_hand():
    labels, probabilities = np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.8, 0.6])
    curve = diagnosis.reliability(labels, probabilities, bins=2)
    assert curve[0] == pytest.approx({"rows": 2, "probability": 0.2, "rate": 0.5})
    assert curve[1] == pytest.approx({"rows": 2, "probability": 0.7, "rate": 1.0})


def test_the_interval_of_the_ratio_is_the_exact_binomial_one_of_the_rate():
    labels, probabilities = np.r_[np.ones(30), np.zeros(70)], np.full(100, 0.24)
    expected = stats.binomtest(30, 100).proportion_ci(0.99, "exact")
    low, high = diagnosis.ratio_interval(labels, probabilities, 0.99)
    assert (low, high) == pytest.approx((0.24 / expected.high, 0.24 / expected.low))


def test_ece_is_the_mean_gap_of_the_curve():
    labels, probabilities = np.r_[np.zeros(50), np.tile([0, 1], 25)], np.repeat([0.2, 0.4], 50)
    figures = diagnosis.calibration_figures(labels, probabilities)
    assert figures["ece"] == pytest.approx((0.2 + 0.1) / 2)
    assert figures["ratio"] == pytest.approx(0.3 / 0.25)
    assert figures["logloss"] == pytest.approx(metrics.log_loss(labels, probabilities))


@pytest.mark.parametrize("number, method", [(1500, "Platt"), (20_000, "isotonic")])
def test_thinned_positives_are_overestimated_and_recalibration_repairs_it(number, method):
    valid, test = rows(number, 1, kept=0.5), rows(number, 2, kept=0.5)
    report = diagnosis.calibration_report(valid, test)
    before, after = report["before"], report["after"]
    assert before["verdict"] == f"overestimates by {100 * (before['ratio'] - 1):.1f} %"
    assert before["ratio"] > 1.3 and after["method"] == method
    assert after["verdict"] == "calibrated" and after["helps"] == "recalibration helps"
    assert after["ece"] < before["ece"] / 2 and after["gain"]["low"] > 0
    under = diagnosis.calibration_figures(test[0], after["ratio"] * test[1] / 2)
    assert under["verdict"].startswith("underestimates by")


def test_what_is_calibrated_is_called_so_and_repairing_it_no_help():
    reports = [
        diagnosis.calibration_report(rows(1500, seed), rows(1500, seed + 100)) for seed in range(40)
    ]
    assert sum(report["before"]["verdict"] == "calibrated" for report in reports) >= 36
    assert sum(report["after"]["helps"] == "recalibration helps" for report in reports) <= 3


def test_a_map_fitted_on_the_wrong_rows_is_told_to_harm():
    valid, test = rows(3000, 3, kept=0.3), rows(3000, 4)
    assert diagnosis.calibration_report(valid, test)["after"]["helps"].endswith("makes it worse")


def test_isotonic_regression_asks_for_enough_rows_of_both_classes():
    labels = np.r_[np.ones(diagnosis.ISOTONIC_ROWS, np.int8), np.zeros(999, np.int8)]
    probabilities = np.random.default_rng(0).random(len(labels))
    assert diagnosis.recalibrated(labels, probabilities, probabilities)[0] == "Platt"
    more = np.r_[labels, 0], np.r_[probabilities, 0.5]
    method, new = diagnosis.recalibrated(*more, np.array([0.0, 0.2, 0.7, 1.0]))
    assert method == "isotonic" and (np.diff(new) >= 0).all() and new[0] > 0 and new[-1] < 1


def test_platt_finds_the_line_of_the_logits():
    logits = np.random.default_rng(0).normal(0, 2, 50_000)
    labels = np.random.default_rng(1).random(50_000) < sigmoid(0.5 * logits - 1)
    few = slice(0, 1900)  # too few for isotonic regression
    new = diagnosis.recalibrated(labels[few], sigmoid(logits[few]), sigmoid(np.array([0.0, 2.0])))
    assert new[1] == pytest.approx(sigmoid(np.array([-1.0, 0.0])), abs=0.04)


@pytest.mark.parametrize("labels", [[], [0, 1], [0] * 50, [1] * 50, [1] * 9 + [0] * 50])
def test_few_rows_and_one_class_have_a_reason_instead_of_a_verdict(labels):
    labels = np.array(labels, np.int8)
    few = labels, np.full(len(labels), 0.3)
    report = diagnosis.calibration_report(rows(500), few)
    assert "test rows of" in report["reason"] and "before" not in report
    report = diagnosis.calibration_report(few, rows(500))
    assert "validation rows of" in report["after"]["reason"] and "verdict" in report["before"]
    assert "at least 10 are needed" in diagnosis.trend(labels, np.arange(len(labels)))["reason"]


def test_the_interval_of_a_gain_has_the_spread_of_new_rows():
    gains, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 400)
        shared = labels + rng.standard_normal(400)
        scores = [shared + 0.5 * rng.standard_normal(400) for _ in range(2)]
        gain = diagnosis.auc_gain(labels, *scores, times=100)
        gains.append(gain["difference"])
        errors.append((gain["high"] - gain["low"]) / (2 * 1.96))
    assert np.mean(errors) == pytest.approx(np.std(gains), rel=0.3)


def test_the_error_of_many_rows_follows_from_that_of_some(monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 6000)
    scores = [labels + rng.standard_normal(6000) for _ in range(2)]
    whole = diagnosis.auc_gain(labels, *scores)
    monkeypatch.setattr(diagnosis, "RESAMPLED_ROWS", 1000)
    part = diagnosis.auc_gain(labels, *scores)
    assert part["difference"] == whole["difference"]
    widths = [gain["high"] - gain["low"] for gain in (part, whole)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15) and widths[0] != widths[1]


def test_a_gain_of_rows_is_the_difference_and_its_normal_test():
    differences = np.random.default_rng(0).normal(0.1, 1.0, 900)
    gain = diagnosis.mean_gain(differences)
    assert gain["difference"] == pytest.approx(differences.mean())
    assert gain["p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.02)
    assert (gain["low"] > 0) == (gain["p"] < 0.05)
    assert diagnosis.mean_gain(np.zeros(9))["p"] == 1.0


def test_a_planted_trend_is_found_and_bursts_are_not_called_one():
    rng, time = np.random.default_rng(0), np.arange(4000)
    falling = rng.random(4000) < 0.6 - 0.2 * time / 4000
    report = diagnosis.trend(falling, time)
    assert report["p"] < 1e-3
    assert (report["from"], report["to"]) == pytest.approx((0.6, 0.4), abs=0.05)
    periods = report["periods"]
    assert [p["rows"] for p in periods] == [400] * 10
    assert (periods[0]["first"], periods[0]["last"], periods[9]["last"]) == (0, 399, 3999)
    found = 0
    for seed in range(200):  # a hundred users of 40 rows each, one after the other
        rng = np.random.default_rng(seed)
        own = np.repeat(rng.random(100), 40)
        found += diagnosis.trend(rng.random(4000) < own, time)["p"] < 0.05
    assert 2 <= found <= 20


def test_rows_of_one_moment_have_no_trend():
    labels = np.tile([0, 1], 50)
    assert "1 periods only" in diagnosis.trend(labels, np.full(100, 7))["reason"]
