"""Plots as PNG files: learning curve, AUC per domain, fronts of the tasks.

Figures are made without pyplot, so that the backend of a notebook stays as it is.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hamur.files import replacing
from hamur.reporting import front

STYLE = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
TOTAL_COLOUR = "#222222"
TRAINING_COLOUR = "#8c8c8c"
SPLIT_COLOURS = ("#9ec5e8", "#2469a6", "#0b2f52")
FRONT_LINES = {
    "reference": dict(color="#d1495b", linestyle="-", label="one model per preference"),
    "posthoc": dict(color="#8c8c8c", linestyle="--", label="post-hoc from a per-task model"),
    "exact": dict(color=TOTAL_COLOUR, linestyle=":", label="exact front"),
}
ARM_MARKERS = {"linear": "o", "smooth_tchebycheff": "s", "official": "X", "per_task": "^"}
MANY_DOMAINS = 10  # more have no colours and no room of their own
PREFERENCE = dict(cmap="viridis", vmin=0, vmax=1, zorder=3)  # colour = weight of the first task


@contextlib.contextmanager
def picture(
    path: Path, size: tuple[float, float], title: str = "", rows: int = 1, columns: int = 1
) -> Iterator[tuple[Figure, np.ndarray]]:
    """A figure and its axes (rows, columns); written to `path` if the block succeeds.

    size: width and height in inches.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)
        if title:
            figure.suptitle(title)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def learning_curve(
    path: Path, history: Sequence[Mapping], best_epoch: int, domain_names: Sequence[str], title: str
) -> None:
    """Loss (left) and validation AUC in total and per domain (right) against the epoch.

    history: the rows of history.csv; an undefined or absent figure leaves a gap.
    """
    epochs = [row["epoch"] for row in history]
    with picture(path, (9.5, 3.9), title, columns=2) as (_, ((left, right),)):
        marker = {"marker": "o", "markersize": 3}
        left.plot(
            epochs, _column(history, "loss"), color=TRAINING_COLOUR, label="training", **marker
        )
        validation = _column(history, "logloss")
        left.plot(epochs, validation, color=TOTAL_COLOUR, label="validation", **marker)
        left.set_ylabel("log loss (nats per row)")
        many = len(domain_names) > MANY_DOMAINS
        for d, name in enumerate(domain_names):
            values, colour = _column(history, f"auc_domain_{d}"), _colour(d)
            if many:  # the bars of domain_bars name them
                name, colour = "_" if d else "a domain", SPLIT_COLOURS[0]
            right.plot(epochs, values, color=colour, linewidth=1, label=str(name), **marker)
        total = _column(history, "auc")
        right.plot(epochs, total, color=TOTAL_COLOUR, linewidth=2, label="all rows", **marker)
        right.set_ylabel("validation AUC")
        for axis in (left, right):
            axis.axvline(best_epoch, color=TOTAL_COLOUR, linewidth=0.8, linestyle=":")
            axis.set_xlabel(f"epoch (dotted: best, {best_epoch})")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend(fontsize=8)


def domain_bars(
    path: Path, reports: Mapping[str, Mapping], domain_names: Sequence[str], title: str
) -> None:
    """AUC of each split in `reports` per domain and over all rows, the value on every bar.

    reports: split name -> entry of metrics.json.  The axis starts at 0.5, a coin's AUC, or below
    the lowest bar.  Undefined values have no bar.
    """
    groups = [*map(str, domain_names), "all rows"]
    width_inches = max(5.5, 1.2 + 0.75 * len(groups) * len(reports))
    with picture(path, (min(width_inches, 24), 3.9)) as (figure, ((axis,),)):
        width = 0.8 / len(reports)
        lowest = 0.5
        for index, (split, report) in enumerate(reports.items()):
            entries = [report["domains"][str(d)] for d in range(len(domain_names))] + [report]
            values = np.array([np.nan if e["auc"] is None else e["auc"] for e in entries])
            places = np.arange(len(groups)) + (index - (len(reports) - 1) / 2) * width
            colour = SPLIT_COLOURS[index % len(SPLIT_COLOURS)]
            bars = axis.bar(places, values, width * 0.92, label=split, color=colour)
            texts = ["" if np.isnan(v) else f"{v:.3f}" for v in values]
            dense = len(groups) > 2 * MANY_DOMAINS + 4
            axis.bar_label(bars, texts, padding=2, fontsize=7, rotation=90 if dense else 0)
            lowest = min(lowest, *(values[~np.isnan(values)] - 0.02), 0.5)
        axis.axhline(0.5, color=TOTAL_COLOUR, linewidth=0.8)
        axis.set_ylim(max(0, lowest), None)
        axis.margins(y=0.12)
        axis.set_xticks(range(len(groups)), groups, rotation=0 if len(groups) < 8 else 60)
        axis.set_xlabel("domain")
        axis.set_ylabel("AUC (0.5 = chance)")
        axis.grid(axis="x", visible=False)
        figure.legend(loc="outside lower center", ncols=len(reports), fontsize=8)
        axis.set_title(title)


