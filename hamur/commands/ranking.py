"""The multi-domain ranking scripts: their options, and from there to results on disk."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hamur.commands.continuing import begin, first_look, limited, optimizer_state
from hamur.commands.script import (
    command,
    from_flags,
    make_trainer,
    open_run,
    select_device,
    stop_if_interrupted,
    train_block,
)
from hamur.config import (
    RunOptions,
    choose_batch_size,
    data_flag,
    fill_missing,
    model_flag,
    run_flag,
    shared,
    training_flag,
    without_single_row,
)
from hamur.data.table import drop_fields
from hamur.files import write_json
from hamur.models import BASELINES, RANKING
from hamur.reporting import results, tables

DATA_OPTIONS = ("split", "split_seed", "fit_on", "on_bad_rows", "max_bad_fraction")
DATA_OPTIONS += ("max_line_mib", "allow_leakage", "genres", "multi", "pool_weight")

# What each preset trains with where no flag says otherwise.
OFFICIAL = dict(
    learning_rate=1e-3,
    weight_decay=1e-5,
    embedding_decay=1e-5,
    decay="coupled",
    averaging=0.0,
    batch_size=4096,
)
# Chosen on MovieLens-1M's validation split, the same for plain and adapter models.
TUNED = OFFICIAL | dict(embedding_decay=1e-3, averaging=0.998, batch_size=2048)
PRESETS = {"paper": OFFICIAL, "official": OFFICIAL, "best": TUNED}


@dataclass(frozen=True)
class RankingConfig(RunOptions):
    """Options of the multi-domain ranking scripts.

    Raises:  ValueError: an unknown model, preset, criterion, ..., or a number out of its range;
        the text names the flag, the rule and the value.
    """

    presets = PRESETS
    dataset_path: str | None = shared("dataset_path")
    split: str | None = data_flag(
        None,
        "rule that divides the rows into training, validation and test; depends on the data set",
        default_text="the published rule of the data set",
    )
    split_seed: int = shared("split_seed")
    fit_on: str = shared("fit_on")
    on_bad_rows: str = shared("on_bad_rows")
    max_bad_fraction: float = shared("max_bad_fraction")
    allow_leakage: tuple[str, ...] = shared("allow_leakage")
    max_line_mib: int = shared("max_line_mib")
    genres: str | None = data_flag(
        None,
        "MovieLens: use the first genre of a movie, or average the embeddings of all (multi)",
        choices=("first", "multi"),
        default_text="first, or what a prepared cache holds",
    )
    multi: str | None = data_flag(
        None,
        "Ali-CCP: multi-valued fields: keep the last id, or average all (mean; raw files only)",
        choices=("last", "mean"),
        default_text="last, or what a prepared cache holds",
    )
    pool_weight: str | None = data_flag(
        None,
        "weights of that average: equal (uniform), or the values of the entries (value)",
        choices=("uniform", "value"),
        default_text="uniform",
    )
    drop: str | None = data_flag(
        None, "features to leave out, comma separated: age, domain_indicator, ..."
    )
    model_name: str = model_flag("mlp_adp", "the network", choices=RANKING)
    preset: str = model_flag(
        "best",
        "paper: as the paper describes it; official: as the authors' code computes, its defects "
        "included; best: chosen on validation data",
        choices=PRESETS,
    )
    adapter: bool = model_flag(
        False, "put HAMUR's adapter cells behind the last layer of any network (as _adp does)"
    )
    match_parameters: str | None = model_flag(
        None,
        "widen the last two layers until the network has as many parameters as this one",
        choices=RANKING,
        default_text="none",
    )
    weight_decay: float | None = shared("weight_decay")
    averaging: float | None = shared("averaging")
    decay: str | None = training_flag(
        None,
        "coupled: L2 added to every gradient, as published; decoupled: AdamW on embeddings and "
        "dense kernels only",
        choices=("coupled", "decoupled"),
    )
    embedding_decay: float | None = training_flag(
        None,
        "strength of the decay on the embeddings alone",
        at_least=0,
        default_text="--weight_decay if given, else paper and official 1e-05, best 0.001",
    )
    embeddings: str = training_flag(
        "dense",
        "lazy: a step updates only the rows of its batch, without decay; not the same numbers as "
        "Adam; faster from about 3 million table rows",
        choices=("dense", "lazy"),
    )
    criterion: str = training_flag(
        "auc",
        "validation figure that picks the best epoch: the AUC over all rows, the mean over "
        "domains, or of the worst domain; or the log loss, which rows of one class have too",
        choices=("auc", "macro_auc", "worst_auc", "logloss"),
    )
    save_predictions: bool = run_flag(
        False,
        "also write predictions.parquet with the probability of every test row, and "
        "valid_predictions.parquet",
    )
    plot: bool = run_flag(False, "also write the learning curve and the AUC per domain as PNG")

    def __post_init__(self):
        super().__post_init__()
        if self.preset == "official" and self.model_name in BASELINES:
            raise ValueError(
                f"--preset official is what HAMUR's public code computes, which does not have "
                f"{self.model_name}; use paper or best."
            )
        if self.embeddings == "lazy" and self.embedding_decay:
            raise ValueError("--embeddings lazy has no decay; leave --embedding_decay out.")

    @property
    def variant(self) -> str:
        """What tells the model from that of its name alone."""
        matched = self.match_parameters and f"@{self.match_parameters}"
        return ("+adapter" if self.adapter else "") + (matched or "")

    @property
    def name(self) -> str:
        """Of the model, in tables and folders: star, star+adapter, mlp@mlp_adp."""
        return self.model_name + self.variant

    def resolved(self, script: str, train_rows: int) -> "RankingConfig":
        """A copy with the value that is used in the place of every None but those of the data.

        script names the folder of the results; a small number of training rows gets a smaller
        batch, a power of two that leaves MIN_STEPS_PER_EPOCH steps.
        """
        batch_size = choose_batch_size(PRESETS[self.preset]["batch_size"], train_rows)
        defaults = PRESETS[self.preset] | dict(batch_size=batch_size)
        if self.weight_decay is not None:  # given by the user, it concerns every parameter
            defaults |= dict(embedding_decay=self.weight_decay)
        if self.embeddings == "lazy":
            defaults |= dict(embedding_decay=0.0)
        save_dir = f"runs/{script}/{self.name}-{self.seed}"
        return fill_missing(self, init_seed=self.seed, save_dir=save_dir, **defaults)


def main(
    load: Callable, script: str, description: str, argv: Sequence[str] | None = None, **defaults
) -> int:
    """Run a script: flags, then `run_ranking`.  Returns the exit code, see `script.command`.

    load: path -> (Splits, Schema); script: its file, which names the default --save_dir;
    defaults: options whose default differs from RankingConfig's.
    After Ctrl-C the results on disk are those of the best epoch so far, once there is one.
    """
    config = from_flags(RankingConfig, argv, description, **defaults)
    work = partial(run_ranking, config, load, Path(script).stem)
    return command(script, config, work)


def run_ranking(config: RankingConfig, load: Callable, script: str) -> dict:
    """Load, build, train, predict, and write everything to --save_dir; returns metrics.json.

    Raises:  ValueError: an option, the data or the device cannot be used; nothing was trained.
        KeyboardInterrupt: after a signal, see `script.command`.
    """
    from hamur import metrics, training

    say = (lambda *_: None) if config.quiet else print
    select_device(config.device)
    splits, schema = load_splits(config, load)
    source = config.dataset_path or "the bundled synthetic sample"
    say(f"{schema.name}: {source}\n\n{tables.data_table(splits, schema)}\n")
    if config.search:
        return search_options(config, splits, schema, script)
    config = config.resolved(script, len(splits.train))
    folder = Path(config.save_dir)
    model, run, counts = train(config, splits, schema, script)

    batch_size = partial(evaluation_batch, model, config.batch_size)
    reports, probabilities = {}, {}
    for part in ("valid", "test"):
        table = getattr(splits, part)
        probabilities[part] = training.predict_split(model, table, batch_size(table))
        reports[part] = metrics.by_group(
            table.labels[:, 0], probabilities[part], table.domain, schema.num_domains
        )
    content = {
        "model": config.model_name,
        "variant": config.variant,
        "preset": config.preset,
        "dataset": schema.name,
        "seed": config.seed,
        "test": reports["test"],
        "valid": reports["valid"],
        "train": train_block(run) | counts,
    }
    if config.save_predictions:
        for part, name in results.PREDICTIONS.items():
            results.write_predictions(folder / name, getattr(splits, part), probabilities[part])
    if config.plot:
        draw(folder, config, schema, run, reports)
    write_json(folder / "metrics.json", content, sealed=True)
    say(
        f"\nresults in {folder}; weights of epoch {run.best_epoch} of {run.epochs}, the best on "
        "validation; test split:\n"
    )
    print(tables.metrics_table(reports["test"], schema.domain_names))
    stop_if_interrupted(run)
    return content


def train(config: RankingConfig, splits, schema, script: str, *after_epoch: Callable) -> tuple:
    """The network of a resolved configuration, trained in its folder: (model, Run, parameter
    counts)."""
    from hamur import training

    model = build_model(config, schema)
    description = results.run_description(config, model.config, script, splits, schema)
    counts = open_run(config, description, model, (lambda *_: None) if config.quiet else print)
    batch_size = partial(evaluation_batch, model, config.batch_size)
    history = first_look(config, model, splits, batch_size)
    evaluation = partial(training.RankingEvaluation, batch_size=batch_size(splits.valid))
    splits, step = limited(config, model, splits, training.supervised_step)
    trainer = make_trainer(config, step, after_epoch=after_epoch, evaluation=evaluation)
    run = trainer.fit(model, splits.train, splits.valid, history, optimizer_state(config, model))
    return model, run, counts


def search_options(config: RankingConfig, splits, schema, script: str) -> dict:
    """The search of --search; returns best.json."""
    from hamur.commands.search import RANKING, search

    run = partial(run_of_trial, splits, schema, script)
    lazy = config.embeddings == "lazy"  # which has no decay
    space = {k: v for k, v in RANKING.items() if not (lazy and k == "embedding_decay")}
    named = dict(script=script, model=config.name, criterion=config.criterion, splits=splits)
    return search(config, space, run, **named)


def run_of_trial(splits, schema, script: str, trial: RankingConfig, hook: Callable):
    """The Run of a trial of a search."""
    return train(trial.resolved(script, len(splits.train)), splits, schema, script, hook)[1]


def build_model(config: RankingConfig, schema):
    """The network of a resolved configuration.

    Raises:  ValueError: no widening comes near the parameters of --match_parameters.
    """
    from hamur import models

    construct = partial(models.RANKING[config.model_name], adapter=config.adapter)
    options = dict(preset=config.preset, seed=config.init_seed)
    if config.match_parameters is None:
        model = construct(schema, **options)
    else:
        other = models.RANKING[config.match_parameters](schema, **options)
        target = models.parameter_counts(other)["parameters"]
        model = models.match_parameters(construct, schema, target, **options)
    if getattr(config, "init_from", None) is not None:
        begin(model, config)
    return model


def evaluation_batch(model, batch_size: int, table) -> int | None:
    """Rows per batch when this table is scored, None = the predictor's choice: where a score
    depends on its batch (preset official), that of training, as the public code has it."""
    return without_single_row(batch_size, len(table)) if model.batch_statistics else None


def load_splits(config, load: Callable) -> tuple:
    """(Splits, Schema), loaded with those of the options that the configuration and the loader
    have.

    Raises:  ValueError: --split for a data set whose files are divided already; an option of
        another data set.
    """
    parameters = inspect.signature(load).parameters
    options = {name: getattr(config, name, None) for name in DATA_OPTIONS}
    if options["split"] is not None and "split" not in parameters:
        raise ValueError(f"--split is {config.split!r}, but the files of this set are the split.")
    for name in ("genres", "multi", "pool_weight"):
        if options[name] is not None and name not in parameters:
            raise ValueError(f"--{name} does not apply to this data set.")
    options = {k: v for k, v in options.items() if k in parameters and v is not None}
    splits, schema = load(config.dataset_path, **options)
    if getattr(config, "drop", None) is None:
        return splits, schema
    return drop_fields(splits, schema, filter(None, config.drop.split(",")))


def draw(folder: Path, config: RankingConfig, schema, run, reports: dict) -> None:
    """learning_curve.png and domains.png."""
    from hamur.reporting import plots

    data = schema.name if config.dataset_path else f"{schema.name}, synthetic sample"
    title = f"{config.model_name} (preset {config.preset}) on {data}, seed {config.seed}"
    names = schema.domain_names
    plots.learning_curve(folder / "learning_curve.png", run.history, run.best_epoch, names, title)
    splits = {"validation": reports["valid"], "test": reports["test"]}
    plots.domain_bars(folder / "domains.png", splits, names, title)
