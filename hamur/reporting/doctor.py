"""The domain doctor of a comparison: what the runs of many models say about each domain.

    gains         of every model over single_domain: who gains from joint training, who pays
    calibration   of one model: reliability, before and after recalibration of the domain
    importance    of one model: what its AUC in the domain loses without the order of a feature
    drift         of the rate of positives over time, where the data have a time

The one model is the best by mean validation AUC, so that nothing is chosen on test rows.
`examine_runs` gives all of it as JSON values, `hamur.reporting.doctor_page` the text.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hamur import metrics
from hamur.data.schema import Schema
from hamur.data.table import Splits, Table
from hamur.errors import DataFormatError
from hamur.files import read_json, write_json
from hamur.metrics import diagnosis, protocols
from hamur.reporting import compare, results

BASELINE = "single_domain"
LEVEL = 1 - protocols.CONFIDENCE
GAINS, PAYS, NOISE = "gains from joint training", "pays for joint training", "within noise"
RISES, FALLS, STEADY = "rises", "falls", "no trend beyond noise"
SAMPLED_ROWS, REPEATS, SEED = 5_000, 10, 2022  # of the permutation importance, rows of a domain
DATED_ROWS = 1_000_000  # of a split whose times are read
Runs = Mapping[str, Mapping[int, Path]]  # model -> seed -> folder of a finished run
Score = Callable[[Table], np.ndarray]


def trained_scores(folder: Path) -> Score:
    """What the model of a run gives."""
    from hamur.trained_model import load_run
    from hamur.training import predict

    model = load_run(folder)[0]
    return lambda table: predict(model, table, many=True)


def load_or_examine(
    path: Path,
    runs: Runs,
    splits: Splits,
    schema: Schema,
    score_of: Callable[[Path], Score] = trained_scores,
) -> dict:
    """`examine_runs`, kept in the file `path` with what it was computed from: another set of runs,
    or of versions, is examined anew."""
    origin = {"versions": results.versions(), "git_commit": results.git_commit()}
    origin["runs"] = {
        model: {str(seed): _digest(folder) for seed, folder in sorted(seeds.items())}
        for model, seeds in sorted(runs.items())
    }
    if path.exists():
        content = read_json(path, remedy="remove it, and it is made again")
        if content.get("computed_from") == origin:
            return content
    content = examine_runs(runs, splits, schema, score_of)
    write_json(path, content | {"computed_from": origin}, sealed=True)
    return read_json(path)


def _digest(folder: Path) -> str:
    return hashlib.sha256((Path(folder) / "metrics.json").read_bytes()).hexdigest()


def examine_runs(
    runs: Runs,
    splits: Splits,
    schema: Schema,
    score_of: Callable[[Path], Score] = trained_scores,
) -> dict:
    """What the runs say about each domain; JSON values, lists over domains in the schema's order.

    A run folder holds metrics.json, predictions.parquet and valid_predictions.parquet; score_of:
    gives the scores of its model.
    """
    reports = {
        model: {seed: read_json(Path(folder) / "metrics.json") for seed, folder in seeds.items()}
        for model, seeds in runs.items()
    }
    valid = {
        model: compare.spread(run["valid"]["auc"] for run in seeds.values())
        for model, seeds in reports.items()
    }
    ranked = sorted((m for m in valid if valid[m].count), key=lambda m: -valid[m].mean)
    content = {
        "domains": list(schema.domain_names),
        "gains": gains(runs, reports, ranked, schema.num_domains),
        "drift": drift(splits, schema.num_domains),
    }
    if not ranked:
        return content | {"model": None}
    model, seed = ranked[0], min(runs[ranked[0]])
    folder = Path(runs[model][seed])
    content["model"] = {"name": model, "seed": seed, "valid_auc": valid[model].mean}
    files = [read_predictions(folder / f"{part}predictions.parquet") for part in ("valid_", "")]
    content["calibration"] = calibration(*files, schema.num_domains)
    try:
        score = score_of(folder)
    except ValueError as error:  # a run that cannot be loaded, as of preset official
        return content | {"importance": {"reason": str(error)}}
    return content | {"importance": importance(score, splits.valid, schema)}


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Columns domain, label and probability, see `results.write_predictions`.

    Raises:  DataFormatError: a file that is damaged, or missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("domain", "label", "probability")
    try:
        table = pq.read_table(path, columns=list(names))
        return {name: table[name].to_numpy() for name in names}
    except (pa.ArrowException, OSError, KeyError):
        problem = "no table of predictions"
        raise DataFormatError(problem, file=path, remedy=results.TRAIN_AGAIN) from None


def gains(
    runs: Runs, reports: Mapping[str, Mapping[int, dict]], ranked: Sequence[str], num_domains: int
) -> dict:
    """Per domain the gain of each model over BASELINE on test rows: AUC more, log loss less.

    Paired by seed with Student's interval; of one common seed, on the same rows with the interval
    over resampled rows, which knows nothing of the noise of training.  Verdicts after Holm's
    correction over all models and domains of the table.
    ranked: models, the best on validation first: the first that trains on all domains together
    gives the verdict of a domain.
    """
    joint = [model for model in ranked if model != BASELINE]
    if BASELINE not in reports or not joint:
        return {"reason": f"the comparison has no {BASELINE}, or nothing beside it"}
    table = {model: [{} for _ in range(num_domains)] for model in joint}
    for model in joint:
        seeds = sorted(reports[BASELINE].keys() & reports[model].keys())
        if len(seeds) == 1:
            both = [
                read_predictions(Path(runs[m][seeds[0]]) / "predictions.parquet")
                for m in (BASELINE, model)
            ]
        for d, cell in enumerate(table[model]):
            if len(seeds) == 1:
                cell |= _gain_of_rows(*both, d)
            else:
                sides = [[reports[m][s] for s in seeds] for m in (BASELINE, model)]
                cell |= _gain_over_seeds(*sides, str(d))
            cell["seeds"] = len(seeds)
    for figure in ("auc", "logloss"):
        cells = [cell[figure] for row in table.values() for cell in row if figure in cell]
        for cell, p in zip(cells, compare.holm([cell["p"] for cell in cells])):
            words = (PAYS, GAINS)[cell["difference"] > 0]
            cell |= {"adjusted": float(p), "verdict": words if p < LEVEL else NOISE}
    return {"baseline": BASELINE, "joint": joint[0], "models": table}


def _gain_over_seeds(baseline: Sequence[dict], candidate: Sequence[dict], domain: str) -> dict:
    sides = [[run["test"]["domains"][domain] for run in side] for side in (baseline, candidate)]
    if not baseline:
        return {"reason": "no common seed"}
    if reason := diagnosis.too_few(sides[0][0]["positives"], sides[0][0]["rows"], "test "):
        return {"reason": reason}
    cell = {}
    for figure, sign in (("auc", 1), ("logloss", -1)):
        values = [{n: sign * run[figure] for n, run in enumerate(side)} for side in sides]
        found = compare.compare(*values)
        cell[figure] = {name: getattr(found, name) for name in ("difference", "low", "high", "p")}
    return cell


def _gain_of_rows(baseline: Mapping, candidate: Mapping, domain: int) -> dict:
    rows = baseline["domain"] == domain
    labels = baseline["label"][rows]
    if reason := diagnosis.lacking(labels, "test "):
        return {"reason": reason}
    theirs, ours = baseline["probability"][rows], candidate["probability"][rows]
    less = metrics.row_losses(labels, theirs) - metrics.row_losses(labels, ours)
    auc = diagnosis.auc_gain(labels, ours, theirs)
    return {"auc": auc, "logloss": diagnosis.mean_gain(less)}


def calibration(valid: Mapping, test: Mapping, num_domains: int) -> list[dict]:
    """`diagnosis.calibration_report` of each domain; intervals hold for all domains at once
    (Bonferroni).  valid, test: columns of `read_predictions`."""
    confidence = 1 - LEVEL / num_domains
    reports = []
    for d in range(num_domains):
        sides = []
        for part in (valid, test):
            rows = part["domain"] == d
            sides.append((part["label"][rows], part["probability"][rows]))
        reports.append(diagnosis.calibration_report(*sides, confidence))
    return reports


def importance(
    score: Score,
    table: Table,
    schema: Schema,
    rows: int = SAMPLED_ROWS,
    repeats: int = REPEATS,
    seed: int = SEED,
) -> dict:
    """Permutation importance (Breiman 2001, section 10) of every input feature in every domain: the
    domain's AUC minus that with the feature's column shuffled among the domain's rows.

    The mean over `repeats` shuffles, their standard deviation ("spread"), and whether the feature
    matters: were it unrelated to the labels and to the other features, the given order would be
    one more shuffle, so that mean / (spread sqrt(1 + 1 / repeats)) has Student's distribution;
    verdicts after Holm's correction over features and domains.

    The domain's own column is left out: among the rows of a domain it is constant.
    score: a table's probabilities (N,); table: validation rows, of which at most `rows` of each
    domain are drawn by the seed; (features x repeats + 1) passes over them.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    domain = np.asarray(table.domain)
    drawn = [rng.permutation(np.flatnonzero(domain == d))[:rows] for d in range(schema.num_domains)]
    table = table.take(np.sort(np.concatenate(drawn)))
    members = [np.flatnonzero(table.domain == d) for d in range(schema.num_domains)]
    labels = table.labels[:, 0]
    reasons = [diagnosis.lacking(labels[rows], "validation ") for rows in members]

    def aucs(of: Table) -> np.ndarray:
        probabilities = score(of)
        return np.array([metrics.auc(labels[rows], probabilities[rows]) for rows in members])

    base, entries = aucs(table), {}
    for spec in schema.fields:
        if spec.name == schema.domain_field:
            continue
        drops = np.empty((repeats, len(members)))
        for repeat in range(repeats):
            order = np.arange(len(table))
            for rows in members:
                order[rows] = rng.permutation(rows)
            drops[repeat] = base - aucs(shuffled(table, schema, spec.name, order))
        entries[spec.name] = [
            {"reason": reason} if reason else _drop(column)
            for reason, column in zip(reasons, drops.T)
        ]
    cells = [cell for row in entries.values() for cell in row if "p" in cell]
    for cell, p in zip(cells, compare.holm([cell["p"] for cell in cells])):
        cell["matters"] = bool(p < LEVEL)
    return {
        "rows": [len(rows) for rows in members],
        "repeats": repeats,
        "auc": [None if reason else float(auc) for reason, auc in zip(reasons, base)],
        "left_out": schema.domain_field,
        "features": entries,
    }


