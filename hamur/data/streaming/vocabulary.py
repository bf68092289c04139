"""Vocabularies of columns that are seen block by block: memory grows with the ids, not the rows.

Jobs that fit columns on the training rows of a joined source.  A dimension row counts once per
training row that it belongs to.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hamur.data.encode import UNKNOWN
from hamur.data.streaming.chunks import POINTER, FileRows, all_blocks

VOCABULARY = "values.npy"  # in the folder of the job that fits a field
COUNTS, FIRST = "counts.npy", "first.npy"
_MERGE_FROM = 1 << 20
_TABLE_LIMIT = 1 << 25  # a table of 128 MiB; larger raw ids are searched for


class IdCounts:
    """How often and where first every id of a column was seen."""

    def __init__(self):
        self._ids, self._counts, self._first = (np.empty(0, np.int64) for _ in range(3))
        self._waiting: list[tuple] = []
        self._size = 0

    def add(self, ids: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None) -> None:
        """ids (n,) >= 0 of these rows (n,); weights (n,): how often each counts, else once."""
        if not len(ids):
            return
        order = np.argsort(ids, kind="stable")
        ids, rows = ids[order], rows[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        counts = np.ones(len(ids), np.int64) if weights is None else weights[order]
        seen = (ids[starts], np.add.reduceat(counts, starts), np.minimum.reduceat(rows, starts))
        self._waiting.append(tuple(column.astype(np.int64) for column in seen))
        self._size += len(starts)
        if self._size > max(_MERGE_FROM, len(self._ids)):
            self._merge()

    def _merge(self) -> None:
        waiting = [(self._ids, self._counts, self._first), *self._waiting]
        ids, counts, first = (np.concatenate(columns) for columns in zip(*waiting))
        self._waiting, self._size = [], 0
        order = np.argsort(ids, kind="stable")
        ids, counts, first = ids[order], counts[order], first[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1]))[: len(ids)])
        self._ids = ids[starts]
        if len(starts):
            self._counts = np.add.reduceat(counts, starts)
            self._first = np.minimum.reduceat(first, starts)

    def known(self, min_count: int = 1, order: str = "first") -> tuple[np.ndarray, np.ndarray]:
        """(values, counts) (n,) int64 of the ids seen so often, by first appearance or value."""
        self._merge()
        kept = np.flatnonzero(self._counts >= min_count)
        if order == "first":
            kept = kept[np.argsort(self._first[kept], kind="stable")]
        return self._ids[kept], self._counts[kept]


class Lookup:
    """Raw ids -> 1..n by their place in `values`; whatever else, also -1, is unknown (0)."""

    def __init__(self, values: np.ndarray):
        self._first = int(values.min()) if len(values) else 0
        self._limit = int(values.max()) - self._first + 1 if len(values) else 0
        numbers = np.arange(1, len(values) + 1, dtype=np.int32)
        if self._limit <= _TABLE_LIMIT:  # the ids of a field lie close together
            self._table = np.full(self._limit + 1, UNKNOWN, np.int32)
            self._table[values - self._first] = numbers
            return
        self._table = None
        order = np.argsort(values)
        self._values, self._numbers = values[order], numbers[order]

    def encode(self, raw: np.ndarray) -> np.ndarray:
        """(n,) int32 ids of raw ids (n,) >= -1."""
        if self._table is not None:
            place = raw - self._first
            outside = (place < 0) | (place >= self._limit)
            return self._table[np.where(outside, self._limit, place)]
        at = np.minimum(np.searchsorted(self._values, raw), len(self._values) - 1)
        return np.where(self._values[at] == raw, self._numbers[at], UNKNOWN)


def count_partners(folder: Path, tables: Sequence[FileRows], num_partners: int) -> dict:
    """A job: counts.npy and first.npy (num_partners,) int64, how many of these fact rows belong to
    each dimension row, and which is the first."""
    counts, first = np.zeros(num_partners, np.int64), np.full(num_partners, np.iinfo(np.int64).max)
    seen = 0
    for block in all_blocks(tables):
        partners = block.column(POINTER)
        counts += np.bincount(partners, minlength=num_partners)
        distinct, places = np.unique(partners, return_index=True)
        first[distinct] = np.minimum(first[distinct], places + seen)
        seen += len(block)
    np.save(folder / COUNTS, counts)
    np.save(folder / FIRST, first)
    return {"rows": seen}


def fit_field(
    folder: Path,
    tables: Sequence[FileRows],
    name: str,
    min_count: int,
    order: str,
    partners: Path | None = None,
) -> dict:
    """A job: the vocabulary of a field, see `IdCounts.known`.

    partners: for dimension rows the folder of `count_partners`.
    """
    counts, seen = IdCounts(), 0
    if partners is not None:
        weights, first = (np.load(partners / file, mmap_mode="r") for file in (COUNTS, FIRST))
    for block in all_blocks(tables):
        ids, rows, places = block.entries(name)
        rows, weight = rows + seen, None
        if partners is not None:
            weight = weights[rows]
            used = np.flatnonzero(weight)
            ids, rows, places, weight = ids[used], first[rows[used]], places[used], weight[used]
        # These numbers ascend with the row and, within a row, with the place in the list.
        counts.add(ids, (rows << 32) + places, weight)
        seen += len(block)
    values, _ = counts.known(min_count, order)
    np.save(folder / VOCABULARY, values)
    return {"size": len(values) + 1}


def fit_numbers(
    folder: Path, tables: Sequence[FileRows], names: Sequence[str], partners: Path | None = None
) -> dict:
    """A job: the smallest and the largest value of each column; partners: see `fit_field`."""
    weights = None if partners is None else np.load(partners / COUNTS, mmap_mode="r")
    low, high = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    seen = 0
    for block in all_blocks(tables):
        used = slice(None) if weights is None else weights[seen : seen + len(block)] > 0
        for name in names:
            values = block.column(name)[used]
            low[name] = min(low[name], float(values.min(initial=np.inf)))
            high[name] = max(high[name], float(values.max(initial=-np.inf)))
        seen += len(block)
    return {n: [low[n], high[n]] if low[n] <= high[n] else [0.0, 0.0] for n in names}
