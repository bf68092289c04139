"""The learned weights of source behaviours: tables, agreement with their influence, plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from hamur import metrics
from hamur.files import write_history
from hamur.reporting.plots import TOTAL_COLOUR, TRAINING_COLOUR, picture
from hamur.reporting.tables import markdown_table

COLUMNS = (
    "user", "item", "category", "label", "g", "relative_weight", "influence", "influence_count",
    "harmful",
)  # fmt: skip
HARMFUL_COLOUR, CLEAN_COLOUR = "#c0392b", "#2469a6"
SHOWN = 10  # categories at either end
LABEL_WIDTH, LABEL_HEIGHT = 0.25, 0.06  # of a name, in shares of the range of the circles
LABELLED = 16  # categories of the plot: more names would hide the circles


def mean_or_none(values: np.ndarray) -> float | None:
    """Mean of the defined values."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


def by_category(columns: Mapping[str, np.ndarray]) -> list[dict]:
    """One row per category, the most trusted first: behaviours, mean weight and influence, share of
    harmful ones where known."""
    rows = []
    names, group = np.unique(columns["category"], return_inverse=True)
    for number, name in enumerate(names):
        inside = group == number
        row = {
            "category": str(name) or "unknown",
            "behaviours": int(inside.sum()),
            "relative_weight": float(columns["relative_weight"][inside].mean()),
            "influence": mean_or_none(columns["influence"][inside]),
            "positive_rate": float(columns["label"][inside].mean()),
        }
        if "harmful" in columns:
            row["harmful"] = float(columns["harmful"][inside].mean())
        rows.append(row)
    return sorted(rows, key=lambda row: -row["relative_weight"])


def planted_report(columns: Mapping[str, np.ndarray]) -> dict | None:
    """AUC of weight and of influence for clean against harmful behaviours; None without truth.

    The plant of the generated pairs goes by category, so that a category bias has an easy task.
    """
    if "harmful" not in columns:
        return None
    clean = 1 - columns["harmful"]
    defined = np.isfinite(columns["influence"])
    report = {
        "auc_weight": metrics.auc(clean, columns["relative_weight"]),
        "auc_influence": metrics.auc(clean[defined], columns["influence"][defined]),
        "behaviours": len(clean),
    }
    return {name: None if np.isnan(value) else value for name, value in report.items()}


def agreement(columns: Mapping[str, np.ndarray], categories: Sequence[Mapping]) -> dict:
    """Spearman correlation of weight and influence over behaviours and over categories."""
    pairs = {
        "behaviours": (columns["relative_weight"], columns["influence"]),
        "categories": tuple(
            np.array([np.nan if row[name] is None else row[name] for row in categories])
            for name in ("relative_weight", "influence")
        ),
    }
    report = {}
    for name, (weight, influence) in pairs.items():
        defined = np.isfinite(influence)
        x, y = weight[defined], influence[defined]
        constant = len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0
        report[name] = None if constant else float(stats.spearmanr(x, y).statistic)
    return report


def write_weights(folder: Path, columns: Mapping[str, np.ndarray]) -> dict:
    """weights.csv, weights_by_category.csv; returns what metrics.json says about them."""
    names = [name for name in COLUMNS if name in columns]
    plain = {name: columns[name].tolist() for name in names}
    plain["influence"] = ["" if value != value else value for value in plain["influence"]]
    write_history(folder / "weights.csv", [dict(zip(names, row)) for row in zip(*plain.values())])
    categories = by_category(columns)
    write_history(folder / "weights_by_category.csv", categories)
    return {"spearman": agreement(columns, categories), "planted": planted_report(columns)}


def category_table(categories: Sequence[Mapping]) -> str:
    """The most and the least trusted categories as a Markdown table."""
    shown = list(categories)
    if len(shown) > 2 * SHOWN:
        shown = [*shown[:SHOWN], *shown[-SHOWN:]]
    header = list(shown[0]) if shown else []
    rows = [[_text(row[name]) for name in header] for row in shown]
    return markdown_table(header, rows)


def _text(value) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def label_levels(rows: Sequence[Mapping]) -> list[int]:
    """How many lines above its point each label is drawn: none where no other label is near."""
    points = np.array([(row["influence"], row["relative_weight"]) for row in rows])
    span = np.ptp(points, axis=0) if len(rows) else np.ones(2)
    x, y = (points / np.where(span > 0, span, 1.0)).T if len(rows) else ((), ())
    levels = []
    for number in range(len(rows)):
        beside = np.flatnonzero(np.abs(x[:number] - x[number]) <= LABEL_WIDTH)
        taken = [y[other] + levels[other] * LABEL_HEIGHT for other in beside]
        level = 0
        while any(abs(y[number] + level * LABEL_HEIGHT - at) < 0.9 * LABEL_HEIGHT for at in taken):
            level += 1
        levels.append(level)
    return levels


