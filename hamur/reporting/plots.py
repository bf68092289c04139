"""Learning curve and AUC of every domain as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window, no display needed
import matplotlib.pyplot as plt
import numpy as np

from hamur.files import replacing

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


def learning_curve(
    path: Path, history: Sequence[Mapping], best_epoch: int, domain_names: Sequence[str], title: str
) -> None:
    """Loss (left) and validation AUC in total and per domain (right) against the epoch.

    history: the rows of history.csv; an undefined or absent figure leaves a gap.
    """
    epochs = [row["epoch"] for row in history]
    with plt.rc_context(STYLE), replacing(path) as temporary:
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.9), layout="constrained")
        marker = {"marker": "o", "markersize": 3}
        left.plot(
            epochs, _column(history, "loss"), color=TRAINING_COLOUR, label="training", **marker
        )
        validation = _column(history, "logloss")
        left.plot(epochs, validation, color=TOTAL_COLOUR, label="validation", **marker)
        left.set_ylabel("log loss (nats per row)")
        for d, name in enumerate(domain_names):
            values = _column(history, f"auc_domain_{d}")
            right.plot(epochs, values, color=_colour(d), linewidth=1, label=str(name), **marker)
        total = _column(history, "auc")
        right.plot(epochs, total, color=TOTAL_COLOUR, linewidth=2, label="all rows", **marker)
        right.set_ylabel("validation AUC")
        for axis in (left, right):
            axis.axvline(best_epoch, color=TOTAL_COLOUR, linewidth=0.8, linestyle=":")
            axis.set_xlabel(f"epoch (dotted: best, {best_epoch})")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend(fontsize=8)
        figure.suptitle(title)
        _save(figure, temporary)


def domain_bars(
    path: Path, reports: Mapping[str, Mapping], domain_names: Sequence[str], title: str
) -> None:
    """AUC of each split in `reports` per domain and over all rows, the value on every bar.

    reports: split name -> entry of metrics.json.  The axis starts at 0.5, a coin's AUC, or below
    the lowest bar.  Undefined values have no bar.
    """
    groups = [*map(str, domain_names), "all rows"]
    with plt.rc_context(STYLE), replacing(path) as temporary:
        width_inches = max(5.5, 1.2 + 0.75 * len(groups) * len(reports))
        figure, axis = plt.subplots(figsize=(min(width_inches, 24), 3.9), layout="constrained")
        width = 0.8 / len(reports)
        lowest = 0.5
        for index, (split, report) in enumerate(reports.items()):
            entries = [report["domains"][str(d)] for d in range(len(domain_names))] + [report]
            values = np.array([np.nan if e["auc"] is None else e["auc"] for e in entries])
            places = np.arange(len(groups)) + (index - (len(reports) - 1) / 2) * width
            colour = SPLIT_COLOURS[index % len(SPLIT_COLOURS)]
            bars = axis.bar(places, values, width * 0.92, label=split, color=colour)
            texts = ["" if np.isnan(v) else f"{v:.3f}" for v in values]
            axis.bar_label(bars, texts, padding=2, fontsize=7)
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
        _save(figure, temporary)


def _column(history: Sequence[Mapping], name: str) -> np.ndarray:
    values = [row.get(name) for row in history]
    return np.array([np.nan if value in (None, "") else float(value) for value in values])


def _colour(index: int):
    return plt.get_cmap("tab10")(index % 10)


def _save(figure, path: Path) -> None:
    try:
        figure.savefig(path, format="png")
    finally:
        plt.close(figure)
