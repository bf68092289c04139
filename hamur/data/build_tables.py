"""Raw columns + split -> encoded tables and their schema; the same way for every data set."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hamur.data import encode, leakage, splits
from hamur.data.arrays import BLOCK_ROWS, blocks, pieces, release
from hamur.data.encode import Codes, Scaler, Vocabulary
from hamur.data.multi_valued import MultiValued, spans
from hamur.data.raw_columns import RawColumns
from hamur.data.schema import DENSE, DOMAIN_FIELD, MULTI, SPARSE, FieldSpec, Schema
from hamur.data.table import Splits, Table
from hamur.data.text.bad_rows import BadRows, counts_by_file
from hamur.errors import (
    DataValueError,
    EmptySplitError,
    MissingDomainWarning,
    SingleClassWarning,
)


@dataclass(frozen=True)
class Encoding:
    """How values become ids; see `encode.fit_vocabulary` and `encode.fit_scaler`.

    transforms: of dense columns, where they are not minmax; leakage_limit, refuse_equal: see
    `leakage.check_features`; earlier: the Encoders of an earlier table, whose ids and scalers stay.
    """

    fit_on: str = "train"
    order: str = "value"
    min_count: int = 1
    identity: bool = False
    keep_unit: bool = False
    allow_leakage: tuple[str, ...] = ()
    transforms: dict[str, str] = field(default_factory=dict)
    leakage_limit: float = leakage.LIMIT
    refuse_equal: bool = False
    earlier: object | None = None


def build(
    raw: RawColumns,
    index: splits.Index,
    encoding: Encoding,
    name: str,
    split: dict,
    bad_rows: Sequence[BadRows] = (),
    columns=None,
    folder: Path | None = None,
) -> tuple[Splits, Schema]:
    """Fits on the training rows, encodes all rows, and checks for leakage.

    index: positions of the training, validation and test rows.  split: rule, seed and source of
    the Schema's split entry, to which `build` adds rows, rows with an unknown id and clipped cells
    (in train, valid, test), constant columns, and what each file left out (bad_rows).
    columns: the description of raw rows, for the encoders of the schema; None: they look like it.
    folder: an existing one where the tables are written, memory-mapped; None: in memory.
    Raises:  EmptySplitError; LeakageError.
    """
    rows = dict(zip(splits.SPLITS, map(len, index)))
    splits.check_parts(rows, split["rule"])
    if columns is not None and columns.hash_size:
        raw, columns = _hashed(raw, columns, encoding.earlier is not None)
    fit = _fit(raw, index[0], encoding)
    tables = Splits(*(_table(raw, rows, fit, part, folder) for part, rows in zip(rows, index)))
    scalers = fit.scalers.items()
    split = split | {
        "fit_on": encoding.fit_on,
        "rows": rows,
        "row_ids_sha256": {n: splits.fingerprint(t.row_id) for n, t in zip(rows, tables)},
        "unknown": _unknown(tables, raw) if encoding.fit_on == "train" else {},
        "clipped": {
            n: [sum(map(s.outside, pieces(raw.dense[n], p))) for p in index] for n, s in scalers
        },
        "constant": [name for name, scaler in scalers if scaler.low == scaler.high],
        "files": counts_by_file(bad_rows),
    }
    schema = Schema(
        name=name,
        fields=_fields(raw, fit),
        labels=tuple(raw.labels),
        domain_names=raw.domain_names,
        domain_field=DOMAIN_FIELD if raw.domain_field else None,
        group=raw.group_name,
        split=split,
    )
    leakage.check_splits(tables)
    limits = encoding.leakage_limit, encoding.refuse_equal
    leakage.check_features(tables.train, schema, encoding.allow_leakage, *limits)
    arrays = {f"vocab/{name}": vocab.values for name, vocab in fit.vocabularies.items()}
    return tables, with_encoders(schema, columns, arrays, fit.scalers)


def _hashed(raw: RawColumns, columns, continued: bool) -> tuple[RawColumns, object]:
    """The rows with hashed fields, and the description that names these; continued: of those that
    it names already."""
    size, names = columns.hash_size, columns.hashed
    lists = {name: column.codes for name, column in raw.multi.items()}
    if not continued:
        names = tuple(n for n, c in (raw.sparse | lists).items() if len(c.values) > size)
    sparse = {n: encode.hashed(c, size) if n in names else c for n, c in raw.sparse.items()}
    multi = {
        n: replace(c, codes=encode.hashed(c.codes, size)) if n in names else c
        for n, c in raw.multi.items()
    }
    return replace(raw, sparse=sparse, multi=multi), replace(columns, hashed=names)


def with_encoders(schema: Schema, columns, arrays: dict, scalers: dict[str, Scaler]) -> Schema:
    """The schema with what turns raw rows into its columns, see `hamur.encoders.encoders_of`."""
    from hamur.encoders import encoders_of  # which is above this module

    return replace(schema, encoders=encoders_of(schema, columns, arrays, scalers))


@dataclass(frozen=True)
class _Fit:
    """What the training rows determine, by name of the column."""

    vocabularies: dict[str, Vocabulary]
    scalers: dict[str, Scaler]
    multi_valued: dict[str, MultiValued]

    @property
    def lacking(self) -> list[str]:
        """The dense columns beside which another one says where a number is missing."""
        return [name for name, scaler in self.scalers.items() if scaler.has_missing]


def _fit(raw: RawColumns, train: np.ndarray, encoding: Encoding) -> _Fit:
    vocabularies, multi_valued = {}, {}
    for name, column in raw.sparse.items():
        vocabularies[name] = _vocabulary(name, column, train, encoding)
    for name, column in raw.multi.items():
        entries = spans(column.offsets, column.rows[train])[0]
        vocabularies[name] = _vocabulary(name, column.codes, entries, encoding)
        multi_valued[name] = column.encode(vocabularies[name], encoding.fit_on == "train")
    if encoding.earlier is not None:
        return _Fit(vocabularies, dict(encoding.earlier.scalers), multi_valued)
    scalers = {
        name: encode.fit_scaler(
            column,
            train,
            encoding.fit_on,
            encoding.keep_unit,
            encoding.transforms.get(name, encode.TRANSFORMS[0]),
            name,
        )
        for name, column in raw.dense.items()
    }
    return _Fit(vocabularies, scalers, multi_valued)


def _vocabulary(name: str, column: Codes, train: np.ndarray, encoding: Encoding) -> Vocabulary:
    if encoding.earlier is not None:
        known = encoding.earlier.vocabularies[name].values
        return encode.grow_vocabulary(column, train, known, encoding.min_count)
    if encoding.identity:
        return encode.identity_vocabulary(column, train)
    return encode.fit_vocabulary(column, train, encoding.order, encoding.min_count, encoding.fit_on)


def _table(raw: RawColumns, index: np.ndarray, fit: _Fit, part: str, folder: Path | None) -> Table:
    def array(name: str, dtype: type, *width: int) -> np.ndarray:
        shape = len(index), *width
        if folder is None or 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(folder / f"{part}_{name}.raw", dtype, "w+", shape=shape)

    table = Table(
        sparse=array("sparse", np.int32, len(raw.sparse) + raw.domain_field),
        dense=array("dense", np.float32, len(raw.dense) + len(fit.lacking)),
        labels=array("labels", np.int8, len(raw.labels)),
        domain=array("domain", np.int32),
        group=None if raw.group is None else array("group", np.int64),
        time=None if raw.time is None else array("time", np.int64),
        row_id=array("row_id", np.int64),
        multi_valued=tuple(replace(c, rows=c.rows[index]) for c in fit.multi_valued.values()),
    )
    read = [raw.domain, raw.row_id, raw.group, raw.time, *raw.dense.values(), *raw.labels.values()]
    read += [column.codes for column in raw.sparse.values()]
    for block in blocks(len(index), BLOCK_ROWS):
        rows = index[block]
        for f, (name, column) in enumerate(raw.sparse.items()):
            table.sparse[block, f] = fit.vocabularies[name].encode(column.take(rows))
        if raw.domain_field:
            table.sparse[block, -1] = raw.domain[rows]
        for c, (name, column) in enumerate(raw.dense.items()):
            table.dense[block, c] = fit.scalers[name].scale(column[rows])
        for c, name in enumerate(fit.lacking, start=len(raw.dense)):
            table.dense[block, c] = np.isnan(raw.dense[name][rows])
        for t, label in enumerate(raw.labels.values()):
            table.labels[block, t] = label[rows]
        for name in ("domain", "group", "time", "row_id"):
            if (column := getattr(raw, name)) is not None:
                getattr(table, name)[block] = column[rows]
        table.release()
        for column in read:
            release(column)
    return table


def _fields(raw: RawColumns, fit: _Fit) -> tuple[FieldSpec, ...]:
    vocabularies = fit.vocabularies
    sparse = [FieldSpec(name, SPARSE, vocabularies[name].size) for name in raw.sparse]
    if raw.domain_field:
        sparse.append(FieldSpec(DOMAIN_FIELD, SPARSE, len(raw.domain_names)))
    multi = [
        FieldSpec(name, MULTI, vocabularies[name].size, column.max_len)
        for name, column in raw.multi.items()
    ]
    dense = (*raw.dense, *(name + encode.COMPANION for name in fit.lacking))
    return (*sparse, *multi, *(FieldSpec(name, DENSE) for name in dense))


def _unknown(tables: Splits, raw: RawColumns) -> dict[str, list[int]]:
    """Rows with id 0, or nothing else in their list, per field, in train, valid and test."""
    counts = {}
    for f, name in enumerate(raw.sparse):
        ids = (pieces(table.sparse[:, f]) for table in tables)
        counts[name] = [sum(int((part == encode.UNKNOWN).sum()) for part in each) for each in ids]
    for m, name in enumerate(raw.multi):
        unknown = [table.multi_valued[m].unknown(slice(None)) for table in tables]
        counts[name] = [int(rows.sum()) for rows in unknown]
    return counts


def check_classes(
    tables: Splits, schema: Schema, require_all_domains: bool = False, trained: int = 0
) -> tuple[Splits, Schema]:
    """The tables and their schema, if every domain and class of the first label is there.

    trained: the number of first domains that an earlier table has rows of.
    Warns:   MissingDomainWarning: a domain without training rows; SingleClassWarning: a domain
        of one class in a split, whose AUC is undefined.
    Raises:  DataValueError: the training split has one class only; EmptySplitError: a domain
        without training rows where require_all_domains is set.
    """
    for part, table in zip(splits.SPLITS, tables):
        rows, positives = np.zeros((2, schema.num_domains), np.int64)
        for block in blocks(len(table)):
            domain, label = table.domain[block], table.labels[block, 0]
            rows += np.bincount(domain, minlength=schema.num_domains)
            positives += np.bincount(domain, label, schema.num_domains).astype(np.int64)
        table.release()
        if part == "train":
            _check_training(rows, positives, schema, require_all_domains, trained)
        for d in np.flatnonzero((rows > 0) & ((positives == 0) | (positives == rows))):
            warnings.warn(
                f"domain {d} ({schema.domain_names[d]}) has one class only in {part}: "
                f"{rows[d]} rows of label {int(positives[d] > 0)}; its AUC there is undefined",
                SingleClassWarning,
                stacklevel=3,
            )
    return tables, schema


def _check_training(
    rows: np.ndarray,
    positives: np.ndarray,
    schema: Schema,
    require_all_domains: bool,
    trained: int,
) -> None:
    if positives.sum() in (0, rows.sum()):
        raise DataValueError(
            f"all {rows.sum()} training rows have the same label",
            column=schema.labels[0],
            value=int(positives.sum() > 0),
            expected="both classes",
            remedy="use more rows or another split",
        )
    if (rows[trained:] > 0).all():
        return
    text = f"training rows per domain are {rows.tolist()}"
    if require_all_domains:
        raise EmptySplitError(
            text,
            expected="at least one row in every domain",
            remedy="use more rows, or leave out `require_all_domains`",
        )
    warnings.warn(
        f"{text}: a domain without any is predicted by untrained parameters",
        MissingDomainWarning,
        stacklevel=4,
    )
