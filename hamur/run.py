"""From flags to results on disk: the one way of every ranking script."""

import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hamur import metrics
from hamur.config import RankingConfig, from_flags, parse_device
from hamur.data.table import drop_fields
from hamur.reporting import results, tables

DATA_OPTIONS = ("split", "split_seed", "fit_on", "on_bad_rows")
# Options that a resumed run may change: they do not alter what an epoch computes.
FREE_OPTIONS = ("dataset_path", "epoch", "patience", "resume", "device", "save_dir")
FREE_OPTIONS += ("save_predictions", "plot", "quiet", "debug")
INTERRUPTED = 130  # what shells report for Ctrl-C


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


def run_script(
    config_class: type,
    work: Callable,
    script: str,
    description: str,
    argv: Sequence[str] | None = None,
    go_on: str = "--resume continues from the last epoch",
    **defaults,
) -> int:
    """Read the flags of any script, do its work, and turn errors into one line and an exit code.

    work: (config, name) -> False if it was interrupted, but could end with results on disk.
    go_on: what to tell who interrupted it.
    """
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's C++ log, unless the user wants it
    config = from_flags(config_class, argv, description, **defaults)
    name = Path(script).stem
    try:
        complete = work(config, name)
    except KeyboardInterrupt:
        complete = False
    except (ValueError, OSError) as error:
        if config.debug:
            raise
        text = " ".join(str(error).split())
        print(f"{name}: error: {text}", file=sys.stderr)
        return 2
    if complete is False:
        print(f"{name}: interrupted; {go_on}", file=sys.stderr)
        return INTERRUPTED
    return 0


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
    if config.resume:
        check_resumable(folder / "config.json", description)
    results.write_json(folder / "config.json", description)
    (folder / "metrics.json").unlink(missing_ok=True)  # its presence means: this run is complete
    counts = models.parameter_counts(model)
    say(
        f"{config.model_name}, preset {config.preset}: {counts['parameters']:,} parameters and "
        f"{counts['embedding_parameters']:,} in embeddings"
    )
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
    results.write_json(folder / "metrics.json", content)
    say(f"\nresults in {folder}; best epoch {run.best_epoch} of {run.epochs}; test split:\n")
    print(tables.metrics_table(reports["test"], schema.domain_names))
    return content


def select_device(text: str) -> None:
    """Compile for this device.  ValueError if the installed MindSpore cannot serve it."""
    import mindspore as ms

    target, card = parse_device(text)
    logging.disable(logging.ERROR)  # MindSpore logs missing libraries at length; we say it below
    try:
        ms.set_device(target, card) if card is not None else ms.set_device(target)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--device {text}: the installed MindSpore {ms.__version__} cannot use {target} on "
            "this machine. Use --device cpu, or install MindSpore with the device's drivers as "
            "https://www.mindspore.cn/install describes."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    ms.set_context(mode=ms.GRAPH_MODE)


def load_splits(config: RankingConfig, load: Callable) -> tuple:
    """The data, loaded with those of the options that the loader has.

    Raises:  ValueError: --split for a data set whose files are divided already.
    """
    known = inspect.signature(load).parameters
    options = {name: getattr(config, name) for name in DATA_OPTIONS}
    if options["split"] is not None and "split" not in known:
        raise ValueError(f"--split is {config.split!r}, but the files of this set are the split.")
    given = {k: v for k, v in options.items() if k in known and v is not None}
    splits, schema = load(config.dataset_path, **given)
    if config.drop is None:
        return splits, schema
    return drop_fields(splits, schema, filter(None, config.drop.split(",")))


def check_resumable(path: Path, description: dict) -> None:
    """ValueError if the run in this folder had other data, or options that change its course."""
    if not path.exists():
        raise ValueError(f"--resume: no run in {path.parent}, which has no config.json.")
    before, now = json.loads(path.read_text()), json.loads(json.dumps(description))
    if before["data"]["fingerprint"] != now["data"]["fingerprint"]:
        raise ValueError(f"--resume: the run in {path.parent} had other data or another split.")
    differing = {
        name: (before["options"].get(name), value)
        for name, value in now["options"].items()
        if name not in FREE_OPTIONS and before["options"].get(name) != value
    }
    for name, (old, new) in differing.items():
        raise ValueError(f"--resume: the run in {path.parent} had --{name} {old}, this one {new}.")


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
        schedule=None if config.schedule == "constant" else config.schedule,
        averaging=config.averaging,
        patience=config.patience,
        criterion=config.criterion,
        save_dir=config.save_dir,
        resume=config.resume,
        quiet=config.quiet,
    )


def train_block(run) -> dict:
    """How the training went, for metrics.json."""
    block = {
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        "rows_per_second": round(run.rows_per_second, 1),
        "seconds": round(run.seconds, 3),
        "peak_rss_mib": results.peak_rss_mib(),
    }
    return block | ({"interrupted": True} if run.interrupted else {})


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
