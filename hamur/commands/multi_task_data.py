"""The data of the multi-task script: which set, which tasks, how many rows."""

import dataclasses
from collections.abc import Callable

import numpy as np

from hamur.commands.multi_task_config import SYNTHETIC, TaskConfig


def load_data(config: TaskConfig, load: Callable) -> tuple:
    """(splits, schema, truth of the test rows or None).

    Raises:  ValueError: --tasks or --task_num that are not those of the data.
    """
    truth = None
    if config.dataset_name == SYNTHETIC:
        from hamur.data.synthetic.conflict import make_task_conflict

        if config.dataset_path is not None:
            raise ValueError(f"--dataset_path is not for --dataset_name {SYNTHETIC}.")
        if config.task_num < 2:
            raise ValueError(f"--task_num must be at least 2 for {SYNTHETIC}, got 1.")
        rows, tasks = config.synthetic_rows, config.task_num
        splits, schema, truths = make_task_conflict(
            rows, tasks, config.conflict, seed=config.seed, valid_share=config.valid_fraction
        )
        truth = truths.test
    else:
        country = config.dataset_name.rpartition("_")[2]
        splits, schema = load(
            config.dataset_path,
            countries=(country,),
            valid_fraction=config.valid_fraction,
            on_bad_rows=config.on_bad_rows,
        )
    if config.tasks is not None:
        splits, schema = choose_tasks(splits, schema, config.tasks.split(","))
        truth = None
    if config.task_num != len(schema.labels):
        raise ValueError(
            f"--task_num is {config.task_num}, but the data have {len(schema.labels)} label "
            f"columns: {', '.join(schema.labels)}."
        )
    if config.max_rows is not None:
        splits = splits._replace(train=first_pages(splits.train, config.max_rows))
    return splits, schema, truth


def choose_tasks(splits, schema, names):
    """Keep these label columns, in this order."""
    unknown = [name for name in names if name not in schema.labels]
    if unknown:
        raise ValueError(f"--tasks names {unknown[0]!r}; the data have {', '.join(schema.labels)}.")
    places = [schema.labels.index(name) for name in names]
    kept = (dataclasses.replace(t, labels=np.asarray(t.labels)[:, places]) for t in splits)
    return type(splits)(*kept), dataclasses.replace(schema, labels=tuple(names))


def first_pages(table, rows):
    """The first rows of a table, the last page whole."""
    if rows >= len(table):
        return table
    end = rows
    if table.group is not None:
        later = np.flatnonzero(np.asarray(table.group[rows:]) != table.group[rows - 1])
        end = rows + int(later[0]) if len(later) else len(table)
    return table.take(np.arange(end))


def data_rows(splits, schema):
    """Header and rows of the table of what was loaded."""
    rows = []
    for k, name in enumerate(schema.labels):
        row = [name]
        for table in splits:
            labels = np.asarray(table.labels)[:, k]
            row += [f"{len(labels):,}", f"{labels.mean(dtype=np.float64):.2%}"]
        rows.append(row)
    header = [
        "task",
        *(f"{part} {what}" for part in splits._fields for what in ("rows", "positive")),
    ]
    return header, rows


def unknown_counts(splits, schema) -> dict:
    """Cells with id 0, a value that no training row has, a split and field; only those that
    occur."""
    counts = {}
    for part, table in splits._asdict().items():
        zero = (np.asarray(table.sparse) == 0).sum(axis=0)
        found = {
            n: int(c) for n, c in zip(schema.sparse_names, zero) if c and n != schema.domain_field
        }
        counts[part] = found
    return counts
