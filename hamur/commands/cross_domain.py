"""From flags to results on disk for cross-domain models: one run, or a study of arms and seeds."""

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.cross_domain_data import check_classes, load
from hamur.commands.script import (
    command,
    from_flags,
    open_run,
    select_device,
    stop_if_interrupted,
    train_block,
    trainer_options,
)
from hamur.errors import DataFormatError
from hamur.files import locked, read_numpy, replacing, write_json
from hamur.reporting import results
from hamur.same_run import finished
from hamur.training.bilevel.options import VARIANTS, BilevelOptions

PROBABILITIES = "test_probabilities.npy"  # in a run's folder
RESTART_SEEDS = 1000  # between the initial weights of a run and of its restarts
logger = logging.getLogger("hamur")


class Place(NamedTuple):
    """Where a run writes.  folder: configuration, metrics and reports; checkpoint: the weights and
    what resuming needs, the same folder unless the tree of the public code is asked for."""

    folder: Path
    checkpoint: Path

    def within(self, name: str) -> "Place":
        """The place of one run of a study."""
        return Place(self.folder / name, self.checkpoint / name)

    @property
    def is_record(self) -> bool:
        """Whether this is the tree of the public code."""
        return self.folder != self.checkpoint

    def files(self):
        """The places of the trainer."""
        from hamur.training.checkpoint import RunFiles

        if not self.is_record:
            return RunFiles.of(self.folder)
        weights = self.checkpoint / "best_predictor.safetensors"
        return RunFiles(weights, self.folder / "history.csv", self.checkpoint / "last")


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code: 0 results are on disk, 2 wrong usage or data, 130
    Ctrl-C, after the first epoch with the results of the best one on disk."""
    config = from_flags(CrossDomainConfig, argv, description)
    return command(script, config, partial(run, config, Path(script).stem))


def run(config: CrossDomainConfig, script: str) -> None:
    """All that the flags ask for."""
    from hamur.reporting.compare import write_comparison

    as_given, config = config, config.resolved()
    runs = plan(config)
    study = bool(config.arms or config.seeds)
    if config.search and (config.record or config.exp_name):
        raise ValueError("--search has a tree of its own; leave --record and --exp_name out.")
    select_device(config.device)
    pair, harmful = load(config)
    check_classes(pair, tables=bool(config.source_table))
    if config.search and not study:
        search_options(as_given, pair, harmful, script)
        return
    place = place_of(config, script, config.dataname or pair.target_schema.name)
    if not study:
        run_one(config, pair, harmful, place, script)
        return
    if config.search:
        runs = tuned(runs, as_given, pair, harmful, place, script)
    content = [
        run_one(each, pair, harmful, place.within(f"{each.arm}-{each.seed}"), script, in_study=True)
        for each in runs
    ]
    write_comparison(place.folder, content)


def tuned(runs: Sequence, config, pair, harmful, place: Place, script: str) -> list:
    """The runs of a study with the options of a search for each arm, in searches/<arm>.

    config: the unresolved one.  All searches come first: a process that has compiled must not fork.
    """
    best = {}
    for arm in dict.fromkeys(each.arm for each in runs):
        folder = str(place.folder / "searches" / arm)
        own = dict(arm=arm, model_name=VARIANTS[arm].model, arms=None, seeds=None, save_dir=folder)
        outcome = search_options(config.changed(**own), pair, harmful, script)
        best[arm] = {name: outcome["options"][name] for name in outcome["space"]}
    return [dataclasses.replace(each, search=0, **best[each.arm]) for each in runs]


def search_options(config: CrossDomainConfig, pair, harmful, script: str) -> dict:
    """The search of --search, of an unresolved configuration; returns best.json."""
    from hamur.commands.search import CROSS_DOMAIN, search

    resolved = config.resolved()
    without = () if VARIANTS[resolved.arm].learns or resolved.arm == "annealed" else ("hplr",)
    if resolved.arm == "conet_s":
        without += ("prior_weight",)
    space = {name: values for name, values in CROSS_DOMAIN.items() if name not in without}

    def run_trial(trial: CrossDomainConfig, hook):
        place = Place(Path(trial.save_dir), Path(trial.save_dir))
        parts = prepare(trial.resolved(), pair, harmful, place, script)
        return train(*parts, place, hook)[0]

    model, criterion = resolved.model_name, config.criterion
    named = dict(script=script, model=model, criterion=criterion, splits=pair.target)
    return search(config, space, run_trial, **named)


def plan(config: CrossDomainConfig) -> list[CrossDomainConfig]:
    """The resolved configuration of every run.

    Raises:  ValueError: an unknown arm, or a seed that is no number.
    """
    arms = config.arms.split(",") if config.arms else [config.arm]
    seeds = seed_list("--seeds", config.seeds) if config.seeds else [config.seed]
    for arm in arms:
        if arm not in VARIANTS:
            raise ValueError(f"--arms has {arm!r}; known are {', '.join(VARIANTS)}.")
    return [
        dataclasses.replace(
            config, arm=arm, model_name=VARIANTS[arm].model, seed=seed, arms=None, seeds=None,
            use_meta=VARIANTS[arm].learns, only_target=arm == "conet_s",
        )
        for seed in seeds
        for arm in arms
    ]  # fmt: skip


def seed_list(flag: str, text: str) -> list[int]:
    """Seeds as 0,1,2.

    Raises:  ValueError: one of them is no whole number from 0; names the flag.
    """
    for seed in text.split(","):
        if not seed.isdigit():
            raise ValueError(f"{flag} has {seed!r}; whole numbers from 0, as 0,1,2.")
    return [int(seed) for seed in text.split(",")]


def place_of(config: CrossDomainConfig, script: str, pair_name: str) -> Place:
    """Where the run, or the study, of these flags writes."""
    if config.record is None and config.exp_name is None:
        folder = Path("runs") / script
        if not (config.arms or config.seeds):
            folder = folder / f"{config.model_name}-{config.seed}"
        folder = folder if config.save_dir is None else Path(config.save_dir)
        return Place(folder, folder)
    if config.save_dir is not None:
        raise ValueError("--record and --exp_name name the folders of a run; leave --save_dir out.")
    tree = Path(config.record or "conet_record") / pair_name
    name = config.exp_name or "debug"
    return Place(tree / "log" / name, tree / "checkpoint" / name)


def row_rules(config: CrossDomainConfig):
    """The rules of rows that a resolved configuration asks for.

    All arms hold out the same rows, also those that learn nothing from them: else their scores
    would differ by the training rows.
    """
    from hamur.data.cross_domain.collate import RowRules

    return RowRules(
        length=config.s_hislen,
        causal=config.history == "causal",
        source_pool=config.source_pool,
        hold_out=config.dev_fraction if config.dev_mode == "holdout" else 0.0,
        replace_missing=config.missing_source == "item_1",
        seed=config.seed,
    )


def build_model(config: CrossDomainConfig, sizes, restart: int = 0):
    """The model of a resolved configuration; restart: number of the initial weights."""
    from hamur import models
    from hamur.layers.importance import Importance
    from hamur.models.conet import CoNetConfig

    network = CoNetConfig(
        embed_dim=config.embed_dim,
        slope=0.05 if config.act == "leaky" else 0.0,
        embed_std=config.embed_std,
        zero_padding=config.pad_row == "zero",
    )
    seed = config.seed if config.init_seed is None else config.init_seed
    options, variant = {}, VARIANTS[config.arm]
    if variant.learns:
        importance = Importance(
            use_items=variant.use_items,
            use_users=variant.use_users,
            category_bias=bool(config.category_bias),
            gated=config.combine == "gated",
            attn_mask=bool(config.attn_mask),
            pool_len=config.pool_mean == "len",
            sigmoid=config.weight_norm == "sigmoid",
            prior="learned" if config.arm == "scalar" else config.prior_mode,
            mass_without_source=config.preset == "official",
        )
        # A product with 0 has no gradient; a positive gate begins the same for all users.
        start = "zero" if config.combine == "gated" else "random"
        options = dict(importance=importance, gate_start=start)
    construct = models.CROSS_DOMAIN[config.model_name]
    return construct(sizes, network, seed + RESTART_SEEDS * restart, **options)


def make_trainer(
    config: CrossDomainConfig, rows, options: BilevelOptions, files=None, after_epoch=()
):
    """The trainer of a resolved configuration."""
    from hamur.training.bilevel.step import cross_domain_trainer
    from hamur.training.checkpoint import snapshot
    from hamur.training.evaluation import CrossDomainEvaluation

    evaluation = partial(
        CrossDomainEvaluation,
        batch_size=config.test_batchsize,
        on_collapse=config.on_collapse,
        initial_weights=lambda restart: snapshot(build_model(config, rows.sizes, restart)),
    )
    settings = trainer_options(config, *after_epoch)
    settings |= dict(patience=config.patience or None, save_dir=files)
    return cross_domain_trainer(rows, options, evaluation=evaluation, **settings)


@contextlib.contextmanager
def logging_to(path: Path | None, resume: bool) -> Iterator[None]:
    """All that the package logs while the block runs as lines of a file, logging.txt."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handler, level = logging.FileHandler(path, "a" if resume else "w", "utf-8"), logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


