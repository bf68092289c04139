"""Multi-valued fields: a row has any number of ids, each with a value.

Stored as CSR: all lists one after the other, and where each begins.  A list that many rows share
(the history of a user, the genres of a movie) is stored once.  A batch has them padded to the
fixed length in the schema, so that shapes are static.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamur.data.arrays import blocks, release
from hamur.data.encode import UNKNOWN, Codes, Vocabulary
from hamur.data.schema import MULTI, FieldSpec, Schema
from hamur.errors import DataValueError

_REMEDY = "encode the lists with the schema's own vocabularies and lengths, or correct the table"


@dataclass(frozen=True, eq=False)
class MultiValued:
    """N lists of one multi-valued field; arrays may be memory-mapped.

    ids (n,) int32, values (n,) float32, offsets (m+1,) int64 of m lists; rows (N,): the list of
    each row, None where m = N.  max_len: the length of a row in a batch.
    weighted: an entry counts by its value in the mean of a list, otherwise every entry counts 1.
    Raises:  ValueError: arrays of different lengths.
    """

    ids: np.ndarray
    values: np.ndarray
    offsets: np.ndarray
    max_len: int
    rows: np.ndarray | None = None
    weighted: bool = False

    def __post_init__(self):
        entries = len(self.ids)
        begin, end = self.offsets[0], self.offsets[-1]
        if begin != 0 or not len(self.values) == entries == end:
            raise ValueError(f"{entries} ids, {len(self.values)} values, end {end} from {begin}")

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.rows is None else len(self.rows)

    def take(self, index: np.ndarray) -> "MultiValued":
        """The lists of these rows, in memory, each row with a list of its own."""
        positions, offsets = self._spans(index)
        ids, values = self.ids.take(positions), self.values.take(positions)
        return dataclasses.replace(self, ids=ids, values=values, offsets=offsets, rows=None)

    def followed_by(self, other: "MultiValued") -> "MultiValued":
        """The lists of both, in memory."""
        first, second = self.take(np.arange(len(self))), other.take(np.arange(len(other)))
        offsets = np.concatenate((first.offsets, second.offsets[1:] + first.offsets[-1]))
        ids, values = (
            np.concatenate((getattr(first, name), getattr(second, name)))
            for name in ("ids", "values")
        )
        return dataclasses.replace(first, ids=ids, values=values, offsets=offsets)

    def pad(self, index: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> None:
        """Writes the lists of these rows into ids and weights, (len(index), max_len) zeros."""
        positions, offsets = self._spans(index)
        filled = np.arange(self.max_len) < np.diff(offsets)[:, None]
        ids[filled] = self.ids.take(positions)
        weights[filled] = self.values.take(positions) if self.weighted else 1.0

    def unknown(self, rows: slice) -> np.ndarray:
        """(n,) bool: the only entry of the row's list is 'unknown', as `cut` leaves it."""
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
        for part in blocks(len(self.offsets) - 1):
            offsets = np.asarray(self.offsets[part.start : part.stop + 1])
            lengths, entries = np.diff(offsets), slice(offsets[0], offsets[-1])
            ids, values = self.ids[entries], self.values[entries]
            lists = np.arange(part.start, part.stop)
            of_entry = np.repeat(lists, np.maximum(lengths, 0))
            good = (lengths >= 0) & (lengths <= spec.max_len)
            self._check(spec, good, lengths, f"a list of up to {spec.max_len} ids", lists)
            good = (ids >= 0) & (ids < spec.vocab_size)
            self._check(spec, good, ids, f"an id 0..{spec.vocab_size - 1}", of_entry)
            good = np.isfinite(values) & (values >= 0)
            self._check(spec, good, values, "a value >= 0", of_entry)
            self.release()
        for part in blocks(0 if self.rows is None else len(self.rows)):
            rows, number = self.rows[part], len(self.offsets) - 1
            if rows.min() < 0 or rows.max() >= number:
                raise ValueError(f"{spec.name!r}: a row points outside the {number} lists")

    def _check(self, spec, good: np.ndarray, values: np.ndarray, expected: str, lists) -> None:
        if good.all():
            return
        first = int(np.argmin(good))
        at = int(lists[first])
        row = at if self.rows is None else int(np.argmax(np.asarray(self.rows) == at))
        raise DataValueError(
            f"row {row}, list {spec.name!r} cannot be used",
            column=spec.name,
            value=values[first].item(),
            expected=expected,
            remedy=_REMEDY,
        )

    def _spans(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = np.asarray(index)
        return spans(self.offsets, index if self.rows is None else self.rows.take(index))


@dataclass(frozen=True)
class RawMultiValued:
    """N lists of a multi-valued field before encoding, each entry of value 1.

    codes: of all entries of m lists, one after the other; offsets (m+1,); rows (N,): the list of
    each row; max_len: the number of entries that a row keeps at most.
    """

    codes: Codes
    offsets: np.ndarray
    rows: np.ndarray
    max_len: int

    def encode(self, vocabulary: Vocabulary, has_unknown: bool) -> MultiValued:
        """All N lists as ids; a list that several rows share is stored once.

        has_unknown: id 0 is no value of its own, see `cut`.
        """
        ids, ones = vocabulary.encode(self.codes), np.ones(len(self.codes.codes), np.float32)
        lists = cut(ids, ones, self.offsets, self.max_len, UNKNOWN if has_unknown else None)
        return MultiValued(*lists, self.max_len, self.rows.astype(np.int32))


def spans(offsets: np.ndarray, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the entries of these lists (n,), one list after the other, and the offsets
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

    Unknown entries (id 0; unknown None: there are none) are dropped where at least one other
    remains; then the max_len entries of largest value stay, of equal ones the later, in the order
    of the list.  A list of unknown entries becomes the one entry id 0 of value 1: no list is empty.
    """
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    entries = np.arange(len(ids)) if unknown is None else np.flatnonzero(ids != unknown)
    # Largest value first, of equal values the later; the position in its list then is the rank.
    order = entries[np.lexsort((-entries, -values[entries], row[entries]))]
    lengths = np.bincount(row[entries], minlength=len(offsets) - 1)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    entries = np.sort(order[rank < max_len])
    ends = np.concatenate(([0], np.cumsum(np.clip(lengths, 1, max_len)))).astype(np.int64)
    filled = np.ones(ends[-1], bool)
    filled[ends[:-1][lengths == 0]] = False
    cut_ids, cut_values = np.zeros(ends[-1], np.int32), np.ones(ends[-1], np.float32)
    cut_ids[filled], cut_values[filled] = ids[entries], values[entries]
    return cut_ids, cut_values, ends


def padded(lists: Sequence[MultiValued], index: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of a batch of these rows: multi_ids (B, S) int32 and multi_weight (B, S) float32, the
    fields side by side, S the sum of their max_len; {} without fields.  Shorter lists are padded
    with id 0 of weight 0."""
    if not lists:
        return {}
    shape = (len(index), sum(column.max_len for column in lists))
    ids, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    begin = 0
    for column in lists:
        place = slice(begin, begin + column.max_len)
        column.pad(index, ids[:, place], weights[:, place])
        begin += column.max_len
    return {"multi_ids": ids, "multi_weight": weights}


def pooled_by(splits, schema: Schema, pool_weight: str | None):
    """The same tables (Splits) and schema, with this weighting of the entries; None: unchanged.

    Raises:  ValueError: no such weighting; no multi-valued field in the schema.
    """
    if pool_weight is None:
        return splits, schema
    if not schema.multi:
        raise ValueError(
            f"`pool_weight` is {pool_weight!r}, but no field holds lists: use `multi='mean'` "
            "(Ali-CCP) or `genres='multi'` (MovieLens)"
        )
    fields = tuple(
        dataclasses.replace(spec, pool_weight=pool_weight) if spec.kind == MULTI else spec
        for spec in schema.fields
    )
    changed = dataclasses.replace(schema, fields=fields)
    tables = (dataclasses.replace(t, multi_valued=weighed(t.multi_valued, changed)) for t in splits)
    return type(splits)(*tables), changed


def weighed(lists: Sequence[MultiValued], schema: Schema) -> tuple[MultiValued, ...]:
    """Multi-valued columns with the weighting of the schema's fields."""
    return tuple(
        dataclasses.replace(column, weighted=spec.pool_weight == "value")
        for column, spec in zip(lists, schema.multi, strict=True)
    )
