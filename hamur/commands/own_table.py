"""The command behind examples/run_own_table.py: any table, and any model of two families."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hamur.commands.continuing import TRAIN_ONLY, earlier_schema
from hamur.commands.multi_task_config import TaskOptions
from hamur.commands.options_file import options_in, read_options
from hamur.commands.ranking import RankingConfig, load_splits, run_ranking
from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED, comma_separated, flag, model_flag, shared
from hamur.data.columns import JoinRule, MultiColumn
from hamur.data.domains import Domain
from hamur.data.schema import Schema
from hamur.data.table import Table
from hamur.models import MULTI_TASK, RANKING

MODEL = "mlp_adp"
# Flags that are arguments of `load_table`, as of the loaders of published sets.
COMMON = ("split_seed", "on_bad_rows", "max_bad_fraction", "max_line_mib", "allow_leakage")
# Those of `load_table` alone.
DESCRIBES = ("sparse", "ignore", "group", "time", "min_count", "hash_size", "min_domain_rows")
OTHERS = ("label", "domain", "join", "columns", "header", "dense", "valid_table")


table_flag = partial(flag, group="table")


def names_flag(help: str):
    """A flag of names, comma separated."""
    return table_flag((), help + ", comma separated", parse=comma_separated)


@dataclass(frozen=True)
class TableOptions:
    """What can be told of a table, see `hamur.data.load_table`; beside the options of a family."""

    dataset_path: str | None = shared(
        "dataset_path",
        help="the table: a file, several or a pattern, comma separated; CSV, TSV, Parquet, "
        "Feather; or a folder or file of a published data set, or a prepared cache",
        default_text=REQUIRED,
        aliases=("in_root", "table"),
        group="table",
    )
    label: tuple[str, ...] = names_flag(
        "what is predicted: a column of 0 and 1, or a rule as in 'rating>3' or 'income==>50K'; "
        "several for a multi-task model"
    )
    domain: str | None = table_flag(
        None, "a column of domains; age:24,34 cuts numbers; genres:first takes the first of a list"
    )
    join: tuple[str, ...] = names_flag(
        "feature tables, here or beside the table, with a key as in users.csv:user or users.csv:u=v"
    )
    columns: str | None = table_flag(
        None,
        "what the columns mean: a columns.json, the name of a known layout such as ml-latest, or "
        "auto",
        default_text="that of a layout known by its file names, else auto",
    )
    header: tuple[str, ...] = names_flag("columns of text files that have no header")
    sep: str | None = table_flag(None, "what separates the columns", default_text="detected")
    encoding: str = table_flag("utf-8", "of text files")
    sparse: tuple[str, ...] = names_flag("columns of categories")
    dense: tuple[str, ...] = names_flag(
        "columns of numbers, scaled to [0, 1], or as in price:log1p by standard, log1p or none"
    )
    multi: str | None = table_flag(
        None,
        "columns of several values, comma separated, with what joins the values if not |, as in "
        "tags:/; of Ali-CCP: last or mean",
        default_text="none but lists of Parquet",
    )
    ignore: tuple[str, ...] = names_flag("columns that are no features")
    group: str | None = table_flag(None, "the column of the users, for --split last")
    time: str | None = table_flag(None, "the column of the time")
    split: str | None = table_flag(
        None, "random, time, last (rows of each --group), or column:NAME with train, valid, test; "
        "for a published set its rules",
        default_text="time if there is one, else random",
    )  # fmt: skip
    split_seed: int = shared("split_seed", group="table")
    valid_table: str | None = table_flag(None, "rows for validation; --table is for training then")
    test_table: str | None = table_flag(None, "rows for the test, with --valid_table")
    min_count: int | None = table_flag(
        None, "values of fewer training rows are unknown", at_least=1, default_text="1"
    )
    hash_size: int | None = table_flag(
        None,
        "fields of more different values share this many ids, by a hash",
        at_least=1,
        default_text="an id of its own for each value",
    )
    min_domain_rows: int | None = table_flag(
        None, "domains of fewer training rows become one; 0 = none", at_least=0, default_text="100"
    )
    in_memory_rows: int = table_flag(5_000_000, "larger tables are collected on disk", at_least=0)
    init_from: str | None = table_flag(
        None,
        "the folder of a run that this one continues on another table: with its options, columns, "
        "scalers and weights; known values keep their ids, and new ones follow",
    )
    add_domain: tuple[str, ...] = names_flag(
        "with --init_from: values of the column of domains that the earlier run did not have"
    )
    like: str | None = table_flag(
        None, "the domain that new ones begin as", default_text="the mean of all"
    )
    replay: float = table_flag(
        0.0,
        "with --init_from: share of the training rows of the earlier run that are trained on again",
        at_least=0,
    )
    train_only: str = table_flag(
        "all",
        "domain: what is of the added domains alone, on their rows, so that the scores of the "
        "others stay the same to the bit; adapter: of that only what is in adapter cells",
        choices=TRAIN_ONLY,
    )
    fresh_ids: bool = table_flag(
        False, "new ids begin as in a new run, not as the mean of their field"
    )
    model_name: str = model_flag(
        MODEL, "the network; further flags are those of its family", choices=RANKING | MULTI_TASK
    )


@dataclass(frozen=True)
class RankingTable(TableOptions, RankingConfig):
    """A table with one label."""


@dataclass(frozen=True)
class TaskTable(TableOptions, TaskOptions):
    """A table with several labels."""


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script; exit codes as those of `hamur.commands.script.command`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    config = from_flags(family_of(argv), argv, description)
    return command(script, config, partial(run_table, config, Path(script).stem))


def family_of(argv: Sequence[str]) -> type:
    """RankingTable or TaskTable, by the model's name; of a name that both families have, by the
    number of labels: a model of several domains where --label names one.  What no flag says is
    read from the file of --config."""
    path, name, labels = (_word(argv, flag) for flag in ("config", "model_name", "label"))
    earlier = _word(argv, "init_from")
    for file in filter(None, (path, earlier and Path(earlier) / "config.json")):
        with contextlib.suppress(ValueError, OSError):  # `from_flags` tells them
            options = options_in(file)
            name, labels = name or options.get("model_name"), labels or options.get("label")
    labels = labels if isinstance(labels, list) else comma_separated(str(labels or ""))
    name = str(name)  # of another kind in the file, which `from_flags` refuses
    one = name in RANKING and len(labels) == 1
    return TaskTable if name in MULTI_TASK and not one else RankingTable


def _word(argv: Sequence[str], flag: str) -> str | None:
    """What is given to a flag, before flags are parsed."""
    words = [part for word in argv for part in word.split("=", 1 if word.startswith("--") else 0)]
    return words[words.index(f"--{flag}") + 1] if f"--{flag}" in words[:-1] else None


def run_table(config: RankingTable | TaskTable, script: str) -> dict:
    """Load, train, evaluate, and write everything to --save_dir; returns metrics.json."""
    loader = published_loader(config) or partial(load_own, config)
    if isinstance(config, RankingTable):
        return run_ranking(config, loader, script)
    if config.init_from is not None:
        raise ValueError(
            f"--init_from continues models of one label, and {config.model_name} has several; "
            "train it anew."
        )
    from hamur.commands.multi_task import run_tasks

    return run_tasks(config, partial(_tasks, config, loader), script)


def published_loader(config: RankingTable | TaskTable) -> Callable | None:
    """The loader of a published set, where the table is one of its files or folders and no flag
    says anything else."""
    from hamur.data import detect

    said = (getattr(config, name) for name in (*DESCRIBES, *OTHERS, "init_from"))
    if any(each not in (None, ()) for each in said) or "," in config.dataset_path:
        return None
    return detect.loader_of(Path(config.dataset_path).expanduser())


def _tasks(config: TaskTable, loader: Callable) -> tuple:
    """(splits, schema, None) for `run_tasks`."""
    if "labels" in inspect.signature(loader).parameters:
        loader = partial(loader, labels=("click", "purchase"))  # of Ali-CCP
    splits, schema = load_splits(config, loader)
    if len(schema.labels) < 2 and config.model_name in RANKING:
        raise ValueError(
            f"--model_name {config.model_name} without --label is the model of several labels, and "
            f"{schema.name} has one. Name it with --label, or use the script of the data set."
        )
    if len(schema.labels) < 2:
        raise ValueError(
            f"--model_name {config.model_name} is for several labels, and --label names one; use a "
            f"model of {', '.join(RANKING)}."
        )
    return splits, schema, None


def load_own(
    config: RankingTable | TaskTable, path: str, split: str | None = None, multi: str | None = None
) -> tuple:
    """(Splits, Schema) of a table as the flags describe it.

    Raises:  ValueError: a flag that a table has no use for, more labels than the model takes.
    """
    from hamur.data import frames, infer, own_table
    from hamur.data.parquet import is_parquet
    from hamur.data.text.lines import separator_of
    from hamur.reporting.tables import text_table

    if isinstance(config, RankingTable):
        if len(config.label) > 1:
            raise ValueError(
                f"--label names {len(config.label)} labels, and --model_name {config.model_name} "
                f"takes one; use a model of {', '.join(MULTI_TASK)}."
            )
        if config.fit_on != "train":
            raise ValueError("--fit_on all does not apply to an own table.")
    if config.init_from is None and (config.add_domain or config.like or config.fresh_ids):
        raise ValueError("--add_domain, --like and --fresh_ids are of a run with --init_from.")
    if config.replay and (config.init_from is None or config.replay > 1):
        raise ValueError(f"--replay {config.replay:g} is a share up to 1, with --init_from.")
    if config.train_only != "all" and not config.add_domain:
        raise ValueError(f"--train_only {config.train_only} is of a run with --add_domain.")
    say = (lambda *_: None) if config.quiet else print
    files = frames.files_of(path.split(","))
    form = dict(
        split=split,
        valid=config.valid_table and config.valid_table.split(","),
        test=config.test_table and config.test_table.split(","),
        header=config.header or None,
        separator=config.sep and config.sep.replace("\\t", "\t"),
        encoding=config.encoding,
        in_memory_rows=config.in_memory_rows,
        **{name: getattr(config, name) for name in COMMON},
    )
    join = [_join(text) for text in config.join]
    if config.init_from is not None:
        earlier = earlier_schema(config.init_from)
        about = dict(join=join, earlier=earlier, add_domain=config.add_domain, name=earlier.name)
        splits, schema = own_table.load_table(files, **form, **about)
        if config.replay:
            more = _replayed(config, earlier)
            say(f"{len(more):,} training rows of {config.init_from} join those of {path}\n")
            splits = splits._replace(train=splits.train.followed_by(more))
        return splits, schema
    described = own_table.describe(config.columns, files, join)
    if described.name:
        say(f"{described.name} describes the columns; --columns auto infers them")

    if not (config.sep or described.format_of(files[0]) or is_parquet(files[0])):
        mark = separator_of(files[0], config.header or None, config.encoding)
        say(f"{files[0]}: {mark!r} separates the columns")

    def tell(found: Sequence[infer.Inferred]) -> None:
        say(text_table(infer.HEADER, [each.cells for each in found], left=3) + "\n")

    dense = [text.partition(":") for text in config.dense]
    lists = [text.partition(":") for text in comma_separated(multi or "")]
    splits, schema = own_table.load_table(
        files,
        described,
        label=config.label or None,
        domain=_domain(config.domain),
        join=join,
        dense={name: transform or "minmax" for name, _, transform in dense},
        multi=[MultiColumn(name, separator=mark or "|") for name, _, mark in lists],
        name=described.name or files[0].name.partition(".")[0] or own_table.NAME,
        tell=tell,
        **form,
        **{name: getattr(config, name) for name in DESCRIBES},
    )
    if (columns := schema.encoders.columns).hashed:
        fields = ", ".join(columns.hashed)
        say(f"hashed, so that values share {columns.hash_size:,} ids: {fields}")
    for file, rows in schema.split["without_partner"].items():
        if rows:
            say(f"{file}: {rows:,} rows of the table have no partner here, so missing cells")
    return splits, schema


def _replayed(config: RankingTable | TaskTable, earlier: Schema) -> Table:
    """The share --replay of the training rows of the run that is continued, drawn by --seed.

    Raises:  DataError: its table is gone; ValueError: the table has changed since.
    """
    options = read_options(Path(config.init_from) / "config.json", type(config))
    had = type(config)(**(options | dict(quiet=True)))
    splits, schema = load_splits(had, published_loader(had) or partial(load_own, had))
    if schema != earlier:
        raise ValueError(
            f"--replay: {had.dataset_path} is no longer the table that {config.init_from} was "
            "trained on; restore it, or leave --replay out."
        )
    rows = round(config.replay * len(splits.train))
    drawn = np.random.default_rng(config.seed).choice(len(splits.train), rows, replace=False)
    return splits.train.take(np.sort(drawn))


def _join(text: str) -> JoinRule:
    """The rule of FILE, FILE:KEY or FILE:LEFT=RIGHT."""
    file, _, key = text.rpartition(":")
    if not file:
        return JoinRule(text)
    left, _, right = key.partition("=")
    return JoinRule(file, (left, right or left))


def _domain(text: str | None) -> Domain | str | None:
    """The domain of a column; COLUMN:24,34 has bins, COLUMN:first is left to `load_table`."""
    column, _, edges = (text or "").rpartition(":")
    try:
        bins = tuple(map(float, edges.split(",")))
    except ValueError:
        return text
    return Domain(column, bins=bins) if column else text
