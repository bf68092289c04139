"""What a cross-domain run reports at its end: metrics.json, the weights, and the table shown."""

from pathlib import Path

import numpy as np

from hamur import metrics
from hamur.reporting import results
from hamur.reporting.tables import UNDEFINED, text_table


def evaluate(session, config) -> tuple[dict, np.ndarray]:
    """metrics.json without the weights, and the probabilities of the test rows."""
    from hamur.training.bilevel.evaluate import TEST, VALID

    result = session.result
    valid, _ = session.evaluator.report(VALID)
    test, probabilities = session.evaluator.report(TEST)
    updates = [row for row in result.history if row["kind"] == "upper"]
    epochs = [row for row in result.history if row["kind"] == "epoch"]
    later = max(len(updates) - 1, 1)
    seconds = sum(row["seconds"] for row in epochs)
    content = {
        "model": config.model_name,
        "preset": config.preset,
        "arm": config.arm,
        "dataset": session.rows.pair.target_schema.name,
        "fingerprint": results.fingerprint(session.rows.pair.target),
        "seed": config.seed,
        "git_commit": results.git_commit(),
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "test": test,
        "valid": valid,
        "ranking": session.evaluator.ranking(),
        "eval_draws": config.eval_draws,
        "collapsed": result.collapsed,
        "restarts": result.restarts,
        "planted": planted_of_fixed_weights(session),
        "upper": {
            "count": len(updates),
            "moved": sum(row["moved"] for row in updates),
            "mean_ms": 1000 * result.upper_seconds / later if updates else None,
            "share_of_epoch_time": result.upper_seconds / seconds if seconds else None,
            "diverged": sum(row["diverged"] for row in updates),
            "negative_curvature": sum(row["negative_curvature"] for row in updates),
        },
        "train": {
            "rows": len(session.rows.train),
            "seconds": round(result.seconds, 3),
            "rows_per_second": max(row["rows_per_second"] for row in epochs),
            "target_losses": [row["target_loss"] for row in epochs],
            "peak_rss_mib": results.peak_rss_mib(),
        },
    }
    return content, probabilities


def report_weights(session, log: Path, title: str) -> dict:
    """weights.csv, weights_by_category.csv, weights.png, and their summary."""
    from hamur.reporting import weights
    from hamur.training.bilevel.weights import behaviour_weights

    columns = behaviour_weights(session)
    summary = weights.write_weights(log, columns)
    weights.plot_weights(
        log / "weights.png", columns, title
    )  # fmt: skip
    session.say(weights.category_table(weights.by_category(columns)))
    for name, value in summary["spearman"].items():
        session.say(f"rank correlation of weight and influence over {name}: {_text(value)}")
    if summary["planted"]:
        session.say(
            f"clean against harmful (synthetic, planted by category): AUC of the weight "
            f"{_text(summary['planted']['auc_weight'])}, of the influence "
            f"{_text(summary['planted']['auc_influence'])}"
        )
    return summary


def planted_of_fixed_weights(session) -> dict | None:
    """What metrics.json says where the truth is known, but no weight is learned."""
    if session.harmful is None or session.upper is not None or session.model.towers == 1:
        return None
    clean = 1 - session.harmful.astype(int)
    weight = clean if session.config.arm == "oracle" else np.ones(len(clean))
    value = metrics.auc(clean, weight)
    auc = None if np.isnan(value) else value
    return {"auc_weight": auc, "auc_influence": None, "behaviours": len(clean)}


def _text(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"


def results_table(content: dict) -> str:
    """Validation and test figures, and the ranking."""
    rows = []
    for name in ("valid", "test"):
        entry = content[name]
        numbers = [entry["auc"], entry["logloss"], entry["ece"]]
        numbers += [entry[f"gauc_{group}"]["value"] for group in ("item", "category")]
        texts = [UNDEFINED if value is None else f"{value:.4f}" for value in numbers]
        span = entry["auc_ci"]
        texts.insert(1, f"{span[0]:.4f} - {span[1]:.4f}" if span else UNDEFINED)
        rows.append([name, f"{entry['rows']:,}", *texts])
    header = ["split", "rows", "AUC", "95 % interval", "logloss", "ECE", "GAUC item", "category"]
    text = text_table(header, rows)
    ranking = content["ranking"]
    if ranking and ranking["users"]:
        text += (
            f"\nranking among {ranking['negatives']} sampled items, {ranking['users']:,} users: "
            f"HR@10 {ranking['hr@10']:.4f}  NDCG@10 {ranking['ndcg@10']:.4f}  "
            f"MRR {ranking['mrr']:.4f}"
        )
    return text
