"""Columns of lists: a row has any number of ids, each with a value.

Stored as CSR: the lists one behind the other, and where each begins.  A list that many rows share
(the history of a user, the genres of a movie) is stored once.  A batch holds them padded to the
fixed length that the schema names, so that shapes are static.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamur.data.arrays import blocks, release
from hamur.data.encode import UNKNOWN, Codes, Vocabulary
from hamur.data.errors import DataValueError
from hamur.data.schema import MULTI, FieldSpec, Schema

_REMEDY = "encode the lists with the schema's own vocabularies and max_len, or correct the table"


@dataclass(frozen=True, eq=False)
class MultiValued:
    """N lists of one multi-valued field; arrays may be memory-mapped.

    ids (n,) int32, values (n,) float32, offsets (m+1,) int64 of m lists; rows (N,): which of them
    belongs to each row, None where m = N.  max_len: the length of a row in a batch.
    weighted: an entry weighs its value in the mean of a list, else every entry 1.
    Raises:  ValueError: arrays that do not belong together.
    """

    ids: np.ndarray
    values: np.ndarray
    offsets: np.ndarray
    max_len: int
    rows: np.ndarray | None = None
    weighted: bool = False

    def __post_init__(self):
        entries = len(self.ids)
        if not len(self.values) == entries == self.offsets[-1]:
            raise ValueError(f"{entries} ids, {len(self.values)} values, end {self.offsets[-1]}")

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.rows is None else len(self.rows)

    def take(self, index: np.ndarray) -> "MultiValued":
        """The lists of these rows, in memory, each row with a list of its own."""
        positions, offsets = self._spans(index)
        ids, values = self.ids.take(positions), self.values.take(positions)
        return dataclasses.replace(self, ids=ids, values=values, offsets=offsets, rows=None)

    def pad(self, index: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> None:
        """Writes the lists of these rows into ids and weights (len(index), max_len), zeros so
        far."""
        positions, offsets = self._spans(index)
        filled = np.arange(self.max_len) < np.diff(offsets)[:, None]
        ids[filled] = self.ids.take(positions)
        weights[filled] = self.values.take(positions) if self.weighted else 1.0

    def unknown(self, rows: slice) -> np.ndarray:
        """(n,) bool, whether a list is the one entry 'unknown', as `cut` leaves it."""
        index = np.arange(*rows.indices(len(self)))
        lists = index if self.rows is None else self.rows.take(index)
        begins, ends = self.offsets.take(lists), self.offsets.take(lists + 1)
        first = self.ids.take(np.minimum(begins, len(self.ids) - 1))
        return (ends - begins == 1) & (first == UNKNOWN)

    def release(self) -> None:
        """Gives back the memory that reading memory-mapped arrays has taken."""
        for column in (self.ids, self.values, self.offsets, self.rows):
            release(column)

    def validate(self, spec: FieldSpec) -> None:
        """Raises DataValueError for a list that does not fit the field; reads each list once,
        however many rows share it."""
        known = f"an id 0..{spec.vocab_size - 1}"
        for part in blocks(len(self.offsets) - 1):
            offsets = np.asarray(self.offsets[part.start : part.stop + 1])
            lengths, own = np.diff(offsets), slice(offsets[0], offsets[-1])
            ids, values = self.ids[own], self.values[own]
            at = part.start + np.repeat(np.arange(len(lengths)), np.maximum(lengths, 0))
            fits = (lengths >= 0) & (lengths <= spec.max_len)
            room = f"a list of up to {spec.max_len} ids"
            self._check(spec, fits, lengths, room, np.arange(part.start, part.stop))
            self._check(spec, (ids >= 0) & (ids < spec.vocab_size), ids, known, at)
            self._check(spec, np.isfinite(values) & (values >= 0), values, "a value >= 0", at)
            self.release()
        for part in blocks(0 if self.rows is None else len(self.rows)):
            rows, number = self.rows[part], len(self.offsets) - 1
            if rows.min() < 0 or rows.max() >= number:
                raise ValueError(f"{spec.name!r}: a row points outside the {number} lists")

    def _check(self, spec, good: np.ndarray, found: np.ndarray, expected: str, lists) -> None:
        if good.all():
            return
        first = int(np.argmin(good))
        at = int(lists[first])
        row = at if self.rows is None else int(np.argmax(np.asarray(self.rows) == at))
        raise DataValueError(
            f"row {row}, list {spec.name!r} cannot be used",
            column=spec.name,
            value=found[first].item(),
            expected=expected,
            remedy=_REMEDY,
        )

    def _spans(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = np.asarray(index)
        return spans(self.offsets, index if self.rows is None else self.rows.take(index))


@dataclass(frozen=True)
class RawMultiValued:
    """N lists of a multi-valued field before encoding, each entry of value 1.

    codes: Codes of all entries of m lists, one behind the other; offsets (m+1,); rows (N,): which
    list belongs to each row; max_len: the most entries that a row keeps.
    """

    codes: Codes
    offsets: np.ndarray
    rows: np.ndarray
    max_len: int

    def take(self, index: np.ndarray) -> "RawMultiValued":
        """The lists of these rows, each with a list of its own."""
        positions, offsets = spans(self.offsets, self.rows[index])
        rows = np.arange(len(index))
        return RawMultiValued(self.codes.take(positions), offsets, rows, self.max_len)

    def encode(self, vocabulary: Vocabulary, has_unknown: bool) -> MultiValued:
        """All N lists as ids; a list that several rows share is stored once.

        has_unknown: id 0 is no value of its own, see `cut`.
        """
        ids, ones = vocabulary.encode(self.codes), np.ones(len(self.codes.codes), np.float32)
        lists = cut(ids, ones, self.offsets, self.max_len, UNKNOWN if has_unknown else None)
        return MultiValued(*lists, self.max_len, self.rows.astype(np.int32))


def spans(offsets: np.ndarray, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of these lists (n,) stand, one list behind the other, and the offsets
    (n+1,) int64 of the lists in that order."""
    begins = np.asarray(offsets.take(lists))
    lengths = np.asarray(offsets.take(lists + 1)) - begins
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return np.arange(ends[-1]) + np.repeat(begins - ends[:-1], lengths), ends