def run_one(config, pair, harmful, place: Place, script: str, in_study: bool = False) -> dict:
    """One run; returns metrics.json and what the comparison of runs reads beside it.

    Raises:  ValueError: another run is in the folder; KeyboardInterrupt after Ctrl-C, when the
        results of the best epoch so far are on disk.
    """
    parts = prepare(config, pair, harmful, place, script)
    config, *_, description = parts
    if in_study and config.resume:
        content = finished(place.folder, description)
        if content is not None:
            return with_test_rows(content, place.folder, pair)
    fresh = not (config.resume or config.overwrite)
    if fresh and place.is_record and (place.folder / "config.json").exists():
        raise ValueError(
            f"{place.folder} holds an earlier run; choose another --exp_name, --resume or "
            "--overwrite it."
        )
    log = place.folder / "logging.txt" if place.is_record else None
    with locked(place.folder), logging_to(log, config.resume):
        content = train_and_report(*parts, place)
    return with_test_rows(content, place.folder, pair)


def prepare(config, pair, harmful, place: Place, script: str) -> tuple:
    """What a run needs, of a resolved configuration: (it with the values that depend on the data,
    training rows, model, options of the step, the content of config.json)."""
    from hamur.data.cross_domain.collate import CrossDomainRows

    rows = CrossDomainRows(pair, row_rules(config), harmful)
    options = config.bilevel_options().fitted(len(pair.target.train), config.batch_size)
    fitted = ("interval", "descent_step", "upper_batchsize", "damping")
    changes = {name: getattr(options, name) for name in fitted} | {"save_dir": str(place.folder)}
    config = dataclasses.replace(config, **changes)
    model = build_model(config, rows.sizes)
    description = results.run_description(
        config, model.config, script, pair.target, pair.target_schema
    )
    description["tuning"] = config.tuning
    description["data"]["source_rows"] = len(pair.source)
    return config, rows, model, options, description