def front_plot(path: Path, fronts: dict, tasks, title: str) -> None:
    """Every pair of tasks: NE (top) and AUC (bottom), points of the model coloured by r of the
    first task of the pair, other fronts as lines, the constant predictor as a cross."""
    pairs = list(itertools.combinations(range(len(tasks)), 2))
    size = (4.6 * len(pairs) + 1, 7.6)
    with picture(path, size, title, 2, len(pairs)) as (figure, axes):
        for (top, bottom), pair in zip(axes.T, pairs):
            points = _panel(top, fronts, tasks, pair, "ne")
            _panel(bottom, fronts, tasks, pair, "auc")
            top.plot(1.0, 1.0, "x", color=TOTAL_COLOUR, label="constant predictor")
            figure.colorbar(points, ax=[top, bottom], label=f"preference for {tasks[pair[0]]}")
        axes[0, 0].legend(fontsize=7)


def _panel(axis, fronts, tasks, pair, name):
    names = [tasks[k] for k in pair]
    for source, style in FRONT_LINES.items():
        if fronts.get(source):
            points = front.figure(fronts[source], names, name)
            marker = "o" if source == "reference" else None
            axis.plot(*points.T, marker=marker, markersize=4, linewidth=1.2, **style)
    points = front.figure(fronts["model"], names, name)
    colours = [entry["preference"][pair[0]] for entry in fronts["model"]]
    shown = axis.scatter(*points.T, c=colours, s=28, **PREFERENCE)
    axis.set_xlabel(f"{name.upper()} {names[0]}")
    axis.set_ylabel(f"{name.upper()} {names[1]}")
    return shown


def study_plot(path: Path, content: dict) -> None:
    """Fronts of `hamur.studies.fronts`: one column per seed, one row per pair of tasks; points are
    coloured by the preference for the pair's first task."""
    seeds, number = content["seeds"], content["options"]["task_num"]
    pairs = list(itertools.combinations(range(number), 2))
    size = (4.4 * len(seeds) + 0.8, 4.2 * len(pairs))
    with picture(path, size, "", len(pairs), len(seeds)) as (figure, axes):
        for row, pair in zip(axes, pairs):
            first = content["options"]["seed"]
            for seed, (axis, entry) in enumerate(zip(row, seeds), first):
                shown = _study_panel(axis, entry, pair)
                axis.set_title(f"synthetic data, seed {seed}")
            figure.colorbar(shown, ax=row.tolist(), label=f"preference for task {pair[0] + 1}")
        axes[0, 0].legend(fontsize=7)


def _study_panel(axis, entry, pair):
    places = list(pair)
    for source in filter(entry.get, ("exact", "reference", "posthoc")):
        points, line = np.array(entry[source])[:, places], FRONT_LINES[source]
        if len(entry["exact"][0]) > 2:  # a surface, no line
            axis.scatter(*points.T, s=10, color=line["color"], label=line["label"])
        else:
            axis.plot(*points.T, linewidth=1.2, **line)
    colours = np.array(entry["preferences"])[:, pair[0]]
    for arm, losses in entry["arms"].items():
        shown = axis.scatter(
            *np.array(losses)[:, places].T,
            c=colours,
            s=30,
            marker=ARM_MARKERS.get(arm, "D"),
            label=arm,
            edgecolors="black",
            linewidths=0.4,
            **PREFERENCE,
        )
    axis.set_xlabel(f"NE task {pair[0] + 1}")
    axis.set_ylabel(f"NE task {pair[1] + 1}")
    return shown


def _column(history: Sequence[Mapping], name: str) -> np.ndarray:
    values = [row.get(name) for row in history]
    return np.array([np.nan if value in (None, "") else float(value) for value in values])


def _colour(index: int):
    return matplotlib.colormaps["tab10"](index % 10)
