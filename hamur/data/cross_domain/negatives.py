"""Unobserved items as negative rows: for behaviours that tell what users took, not how they liked
it (implicit feedback)."""

import dataclasses

import numpy as np

from hamur.data.cross_domain.dataset import Pair
from hamur.data.cross_domain.histories import CATEGORY, ITEM, USER
from hamur.data.schema import Schema, thaw
from hamur.data.table import Splits, Table

_ROUNDS = 20  # drawings before a user who took nearly everything gets fewer negatives


def with_negatives(pair: Pair, number: int, seed: int) -> Pair:
    """The pair with `number` unobserved items, label 0, after every positive row of the source and
    of target training; after those of validation and test too, if all rows are positive ones.

    Items are uniform among those of the vocabulary that the user has nowhere in the domain; a user
    who has nearly all of them may get fewer.  A negative has the time and the row_id of the
    positive before it, see `observed`.
    Raises:  ValueError: number below 1, or no user lacks an item.
    """
    if number < 1:
        raise ValueError(f"number of negatives is {number}; it must be at least 1.")
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    implicit = all((part.labels == 1).all() for part in pair.target)
    taken = [_keys(pair.source.sparse), np.concatenate([_keys(p.sparse) for p in pair.target])]
    source = _extended(rng, pair.source, number, taken[0], pair.source_categories)
    parts = (
        _extended(rng, part, number, taken[1], pair.target_categories)
        if implicit or part is pair.target.train
        else part
        for part in pair.target
    )
    found = {"negatives": {"a_positive": number, "seed": seed}}
    return dataclasses.replace(
        pair,
        source=source,
        target=Splits(*parts),
        source_schema=_noted(pair.source_schema, found),
        target_schema=_noted(pair.target_schema, found),
        ratings={},  # added rows have none
    )


def observed(table: Table) -> np.ndarray:
    """(N,) bool: the rows of the data, without those of `with_negatives`."""
    row_id = np.asarray(table.row_id)
    return np.append(True, row_id[1:] != row_id[:-1])[: len(row_id)]


def _extended(
    rng: np.random.Generator, table: Table, number: int, taken: np.ndarray, categories: np.ndarray
) -> Table:
    positive = np.flatnonzero(np.asarray(table.labels[:, 0]) == 1)
    behind = np.repeat(positive, number)
    user = np.asarray(table.sparse[:, USER])[behind].astype(np.int64)
    item = np.zeros(len(behind), np.int64)
    missing = np.arange(len(behind) if len(categories) > 1 else 0)
    for _ in range(_ROUNDS):
        item[missing] = rng.integers(1, len(categories), len(missing))
        missing = missing[np.isin(user[missing] << 32 | item[missing], taken)]
    kept = np.ones(len(behind), bool)
    kept[missing] = False
    kept &= item > 0
    behind, item = behind[kept], item[kept]
    if len(positive) and not len(behind):
        raise ValueError(
            f"no user lacks an item: {len(categories) - 1} items in the vocabulary, and nothing to "
            "draw negatives from. Use a table of more items, or train_negatives 0."
        )
    rows = np.concatenate([np.arange(len(table)), behind])
    order = np.argsort(rows, kind="stable")  # a negative follows its positive
    new = np.arange(len(rows)) >= len(table)
    extended = table.take(rows)
    sparse, labels = np.array(extended.sparse), np.array(extended.labels)
    sparse[new, ITEM], sparse[new, CATEGORY] = item, categories[item]
    labels[new] = 0
    return dataclasses.replace(extended, sparse=sparse, labels=labels).take(order)


def _keys(sparse: np.ndarray) -> np.ndarray:
    """user and item in one number."""
    sparse = np.asarray(sparse, np.int64)
    return np.unique(sparse[:, USER] << 32 | sparse[:, ITEM])


def _noted(schema: Schema, found: dict) -> Schema:
    return dataclasses.replace(schema, split=thaw(schema.split) | found)
