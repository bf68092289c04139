"""The front of a multi-task model: its figures per preference, its measures, front.csv, tables."""

import csv
from pathlib import Path

import numpy as np

from hamur import metrics
from hamur.files import replacing
from hamur.metrics import fronts
from hamur.metrics.exact_front import best_scores, sigmoid
from hamur.reporting.tables import number_text, text_table

COLUMNS = ("auc", "logloss", "ne", "gauc")
MIN_ERRORS = 2.0


def front_entries(preferences, logits, table, entropy, names) -> list[dict]:
    """[{"preference": [...], "tasks": {name: metrics}}] for logits (N, R, T)."""
    return [
        {
            "preference": [float(r) for r in preference],
            "tasks": metrics.task_metrics(table.labels, logits[:, i], entropy, names, table.group),
        }
        for i, preference in enumerate(preferences)
    ]


def arrays(entries, names) -> tuple[np.ndarray, np.ndarray]:
    """NE (R, T) and AUC (R, T), NaN where undefined."""
    return figure(entries, names, "ne"), figure(entries, names, "auc")


def figure(entries, names, name) -> np.ndarray:
    """(R, T) of one figure, NaN where undefined."""
    rows = [[entry["tasks"][task].get(name) for task in names] for entry in entries]
    return np.array(rows, np.float64)


def measures(entries, names, known=(), ideal=None) -> dict:
    """`fronts.front_measures` of these entries; known: entries of other fronts for the regret."""
    normalized_entropy, aucs = arrays(entries, names)
    preferences = np.array([entry["preference"] for entry in entries])
    others = arrays(known, names)[0] if len(known) else None
    return fronts.front_measures(preferences, normalized_entropy, aucs, others, ideal)


def posthoc_logits(logits, preferences, offsets, entropy) -> np.ndarray:
    """(N, R, T) of the shared score that a per-task model's probabilities imply.

    In each row s solves sum_k w_k sigmoid(s + b_k) = sum_k w_k p_k with w_k = r_k / H_k: what a
    preference gains without a network that knows it.  logits (N, T) of the model; offsets b (T,).
    """
    p = sigmoid(np.asarray(logits, np.float64))
    scores = [best_scores(p, offsets, r / entropy) for r in np.asarray(preferences, np.float64)]
    return np.stack(scores, axis=1)[:, :, None] + offsets


def bootstrap(preferences, logits, table, entropy, resamples, seed) -> dict:
    """95 % intervals over resampled groups (search pages; rows where there is no group) of
    hypervolume, spans and AUC, and whether every span is below twice its standard error
    ("front_degenerate")."""
    rng = np.random.default_rng(seed)
    group = np.arange(len(table)) if table.group is None else table.group
    _, page = np.unique(group, return_inverse=True)
    order = np.argsort(page, kind="stable")
    starts = np.append(0, np.cumsum(np.bincount(page)))
    volumes, spans, aucs = [], [], []
    for _ in range(resamples):
        drawn = rng.integers(len(starts) - 1, size=len(starts) - 1)
        rows = np.concatenate([order[starts[p] : starts[p + 1]] for p in drawn])
        labels, z = table.labels[rows], logits[rows]
        losses = metrics.normalized_entropy(labels, z, entropy)
        volumes.append(fronts.hypervolume(losses, np.ones(losses.shape[1])))
        spans.append(fronts.span(losses))
        aucs.append(metrics.aucs(labels, z))
    errors = np.std(spans, axis=0)
    full = fronts.span(metrics.normalized_entropy(table.labels, logits, entropy))
    return {
        "resamples": resamples,
        "hv_ne": _interval(volumes),
        "span_ne": _interval(spans),
        "auc": _interval(aucs),
        "front_degenerate": bool((np.array(full) <= MIN_ERRORS * errors).all()),
    }


def _interval(draws):
    low, high = np.nanpercentile(np.array(draws), [2.5, 97.5], axis=0)
    clean = [np.where(np.isfinite(bound), bound, 0.0) for bound in (low, high)]
    return [bound.tolist() for bound in clean]


def preference_for(preferences, values, task: int, at_least: float) -> np.ndarray:
    """The preference (T,) that gives one task at least this AUC and the other as much as possible:
    monotone interpolation along a two-task front (choose it on validation rows).

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
    around = slice(max(place - 1, 0), place + 1)
    r = np.interp(at_least, reached[around], weight[around])
    return np.array([r, 1.0 - r]) if task == 0 else np.array([1.0 - r, r])


def write_front(path: Path, fronts: dict, tasks) -> None:
    """front.csv: one line per preference and source (model, posthoc, reference, exact), with r_1 to
    r_T, then auc, logloss, ne and gauc per task; gaps stay empty.

    fronts: {source: entries of metrics.json's "front"}.
    """
    header = ["source", *(f"r_{k + 1}" for k in range(len(tasks)))]
    header += [f"{column}_{task}" for task in tasks for column in COLUMNS]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for source, entries in fronts.items():
            for entry in entries:
                row = [source, *(f"{r:.6f}" for r in entry["preference"])]
                for task in tasks:
                    values = (entry["tasks"][task].get(column) for column in COLUMNS)
                    row += ["" if value is None else f"{value:.7f}" for value in values]
                writer.writerow(row)


def front_table(entries, tasks) -> str:
    """AUC, NE and GAUC of every preference as text."""
    header = [f"preference for {', '.join(tasks)}"]
    known = {name for each in entries for task in each["tasks"].values() for name in task}
    names = ["auc", "ne"] + ["gauc"] * ("gauc" in known)  # which rows without groups lack
    header += [f"{name.upper()} {task}" for task in tasks for name in names]
    rows = []
    for entry in entries:
        row = [" ".join(f"{r:.3f}" for r in entry["preference"])]
        for task in tasks:
            row += [number_text(entry["tasks"][task].get(name)) for name in names]
        rows.append(row)
    return text_table(header, rows)


def report(content: dict, tasks) -> str:
    """What is printed of metrics.json: the test split, and for a front its measures."""
    even = {"preference": [1 / len(tasks)] * len(tasks), **content["test"]}
    text = front_table(content.get("front") or [even], tasks)
    if "front" not in content:
        return text
    text += "\n\n" + measures_table(content["front_measures"], tasks)
    if content["front_measures"].get("front_degenerate"):
        text += "\nevery span is within its noise: on these rows the preference controls nothing"
    return text


def measures_table(measures: dict, tasks) -> str:
    """Hypervolumes, and control and span of each task, as text."""
    rows = []
    volumes = ("hv_ne", "hv_fraction", "hv_fraction_posthoc", "hv_auc", "hv_published")
    for name in (*volumes, "nondominated_share", "regret"):
        if measures.get(name) is not None:
            rows.append([name, f"{measures[name]:.4f}"])
    for name in ("spearman", "span_ne", "span_auc"):
        for task, value in zip(tasks, measures.get(name) or ()):
            rows.append([f"{name} {task}", "no spread" if value is None else f"{value:.4f}"])
    return text_table(["front", "value"], rows)
