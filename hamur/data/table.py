"""Equally long columns: a data set, a split and a batch are all a `Table`."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hamur.data.arrays import ColumnSubset, blocks, release
from hamur.data.multi_valued import MultiValued
from hamur.data.schema import Schema
from hamur.errors import DataValueError
from hamur.workers import Share

_COLUMNS = ("sparse", "dense", "labels", "domain", "group", "time", "row_id", "weight")
_COLUMNS += ("multi_ids", "multi_weight")
_WIDE = ("sparse", "dense", "labels", "multi_ids", "multi_weight")
DOMAIN_SHIFT = 48  # bits of a row id or a group below the domain, where several files are joined
_REMEDY = "encode the rows with the schema's own vocabularies, or correct the table"


@dataclass(frozen=True, eq=False)
class Table:
    """N rows as arrays, which may be memory-mapped.

    sparse (N, F) int32 ids; dense (N, C) float32 in [0, 1]; labels (N, T) int8 or float32, 0 or 1;
    domain (N,) int32, 0..D-1; group, time (seconds), row_id (N,) int64 or None: never features;
    weight (N,) float32 or None: 1 for a real row, 0 for a filler;
    multi_valued: the multi-valued fields of the schema.  A batch has them as multi_ids (N, S) int32
    and multi_weight (N, S) float32 instead, see `multi_valued.padded`.
    share: of a batch, which rows of the whole batch it has, where several workers train.
    Raises:  ValueError: columns of different length, or of the wrong number of axes.
    """

    sparse: np.ndarray
    dense: np.ndarray
    labels: np.ndarray
    domain: np.ndarray
    group: np.ndarray | None = None
    time: np.ndarray | None = None
    row_id: np.ndarray | None = None
    weight: np.ndarray | None = None
    multi_valued: tuple[MultiValued, ...] = ()
    multi_ids: np.ndarray | None = None
    multi_weight: np.ndarray | None = None
    share: Share | None = None

    def __post_init__(self):
        for name, column in self.columns().items():
            axes = 2 if name in _WIDE else 1
            if column.ndim != axes or len(column) != len(self.domain):
                raise ValueError(
                    f"column {name!r} has shape {column.shape}; it needs {axes} axes and "
                    f"{len(self.domain)} rows, as 'domain' has"
                )
        for column in self.multi_valued:
            if len(column) != len(self.domain):
                raise ValueError(f"{len(column)} lists for {len(self.domain)} rows")

    def __len__(self) -> int:
        return len(self.domain)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns that are present, by name."""
        values = {name: getattr(self, name) for name in _COLUMNS}
        return {name: column for name, column in values.items() if column is not None}

    @property
    def padded(self) -> tuple[np.ndarray, ...]:
        """(multi_ids, multi_weight) of a batch with lists, () of one without."""
        return () if self.multi_ids is None else (self.multi_ids, self.multi_weight)

    def take(self, index: np.ndarray) -> "Table":
        """The rows at these positions, in this order, as contiguous arrays in memory."""
        index = np.asarray(index)
        rows = {name: np.take(column, index, axis=0) for name, column in self.columns().items()}
        return dataclasses.replace(
            self, **rows, multi_valued=tuple(c.take(index) for c in self.multi_valued)
        )

    def followed_by(self, other: "Table") -> "Table":
        """The rows of both, in memory, in the columns that a model is trained on: without group,
        time, row id and weight."""
        names = ("sparse", "dense", "labels", "domain")
        columns = {n: np.concatenate((getattr(self, n), getattr(other, n))) for n in names}
        lists = [a.followed_by(b) for a, b in zip(self.multi_valued, other.multi_valued)]
        return Table(**columns, multi_valued=tuple(lists))

    def validate(self, schema: Schema) -> "Table":
        """This table, if it fits the schema.

        Raises:  DataValueError: number of columns, an id outside its vocabulary, a domain outside
            0..D-1, a dense value that is NaN or infinite, a label other than 0 and 1, a list that
            is too long; names the row and the column.
        """
        _check_width("sparse", self.sparse.shape[1], schema.sparse_names)
        _check_width("dense", self.dense.shape[1], schema.dense_names)
        _check_width("labels", self.labels.shape[1], schema.labels)
        multi_names = tuple(spec.name for spec in schema.multi)
        _check_width("multi_valued", len(self.multi_valued), multi_names)
        for rows in blocks(len(self)):
            self._validate_rows(rows, schema)
            self.release()
        for spec, lists in zip(schema.multi, self.multi_valued):
            lists.validate(spec)
        return self

    def release(self) -> None:
        """Gives back the memory that reading memory-mapped columns has taken; they stay usable."""
        for column in self.columns().values():
            release(column)
        for lists in self.multi_valued:
            lists.release()

    def _validate_rows(self, rows: slice, schema: Schema) -> None:
        sparse, dense, labels = self.sparse[rows], self.dense[rows], self.labels[rows]
        domain, first = self.domain[rows], rows.start
        for f, (name, size) in enumerate(zip(schema.sparse_names, schema.vocab_sizes)):
            _check_range(name, sparse[:, f], size, first)
        _check_range("domain", domain, schema.num_domains, first)
        for c, name in enumerate(schema.dense_names):
            _check(name, dense[:, c], np.isfinite(dense[:, c]), "a finite number", first)
        for t, name in enumerate(schema.labels):
            column = labels[:, t]
            _check(name, column, (column == 0) | (column == 1), "0 or 1", first)
        if schema.domain_field is not None:
            column = sparse[:, schema.sparse_names.index(schema.domain_field)]
            _check(schema.domain_field, column, column == domain, "the row's domain id", first)


