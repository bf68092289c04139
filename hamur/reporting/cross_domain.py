"""What a cross-domain run reports: the blocks of metrics.json, the weights, the table."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hamur import metrics
from hamur.data.cross_domain.collate import Candidates
from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.data.cross_domain.implicit import observed
from hamur.metrics import protocols
from hamur.reporting import weights
from hamur.reporting.tables import UNDEFINED, number_text, text_table

ONE_ROW = "leave_two_out gives every user one row"


def split_report(rows: Candidates, probabilities: np.ndarray, bootstrap: int, seed: int) -> dict:
    """Entry of metrics.json of a split.  probabilities (N,); bootstrap: resamplings of users for
    the interval of the AUC, 0 = none."""
    table = rows.table
    labels, users = table.labels[:, 0], table.sparse[:, USER]
    entry = {
        "auc": metrics.auc(labels, probabilities),
        "auc_ci": None,
        "logloss": metrics.log_loss(labels, probabilities),
        "ece": protocols.calibration_error(labels, probabilities),
        "rows": len(labels),
        "positives": int(labels.sum()),
    }
    if math.isnan(entry["auc"]):
        entry["auc"], entry["reason"] = None, metrics.ONE_CLASS
    elif bootstrap:
        samples = protocols.bootstrap_auc(labels, [probabilities], users, bootstrap, seed)
        entry["auc_ci"] = protocols.interval(samples[:, 0])
    for name, column in (("item", ITEM), ("category", CATEGORY)):
        entry[f"gauc_{name}"] = protocols.auc_within(labels, probabilities, table.sparse[:, column])
    if len(np.unique(users)) == len(users):
        entry["gauc_user"] = {"value": None, "reason": ONE_ROW}
    else:
        entry["gauc_user"] = protocols.auc_within(labels, probabilities, users)
    return entry


def ranking(predict: Callable, test: Candidates, number: int, seed: int) -> dict | None:
    """Each positive test row among `number` items drawn uniformly from those the user has in no
    split; None for 0.  predict: Candidates -> probabilities (N,).

    The model is trained for the polarity of observed rows, not for ranking unobserved items.
    """
    if not number:
        return None
    positives = test.take(np.flatnonzero(test.labels[:, 0] == 1))
    table = positives.table
    items, counts = test.rows.negative_items(table, number, seed)
    row, place = np.nonzero(items)
    sparse = table.sparse[row].copy()
    sparse[:, ITEM] = items[row, place]
    sparse[:, CATEGORY] = test.rows.pair.target_categories[sparse[:, ITEM]]
    others = positives.take(row)
    others = dataclasses.replace(others, table=dataclasses.replace(others.table, sparse=sparse))
    scores = np.full(items.shape, np.nan)
    scores[row, place] = predict(others) if len(row) else ()
    report = protocols.ranking_report(predict(positives), scores)
    report["negatives"] = items.shape[1]
    skipped = int(observed(test.table).sum()) - len(positives)
    report["users_skipped"] = {"negative test row": skipped}
    report["users_with_fewer_negatives"] = int((counts < items.shape[1]).sum())
    report["test_items_unseen_in_training"] = int((table.sparse[:, ITEM] == 0).sum())
    return report


def upper_block(history: Sequence[Mapping]) -> dict:
    """The upper updates of a run; times leave the first one out, which holds the compilation."""
    updates = [row for row in history if row["kind"] == "upper"]
    seconds = sum(row["seconds"] for row in history if row["kind"] == "epoch")
    parts = ("head_seconds", "solve_seconds", "phi_seconds")
    upper_seconds = sum(row[name] for row in updates[1:] for name in parts)
    return {
        "count": len(updates),
        "moved": sum(row["moved"] for row in updates),
        "mean_ms": 1000 * upper_seconds / max(len(updates) - 1, 1) if updates else None,
        "share_of_epoch_time": upper_seconds / seconds if seconds else None,
        "diverged": sum(row["diverged"] for row in updates),
        "negative_curvature": sum(row["negative_curvature"] for row in updates),
    }


def report_weights(folder: Path, columns: Mapping, title: str, say: Callable) -> dict:
    """weights.csv, weights_by_category.csv, weights.png, and their summary.

    columns: of `hamur.training.bilevel.report.behaviour_weights`.
    """
    summary = weights.write_weights(folder, columns)
    weights.plot_weights(folder / "weights.png", columns, title)
    say(weights.category_table(weights.by_category(columns)))
    for name, value in summary["spearman"].items():
        say(f"rank correlation of weight and influence over {name}: {number_text(value, 3)}")
    if summary["planted"]:
        weight, influence = (
            number_text(summary["planted"][f"auc_{n}"], 3) for n in ("weight", "influence")
        )
        say(
            f"clean against harmful (planted): AUC of the weight {weight}, "
            f"of the influence {influence}"
        )
    return summary


def planted_of_fixed_weights(harmful: np.ndarray | None, arm: str) -> dict | None:
    """What metrics.json says where the harmful behaviours are known, but no weight is learned."""
    if harmful is None or arm not in ("uniform", "annealed", "oracle"):
        return None
    clean = 1 - harmful.astype(int)
    value = metrics.auc(clean, clean if arm == "oracle" else np.ones(len(clean)))
    auc = None if np.isnan(value) else value
    return {"auc_weight": auc, "auc_influence": None, "behaviours": len(clean)}


def results_table(content: dict) -> str:
    """Validation and test figures, and the ranking."""
    rows = []
    for name in ("valid", "test"):
        entry = content[name]
        numbers = [entry["auc"], entry["logloss"], entry["ece"]]
        numbers += [entry[f"gauc_{group}"]["value"] for group in ("item", "category")]
        texts = [number_text(value) for value in numbers]
        span = entry["auc_ci"]
        texts.insert(1, f"{span[0]:.4f} - {span[1]:.4f}" if span else UNDEFINED)
        rows.append([name, f"{entry['rows']:,}", *texts])
    header = ["split", "rows", "AUC", "95 % interval", "logloss", "ECE", "GAUC item", "category"]
    text = text_table(header, rows)
    report = content["ranking"]
    if report and report["users"]:
        text += (
            f"\nranking among {report['negatives']} sampled items, {report['users']:,} users: "
            f"HR@10 {report['hr@10']:.4f}  NDCG@10 {report['ndcg@10']:.4f}  "
            f"MRR {report['mrr']:.4f}"
        )
    return text
