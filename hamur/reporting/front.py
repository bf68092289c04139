"""A front on disk and on the terminal: front.csv, front.png, a table a preference."""

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window, no display needed
import matplotlib.pyplot as plt
import numpy as np

from hamur.files import replacing
from hamur.reporting.plots import STYLE, TOTAL_COLOUR, _save
from hamur.reporting.tables import text_table

COLUMNS = ("auc", "logloss", "ne", "gauc")
LINES = {
    "reference": dict(color="#d1495b", linestyle="-", label="one model a preference"),
    "posthoc": dict(color="#8c8c8c", linestyle="--", label="post-hoc from a per-task model"),
    "exact": dict(color=TOTAL_COLOUR, linestyle=":", label="exact front"),
}


def write_front(path: Path, fronts: dict, tasks) -> None:
    """front.csv: a line a preference and source (model, posthoc, reference, exact): r_1..r_T, then
    per task auc, logloss, ne, gauc; gaps stay empty.

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
    """AUC and NE of every preference as text."""
    header = [f"preference for {', '.join(tasks)}"]
    header += [f"{name} {task}" for task in tasks for name in ("AUC", "NE", "GAUC")]
    rows = []
    for entry in entries:
        row = [" ".join(f"{r:.3f}" for r in entry["preference"])]
        for task in tasks:
            values = (entry["tasks"][task].get(name) for name in ("auc", "ne", "gauc"))
            row += ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append(row)
    return text_table(header, rows)


def measures_table(measures: dict, tasks) -> str:
    """Hypervolumes, and control and span of each task, a line each."""
    rows = []
    for name in ("hv_ne", "hv_fraction", "hv_auc", "hv_published", "nondominated_share", "regret"):
        if measures.get(name) is not None:
            rows.append([name, f"{measures[name]:.4f}"])
    for name in ("spearman", "span_ne", "span_auc"):
        for task, value in zip(tasks, measures.get(name) or ()):
            rows.append([f"{name} {task}", "no spread" if value is None else f"{value:.4f}"])
    return text_table(["front", "value"], rows)


def front_plot(path: Path, fronts: dict, tasks, title: str) -> None:
    """Every pair of tasks: NE (top) and AUC (bottom), points of the model coloured by r of the
    first task of the pair, other fronts as lines, the constant predictor as a cross."""
    pairs = [(i, j) for i in range(len(tasks)) for j in range(i + 1, len(tasks))]
    with plt.rc_context(STYLE), replacing(path) as temporary:
        size = (4.6 * len(pairs) + 1, 7.6)
        figure, axes = plt.subplots(
            2, len(pairs), figsize=size, layout="constrained", squeeze=False
        )
        for (top, bottom), pair in zip(axes.T, pairs):
            points = _panel(top, fronts, tasks, pair, "ne")
            _panel(bottom, fronts, tasks, pair, "auc")
            top.plot(1.0, 1.0, "x", color=TOTAL_COLOUR, label="constant predictor")
            figure.colorbar(points, ax=[top, bottom], label=f"preference for {tasks[pair[0]]}")
        axes[0, 0].legend(fontsize=7)
        figure.suptitle(title)
        _save(figure, temporary)


def _panel(axis, fronts, tasks, pair, figure):
    for source, style in LINES.items():
        if fronts.get(source):
            points = _points(fronts[source], tasks, pair, figure)
            marker = "o" if source == "reference" else None
            axis.plot(*points.T, marker=marker, markersize=4, linewidth=1.2, **style)
    points = _points(fronts["model"], tasks, pair, figure)
    colours = [entry["preference"][pair[0]] for entry in fronts["model"]]
    shown = axis.scatter(*points.T, c=colours, cmap="viridis", vmin=0, vmax=1, s=28, zorder=3)
    axis.set_xlabel(f"{figure.upper()} {tasks[pair[0]]}")
    axis.set_ylabel(f"{figure.upper()} {tasks[pair[1]]}")
    return shown


def _points(entries, tasks, pair, figure) -> np.ndarray:
    """(R, 2), NaN where undefined."""
    values = [[entry["tasks"][tasks[k]].get(figure) for k in pair] for entry in entries]
    return np.array([[np.nan if v is None else v for v in row] for row in values], float)


ARM_MARKERS = {"linear": "o", "smooth_tchebycheff": "s", "published": "X", "per_task": "^"}


def study_plot(path: Path, content: dict) -> None:
    """Fronts of `hamur.studies.fronts`: a column a seed, a row a pair of tasks; points of each arm
    coloured by the preference for the pair's first task."""
    seeds, number = content["seeds"], content["options"]["task_num"]
    pairs = [(i, j) for i in range(number) for j in range(i + 1, number)]
    with plt.rc_context(STYLE), replacing(path) as temporary:
        size = (4.4 * len(seeds) + 0.8, 4.2 * len(pairs))
        figure, axes = plt.subplots(
            len(pairs), len(seeds), figsize=size, layout="constrained", squeeze=False
        )
        for row, pair in zip(axes, pairs):
            first = content["options"]["first_seed"]
            for seed, (axis, entry) in enumerate(zip(row, seeds), first):
                shown = _study_panel(axis, entry, pair)
                axis.set_title(f"synthetic data, seed {seed}")
            figure.colorbar(shown, ax=row.tolist(), label=f"preference for task {pair[0] + 1}")
        axes[0, 0].legend(fontsize=7)
        _save(figure, temporary)


def _study_panel(axis, entry, pair):
    places = list(pair)
    for source in filter(entry.get, ("exact", "reference", "posthoc")):
        points = np.array(entry[source])[:, places]
        if len(entry["exact"][0]) > 2:  # a surface, no line
            axis.scatter(
                *points.T, s=10, color=LINES[source]["color"], label=LINES[source]["label"]
            )
        else:
            axis.plot(*points.T, linewidth=1.2, **LINES[source])
    colours = np.array(entry["preferences"])[:, pair[0]]
    for arm, losses in entry["arms"].items():
        shown = axis.scatter(
            *np.array(losses)[:, places].T,
            c=colours,
            cmap="viridis",
            vmin=0,
            vmax=1,
            s=30,
            marker=ARM_MARKERS.get(arm, "D"),
            label=arm,
            edgecolors="black",
            linewidths=0.4,
            zorder=3,
        )
    axis.set_xlabel(f"NE task {pair[0] + 1}")
    axis.set_ylabel(f"NE task {pair[1] + 1}")
    return shown