class Splits(NamedTuple):
    train: Table
    valid: Table
    test: Table


def drop_fields(splits: Splits, schema: Schema, drop: Iterable[str]) -> tuple[Splits, Schema]:
    """The same rows without some features, for ablations; nothing is copied.

    Without the domain field the model does not see the domain; reports still do.
    Raises:  ValueError: no such feature, or no sparse feature left.
    """
    names = tuple(drop)
    features = [spec.name for spec in schema.fields]
    for name in names:
        if name not in features:
            raise ValueError(f"`drop`: no feature {name!r}; there are {', '.join(features)}.")
    fields = tuple(spec for spec in schema.fields if spec.name not in names)
    domain_field = None if schema.domain_field in names else schema.domain_field
    smaller = dataclasses.replace(schema, fields=fields, domain_field=domain_field)
    if not smaller.num_sparse:
        raise ValueError("`drop` leaves no sparse feature; a model needs at least one.")
    sparse = [f for f, name in enumerate(schema.sparse_names) if name not in names]
    dense = [c for c, name in enumerate(schema.dense_names) if name not in names]
    lists = [m for m, spec in enumerate(schema.multi) if spec.name not in names]
    tables = (
        dataclasses.replace(
            table,
            sparse=ColumnSubset(table.sparse, sparse),
            dense=ColumnSubset(table.dense, dense),
            multi_valued=tuple(table.multi_valued[m] for m in lists),
        )
        for table in splits
    )
    return Splits(*tables), smaller


def choose_labels(splits: Splits, schema: Schema, tasks: Sequence[str]) -> tuple[Splits, Schema]:
    """The same rows with these label columns, in this order.

    Raises:  ValueError: no such label.
    """
    for name in tasks:
        if name not in schema.labels:
            raise ValueError(f"`tasks` names {name!r}; the data have {', '.join(schema.labels)}.")
    columns = [schema.labels.index(name) for name in tasks]
    tables = (dataclasses.replace(t, labels=np.asarray(t.labels)[:, columns]) for t in splits)
    return Splits(*tables), dataclasses.replace(schema, labels=tuple(tasks))


def first_rows(table: Table, rows: int) -> Table:
    """The first rows of a table, and the rest of the last group."""
    if table.group is not None and rows < len(table):
        later = np.asarray(table.group[rows:]) != table.group[rows - 1]
        rows += int(np.argmax(later)) if later.any() else len(later)
    return table if rows >= len(table) else table.take(np.arange(rows))


def _check_width(part: str, width: int, names: tuple[str, ...]) -> None:
    if width != len(names):
        raise DataValueError(
            f"{part} has {width} columns",
            expected=f"{len(names)}: {', '.join(names)}",
            remedy=_REMEDY,
        )


def _check_range(name: str, column: np.ndarray, size: int, first: int) -> None:
    # The common case reads the column twice and builds no mask.
    if len(column) and (column.min() < 0 or column.max() >= size):
        _check(name, column, (column >= 0) & (column < size), f"an id 0..{size - 1}", first)


def _check(name: str, column: np.ndarray, good: np.ndarray, expected: str, first: int) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise DataValueError(
            f"row {first + row}, column {name!r} cannot be used",
            column=name,
            value=column[row].item(),
            expected=expected,
            remedy=_REMEDY,
        )
