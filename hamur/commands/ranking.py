"""The commands behind the multi-domain ranking scripts: from flags to results on disk."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

from hamur import metrics
from hamur.commands.ranking_config import RankingConfig
from hamur.commands.script import open_run, run_script, select_device, train_block
from hamur.data.table import drop_fields
from hamur.files import write_json
from hamur.reporting import results, tables

DATA_OPTIONS = ("split", "split_seed", "fit_on", "on_bad_rows", "genres", "multi", "pool_weight")


def main(
    load: Callable, script: str, description: str, argv: Sequence[str] | None = None, **defaults
) -> int:
    """Run a script: flags, then `run_ranking`.  Returns the exit code.

    load: path -> (Splits, Schema); script: its file, which names the default --save_dir;
    defaults: options whose default differs from RankingConfig's.
    0: results are on disk.  2: wrong usage or data, told in one line on stderr.  130: Ctrl-C; after
    the first epoch the results on disk are those of the best one so far.
    """

    def work(config: RankingConfig, name: str) -> bool:
        return "interrupted" not in run_ranking(config, load, name)["train"]

    return run_script(RankingConfig, work, script, description, argv, **defaults)


def run_ranking(config: RankingConfig, load: Callable, script: str) -> dict:
    """Load, build, train, predict, and write everything to --save_dir; returns metrics.json.

    Raises:  ValueError: an option, the data or the device cannot be used; nothing was trained.
    """
    from hamur import models, training

    say = _silent if config.quiet else print
    select_device(config.device)
    splits, schema = load_splits(config, load)
    config = config.resolved(script, len(splits.train))
    folder = Path(config.save_dir)
    source = config.dataset_path or "the bundled synthetic sample"
    say(f"{schema.name}: {source}\n\n{tables.data_table(splits, schema)}\n")

    model = models.RANKING[config.model_name](schema, preset=config.preset, seed=config.init_seed)
    description = results.run_description(config, model.config, script, splits, schema)
    counts = open_run(config, description, model, say)
    run = make_trainer(config).fit(model, splits.train, splits.valid)

    reports, probabilities = {}, {}
    for part in ("valid", "test"):
        table = getattr(splits, part)
        probabilities[part] = training.predict(model, table)
        reports[part] = metrics.by_group(
            table.labels[:, 0], probabilities[part], table.domain, schema.num_domains
        )
    content = {
        "model": config.model_name,
        "preset": config.preset,
        "dataset": schema.name,
        "seed": config.seed,
        "test": reports["test"],
        "valid": reports["valid"],
        "train": train_block(run) | counts,
    }
    if config.save_predictions:
        results.write_predictions(
            folder / "predictions.parquet", splits.test, probabilities["test"]
        )
    if config.plot:
        draw(folder, config, schema, run, reports)
    write_json(folder / "metrics.json", content)
    say(
        f"\nresults in {folder}; weights of epoch {run.best_epoch} of {run.epochs}, the best on "
        "validation; test split:\n"
    )
    print(tables.metrics_table(reports["test"], schema.domain_names))
    return content


def load_splits(config: RankingConfig, load: Callable) -> tuple:
    """The data, loaded with those of the options that the loader has.

    Raises:  ValueError: --split for a data set whose files are divided already; an option of
        another data set.
    """
    known = inspect.signature(load).parameters
    options = {name: getattr(config, name) for name in DATA_OPTIONS}
    if options["split"] is not None and "split" not in known:
        raise ValueError(f"--split is {config.split!r}, but the files of this set are the split.")
    for name in ("genres", "multi", "pool_weight"):
        if options[name] is not None and name not in known:
            raise ValueError(f"--{name} does not apply to this data set.")
    given = {k: v for k, v in options.items() if k in known and v is not None}
    splits, schema = load(config.dataset_path, **given)
    if config.drop is None:
        return splits, schema
    return drop_fields(splits, schema, filter(None, config.drop.split(",")))


def make_trainer(config: RankingConfig):
    """The trainer that a resolved configuration asks for."""
    from hamur import training

    return training.Trainer(
        training.supervised_step,
        epochs=config.epoch,
        batch_size=config.batch_size,
        seed=config.seed,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        decay=config.decay,
        embedding_decay=config.embedding_decay,
        embeddings=config.embeddings,
        schedule=None if config.schedule == "constant" else config.schedule,
        averaging=config.averaging,
        patience=config.patience,
        criterion=config.criterion,
        save_dir=config.save_dir,
        resume=config.resume,
        quiet=config.quiet,
    )


def draw(folder: Path, config: RankingConfig, schema, run, reports: dict) -> None:
    """learning_curve.png and domains.png."""
    from hamur.reporting import plots

    data = schema.name if config.dataset_path else f"{schema.name}, synthetic sample"
    title = f"{config.model_name} (preset {config.preset}) on {data}, seed {config.seed}"
    names = schema.domain_names
    plots.learning_curve(folder / "learning_curve.png", run.history, run.best_epoch, names, title)
    splits = {"validation": reports["valid"], "test": reports["test"]}
    plots.domain_bars(folder / "domains.png", splits, names, title)


def _silent(*_: str) -> None:
    pass