def cut(
    ids: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
    max_len: int,
    unknown: int | None = UNKNOWN,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encoded lists as they are stored: ids int32, values float32, offsets int64.

    Unknown entries (id 0; unknown None: there are none) go where at least one known remains; then
    the max_len entries of largest value stay, of equal ones the later, in the order of the list.  A
    list without a known entry becomes the one entry id 0 of value 1: no list is empty.
    """
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    kept = np.arange(len(ids)) if unknown is None else np.flatnonzero(ids != unknown)
    # Largest value first, of equal values the later; the place in its list then is the rank.
    order = kept[np.lexsort((-kept, -values[kept], row[kept]))]
    lengths = np.bincount(row[kept], minlength=len(offsets) - 1)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = np.sort(order[rank < max_len])
    lengths = np.clip(lengths, 1, max_len)
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    known = np.ones(ends[-1], bool)
    known[ends[:-1][np.bincount(row[kept], minlength=len(lengths)) == 0]] = False
    own_ids, own_values = np.zeros(ends[-1], np.int32), np.ones(ends[-1], np.float32)
    own_ids[known], own_values[known] = ids[kept], values[kept]
    return own_ids, own_values, ends


def padded(lists: Sequence[MultiValued], index: np.ndarray) -> dict[str, np.ndarray]:
    """What a batch of these rows holds of the lists: multi_ids (B, S) int32 and multi_weight
    (B, S) float32, the fields side by side, S the sum of their max_len; {} without lists.

    A list is filled up with id 0 of weight 0.
    """
    if not lists:
        return {}
    shape = (len(index), sum(column.max_len for column in lists))
    ids, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    begin = 0
    for column in lists:
        own = slice(begin, begin + column.max_len)
        column.pad(index, ids[:, own], weights[:, own])
        begin += column.max_len
    return {"multi_ids": ids, "multi_weight": weights}


def pooled_by(splits, schema: Schema, pool_weight: str | None):
    """The same tables and their schema, with lists that weigh their entries in this way.

    splits: a Splits.  pool_weight: None leaves all as it is.
    Raises:  ValueError: no such way; no field of lists in the schema.
    """
    if pool_weight is None:
        return splits, schema
    if not schema.multi:
        raise ValueError(
            f"pool_weight is {pool_weight!r}, but no field holds lists: use multi='mean' "
            "(Ali-CCP) or genres='multi' (MovieLens)"
        )
    fields = tuple(
        dataclasses.replace(spec, pool_weight=pool_weight) if spec.kind == MULTI else spec
        for spec in schema.fields
    )
    changed = dataclasses.replace(schema, fields=fields)
    tables = (dataclasses.replace(t, lists=weighed(t.lists, changed)) for t in splits)
    return type(splits)(*tables), changed


def weighed(lists: Sequence[MultiValued], schema: Schema) -> tuple[MultiValued, ...]:
    """Columns of lists as the fields of the schema want them weighed."""
    return tuple(
        dataclasses.replace(column, weighted=spec.pool_weight == "value")
        for column, spec in zip(lists, schema.multi, strict=True)
    )
