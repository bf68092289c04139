"""--init_from: a run that begins with what an earlier one learned, on a table that continues its
own: with the same options, columns, ids and scalers, until flags say otherwise."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from hamur import model_folder
from hamur.commands.options_file import read_options
from hamur.data.schema import Schema
from hamur.reporting.tables import number_text

# What a continuing run does not take over: flags of one table, or of one call.
OF_ONE_TABLE = ("dataset_path", "valid_table", "test_table", "init_from", "add_domain", "like")
OF_ONE_TABLE += ("train_only", "fresh_ids", "replay")
TRAIN_ONLY = ("all", "domain", "adapter")
# What the earlier run says of the columns, for good.
OF_COLUMNS = ("label", "domain", "columns", "sparse", "dense", "multi", "ignore")
OF_COLUMNS += ("group", "time", "min_count", "min_domain_rows", "model_name", "preset", "adapter")


def inherited(folder: str, config_class: type) -> dict:
    """The options of the earlier run for one that continues it.

    Raises:  FileNotFoundError, DataFormatError: no run is there.
    """
    options = read_options(Path(folder) / "config.json", config_class)
    return {name: value for name, value in options.items() if name not in OF_ONE_TABLE}


def check_unchanged(folder: str, given: Mapping, had: Mapping) -> None:
    """ValueError: a flag says otherwise of the columns, or of the network, than the earlier run.

    given: options of the command line; had: those of `inherited`.
    """
    for name in OF_COLUMNS:
        if name in given and given[name] != had.get(name):
            raise ValueError(
                f"--{name} is that of {folder}, which this run continues; leave it out, or begin "
                "a new run without --init_from."
            )


def earlier_schema(folder: str) -> Schema:
    """Of the earlier run, with its encoders.  Raises DataFormatError: it has none."""
    return model_folder.read(Path(folder))[1]


def begin(model, config) -> None:
    """Fill a new model with the weights of --init_from.

    Raises:  DataFormatError: they are damaged; ValueError: they are of another model.
    """
    from hamur.models.transfer import continued
    from hamur.training.checkpoint import restore

    earlier = earlier_schema(config.init_from)
    restore(model, continued(_weights(config), earlier, model, config.like, config.fresh_ids))


def optimizer_state(config, model) -> dict[str, np.ndarray]:
    """What the optimiser of --init_from knew, for that of the model: without it, first steps are as
    long for what was known for long as for what is new.  Nothing of a run that continues none, or
    one whose last/ was removed.

    Raises:  DataFormatError: it is damaged.
    """
    if getattr(config, "init_from", None) is None:
        return {}
    from hamur.models.transfer import continued_state
    from hamur.training.checkpoint import RunFiles, load_state

    state = load_state(RunFiles.of(config.init_from).last)
    if state is None:
        return {}
    arrays = state[0]["optimizer"]
    return continued_state(arrays, earlier_schema(config.init_from), model, config.like)


def first_look(config, model, splits, batch_size: Callable) -> list[dict]:
    """What history.csv begins with: the prequential AUC and log loss of all new rows, which are
    scored before any of them is trained on; nothing of a run that continues none.

    batch_size: of a table, to score it.
    """
    if getattr(config, "init_from", None) is None:
        return []
    from hamur import metrics, training

    tables = [table for table in splits if len(table)]
    scores = [training.predict_split(model, table, batch_size(table)) for table in tables]
    labels = np.concatenate([table.labels[:, 0] for table in tables])
    domain = np.concatenate([table.domain for table in tables])
    report = metrics.by_group(labels, np.concatenate(scores), domain, model.num_domains)
    figures = {"auc": report["auc"], "logloss": report["logloss"]}
    figures |= {f"auc_domain_{d}": each["auc"] for d, each in report["domains"].items()}
    row = {f"prequential_{name}": value for name, value in figures.items()}
    if not config.quiet:
        auc, loss = map(number_text, (report["auc"], report["logloss"]))
        print(f"before training, all {len(labels):,} rows: auc {auc}  logloss {loss}")
    return [{"kind": "prequential", "epoch": 0} | row]


def limited(config, model, splits, step: Callable) -> tuple:
    """(splits, step) of --train_only: rows of the added domains, and a step that trains nothing
    else; as they are of a run that trains all."""
    if getattr(config, "train_only", "all") == "all":
        return splits, step
    from hamur.models.transfer import new_parts
    from hamur.training.partial import train_only

    earlier = earlier_schema(config.init_from)
    parts = new_parts(_weights(config), earlier, model)
    if config.train_only == "adapter":
        parts = {name: part for name, part in parts.items() if name.startswith("adapter.")}

    def added(table):
        rows = np.flatnonzero(table.domain >= earlier.num_domains)
        if not len(rows):
            raise ValueError(
                "--train_only: a split has no row of the added domains; use more rows, or another "
                "--split."
            )
        return table.take(rows)

    splits = splits._replace(train=added(splits.train), valid=added(splits.valid))
    return splits, train_only(model, parts)(step)


def _weights(config) -> dict[str, np.ndarray]:
    from hamur.trained_model import WEIGHTS
    from hamur.training.checkpoint import load_weights

    return load_weights(Path(config.init_from) / WEIGHTS)