def say(config: CrossDomainConfig, text: str) -> None:
    """A line for the log, and the terminal unless --quiet."""
    logger.info(text)
    if not config.quiet:
        print(text, flush=True)


def train(config, rows, model, options, description, place: Place, *after_epoch) -> tuple:
    """Train the model in its place: (Run, parameter counts, candidates of the validation rows)."""
    from hamur.data.cross_domain.collate import VALID

    tell, pair, files = partial(say, config), rows.pair, place.files()
    tell(f"{' -> '.join(pair.target_schema.domain_names)}: {source_of(config)}")
    tell(
        f"{pair.num_users:,} users; {len(pair.source):,} source behaviours; target rows "
        + ", ".join(f"{name} {len(part):,}" for name, part in pair.target._asdict().items())
    )
    trainer = make_trainer(config, rows, options, files, after_epoch)
    schema = dataclasses.replace(pair.schema, fields=model.schema.fields)
    rules = {"draws": draws_of(config), "seed": config.eval_seed, "source_pool": config.source_pool}
    rules["replaced"] = [int(each) for each in rows.replaced]
    counts = open_run(config, description, model, tell, files, schema, cross_domain=rules)
    tell(f"arm {config.arm}; training set number:{len(rows)}")
    valid = rows.candidates(pair.target.valid, draws_of(config), config.eval_seed, VALID)
    return trainer.fit(model, rows, valid), counts, valid


def draws_of(config: CrossDomainConfig) -> int | None:
    """Source candidates of a row at evaluation, None = all."""
    return None if config.eval_draws == "all" else int(config.eval_draws)


