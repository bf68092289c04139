"""Comparison of runs that differ by seed: mean, spread, paired differences, intervals, tables.

    python -m hamur.reporting.seeds runs/study        # every metrics.json below the folder

prints one Markdown table per family of models (ranking, multi-task, cross-domain): mean and
standard deviation over the seeds of each model, and the models compared with their baseline, seed
by seed.  One seed is no evidence: on MovieLens-1M the standard error of one test AUC is about
1.3e-3, as large as most differences.
"""

import logging
import math
import re
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hamur.errors import DataFileNotFoundError, DataFormatError, no_folder
from hamur.files import misfit, read_json, write_history, write_text
from hamur.metrics import protocols
from hamur.reporting.tables import UNDEFINED, markdown_table


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
    """Mean difference over common seeds, its two-sided confidence interval and p-value."""

    difference: float
    low: float
    high: float
    count: int
    p: float = math.nan

    @property
    def interval(self) -> str:
        """The interval as text."""
        return f"{self.low:+.4f} to {self.high:+.4f}" if self.count > 1 else UNDEFINED

    @property
    def verdict(self) -> str:
        """'above', 'below', or 'within noise' where the interval holds 0."""
        if self.count < 2:
            return "one seed, no interval" if self.count else "no common seed"
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "within noise"


