"""Evaluation protocols: intervals over users, calibration, ranking of one positive item."""

import math
from collections.abc import Sequence

import numpy as np

from hamur.metrics.classification import gauc, mixed_groups

CUTOFFS = (1, 5, 10, 20)
BINS = 15
CONFIDENCE = 0.95


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean |mean label - mean probability| over equal-width bins,
    weighted by rows.  NaN of no rows."""
    if len(labels) == 0:
        return math.nan
    place = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    gap = np.bincount(place, np.asarray(labels, np.float64), bins)
    gap -= np.bincount(place, np.asarray(probabilities, np.float64), bins)
    return float(np.abs(gap).sum() / len(labels))


class _SortedScores:
    """AUC of one set of scores under many weightings of its rows, O(N) each."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        _, run = np.unique(scores, return_inverse=True)
        self.order = np.argsort(run, kind="stable")
        self.starts = np.flatnonzero(np.r_[True, np.diff(run[self.order]) != 0])
        self.positive = np.asarray(labels)[self.order] > 0.5

    def auc(self, weights: np.ndarray) -> float:
        weights = weights[self.order]
        positives = np.add.reduceat(weights * self.positive, self.starts)
        negatives = np.add.reduceat(weights * ~self.positive, self.starts)
        pairs = positives.sum() * negatives.sum()
        if not pairs > 0:
            return math.nan
        below = np.cumsum(negatives) - negatives / 2
        return float((positives * below).sum() / pairs)


def bootstrap_auc(
    labels: np.ndarray,
    scores: Sequence[np.ndarray],
    users: np.ndarray,
    times: int,
    seed: int = 2022,
) -> np.ndarray:
    """(times, number of score arrays) AUCs over resampled users, the same users for every array.

    labels (N,); scores: arrays (N,), of two models to compare them in pairs; users (N,).
    Samples of one class give NaN.
    """
    _, user = np.unique(users, return_inverse=True)
    number = int(user.max()) + 1
    sorted_scores = [_SortedScores(labels, values) for values in scores]
    rng = np.random.Generator(np.random.PCG64(seed))
    aucs = np.empty((times, len(scores)))
    for sample in range(times):
        counts = np.bincount(rng.integers(number, size=number), minlength=number)
        weights = counts[user].astype(np.float64)
        aucs[sample] = [ranked.auc(weights) for ranked in sorted_scores]
    return aucs


def interval(samples: np.ndarray, confidence: float = CONFIDENCE) -> list[float] | None:
    """Percentile interval of the defined samples; None without one."""
    defined = samples[np.isfinite(samples)]
    if not len(defined):
        return None
    tail = (1.0 - confidence) / 2
    return [float(value) for value in np.quantile(defined, (tail, 1.0 - tail))]


def auc_within(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, float | int | None]:
    """GAUC with the number of groups and rows that define it; None with a reason if none does."""
    rows = mixed_groups(labels, groups)
    entry = {"groups": len(rows), "rows": int(rows.sum())}
    value = gauc(labels, scores, groups)
    if math.isnan(value):
        return {"value": None, "reason": "no group has both classes", **entry}
    return {"value": value, **entry}


def rank_of_positive(positive: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """1 + number of negatives that score at least as high: ties count against the positive.

    positive (U,); negatives (U, M), NaN where a user has fewer.
    """
    return 1 + np.sum(negatives >= positive[:, None], axis=1)


def ranking_report(positive: np.ndarray, negatives: np.ndarray) -> dict[str, float | int | None]:
    """HR@k, NDCG@k (k in CUTOFFS), MRR, and the mean AUC inside a user (ties half).

    positive (U,); negatives (U, M), NaN where a user has fewer.
    """
    if not len(positive):
        return {"users": 0, "reason": "no user with a positive test row"}
    rank = rank_of_positive(positive, negatives)
    report = {"users": len(rank)}
    for k in CUTOFFS:
        report[f"hr@{k}"] = float(np.mean(rank <= k))
        report[f"ndcg@{k}"] = float(np.mean((rank <= k) / np.log2(rank + 1.0)))
    report["mrr"] = float(np.mean(1.0 / rank))
    below = np.sum(negatives < positive[:, None], axis=1)
    ties = np.sum(negatives == positive[:, None], axis=1)
    count = np.maximum(np.sum(np.isfinite(negatives), axis=1), 1)
    report["gauc_user"] = float(np.mean((below + ties / 2) / count))
    return report