def plot_weights(path: Path, columns: Mapping[str, np.ndarray], title: str) -> None:
    """Left: mean weight against mean influence, a circle per category, the largest ones named;
    right: all weights."""
    categories = by_category(columns)
    with picture(path, (9.5, 3.9), title, columns=2) as (_, ((left, right),)):
        placed = [row for row in categories if row["influence"] is not None]
        placed.sort(key=lambda row: -row["behaviours"])
        labelled = placed[:LABELLED]
        for row in placed:
            share = row.get("harmful")
            colour = TOTAL_COLOUR
            if share is not None:
                colour = HARMFUL_COLOUR if share > 0.5 else CLEAN_COLOUR
            size = 12 + 40 * row["behaviours"] / max(r["behaviours"] for r in categories)
            left.scatter(row["influence"], row["relative_weight"], s=size, color=colour, alpha=0.7)
        for row, level in zip(labelled, label_levels(labelled)):
            left.annotate(
                f"{row['category']} ({row['behaviours']:,})",
                (row["influence"], row["relative_weight"]),
                xytext=(4, 4 + 7 * level),
                textcoords="offset points",
                fontsize=6,
            )
        left.axhline(1.0, color=TRAINING_COLOUR, linewidth=0.8, linestyle=":")
        left.margins(0.15)  # room for the labels
        left.set_xlabel("mean influence on the user's development row")
        left.set_ylabel("mean weight (1 = uniform)")
        parts = {"all behaviours": np.full(len(columns["g"]), True)}
        if "harmful" in columns:
            harmful = columns["harmful"] > 0
            parts = {"clean": ~harmful, "harmful": harmful}
        colours = (CLEAN_COLOUR, HARMFUL_COLOUR)
        bins = np.histogram_bin_edges(columns["relative_weight"], 40)
        for (name, inside), colour in zip(parts.items(), colours):
            values = columns["relative_weight"][inside]
            right.hist(values, bins, alpha=0.6, color=colour, label=name)
        right.set_xlabel("weight (1 = uniform)")
        right.set_ylabel("behaviours")
        right.legend()


def plot_weight_range(axis, updates: Sequence[Mapping]) -> None:
    """Mean, least and largest weight of the behaviours of each upper update."""
    names = ("update", "weight_mean", "weight_min", "weight_max")
    rows = [[row[name] for name in names] for row in updates if row["weight_mean"] is not None]
    if rows:
        update, mean, low, high = zip(*rows)
        axis.plot(update, mean, linewidth=1, label="mean")
        axis.fill_between(update, low, high, alpha=0.2, label="least to largest")
        axis.legend(fontsize=8)
    axis.set_ylabel("weight (1 = uniform)")


def plot_history(path: Path, history: Sequence[Mapping], title: str) -> None:
    """Validation AUC per epoch; prior, if it is learned, development loss and residual per upper
    update, or where no system is solved, the weights."""
    epochs = [row for row in history if row["kind"] == "epoch"]
    updates = [row for row in history if row["kind"] == "upper"]
    with picture(path, (11, 3.4), title, columns=3) as (_, (axes,)):
        axes[0].plot([r["epoch"] for r in epochs], [r["auc"] for r in epochs], marker="o")
        axes[0].set(xlabel="epoch", ylabel="validation AUC")
        curves = ((axes[1], "dev_loss"), (axes[1], "prior"), (axes[2], "residual"))
        for axis, name in curves:
            points = [(r["update"], r[name]) for r in updates if r[name] is not None]
            fixed = name == "prior" and len({value for _, value in points}) == 1
            if points and not fixed:
                axis.plot(*zip(*points), label=name.replace("_", " "), linewidth=1)
                axis.legend(fontsize=8)
            axis.set_xlabel("upper update")
        axes[0].xaxis.get_major_locator().set_params(integer=True)
        if not updates:
            axes[1].set_title("no upper update in this run", fontsize=8)
            axes[1].set_axis_off()
            axes[2].set_axis_off()
        elif not axes[2].has_data():
            plot_weight_range(axes[2], updates)
