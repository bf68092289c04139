"""Several cross-domain runs beside each other: means over seeds, and each arm against uniform."""

import math
from pathlib import Path

import numpy as np

from hamur.files import replacing, write_history
from hamur.metrics import protocols
from hamur.reporting.seeds import spread
from hamur.reporting.tables import UNDEFINED, markdown_table


def write_comparison(folder: Path, content: list[dict]) -> None:
    """comparison.csv and comparison.md: means over seeds, and each arm against uniform."""
    arms: dict[str, dict[int, dict]] = {}
    for run in content:
        name = "conet_s" if run["model"] == "conet_s" else run["arm"]
        arms.setdefault(name, {})[run["seed"]] = run
    rows = [comparison_row(name, seeds, arms.get("uniform", {})) for name, seeds in arms.items()]
    write_history(folder / "comparison.csv", rows)
    shown = [[_shown(value) for value in row.values()] for row in rows]
    table = markdown_table([name.replace("_", " ") for name in rows[0]], shown)
    with replacing(folder / "comparison.md") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    print(table)


def comparison_row(name: str, seeds: dict[int, dict], uniform: dict[int, dict]) -> dict:
    """Mean and spread of an arm, its difference to uniform with an interval over users."""
    auc = spread(run["test"]["auc"] for run in seeds.values())
    planted = spread((run["planted"] or {}).get("auc_weight") for run in seeds.values())
    row = {"arm": name, "seeds": len(seeds), "test_auc": auc.mean, "std": auc.std}
    row |= {"valid_auc": spread(run["valid"]["auc"] for run in seeds.values()).mean}
    row |= {"difference": None, "low": None, "high": None}
    common = sorted(seeds.keys() & uniform.keys())
    if common and name != "uniform":
        samples = [paired(seeds[seed], uniform[seed]) for seed in common]
        means = np.mean(samples, axis=0)
        auc = [seeds[s]["test"]["auc"] - uniform[s]["test"]["auc"] for s in common]
        span = protocols.interval(means) or [None, None]
        row |= {"difference": float(np.mean(auc)), "low": span[0], "high": span[1]}
    row |= {"weight_auc": None if math.isnan(planted.mean) else planted.mean}
    row |= {"collapsed": sum(run["collapsed"] for run in seeds.values())}
    return row


def paired(run: dict, baseline: dict, times: int = 1000) -> np.ndarray:
    """(times,) differences of the AUCs over the same resampled users."""
    both = [run["probabilities"], baseline["probabilities"]]
    samples = protocols.bootstrap_auc(run["labels"], both, run["users"], times)
    return samples[:, 0] - samples[:, 1]


def _shown(value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    return f"{value:.4f}" if isinstance(value, float) else str(value)
