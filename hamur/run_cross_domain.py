"""From flags to results on disk for cross-domain models: one run, or a study of arms and seeds."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hamur import protocols
from hamur.cross_domain_data import load
from hamur.reporting import results
from hamur.reporting.seeds import spread
from hamur.reporting.tables import UNDEFINED, markdown_table, text_table
from hamur.run import run_script, select_device
from hamur.training.bilevel_config import ARMS, CrossDomainConfig

MODEL_OF_ARM = {"conet_s": "conet_s", "uniform": "conet", "annealed": "conet", "oracle": "conet"}
STUDY_ARMS = ("conet_s", *ARMS)
FREE_IN_A_STUDY = ("resume", "overwrite", "quiet", "debug", "device", "record", "exp_name")


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code: 0 results are on disk, 2 wrong usage or data."""
    return run_script(CrossDomainConfig, run, script, description, argv)


def run(config: CrossDomainConfig, script: str) -> None:
    """All that the flags ask for."""
    config = config.resolved()
    studies = list(plan(config))
    select_device(config.device)
    pair, harmful = load(config)
    name = config.dataname or pair.target_schema.name
    content = []
    for each, exp_name in studies:
        content.append(run_one(each, pair, harmful, Path(each.record) / name, exp_name, script))
    if config.arms or config.seeds:
        write_comparison(Path(config.record) / name / "log" / config.exp_name, content)


def plan(config: CrossDomainConfig) -> list[tuple[CrossDomainConfig, str]]:
    """(configuration, experiment name) of every run.

    Raises:  ValueError: an unknown arm, or a seed that is no number.
    """
    if config.arms is None and config.seeds is None:
        return [(config, config.exp_name)]
    arms = config.arms.split(",") if config.arms else [config.arm]
    seeds = config.seeds.split(",") if config.seeds else [str(config.seed)]
    for arm in arms:
        if arm not in STUDY_ARMS:
            raise ValueError(f"--arms has {arm!r}; known are {', '.join(STUDY_ARMS)}.")
    for seed in seeds:
        if not seed.isdigit():
            raise ValueError(f"--seeds has {seed!r}; whole numbers from 0, as 0,1,2.")
    runs = []
    for seed in seeds:
        for arm in arms:
            model = MODEL_OF_ARM.get(arm, "conet_biao")
            changes = dict(model_name=model, arm="uniform" if arm == "conet_s" else arm)
            changes |= dict(seed=int(seed), arms=None, seeds=None)
            changes |= dict(use_meta=int(model == "conet_biao"), only_target=int(arm == "conet_s"))
            each = dataclasses.replace(config, **changes)
            runs.append((each, f"{config.exp_name}/{arm}-{seed}"))
    return runs


