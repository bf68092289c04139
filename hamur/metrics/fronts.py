"""Measures of a front: points (R, T) whose coordinates are losses, one point per preference.

Smaller is better everywhere; an AUC enters as 1 - AUC.  Plain functions of float64 arrays.
"""

import math

import numpy as np

NO_SPREAD = "no spread"
MIN_SPAN = 1e-4
IDEAL_MARGIN = 0.01  # below the best loss that was seen
MIN_RANGE = 1e-3
TOLERANCE = 1e-4  # of a preference's sum


def check_preference(preference, num_tasks: int) -> np.ndarray:
    """(R, T) or (T,) float32 on the simplex, sums within 1e-4 of 1 renormalised.

    Raises:  ValueError: another length, a negative or NaN entry, another sum; shows the vector.
    """
    values = np.asarray(preference, np.float64)
    if values.ndim not in (1, 2) or values.shape[-1] != num_tasks or values.size == 0:
        raise ValueError(
            f"a preference needs {num_tasks} numbers, one per task; got shape {values.shape}: "
            f"{values.tolist()}."
        )
    rows = values.reshape(-1, num_tasks)
    right = np.isfinite(rows).all(1) & (rows >= 0).all(1)
    right[right] = abs(rows[right].sum(1) - 1.0) <= TOLERANCE
    if not right.all():
        row = rows[np.argmin(right)]
        raise ValueError(
            f"a preference is non-negative and sums to 1 (within {TOLERANCE}); got "
            f"{row.tolist()} with sum {row.sum():.6g}."
        )
    return (values / values.sum(axis=-1, keepdims=True)).astype(np.float32)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume dominated by points (R, T) and bounded by reference (T,); exact.

    Points that are not below the reference in every coordinate add nothing.  T = 2: a sweep over
    the first coordinate.  T > 2: slabs along the last coordinate, each the (T-1)-dimensional volume
    of the points below it; meant for R <= 100, T <= 4.
    """
    points = np.asarray(points, np.float64).reshape(-1, len(reference))
    reference = np.asarray(reference, np.float64)
    points = points[(points < reference).all(axis=1)]
    if len(points) == 0:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - points.min())
    if len(reference) == 2:
        return _sweep(points, reference)
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(np.append(points[:, -1], reference[-1]))
    return float(
        sum(
            height * hypervolume(points[: i + 1, :-1], reference[:-1])
            for i, height in enumerate(heights)
            if height > 0
        )
    )


def _sweep(points: np.ndarray, reference: np.ndarray) -> float:
    volume, best = 0.0, reference[1]
    for first, second in points[np.lexsort((points[:, 1], points[:, 0]))]:
        if second < best:
            volume += (reference[0] - first) * (best - second)
            best = second
    return float(volume)


def hypervolume_gradient(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """d hypervolume / d points, (R, T), every entry <= 0, for each non-dominated rank alone.

    Moving point i along coordinate k changes the volume by what it alone covers, seen along k,
    among the points that are at least as good in k.
    """
    gradient = np.zeros_like(points, np.float64)
    for rank in nondominated_ranks(points):
        front = points[rank]
        for k in range(points.shape[1]):
            others = np.delete(front, k, axis=1)
            bound = np.delete(reference, k)
            for i, point in enumerate(front):
                if point[k] >= reference[k]:
                    continue
                as_good = front[:, k] <= point[k]
                as_good[i] = False
                with_it = hypervolume(np.vstack([others[as_good], others[i]]), bound)
                gradient[rank[i], k] = hypervolume(others[as_good], bound) - with_it
    return gradient


def dominated(points: np.ndarray) -> np.ndarray:
    """(R,) bool: another point is at least as good in all coordinates and better in one."""
    no_worse = (points[:, None] <= points[None]).all(axis=2)
    better = (points[:, None] < points[None]).any(axis=2)
    return (no_worse & better).any(axis=0)


def nondominated_ranks(points: np.ndarray) -> list[np.ndarray]:
    """Positions of the non-dominated points, then of those that are so without them, and so on."""
    left, ranks = np.arange(len(points)), []
    while len(left):
        beaten = dominated(points[left])
        ranks.append(left[~beaten])
        left = left[beaten]
    return ranks


def nondominated_share(points: np.ndarray) -> float:
    """Share of points that no other one dominates; equal points do not dominate each other."""
    return float(1.0 - dominated(points).mean())


def spearman(preferences: np.ndarray, losses: np.ndarray) -> list[float | None]:
    """Rank correlation of r_k with -loss_k over preferences, for every task: 1 = perfect control.

    None where the losses of a task span less than 1e-4: there is nothing to control.
    """
    from scipy.stats import rankdata  # slow to import

    values = []
    for r, loss in zip(preferences.T, losses.T):
        if np.ptp(loss) < MIN_SPAN or np.ptp(r) == 0:
            values.append(None)
            continue
        values.append(float(np.corrcoef(rankdata(r), rankdata(-loss))[0, 1]))
    return values


def span(values: np.ndarray) -> list[float]:
    """max - min over preferences, for every task."""
    return [float(v) for v in np.ptp(values, axis=0)]


def cross_angle(losses: np.ndarray, preferences: np.ndarray) -> float:
    """Mean angle in degrees between the losses (R, T) and 1 / r, r kept above 1e-3."""
    directions = 1.0 / clipped(preferences)
    cosine = (losses * directions).sum(1)
    cosine /= np.linalg.norm(losses, axis=1) * np.linalg.norm(directions, axis=1)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean())


def sparsity(losses: np.ndarray) -> float:
    """Sum over tasks of the squared gaps between neighbours in the sorted losses, over R - 1."""
    gaps = np.diff(np.sort(losses, axis=0), axis=0)
    return float((gaps**2).sum() / max(1, len(losses) - 1))


def regret(preferences: np.ndarray, losses: np.ndarray, known: np.ndarray) -> float:
    """Mean over r of sum_k r_k loss_k(r) minus the least such sum over known points (K, T)."""
    reached = (preferences * losses).sum(1)
    best = (preferences @ np.vstack([losses, known]).T).min(1)
    return float((reached - best).mean())


def normalised(losses, ideal) -> tuple[np.ndarray, np.ndarray]:
    """NE (R, T) on the scale from the ideal (T,), 0, to the constant predictor, 1; and that range
    (T,).  Never below 1e-3."""
    ideal = np.asarray(ideal, np.float64)
    ranges = np.maximum(1.0 - ideal, MIN_RANGE)
    return np.maximum((losses - ideal) / ranges, MIN_RANGE), ranges


def front_measures(preferences, normalized_entropy, aucs, known=None, ideal=None) -> dict:
    """All measures of a model's front for metrics.json; NE and AUC are (R, T).

    known: (K, T) NE of other points for the regret.  ideal: (T,) NE from which cross_angle and
    sparsity measure; None = 0.01 below the front's best.  None in place of an undefined number.
    """
    losses, tasks = normalized_entropy, normalized_entropy.shape[1]
    known = np.empty((0, tasks)) if known is None else known
    scaled, _ = normalised(losses, losses.min(axis=0) - IDEAL_MARGIN if ideal is None else ideal)
    undefined = not np.isfinite(aucs).all()
    correlation = spearman(preferences, losses)
    return {
        "hv_auc": None if undefined else hypervolume(1.0 - aucs, np.full(tasks, 0.5)),
        "hv_ne": hypervolume(losses, np.ones(tasks)),
        "outside": int((losses >= 1.0).any(axis=1).sum()),
        "span_ne": span(losses),
        "span_auc": None if undefined else span(aucs),
        "spearman": correlation,
        "cross_angle": cross_angle(scaled, preferences),
        "nondominated_share": nondominated_share(losses),
        "sparsity": sparsity(scaled),
        "regret": regret(preferences, losses, known),
    } | ({"reason": NO_SPREAD} if None in correlation else {})


def clipped(preferences: np.ndarray, least: float = 1e-3) -> np.ndarray:
    """Preferences kept away from 0 and renormalised, for 1 / r."""
    bounded = np.maximum(preferences, least)
    return bounded / bounded.sum(axis=1, keepdims=True)


def published_hypervolume(aucs: np.ndarray) -> float:
    """The public code's measure of (R, T) AUCs: volume of 1 - AUC below (1, ..., 1); for one point
    the product of its AUCs.  NaN if an AUC is undefined."""
    if not np.isfinite(aucs).all():
        return math.nan
    return hypervolume(1.0 - aucs, np.ones(aucs.shape[1]))