def shuffled(table: Table, schema: Schema, feature: str, order: np.ndarray) -> Table:
    """The table with one feature, sparse, dense or of lists, in another order of the rows (N,)."""
    for kind, names in (("sparse", schema.sparse_names), ("dense", schema.dense_names)):
        if feature in names:
            values, column = np.array(getattr(table, kind)), names.index(feature)
            values[:, column] = values[order, column]
            return dataclasses.replace(table, **{kind: values})
    lists = (
        column.take(order) if spec.name == feature else column
        for spec, column in zip(schema.multi, table.multi_valued)
    )
    return dataclasses.replace(table, multi_valued=tuple(lists))


def _drop(drops: np.ndarray) -> dict:
    from scipy import stats

    mean, spread, repeats = float(drops.mean()), float(drops.std(ddof=1)), len(drops)
    scale = spread * (1 + 1 / repeats) ** 0.5
    p = float(stats.t.sf(mean / scale, repeats - 1)) if scale > 0 else float(mean <= 0)
    return {"drop": mean, "spread": spread, "p": p}


def drift(splits: Splits, num_domains: int) -> dict:
    """`diagnosis.trend` of the labels of each domain over the rows of all splits, at most
    DATED_ROWS of each, evenly spaced; verdicts after Holm's correction over the domains."""
    if any(table.time is None for table in splits):
        return {"reason": "the rows have no time"}
    columns = []
    for table in splits:
        rows = slice(None, None, max(1, -(-len(table) // DATED_ROWS)))
        columns.append((table.domain[rows], table.labels[rows, 0], table.time[rows]))
    domain, labels, time = (np.concatenate([*map(np.asarray, c)]) for c in zip(*columns))
    reports = [
        diagnosis.trend(labels[r], time[r]) for r in (domain == d for d in range(num_domains))
    ]
    tested = [report for report in reports if "p" in report]
    for report, p in zip(tested, compare.holm([report["p"] for report in tested])):
        words = (FALLS, RISES)[report["to"] > report["from"]]
        report |= {"adjusted": float(p), "verdict": words if p < LEVEL else STEADY}
    return {"rows": len(domain), "domains": reports}
