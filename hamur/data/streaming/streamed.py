"""Vocabularies of columns that are seen block by block: memory grows with the ids, not the rows."""

from collections.abc import Iterable

import numpy as np

from hamur.data.encode import UNKNOWN

VOCABULARY = "values.npy"  # in the folder of the job that fits a field
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


def extent(columns: Iterable[np.ndarray]) -> tuple[float, float]:
    """Smallest and largest value of all blocks; (0, 0) of none."""
    low, high = np.inf, -np.inf
    for column in columns:
        if len(column):
            low, high = min(low, float(column.min())), max(high, float(column.max()))
    return (low, high) if low <= high else (0.0, 0.0)