class Log:
    """logging.txt, and the terminal unless quiet; appended to when a run is resumed."""

    def __init__(self, path: Path, quiet: bool, resume: bool):
        self.path, self.quiet = path, quiet
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.write_text("", encoding="utf-8")

    def __call__(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        if not self.quiet:
            print(text, flush=True)


def run_one(config, pair, harmful, record: Path, exp_name: str, script: str) -> dict:
    """One run; returns metrics.json.

    Raises:  ValueError: an earlier run of this name, without --resume or --overwrite.
    """
    from hamur.training.checkpoint import PROGRESS
    from hamur.training.cross_domain import CrossDomainSession

    log, checkpoint = record / "log" / exp_name, record / "checkpoint" / exp_name
    if config.resume and exp_name != config.exp_name:  # a run of a study
        if (log / "metrics.json").exists():
            return finished(config, pair, log)
        if not (checkpoint / "last" / PROGRESS).exists():
            config = dataclasses.replace(config, resume=False, overwrite=True)
    if (log / "config.json").exists() and not (config.resume or config.overwrite):
        raise ValueError(
            f"{log} holds an earlier run; choose another --exp_name, --resume or --overwrite it."
        )
    say = Log(log / "logging.txt", config.quiet, config.resume)
    (log / "metrics.json").unlink(missing_ok=True)  # its presence means: this run is complete
    session = CrossDomainSession(pair, config, harmful, log, checkpoint, say)
    results.write_json(log / "config.json", description(config, script, pair))
    announce(say, config, pair, session)
    result = session.fit()
    content, probabilities = evaluate(session, config)
    if session.upper is not None:
        content["weights"] = report_weights(session, log, exp_name)
        content["planted"] = content["weights"].pop("planted")
    from hamur.reporting.weights import plot_history

    plot_history(log / "history.png", result.history, title(config, pair))
    np.save(log / "test_probabilities.npy", probabilities)
    results.write_json(log / "metrics.json", content)
    say(results_table(content))
    value = content["test"]["auc"]
    say(f"auc: {value:.6f}" if value is not None else "auc: undefined")
    if config.quiet:
        print(results_table(content))
    return with_test_rows(content, probabilities, pair)


def finished(config, pair, log: Path) -> dict:
    """The content of a run of a study that is complete on disk.

    Raises:  ValueError: it had other options.
    """
    had = json.loads((log / "config.json").read_text(encoding="utf-8"))["options"]
    for name, value in dataclasses.asdict(config).items():
        if name not in FREE_IN_A_STUDY and had.get(name) != value:
            raise ValueError(
                f"--resume: the run in {log} had --{name} {had.get(name)}, this study {value}."
            )
    content = json.loads((log / "metrics.json").read_text(encoding="utf-8"))
    return with_test_rows(content, np.load(log / "test_probabilities.npy"), pair)


def with_test_rows(content: dict, probabilities: np.ndarray, pair) -> dict:
    """What the comparison of runs reads beside metrics.json."""
    test = pair.target.test
    rows = {"labels": np.asarray(test.labels[:, 0]), "users": np.asarray(test.sparse[:, 0])}
    return {**content, **rows, "probabilities": probabilities}


def title(config, pair) -> str:
    data = pair.target_schema.name if config.in_root else f"{pair.target_schema.name}, synthetic"
    return f"{config.model_name}, arm {config.arm}, on {data}, seed {config.seed}"


def description(config, script: str, pair) -> dict:
    """config.json."""
    from hamur.data.schema import thaw

    return {
        "script": script,
        "options": dataclasses.asdict(config),
        "versions": results.versions(),
        "git_commit": results.git_commit(),
        "data": {
            "name": pair.target_schema.name,
            "fingerprint": results.fingerprint(pair.target),
            "source_rows": len(pair.source),
            "rows": {part: len(table) for part, table in pair.target._asdict().items()},
            "source": thaw(pair.source_schema.split),
        },
    }


def announce(say: Callable, config, pair, session) -> None:
    source, target = pair.target_schema.domain_names
    say(f"{source} -> {target}: {config.in_root or 'the bundled synthetic sample'}")
    say(
        f"{pair.num_users:,} users; {len(pair.source):,} source behaviours; target rows "
        + ", ".join(f"{name} {len(part):,}" for name, part in pair.target._asdict().items())
    )
    count = sum(math.prod(each.shape) for each in session.model.trainable_params())
    phi = 0
    if session.perceptron is not None:
        phi = sum(math.prod(each.shape) for each in session.perceptron.phi)
    say(
        f"{config.model_name}, preset {config.preset}, arm {config.arm}: {count:,} parameters, "
        f"{phi:,} in phi; training set number:{len(session.rows.train)}"
    )


def evaluate(session, config) -> tuple[dict, np.ndarray]:
    """metrics.json without the weights, and the probabilities of the test rows."""
    from hamur.training.bilevel_evaluate import TEST, VALID

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
        "planted": None,
        "upper": {
            "count": len(updates),
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


def report_weights(session, log: Path, exp_name: str) -> dict:
    """weights.csv, weights_by_category.csv, weights.png, and their summary."""
    from hamur.reporting import weights
    from hamur.training.bilevel_weights import behaviour_weights

    columns = behaviour_weights(session)
    summary = weights.write_weights(log, columns)
    weights.plot_weights(
        log / "weights.png", columns, title(session.config, session.rows.pair)
    )  # fmt: skip
    session.say(weights.category_table(weights.by_category(columns)))
    for name, value in summary["spearman"].items():
        text = UNDEFINED if value is None else f"{value:.3f}"
        session.say(f"rank correlation of weight and influence over {name}: {text}")
    if summary["planted"]:
        session.say(
            f"clean against harmful (synthetic, planted by category): AUC of the weight "
            f"{summary['planted']['auc_weight']:.3f}"
        )
    return summary


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


def write_comparison(folder: Path, content: list[dict]) -> None:
    """comparison.csv and comparison.md: means over seeds, and each arm against uniform."""
    arms: dict[str, dict[int, dict]] = {}
    for run in content:
        name = "conet_s" if run["model"] == "conet_s" else run["arm"]
        arms.setdefault(name, {})[run["seed"]] = run
    rows = [comparison_row(name, seeds, arms.get("uniform", {})) for name, seeds in arms.items()]
    results.write_history(folder / "comparison.csv", rows)
    shown = [[_shown(value) for value in row.values()] for row in rows]
    table = markdown_table([name.replace("_", " ") for name in rows[0]], shown)
    with results.replacing(folder / "comparison.md") as temporary:
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