def spread(values: Iterable[float | None]) -> Spread:
    """Mean and standard deviation of the defined values."""
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
    """Candidate minus baseline, paired by seed, with Student's t interval of the mean difference
    and the p-value of its test.

    Pairing removes what a seed does to both.  Keys are seeds (or whatever tells runs apart); only
    common ones count.
    NaN without a common seed, count 0.
    """
    seeds = sorted(baseline.keys() & candidate.keys())
    if not seeds:
        return Comparison(math.nan, math.nan, math.nan, 0)
    differences = np.array([candidate[seed] - baseline[seed] for seed in seeds])
    mean = float(differences.mean())
    if len(seeds) == 1:
        return Comparison(mean, math.nan, math.nan, 1)
    error = float(differences.std(ddof=1)) / math.sqrt(len(seeds))
    from scipy import stats  # slow to import, and --help of the studies is not to wait for it

    half = float(stats.t.ppf((1 + confidence) / 2, len(seeds) - 1)) * error
    p = 2 * stats.t.sf(abs(mean) / error, len(seeds) - 1) if error > 0 else mean == 0
    return Comparison(mean, mean - half, mean + half, len(seeds), float(p))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """(n,) p-values corrected for being n tests (Holm 1979): below a level, the whole family errs
    with at most that probability.

        p'_(i) = max over j <= i of min(1, (n - j + 1) p_(j)),   p_(1) <= ... <= p_(n)
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(steps)
    return corrected


class Key(NamedTuple):
    """What runs over seeds have in common; variant: the arm of BIAO or the head of POMoE."""

    dataset: str
    model: str
    preset: str
    variant: str = ""

    def baseline(self) -> "Key":
        """The model that this one is compared with: an adapter model with its backbone, an arm of
        BIAO with uniform weights, a multi-task model with one network per task."""
        if self.model.endswith("_adp"):
            return self._replace(model=self.model.removesuffix("_adp"))
        if self.model.startswith("conet"):
            return self._replace(model="conet", variant="uniform")
        return self._replace(model="singletask", variant="")


Runs = dict[Key, dict[int, dict]]
# Of metrics.json of every script, and of its config.json.
RUN = {"dataset": str, "model": str, "preset": str, "seed": int, "test": dict, "train": dict}
VARIANTS = ("arm", "head", "variant")
CONFIG = {"options": dict, "data": {"fingerprint": str}}
REMEDY = "train the run again, or name only folders of whole ones"
logger = logging.getLogger(__name__)
HEADINGS = {"auc": "AUC", "macro_auc": "mean of domains", "worst_auc": "worst"}


def load_runs(folders: Sequence[str | Path]) -> Runs:
    """Key -> seed -> metrics.json, of every run below the folders but those of other studies, and
    interrupted ones, which a warning names.

    Raises:  ValueError: no run found, one seed of a model twice, or runs on different data or
        splits, which must not be compared.  Rows that are generated anew per seed may differ
        between seeds.
    """
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataFileNotFoundError(
                no_folder(folder), file=folder, remedy="name folders of runs"
            )
    paths = sorted({path for folder in folders for path in Path(folder).rglob("metrics.json")})
    runs: Runs = {}
    data: dict[tuple, tuple[str, Path]] = {}
    for path in paths:
        run = read_json(path, remedy=REMEDY)
        if not run.keys() >= RUN.keys():
            continue
        if problem := _problem(run):
            raise DataFormatError(problem, file=path, remedy=REMEDY)
        if "interrupted" in run["train"]:
            logger.warning("warning: %s: left out, the run was interrupted", path)
            continue
        config = read_json(path.with_name("config.json"), CONFIG, REMEDY)
        variant = next(filter(None, map(run.get, VARIANTS)), "")
        key = Key(run["dataset"], run["model"], run["preset"], variant)
        per_seed = run.get("synthetic") or config["options"].get("truth")
        rows = (run["dataset"], run["seed"] if per_seed else None)
        first, other = data.setdefault(rows, (config["data"]["fingerprint"], path))
        if config["data"]["fingerprint"] != first:
            raise ValueError(
                f"{path} and {other} used different data or splits; name only folders of runs on "
                "the same data."
            )
        if run["seed"] in runs.setdefault(key, {}):
            name = ", ".join(filter(None, key))
            raise ValueError(
                f"{path}: {name} with seed {run['seed']} is there twice; compare one folder of "
                "each model at a time."
            )
        runs[key][run["seed"]] = run
    if not runs:
        raise ValueError(f"no metrics.json of a run below {', '.join(map(str, folders))}.")
    return runs


def _problem(run: dict) -> str | None:
    """Why a metrics.json of this content cannot be compared; None: it can."""
    if problem := misfit(run, RUN | {name: (str, type(None)) for name in VARIANTS if name in run}):
        return problem
    try:
        values = {split: figures(run, split) for split in ("valid", "test")}
    except (KeyError, TypeError, AttributeError):  # another object in the place of a report
        return "the reports of the splits are none of a training"
    return misfit(values, {str: {str: (float, type(None))}})


def figures(run: Mapping, split: str = "test") -> dict[str, float | None]:
    """Name -> value of one split in a metrics.json of any family of models."""
    report = run[split]
    if "tasks" in report:
        values = {
            f"{name}_{task}": entry.get(name)
            for name in ("auc", "ne", "gauc")
            for task, entry in report["tasks"].items()
        }
        front = run.get("front_measures") if split == "test" else None
        return values | ({"hv_ne": front["hv_ne"]} if front else {})
    values = {"auc": report["auc"]}
    values |= {f"auc_domain_{d}": entry["auc"] for d, entry in report.get("domains", {}).items()}
    names = ("macro_auc", "worst_auc", "logloss", "ece")
    return values | {name: report[name] for name in names if name in report}


def defined(runs: Mapping[Hashable, dict], name: str, split: str = "test") -> dict:
    """Seed -> figure of that name, of the runs in which it is defined."""
    values = {seed: figures(run, split).get(name) for seed, run in runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def families(runs: Runs) -> list[Runs]:
    """The runs of ranking, multi-task and cross-domain models, apart."""
    groups: dict[str, Runs] = {}
    for key, seeds in runs.items():
        report = next(iter(seeds.values()))["test"]
        name = next((name for name in ("domains", "tasks") if name in report), "")
        groups.setdefault(name, {})[key] = seeds
    return list(groups.values())


def summary_table(runs: Runs, split: str = "test") -> str:
    """One line per key: mean and standard deviation of every figure.  Runs of one family."""
    values = {k: [figures(run, split) for run in seeds.values()] for k, seeds in runs.items()}
    names = list(dict.fromkeys(n for reports in values.values() for r in reports for n in r))
    variants = any(key.variant for key in runs)
    header = ["data", "model", "preset", *["variant"] * variants, "seeds", "parameters"]
    header += [HEADINGS.get(n, n.replace("auc_domain", "domain").replace("_", " ")) for n in names]
    rows = []
    for key, reports in values.items():
        parameters = next(iter(runs[key].values()))["train"].get("parameters")
        row = [*key[: 3 + variants], str(len(reports))]
        row.append(f"{parameters:,}" if isinstance(parameters, int) else UNDEFINED)
        rows.append(row + [str(spread(r.get(name) for r in reports)) for name in names])
    return markdown_table(header, rows)


def comparison_table(runs: Runs, split: str = "test") -> str | None:
    """One line per model that has its baseline among the runs, and per AUC: difference, 95 %
    interval, verdict.  None without such a pair."""
    header = ["comparison", "figure", "seeds", "difference", "95 % interval", "verdict"]
    rows = []
    for key in runs:
        baseline = key.baseline()
        if baseline == key or baseline not in runs:
            continue
        names = [" ".join(filter(None, (k.model, k.variant))) for k in (key, baseline)]
        title = f"{key.dataset}: {' against '.join(names)}, {key.preset}"
        for name in figures(next(iter(runs[key].values())), split):
            if not re.fullmatch(r"(macro_|worst_)?auc(?!_domain).*", name):
                continue
            result = compare(*(defined(runs[k], name, split) for k in (baseline, key)))
            row = [title, name, str(result.count), f"{result.difference:+.4f}"]
            rows.append([*row, result.interval, result.verdict])
    return markdown_table(header, rows) if rows else None


def write_comparison(folder: Path, content: list[dict]) -> None:
    """comparison.csv and comparison.md of cross-domain runs: one line per arm, against uniform.

    content: metrics.json of each run with the "labels", "users" and "probabilities" of its test
    rows.  Runs are paired by seed, and by "pair" where a study has several pairs of domains.
    """
    arms: dict[str, dict[Hashable, dict]] = {}
    for run in content:
        name = "conet_s" if run["model"] == "conet_s" else run["arm"]
        arms.setdefault(name, {})[run.get("pair"), run["seed"]] = run
    rows = [comparison_row(name, runs, arms.get("uniform", {})) for name, runs in arms.items()]
    write_history(folder / "comparison.csv", rows)
    cells = [[_text(value) for value in row.values()] for row in rows]
    table = markdown_table([name.replace("_", " ") for name in rows[0]], cells)
    write_text(folder / "comparison.md", table)
    print(table)


def comparison_row(
    name: str, runs: Mapping[Hashable, dict], uniform: Mapping[Hashable, dict]
) -> dict:
    """Mean and spread of an arm, and its difference to uniform with two 95 % intervals.

    low, high: over resampled users, for the models as they are.  runs_low, runs_high: Student's,
    over runs, which includes the noise of training.
    """
    sides = [defined(side, "auc") for side in (uniform, runs)]
    auc = spread(sides[1].values())
    planted = spread((run["planted"] or {}).get("auc_weight") for run in runs.values())
    row = {"arm": name, "runs": len(runs), "test_auc": auc.mean, "std": auc.std}
    row |= {"valid_auc": spread(run["valid"]["auc"] for run in runs.values()).mean}
    row |= dict.fromkeys(("difference", "low", "high", "runs_low", "runs_high"))
    common = sorted(sides[0].keys() & sides[1].keys())
    if common and name != "uniform":
        means = np.mean([paired_samples(runs[key], uniform[key]) for key in common], axis=0)
        row["low"], row["high"] = protocols.interval(means) or (None, None)
        over_runs = compare(*sides)
        row |= {"difference": over_runs.difference}
        row |= {"runs_low": over_runs.low, "runs_high": over_runs.high}
    row |= {"weight_auc": None if math.isnan(planted.mean) else planted.mean}
    return row | {"collapsed": sum(run["collapsed"] for run in runs.values())}


def paired_samples(run: dict, baseline: dict, times: int = 1000) -> np.ndarray:
    """(times,) differences of the AUCs over the same resampled users."""
    both = [run["probabilities"], baseline["probabilities"]]
    samples = protocols.bootstrap_auc(run["labels"], both, run["users"], times)
    return samples[:, 0] - samples[:, 1]


def _text(value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main(folders: Sequence[str]) -> int:
    """Print the tables; exit code 2 and one line if there is nothing to compare."""
    if not folders or any(folder.startswith("-") for folder in folders):
        print("usage: python -m hamur.reporting.seeds RUN_FOLDER ...", file=sys.stderr)
        return 2
    try:
        tables = []
        for runs in families(load_runs(folders)):
            tables += [summary_table(runs), comparison_table(runs)]
        print("\n\n".join(filter(None, tables)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