def train_and_report(config, rows, model, options, description, place: Place) -> dict:
    """Train the model, and write everything to its place; returns metrics.json."""
    from hamur import training
    from hamur.data.cross_domain.collate import TEST
    from hamur.reporting import cross_domain as reporting
    from hamur.reporting.weights import plot_history
    from hamur.training.bilevel.report import behaviour_weights

    tell, pair, folder = partial(say, config), rows.pair, place.folder
    run, counts, valid = train(config, rows, model, options, description, place)
    test = rows.candidates(pair.target.test, draws_of(config), config.eval_seed, TEST)
    upper = reporting.upper_block(run.history)
    if upper["count"] and not upper["moved"]:
        logger.warning(
            "phi never moved: in no update did the development head explain enough of the labels' "
            "entropy"
        )
    predict = partial(training.predict, model, batch_size=config.test_batchsize)
    probabilities = predict(test)
    bootstrap = (config.bootstrap, config.eval_seed)
    content = {
        "model": config.model_name,
        "preset": config.preset,
        "dataset": pair.target_schema.name,
        "seed": config.seed,
        "test": reporting.split_report(test, probabilities, *bootstrap),
        "valid": reporting.split_report(valid, predict(valid), *bootstrap),
        "train": train_block(run) | counts | {"rows": len(rows)},
        "arm": config.arm,
        "ranking": reporting.ranking(predict, test, config.rank_negatives, config.eval_seed),
        "upper": upper,
        "planted": reporting.planted_of_fixed_weights(rows.harmful, config.arm),
        "eval_draws": config.eval_draws,
        "collapsed": bool(run.history[-1]["collapsed"]),
        "restarts": run.restarts,
        "fingerprint": description["data"]["fingerprint"],
        "git_commit": description["git_commit"],
    }
    title = title_of(config, pair)
    if VARIANTS[config.arm].learns:
        columns = behaviour_weights(model, rows, options, config.seed)
        content["weights"] = reporting.report_weights(folder, columns, title, tell)
        content["planted"] = content["weights"].pop("planted")
    plot_history(folder / "history.png", run.history, title)
    if config.export:
        path = place.checkpoint / "target_scorer"
        tell(f"target scorer: {training.export(model, path)}")
    with replacing(folder / PROBABILITIES) as temporary, temporary.open("wb") as file:
        np.save(file, probabilities)
    content["probabilities_sha256"] = checksum(probabilities)
    write_json(folder / "metrics.json", content, sealed=True)
    table = reporting.results_table(content)
    tell(table)
    auc = content["test"]["auc"]
    tell("auc: undefined" if auc is None else f"auc: {auc:.6f}")
    if config.quiet:
        print(table)
    stop_if_interrupted(run)
    return content


def with_test_rows(content: dict, folder: Path, pair) -> dict:
    """What the comparison of runs reads beside metrics.json."""
    test = pair.target.test
    rows = {"labels": np.asarray(test.labels[:, 0]), "users": np.asarray(test.sparse[:, 0])}
    return {**content, **rows, "probabilities": probabilities_of(folder, len(test), content)}


def probabilities_of(folder: Path, rows: int, content: Mapping) -> np.ndarray:
    """(N,) of the test rows of a run; content: its metrics.json.

    Raises:  FileNotFoundError; DataFormatError: other ones.
    """
    path, remedy = folder / PROBABILITIES, "remove the run's folder and train it again"
    probabilities = read_numpy(path, remedy)
    digest = content.get("probabilities_sha256")  # older runs have none
    if np.shape(probabilities) != (rows,) or digest not in (None, checksum(probabilities)):
        raise DataFormatError("not the probabilities of the run", file=path, remedy=remedy)
    return probabilities


def checksum(values: np.ndarray) -> str:
    return hashlib.sha256(str(values.dtype).encode() + values.tobytes()).hexdigest()


def source_of(config) -> str:
    """The source of the pair, as the log names it."""
    if config.source_table:
        return f"{config.source_table}, {config.target_table}"
    return config.dataset_path or "the bundled synthetic sample"


def title_of(config, pair) -> str:
    """The heading of the plots: model, arm, data and whether they are synthetic, seed."""
    data = pair.target_schema.name
    if config.truth or not (config.dataset_path or config.source_table):
        data += ", synthetic"
    if config.exchange_source:
        data += f", source of {config.exchange_source:.0%} of the users exchanged"
    return f"{config.model_name}, arm {config.arm}, on {data}, seed {config.seed}"
