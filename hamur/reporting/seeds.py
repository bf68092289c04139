"""Statistics over runs that differ by seed: mean, spread, paired comparison, interval.

    python -m hamur.reporting.seeds runs/study        # every metrics.json below the folder

prints the Markdown tables of the README: each model's mean and standard deviation over seeds, and
each adapter model against its plain backbone, seed by seed.  One seed is no evidence: on
MovieLens-1M the standard error of one test AUC is about 1.3e-3, as large as most differences.
"""

import json
import math
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from hamur.reporting.tables import UNDEFINED, markdown_table

Key = tuple[str, str, str]  # data set, model, preset


class Spread(NamedTuple):
    """Mean and sample standard deviation (NaN of one value)."""

    mean: float
    std: float
    count: int

    def __str__(self) -> str:
        if self.count == 0:
            return UNDEFINED
        return f"{self.mean:.4f}" + ("" if self.count == 1 else f" ± {self.std:.4f}")


class Comparison(NamedTuple):
    """Mean difference over common seeds and its two-sided confidence interval."""

    difference: float
    low: float
    high: float
    count: int

    @property
    def verdict(self) -> str:
        """'above', 'below', or 'within noise' where the interval holds 0."""
        if self.count < 2:
            return "one seed, no interval"
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "within noise"


def spread(values: Iterable[float | None]) -> Spread:
    """Of the defined values."""
    defined = np.array([value for value in values if value is not None], np.float64)
    if defined.size == 0:
        return Spread(math.nan, math.nan, 0)
    std = float(defined.std(ddof=1)) if defined.size > 1 else math.nan
    return Spread(float(defined.mean()), std, defined.size)


def compare(
    baseline: Mapping[Hashable, float],
    candidate: Mapping[Hashable, float],
    confidence: float = 0.95,
) -> Comparison:
    """Candidate minus baseline, paired by seed, with Student's t interval of the mean difference.

    Pairing takes out what a seed does to both.  Keys are seeds (or what else tells runs
    apart); only common ones count.
    Raises:  ValueError: no common seed.
    """
    seeds = sorted(baseline.keys() & candidate.keys())
    if not seeds:
        raise ValueError(f"no common seed: {sorted(baseline)} and {sorted(candidate)}.")
    differences = np.array([candidate[seed] - baseline[seed] for seed in seeds])
    mean = float(differences.mean())
    if len(seeds) == 1:
        return Comparison(mean, math.nan, math.nan, 1)
    error = float(differences.std(ddof=1)) / math.sqrt(len(seeds))
    half = float(stats.t.ppf((1 + confidence) / 2, len(seeds) - 1)) * error
    return Comparison(mean, mean - half, mean + half, len(seeds))


def load_runs(folders: Sequence[str | Path]) -> dict[Key, dict[int, dict]]:
    """(data set, model, preset) -> seed -> metrics.json, of every run below the folders.

    Raises:  ValueError: no run found, one seed of a model twice, or runs on different data or
        splits, which must not be compared.
    """
    paths = sorted({path for folder in folders for path in Path(folder).rglob("metrics.json")})
    if not paths:
        raise ValueError(f"no metrics.json below {', '.join(map(str, folders))}.")
    runs: dict[Key, dict[int, dict]] = {}
    data: dict[str, tuple[str, Path]] = {}
    for path in paths:
        run = json.loads(path.read_text())
        key = (run["dataset"], run["model"], run["preset"])
        if run["seed"] in runs.setdefault(key, {}):
            raise ValueError(f"{path}: {key} with seed {run['seed']} is there twice.")
        runs[key][run["seed"]] = run
        fingerprint = json.loads((path.parent / "config.json").read_text())["data"]["fingerprint"]
        first, where = data.setdefault(run["dataset"], (fingerprint, path))
        if fingerprint != first:
            raise ValueError(f"{path} and {where} used different data or splits.")
    return runs


def summary_table(runs: Mapping[Key, Mapping[int, dict]], split: str = "test") -> str:
    """A line per model and preset: AUC in total, per domain, mean and worst domain; logloss."""
    count = max(len(run[split]["domains"]) for seeds in runs.values() for run in seeds.values())
    header = ["data", "model", "preset", "seeds", "parameters", "AUC"]
    header += [f"domain {d}" for d in range(count)] + ["mean of domains", "worst", "logloss"]
    rows = []
    for key, seeds in runs.items():
        reports = [run[split] for run in seeds.values()]
        domains = [
            spread(report["domains"].get(str(d), {}).get("auc") for report in reports)
            for d in range(count)
        ]
        parameters = f"{next(iter(seeds.values()))['train']['parameters']:,}"
        first, *rest = (
            spread(report[name] for report in reports)
            for name in ("auc", "macro_auc", "worst_auc", "logloss")
        )
        figures = map(str, [first, *domains, *rest])
        rows.append([*key, str(len(seeds)), parameters, *figures])
    return markdown_table(header, rows)


def comparison_table(
    runs: Mapping[Key, Mapping[int, dict]], pairs: Sequence[tuple[Key, Key]], split: str = "test"
) -> str:
    """A line per (baseline, candidate) and figure: difference, 95 % interval, verdict."""
    header = ["comparison", "figure", "seeds", "difference", "95 % interval", "verdict"]
    rows = []
    for baseline, candidate in pairs:
        for figure in ("auc", "macro_auc", "worst_auc"):
            sides = [
                {seed: run[split][figure] for seed, run in runs[key].items()}
                for key in (baseline, candidate)
            ]
            result = compare(*sides)
            interval = f"{result.low:+.4f} to {result.high:+.4f}" if result.count > 1 else UNDEFINED
            rows.append(
                [
                    f"{candidate[0]}: {candidate[1]} against {baseline[1]}, {candidate[2]}",
                    figure,
                    str(result.count),
                    f"{result.difference:+.4f}",
                    interval,
                    result.verdict,
                ]
            )
    return markdown_table(header, rows)


def adapter_pairs(runs: Iterable[Key]) -> list[tuple[Key, Key]]:
    """Every adapter model with its plain backbone of the same data set and preset."""
    keys = list(runs)
    plain = {key: (key[0], key[1].removesuffix("_adp"), key[2]) for key in keys}
    return [(plain[key], key) for key in keys if plain[key] != key and plain[key] in keys]


def main(folders: Sequence[str]) -> int:
    """Print the tables; exit code 2 and one line if there is nothing to compare."""
    if not folders or any(folder.startswith("-") for folder in folders):
        print("usage: python -m hamur.reporting.seeds RUN_FOLDER ...", file=sys.stderr)
        return 2
    try:
        runs = load_runs(folders)
        pairs = adapter_pairs(runs)
        print(summary_table(runs))
        if pairs:
            print(f"\n{comparison_table(runs, pairs)}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
