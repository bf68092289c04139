"""From flags to results on disk for cross-domain models: one run, or a study of arms and seeds."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hamur.commands.cross_domain_data import load
from hamur.commands.script import command, select_device
from hamur.config import from_flags
from hamur.files import write_json
from hamur.reporting import results
from hamur.reporting.compare import write_comparison
from hamur.reporting.cross_domain import evaluate, report_weights, results_table
from hamur.training.bilevel.config import CrossDomainConfig
from hamur.training.bilevel.presets import ARMS

MODEL_OF_ARM = {"conet_s": "conet_s", "uniform": "conet", "annealed": "conet", "oracle": "conet"}
STUDY_ARMS = ("conet_s", *ARMS)
FREE_IN_A_STUDY = ("resume", "overwrite", "quiet", "debug", "device", "record", "exp_name")
FREE_IN_A_STUDY += ("steps_per_call", "export_mindir")


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code: 0 results are on disk, 2 wrong usage or data."""
    config = from_flags(CrossDomainConfig, argv, description)
    with command(script, config.debug) as outcome:
        run(config, Path(script).stem)
    return outcome.code


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
    seeds = seed_list("--seeds", config.seeds) if config.seeds else [config.seed]
    for arm in arms:
        if arm not in STUDY_ARMS:
            raise ValueError(f"--arms has {arm!r}; known are {', '.join(STUDY_ARMS)}.")
    runs = []
    for seed in seeds:
        for arm in arms:
            model = MODEL_OF_ARM.get(arm, "conet_biao")
            changes = dict(model_name=model, arm="uniform" if arm == "conet_s" else arm)
            changes |= dict(seed=seed, arms=None, seeds=None)
            changes |= dict(use_meta=int(model == "conet_biao"), only_target=int(arm == "conet_s"))
            each = dataclasses.replace(config, **changes)
            runs.append((each, f"{config.exp_name}/{arm}-{seed}"))
    return runs


def seed_list(flag: str, text: str) -> list[int]:
    """Seeds as 0,1,2.

    Raises:  ValueError: one of them is no whole number from 0; names the flag.
    """
    for seed in text.split(","):
        if not seed.isdigit():
            raise ValueError(f"{flag} has {seed!r}; whole numbers from 0, as 0,1,2.")
    return [int(seed) for seed in text.split(",")]


class Log:
    """logging.txt, and the terminal unless quiet; appended to when a run is resumed."""

    def __init__(self, path: Path, quiet: bool, resume: bool):
        self.path, self.quiet = path, quiet
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.write_text("", encoding="utf-8")

    def note(self, text: str) -> None:
        """In the file alone."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def __call__(self, text: str) -> None:
        self.note(text)
        if not self.quiet:
            print(text, flush=True)


def run_one(config, pair, harmful, record: Path, exp_name: str, script: str) -> dict:
    """One run; returns metrics.json.

    Raises:  ValueError: an earlier run of this name, without --resume or --overwrite.
    """
    from hamur.training.bilevel.session import CrossDomainSession
    from hamur.training.checkpoint import PROGRESS
    from hamur.training.export import export

    config = config.fitted(len(pair.target.train))
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
    session = CrossDomainSession(pair, config, harmful, log, checkpoint, say, say.note)
    write_json(log / "config.json", description(config, script, pair))
    announce(say, config, pair, session)
    result = session.fit()
    content, probabilities = evaluate(session, config)
    if session.upper is not None:
        content["weights"] = report_weights(session, log, title(config, pair))
        content["planted"] = content["weights"].pop("planted")
    from hamur.reporting.weights import plot_history

    plot_history(log / "history.png", result.history, title(config, pair))
    if config.export_mindir:
        say(f"target scorer: {export(session.model, checkpoint / 'target_scorer')}")
    np.save(log / "test_probabilities.npy", probabilities)
    write_json(log / "metrics.json", content)
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
    from hamur.training.bilevel.state import check_options

    had = json.loads((log / "config.json").read_text(encoding="utf-8"))["options"]
    check_options(had, config, FREE_IN_A_STUDY, f"the run in {log}")
    content = json.loads((log / "metrics.json").read_text(encoding="utf-8"))
    return with_test_rows(content, np.load(log / "test_probabilities.npy"), pair)


def with_test_rows(content: dict, probabilities: np.ndarray, pair) -> dict:
    """What the comparison of runs reads beside metrics.json."""
    test = pair.target.test
    rows = {"labels": np.asarray(test.labels[:, 0]), "users": np.asarray(test.sparse[:, 0])}
    return {**content, **rows, "probabilities": probabilities}


def where(config) -> str:
    """The source of the pair, as the log tells it."""
    if config.source_table:
        return f"{config.source_table}, {config.target_table}"
    return config.in_root or "the bundled synthetic sample"


def title(config, pair) -> str:
    """The heading of the plots: model, arm, data and whether they are synthetic, seed."""
    data = pair.target_schema.name
    if config.truth or not (config.in_root or config.source_table):
        data += ", synthetic"
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
    """Tell what will be trained: the pair, its rows, and the number of parameters."""
    source, target = pair.target_schema.domain_names
    say(f"{source} -> {target}: {where(config)}")
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
