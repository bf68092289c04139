"""Vocabularies of columns that are seen block by block: memory grows with the ids, not the rows.

Jobs that fit columns on the training rows of a joined source.  A dimension row counts once per
training row that it belongs to.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.arrays import load_array
from hamur.data.encode import UNKNOWN
from hamur.data.streaming.chunks import POINTER, FileRows, all_blocks

VOCABULARY = "values.npy"  # in the folder of the job that fits a field
COUNTS, FIRST = "counts.npy", "first.npy"
_MERGE_FROM = 1 << 20
_TABLE_LIMIT = 1 << 25  # a table of 128 MiB; larger raw ids are searched for


class IdCounts:
    """How often and where first every id of a column was seen."""

    def __init__(self):
        self._seen = [tuple(np.empty(0, np.int64) for _ in range(3))]  # merged, then the new ones
        self._size = 0

    def add(self, ids: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None) -> None:
        """ids (n,) >= 0 of these rows (n,); weights (n,): how often each counts, else once."""
        counts = np.ones(len(ids), np.int64) if weights is None else weights
        self._seen.append(_distinct(*(each.astype(np.int64) for each in (ids, counts, rows))))
        self._size += len(self._seen[-1][0])
        if self._size > max(_MERGE_FROM, len(self._seen[0][0])):
            self._merge()

    def _merge(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._seen, self._size = [_distinct(*map(np.concatenate, zip(*self._seen)))], 0
        return self._seen[0]

    def known(self, min_count: int = 1, order: str = "first") -> tuple[np.ndarray, np.ndarray]:
        """(values, counts) (n,) int64 of the ids seen so often, by first appearance or value."""
        ids, counts, first = self._merge()
        known = np.flatnonzero(counts >= min_count)
        if order == "first":
            known = known[np.argsort(first[known], kind="stable")]
        return ids[known], counts[known]


def _distinct(ids: np.ndarray, counts: np.ndarray, first: np.ndarray) -> tuple:
    """The distinct ids, ascending, with the sum of their counts and the least of their firsts."""
    order = np.argsort(ids, kind="stable")
    ids, counts, first = ids[order], counts[order], first[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    if not len(starts):
        return ids, counts, first
    return ids[starts], np.add.reduceat(counts, starts), np.minimum.reduceat(first, starts)


class Lookup:
    """Raw ids -> 1..n by their place in `values`; whatever else, also -1, is unknown (0)."""

    def __init__(self, values: np.ndarray):
        self._first = int(values.min()) if len(values) else 0
        self._limit = int(values.max()) - self._first + 1 if len(values) else 0
        self._index = self._table = None
        if self._limit > _TABLE_LIMIT:
            self._index = pd.Index(values)
        else:  # the ids of a field are close together
            self._table = np.full(self._limit + 1, UNKNOWN, np.int32)
            self._table[values - self._first] = np.arange(1, len(values) + 1, dtype=np.int32)

    def encode(self, raw: np.ndarray) -> np.ndarray:
        """(n,) int32 ids of raw ids (n,) >= -1."""
        if self._table is None:
            return (self._index.get_indexer(raw) + 1).astype(np.int32)
        place = raw - self._first
        outside = (place < 0) | (place >= self._limit)
        return self._table[np.where(outside, self._limit, place)]


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
        weights, first = (load_array(partners / file) for file in (COUNTS, FIRST))
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
    weights = None if partners is None else load_array(partners / COUNTS)
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
