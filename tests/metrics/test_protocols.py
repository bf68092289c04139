"""Evaluation arithmetic against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hamur.metrics import protocols


def data(seed, rows=300, users=60):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    scores = np.round(labels * 0.4 + rng.random(rows), 1)
    return labels, scores, rng.integers(0, users, rows)


def test_resampled_auc_equals_scikit_learn_on_the_repeated_rows():
    labels, scores, users = data(0)
    samples = protocols.bootstrap_auc(labels, [scores, -scores], users, 20, seed=5)
    rng = np.random.Generator(np.random.PCG64(5))
    _, user = np.unique(users, return_inverse=True)
    for sample in samples:
        counts = np.bincount(
            rng.integers(user.max() + 1, size=user.max() + 1), minlength=user.max() + 1
        )
        rows = np.repeat(np.arange(len(labels)), counts[user])
        assert sample[0] == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-12)
        assert sample[0] + sample[1] == pytest.approx(1.0, abs=1e-12)


def test_the_interval_covers_the_true_auc_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 400)
        scores = labels + rng.standard_normal(400)
        samples = protocols.bootstrap_auc(labels, [scores], np.arange(400), 200, seed)
        low, high = protocols.interval(samples[:, 0])
        covered += low <= 0.7602 <= high  # Phi(1 / sqrt 2)
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.slow
def test_the_interval_covers_the_true_auc_of_users_with_alike_rows():
    """1,000 resamplings of users, as a run makes; five rows of a user share half of their noise and
    often their label, so that resampling rows would cover too seldom."""
    users, rows = 120, 5
    covered = {"users": 0, "rows": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        user = np.repeat(np.arange(users), rows)
        own = rng.integers(0, 2, users)[user]
        labels = np.where(rng.random(len(user)) < 0.8, own, rng.integers(0, 2, len(user)))
        shared, noise = rng.standard_normal(users)[user], rng.standard_normal(len(user))
        scores = labels + np.sqrt(0.5) * (shared + noise)
        for name, units in (("users", user), ("rows", np.arange(len(user)))):
            samples = protocols.bootstrap_auc(labels, [scores], units, 1000, seed)
            low, high = protocols.interval(samples[:, 0])
            covered[name] += low <= 0.7602 <= high
    assert 0.90 <= covered["users"] / 200 <= 0.99
    assert covered["rows"] < covered["users"]


def test_one_class_has_no_interval():
    samples = protocols.bootstrap_auc(np.ones(5), [np.arange(5.0)], np.arange(5), 3)
    assert np.isnan(samples).all() and protocols.interval(samples[:, 0]) is None


def test_calibration_error_equals_a_loop_over_bins():
    labels, scores, _ = data(1)
    p = scores / scores.max()
    expected = 0.0
    for b in range(15):
        inside = np.minimum((p * 15).astype(int), 14) == b
        if inside.any():
            expected += inside.mean() * abs(labels[inside].mean() - p[inside].mean())
    assert protocols.calibration_error(labels, p) == pytest.approx(expected)
    assert np.isnan(protocols.calibration_error(np.zeros(0), np.zeros(0)))


def test_ranking_equals_a_loop_over_users():
    rng = np.random.default_rng(2)
    positive = np.round(rng.random(50), 1)
    negatives = np.round(rng.random((50, 12)), 1)
    negatives[3, 4:] = np.nan  # fewer eligible items
    found = protocols.ranking_report(positive, negatives)
    ranks = [1 + sum(n >= p for n in line if n == n) for p, line in zip(positive, negatives)]
    for k in protocols.CUTOFFS:
        assert found[f"hr@{k}"] == pytest.approx(np.mean([r <= k for r in ranks]))
        gains = [1 / np.log2(r + 1) if r <= k else 0.0 for r in ranks]
        assert found[f"ndcg@{k}"] == pytest.approx(np.mean(gains))
    assert found["mrr"] == pytest.approx(np.mean([1 / r for r in ranks]))
    inside = [
        np.mean([(n < p) + 0.5 * (n == p) for n in line if n == n])
        for p, line in zip(positive, negatives)
    ]
    assert found["gauc_user"] == pytest.approx(np.mean(inside))


def test_a_constant_scorer_finds_nothing():
    found = protocols.ranking_report(np.full(9, 0.5), np.full((9, 99), 0.5))
    assert found["hr@10"] == 0.0 and found["gauc_user"] == 0.5
    assert protocols.ranking_report(np.zeros(0), np.zeros((0, 9)))["users"] == 0


def test_auc_within_groups_tells_what_defines_it():
    labels, scores, groups = (
        np.array([0, 1, 1, 1]),
        np.array([0.1, 0.4, 0.2, 0.3]),
        np.array([7, 7, 8, 8]),
    )
    assert protocols.auc_within(labels, scores, groups) == {"value": 1.0, "groups": 1, "rows": 2}
    nothing = protocols.auc_within(labels, scores, np.arange(4))
    assert nothing["value"] is None and "both classes" in nothing["reason"]
