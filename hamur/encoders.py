"""Raw rows -> a model's inputs, as fitted on the training rows; also what an export carries.

Needs NumPy, pandas and pyarrow only: a server of an exported graph has no MindSpore.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from hamur.data import raw_rows
from hamur.data.columns import Columns, Domain, MultiColumn
from hamur.data.encode import COMPANION, MISSING, UNKNOWN, Scaler, Vocabulary, buckets
from hamur.data.frames import names_of
from hamur.data.multi_valued import MultiValued, RawMultiValued, weighed
from hamur.data.raw_columns import split_cells
from hamur.data.schema import DOMAIN_FIELD, MULTI, SPARSE, FieldSpec, Schema
from hamur.data.table import Table
from hamur.data.text.cells import EXPECTED
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import Rows
from hamur.errors import DataFormatError, UnknownDomainError
from hamur.files import misfit

FEW = 64  # values that are looked up one by one: many need 60 us before the first
_WHOLE = re.compile("[0-9]{1,18}")
_FORM = {
    "columns": dict,
    "scalers": {
        str: {
            **dict.fromkeys(("low", "high", "mean", "deviation", "fill"), float),
            "transform": str,
            "has_missing": bool,
        }
    },
    "by_domain": [str],
}
PAIR = ("user", "item")  # raw columns of two domains, see `cross_domain.dataset.RAW`
# Of a feature, a missing cell is an unknown one.
_MAY_LACK = {"int": "category", "id": "code"}


@dataclass(frozen=True)
class Known:
    """A fitted vocabulary: values (n,), text or whole numbers, in the order of their ids first_id,
    first_id + 1, ...; every other value is id 0, 'unknown'.

    category: (ids,) int32 of another field that a value belongs to, of the items of a pair.
    buckets: values are numbers of so many buckets, in which a hash puts what a field has; 0 = none.
    """

    values: np.ndarray
    first_id: int = 1
    category: np.ndarray | None = None
    buckets: int = 0

    @cached_property
    def index(self) -> pd.Index:
        values = np.asarray(self.values)
        text = values.dtype.kind not in "iu"
        return pd.Index(values.astype(object) if text else values, dtype=object if text else None)

    def places(self, column: np.ndarray | pd.Categorical) -> np.ndarray:
        """(N,) positions among the values, -1 for none of them."""
        if isinstance(column, pd.Categorical):
            return self.places(column.categories.to_numpy(object))[column.codes]
        if self.buckets:
            missing = [cell is None or cell == "" or cell == MISSING for cell in column.tolist()]
            column = np.where(missing, MISSING, buckets(column, self.buckets))
        if self.index.dtype != object and column.dtype == object:  # entries of lists are text
            column = [int(c) if c and _WHOLE.fullmatch(c) else MISSING for c in column]
            column = np.array(column, np.int64)
        if len(column) > FEW:
            return self.index.get_indexer(column)
        return np.array([self._place(value) for value in column.tolist()], np.int64)

    def ids(self, column: np.ndarray | pd.Categorical) -> tuple[np.ndarray, np.ndarray]:
        """(N,) int32 ids, and (N,) bool which values are unknown."""
        places = self.places(column)
        return np.where(places < 0, UNKNOWN, places + self.first_id).astype(np.int32), places < 0

    def _place(self, value) -> int:
        try:
            return self.index.get_loc(value)
        except KeyError:
            return -1


@dataclass
class Report:
    """Of one call: rows; unknown: sparse or multi field -> cells of no known value; clipped: dense
    field -> cells outside the fitted range; other_domain: rows scored as another domain."""

    rows: int
    unknown: dict[str, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    other_domain: int = 0


@dataclass(frozen=True)
class Encoders:
    """What the training rows determined.

    columns: the description of raw rows, with the fitted domain; vocabularies: field -> Known, of
    the sparse (without the domain's) and multi fields; scalers: of the dense fields.
    by_domain: sparse fields in which a value of two domains is two values, see `in_domain`.
    """

    columns: Columns
    vocabularies: Mapping[str, Known]
    scalers: Mapping[str, Scaler]
    by_domain: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a row must have."""
        columns = self.columns
        lists = (spec.column for spec in columns.multi)
        domain = () if columns.domain is None else (columns.domain.column,)
        return tuple(dict.fromkeys((*columns.sparse, *lists, *columns.dense, *domain)))

    def example(self, place: int = 0) -> dict:
        """A raw row of known values: of each column the place-th, from the start after the last."""
        row, domain = dict.fromkeys(self.needed), self.columns.domain
        columns = {spec.name: spec.column for spec in self.columns.multi} | {"target_item": "item"}
        for sparse, known in self.vocabularies.items():
            if (name := columns.get(sparse, sparse)) in row and len(known.values):
                value = known.values[place % len(known.values)]
                value = str(value) if known.buckets else value  # a value of some bucket
                row[name] = value.partition(" ")[2] if sparse in self.by_domain else value
        for name, scaler in self.scalers.items():
            row[name] = (scaler.low, scaler.high)[place % 2]
        if domain is not None:
            values = domain.bins or domain.values
            row[domain.column] = values[place % len(values)]
        return {name: _plain(value) for name, value in row.items()}

    def format(self, names: Iterable[str], allow_missing: bool = False) -> FileFormat:
        """How to read rows that have these columns.

        Raises:  DataFormatError: columns are missing, all of which it names; with allow_missing
            they are as if all their cells were missing.
        """
        present, columns = set(names), self.columns
        if (missing := [n for n in self.needed if n not in present]) and not allow_missing:
            files = ",".join(rule.file for rule in columns.join)
            add = f"merge {files} into the rows, which predict.py does with `join={files}`"
            add = add if files else "add them"
            raise DataFormatError(
                f"missing column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}",
                expected=", ".join(self.needed),
                remedy=f"{add}, or let `allow_missing=True` take their cells as missing",
            )
        kinds = {name: columns.kinds[name] for name in self.needed if name in present}
        features = set(columns.sparse) - {columns.domain and columns.domain.column}
        kinds = {n: _MAY_LACK.get(k, k) if n in features else k for n, k in kinds.items()}
        separators = {spec.column: spec.separator for spec in columns.multi}
        return FileFormat(kinds, separators=separators, missing=columns.missing)

    def rows(self, source, allow_missing: bool = False) -> Rows:
        """A DataFrame, dictionaries, or an Arrow table as rows of the reader.

        Raises:  DataFormatError: see `format`; DataValueError: a cell of another kind.
        """
        source = raw_rows.one_row(source)
        none = isinstance(source, list) and not source
        return raw_rows.read(source, self.format(names_of(source), allow_missing or none))

    def encode(
        self, rows: Rows, schema: Schema, unknown_domain: str | None = None
    ) -> tuple[Table, Report]:
        """The table of a schema, its labels 0, and what was not as in training.

        unknown_domain: the domain that scores rows of an unknown one, by its name.
        Raises:  UnknownDomainError; ValueError: no such domain.
        """
        number, report = len(rows), Report(len(rows))
        domain = self._domain(rows, schema, unknown_domain, report)
        sparse = np.empty((number, schema.num_sparse), np.int32)
        for f, name in enumerate(schema.sparse_names):
            known = name != schema.domain_field
            sparse[:, f] = self._ids(name, rows, domain, report) if known else domain
        dense = np.empty((number, schema.num_dense), np.float32)
        for c, name in enumerate(schema.dense_names):
            dense[:, c] = self._numbers(name, rows, report)
        lists = [self._lists(spec, rows, schema, report) for spec in schema.multi]
        table = Table(
            sparse=sparse,
            dense=dense,
            labels=np.zeros((number, len(schema.labels)), np.int8),
            domain=domain,
            row_id=rows.lines.astype(np.int64),
            multi_valued=weighed(lists, schema),
        )
        return table, report

    def _domain(self, rows: Rows, schema: Schema, unknown: str | None, report: Report):
        """(N,) int32"""
        domain, names = self.columns.domain, schema.domain_names
        if unknown is not None and unknown not in names:
            raise ValueError(f"`unknown_domain={unknown}`: known are {', '.join(names)}.")
        if domain is None:
            return np.zeros(len(rows), np.int32)
        column = rows.columns.get(domain.column)
        ids = np.full(len(rows), MISSING) if column is None else domain.ids(column)
        strange = ids == MISSING
        if not strange.any():
            return ids.astype(np.int32)
        if unknown is None:
            row = int(np.argmax(strange))
            raise UnknownDomainError(
                "no known domain",
                file=raw_rows.PLACE,
                column=domain.column,
                line=int(rows.lines[row]),
                value=None if column is None else _plain(column[row]),
                expected=", ".join(names),
                remedy="name a domain to score such rows as, with `unknown_domain`",
            )
        report.other_domain = int(strange.sum())
        return np.where(strange, names.index(unknown), ids).astype(np.int32)

    def _ids(self, name: str, rows: Rows, domain: np.ndarray, report: Report) -> np.ndarray:
        first = next((s for s in self.columns.multi if s.first_only and s.name == name), None)
        column = rows.columns.get(name if first is None else first.column)
        if column is None:
            column = np.full(len(rows), None, object)
        elif first is not None:
            column = split_cells(_categorical(column), first).categorical()
        elif name in self.by_domain:
            column = in_domain(domain, column)
        ids, unknown = self.vocabularies[name].ids(column)
        _count(report.unknown, name, unknown)
        return ids

    def _numbers(self, name: str, rows: Rows, report: Report) -> np.ndarray:
        of_missing = name not in self.scalers  # the column beside one with missing cells
        column = rows.columns.get(name.removesuffix(COMPANION) if of_missing else name)
        if column is None:
            column = np.full(len(rows), np.nan, np.float32)
        if of_missing:
            return np.isnan(column)
        if self.columns.kinds[name] == "float":
            column = column.astype(np.float32)  # as it was in training
        if count := self.scalers[name].outside(column):
            report.clipped[name] = count
        return self.scalers[name].scale(column)

    def _lists(self, spec: FieldSpec, rows: Rows, schema: Schema, report: Report) -> MultiValued:
        of = next(each for each in self.columns.multi if each.name == spec.name)
        of = dataclasses.replace(of, max_len=spec.max_len)
        column = rows.columns.get(of.column)
        texts = np.full(len(rows), "", object) if column is None else column
        raw: RawMultiValued = split_cells(_categorical(texts), of)
        ids, _ = self.vocabularies[spec.name].ids(raw.codes.values.astype(object))
        ids = np.append(ids, np.int32(UNKNOWN))
        vocabulary = Vocabulary(ids, raw.codes.values, spec.vocab_size)
        lists = raw.encode(vocabulary, schema.split.get("fit_on", "train") == "train")
        _count(report.unknown, spec.name, lists.unknown(slice(None)))
        return lists

    def digest(self) -> str:
        """SHA-256 of all that turns raw rows into inputs."""
        content = [json.dumps(self.to_json(), sort_keys=True)]
        for name, known in sorted(self.vocabularies.items()):
            content.append(json.dumps([name, known.first_id, np.asarray(known.values).tolist()]))
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def of(self, schema: Schema) -> "Encoders":
        """These, of the fields that the schema has."""
        columns = self.columns
        names = {spec.name for spec in schema.fields}
        return Encoders(
            dataclasses.replace(
                columns,
                sparse=tuple(n for n in columns.sparse if n in names or n in PAIR),
                dense=tuple(n for n in columns.dense if n in names),
                multi=tuple(spec for spec in columns.multi if spec.name in names),
            ),
            {name: known for name, known in self.vocabularies.items() if name in names},
            {name: scaler for name, scaler in self.scalers.items() if name in names},
            self.by_domain,
        )

    def to_json(self) -> dict:
        """All but the vocabularies, as `from_json` reads it."""
        scalers = {name: dataclasses.asdict(scaler) for name, scaler in self.scalers.items()}
        values = {"columns": self.columns.to_json(), "scalers": scalers}
        return values | {"by_domain": list(self.by_domain)}

    @classmethod
    def from_json(cls, values: Mapping, schema: Schema, arrays: Mapping) -> "Encoders":
        """Of what `to_json` gave.  arrays: "vocab/<field>" -> values, see `Known`.

        Raises:  LookupError, TypeError, ValueError: they are not those of the schema.
        """
        if problem := misfit(values, _FORM):
            raise ValueError(problem)
        scalers = {name: Scaler(**each) for name, each in values["scalers"].items()}
        columns, by_domain = Columns.from_json(values["columns"]), tuple(values["by_domain"])
        made = encoders_of(schema, columns, arrays, scalers, by_domain)
        domain, dense = made.columns.domain, {*scalers, *(n + COMPANION for n in scalers)}
        if strange := [name for name in made.needed if made.columns.kinds[name] not in EXPECTED]:
            raise ValueError(f"no such kind of a column: {strange[0]!r}")
        if domain is not None and tuple(domain.groups or ()) != schema.domain_names:
            raise ValueError("the domains are not those of the schema")
        if lacking := [name for name in schema.dense_names if name not in dense]:
            raise ValueError(f"no scaler of {lacking[0]!r}")
        return made


def encoders_of(
    schema: Schema,
    columns: Columns | None,
    arrays: Mapping,
    scalers: Mapping[str, Scaler],
    by_domain: tuple[str, ...] = (),
) -> Encoders:
    """The encoders of a schema; columns None: rows look like the schema, see `described`.

    arrays: "vocab/<field>" -> the values in the order of their ids; "category/<field>" -> see
        `Known`.
    Raises:  LookupError, ValueError: a vocabulary or a scaler is missing, or not of the schema.
    """
    vocabularies = {}
    for spec in schema.fields:
        if spec.kind in (SPARSE, MULTI) and spec.name != schema.domain_field:
            values = arrays[f"vocab/{spec.name}"]
            first = spec.vocab_size - len(values)
            if first not in (0, 1) or values.ndim != 1:
                raise ValueError(f"{spec.name}: {len(values)} values for {spec.vocab_size} ids")
            category = arrays.get(f"category/{spec.name}")
            size = columns.hash_size if columns and spec.name in columns.hashed else 0
            vocabularies[spec.name] = Known(values, first if len(values) else 1, category, size)
    scalers = {name: scalers[name] for name in schema.dense_names if name in scalers}
    columns = described(schema, vocabularies) if columns is None else columns
    if columns.domain is None and schema.num_domains > 1:  # every file was of one domain
        groups = {name: (name,) for name in schema.domain_names}
        columns = dataclasses.replace(
            columns,
            domain=Domain(DOMAIN_FIELD, groups),
            kinds=columns.kinds | {DOMAIN_FIELD: "code"},
        )
    return Encoders(columns, vocabularies, scalers, by_domain)


def in_domain(domain: np.ndarray | int, values: np.ndarray | pd.Categorical) -> np.ndarray:
    """(N,) text: the number of the domain before each value; "" stays."""
    texts = np.asarray(values, object)
    numbered = np.char.add(np.asarray(domain, "<U20"), " ").astype(object) + texts
    return np.where(texts == "", "", numbered)


def described(schema: Schema, vocabularies: Mapping[str, Known]) -> Columns:
    """The description of raw rows whose columns are called as the fields of the schema."""
    sparse = tuple(name for name in schema.sparse_names if name != schema.domain_field)
    whole = {name: vocabularies[name].values.dtype.kind in "iu" for name in sparse}
    kinds = {name: "category" if whole[name] else "code" for name in sparse}
    kinds |= {spec.name: "text" for spec in schema.multi}
    kinds |= dict.fromkeys(schema.dense_names, "float") | dict.fromkeys(schema.labels, "int")
    multi = tuple(MultiColumn(s.name, s.name, max_len=s.max_len) for s in schema.multi)
    labels = {name: name for name in schema.labels}
    domain = _domain_of_field(schema.domain_names, kinds)
    return Columns(kinds, labels, sparse, schema.dense_names, multi, domain, schema.group)


def _domain_of_field(names: tuple[str, ...], kinds: Mapping[str, str]) -> Domain | None:
    """By the values of a field, where that is what the domains are called, as 301=1 and 301=2|3."""
    parts = [name.partition("=") for name in names]
    column = parts[0][0]
    if column not in kinds or any((field, mark) != (column, "=") for field, mark, _ in parts):
        return None
    kind = int if kinds[column] == "category" else str
    return Domain(column, {n: tuple(map(kind, v.split("|"))) for n, (_, _, v) in zip(names, parts)})


def _categorical(column) -> pd.Categorical:
    return column if isinstance(column, pd.Categorical) else pd.Categorical(column)


def _count(counts: dict[str, int], name: str, which: np.ndarray) -> None:
    if number := int(which.sum()):
        counts[name] = number


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
