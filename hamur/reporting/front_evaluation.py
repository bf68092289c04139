"""Everything that is said about a trained multi-task model's front."""

import numpy as np

from hamur.data.synthetic.exact_front import best_scores
from hamur.metrics import fronts
from hamur.metrics import tasks as task_metrics

LEAST_ERRORS = 2.0


def front_entries(preferences, logits, table, entropy, names) -> list[dict]:
    """[{"preference": [...], "tasks": {name: metrics}}] for logits (N, R, T)."""
    return [
        {
            "preference": [float(r) for r in preference],
            "tasks": task_metrics.task_metrics(
                table.labels, logits[:, i], entropy, names, table.group
            ),
        }
        for i, preference in enumerate(preferences)
    ]


def arrays(entries, names) -> tuple[np.ndarray, np.ndarray]:
    """NE (R, T) and AUC (R, T), NaN where undefined."""

    def values(figure):
        rows = [[entry["tasks"][name][figure] for name in names] for entry in entries]
        return np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)

    return values("ne"), values("auc")


def measures(entries, names, known=(), ideal=None) -> dict:
    """`fronts.front_measures` of these entries; known: entries of other fronts for the regret."""
    losses, areas = arrays(entries, names)
    preferences = np.array([entry["preference"] for entry in entries])
    others = arrays(known, names)[0] if len(known) else None
    return fronts.front_measures(preferences, losses, areas, others, ideal)


def posthoc_logits(logits, preferences, offsets, entropy) -> np.ndarray:
    """(N, R, T) of the shared score that a per-task model's probabilities imply.

    In each row s solves sum_k w_k sigmoid(s + b_k) = sum_k w_k p_k with w_k = r_k / H_k: what a
    preference buys without a network that knows it.  logits (N, T) of the model; offsets b (T,).
    """
    p = 1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64)))
    scores = [best_scores(p, offsets, r / entropy) for r in np.asarray(preferences, np.float64)]
    return np.stack(scores, axis=1)[:, :, None] + offsets


def bootstrap(preferences, logits, table, entropy, resamples, seed) -> dict:
    """95 % intervals over resampled search pages of hypervolume, spans and AUC, and whether every
    span is below twice its standard error ("front_degenerate").

    Raises:  ValueError: rows without groups.
    """
    if table.group is None:
        raise ValueError("--bootstrap resamples search pages, but these rows have no group.")
    rng = np.random.default_rng(seed)
    _, page = np.unique(table.group, return_inverse=True)
    order = np.argsort(page, kind="stable")
    starts = np.append(0, np.cumsum(np.bincount(page)))
    volumes, spans, aucs = [], [], []
    for _ in range(resamples):
        drawn = rng.integers(len(starts) - 1, size=len(starts) - 1)
        rows = np.concatenate([order[starts[p] : starts[p + 1]] for p in drawn])
        labels, z = table.labels[rows], logits[rows]
        losses = task_metrics.normalised_losses(labels, z, entropy)
        volumes.append(fronts.hypervolume(losses, np.ones(losses.shape[1])))
        spans.append(fronts.span(losses))
        aucs.append(task_metrics.areas(labels, z))
    errors = np.std(spans, axis=0)
    full = fronts.span(task_metrics.normalised_losses(table.labels, logits, entropy))
    return {
        "resamples": resamples,
        "hv_ne": _interval(volumes),
        "span_ne": _interval(spans),
        "auc": _interval(aucs),
        "front_degenerate": bool((np.array(full) <= LEAST_ERRORS * errors).all()),
    }


def _interval(draws):
    low, high = np.nanpercentile(np.array(draws), [2.5, 97.5], axis=0)
    clean = [np.where(np.isfinite(bound), bound, 0.0) for bound in (low, high)]
    return [bound.tolist() for bound in clean]


def preference_for(preferences, values, task: int, at_least: float) -> np.ndarray:
    """The preference (T,) that gives task k at least this AUC, with as much as possible for the
    others: monotone interpolation along a two-task front (choose it on validation rows).

    preferences (R, 2), values (R, 2) AUC.
    Raises:  ValueError: another number of tasks, or a value that no preference reaches.
    """
    preferences, values = np.asarray(preferences, float), np.asarray(values, float)
    if preferences.shape[1] != 2:
        raise ValueError(f"solving for a preference needs two tasks, got {preferences.shape[1]}.")
    order = np.argsort(preferences[:, task])
    weight = preferences[order, task]
    reached = np.maximum.accumulate(values[order, task])  # noise must not make it fall
    if not reached[0] <= at_least <= reached[-1]:
        raise ValueError(
            f"no preference gives task {task + 1} an AUC of {at_least}: the front spans "
            f"{reached[0]:.4f} to {reached[-1]:.4f}."
        )
    place = int(np.searchsorted(reached, at_least))
    if place == 0:
        r = weight[0]
    else:
        low, high = reached[place - 1], reached[place]
        part = 1.0 if high == low else (at_least - low) / (high - low)
        r = weight[place - 1] + part * (weight[place] - weight[place - 1])
    return np.array([r, 1.0 - r]) if task == 0 else np.array([1.0 - r, r])
