"""Several cross-domain runs beside each other: means over runs, and each arm against uniform."""

import math
from pathlib import Path

import numpy as np

from hamur.files import replacing, write_history
from hamur.metrics import protocols
from hamur.reporting.seeds import compare, spread
from hamur.reporting.tables import UNDEFINED, markdown_table

Key = tuple[int | None, int]  # pair of domains, seed


def write_comparison(folder: Path, content: list[dict]) -> None:
    """comparison.csv and comparison.md: means over runs, and each arm against uniform.

    Runs are paired by seed, and by "pair" where a study has several pairs of domains.
    """
    arms: dict[str, dict[Key, dict]] = {}
    for run in content:
        name = "conet_s" if run["model"] == "conet_s" else run["arm"]
        arms.setdefault(name, {})[run.get("pair"), run["seed"]] = run
    rows = [comparison_row(name, runs, arms.get("uniform", {})) for name, runs in arms.items()]
    write_history(folder / "comparison.csv", rows)
    shown = [[_shown(value) for value in row.values()] for row in rows]
    table = markdown_table([name.replace("_", " ") for name in rows[0]], shown)
    with replacing(folder / "comparison.md") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    print(table)


def comparison_row(name: str, runs: dict[Key, dict], uniform: dict[Key, dict]) -> dict:
    """Mean and spread of an arm, and its difference to uniform with two 95 % intervals.

    low, high: over users, resampled, the models as they are.  runs_low, runs_high: Student's, over
    runs, which holds the noise of training.
    """
    tested, baseline = defined_auc(runs), defined_auc(uniform)
    auc = spread(tested.values())
    planted = spread((run["planted"] or {}).get("auc_weight") for run in runs.values())
    row = {"arm": name, "runs": len(runs), "test_auc": auc.mean, "std": auc.std}
    row |= {"valid_auc": spread(run["valid"]["auc"] for run in runs.values()).mean}
    row |= dict.fromkeys(("difference", "low", "high", "runs_low", "runs_high"))
    common = sorted(tested.keys() & baseline.keys())
    if common and name != "uniform":
        means = np.mean([paired(runs[key], uniform[key]) for key in common], axis=0)
        row["low"], row["high"] = protocols.interval(means) or (None, None)
        over_runs = compare(baseline, tested)
        row |= {"difference": over_runs.difference}
        row |= {"runs_low": over_runs.low, "runs_high": over_runs.high}
    row |= {"weight_auc": None if math.isnan(planted.mean) else planted.mean}
    row |= {"collapsed": sum(run["collapsed"] for run in runs.values())}
    return row


def defined_auc(runs: dict[Key, dict]) -> dict[Key, float]:
    """Test AUC of the runs that have one."""
    found = {key: run["test"]["auc"] for key, run in runs.items()}
    return {key: auc for key, auc in found.items() if auc is not None}


def paired(run: dict, baseline: dict, times: int = 1000) -> np.ndarray:
    """(times,) differences of the AUCs over the same resampled users."""
    both = [run["probabilities"], baseline["probabilities"]]
    samples = protocols.bootstrap_auc(run["labels"], both, run["users"], times)
    return samples[:, 0] - samples[:, 1]


def _shown(value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    return f"{value:.4f}" if isinstance(value, float) else str(value)
