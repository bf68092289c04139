"""What the columns that nobody named may be, from the first rows of a table."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hamur.data import parquet
from hamur.data.columns import Columns, MultiColumn
from hamur.data.label_rules import parse_label
from hamur.data.text import times
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import column_names, read_blocks
from hamur.errors import DataError, DataValueError

FIRST_ROWS = 1_000_000
MAX_CATEGORIES, MOST_PER_ROW = 1000, 0.1  # of a whole number that is a category
MOST_TEXTS = 0.5  # of the rows; more different texts tell the rows apart and nothing else
_ID = re.compile(r"(id|code|key|type|category)$", re.IGNORECASE)
_UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)?|__index_level_\d+__")
_TIME = re.compile(r"((^|_)ts|time|timestamp|(time|timestamp|ts)_?(s|ms|us|ns))$", re.IGNORECASE)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_PADDED = re.compile(r"[+-]?0[0-9]+")  # a number that printed again would be another text
_DIGITS = re.compile("[+-]?[0-9]+")
_DECIMAL = re.compile(times.NUMBER + r"|[+-]?inf(inity)?", re.IGNORECASE)
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")
_TIMES = "times; `time={!r}` divides the rows by them"
_MARK = "\x1f"  # between the entries of a list, here only


@dataclass(frozen=True)
class Inferred:
    """A column: kind "sparse", "dense", "multi" or "ignored", or its role; why: the rule that said
    so; distinct: values; missing: cells; of the first rows."""

    name: str
    kind: str
    why: str
    distinct: int = 0
    missing: int = 0
    examples: tuple[str, ...] = ()

    @property
    def cells(self) -> list[str]:
        """Of a printed table with the header HEADER."""
        shown = ", ".join(text if len(text) <= 20 else text[:17] + "..." for text in self.examples)
        return [self.name, self.kind, self.why, f"{self.distinct:,}", f"{self.missing:,}", shown]


HEADER = ("column", "kind", "why", "distinct", "missing", "examples")


@dataclass
class _Seen:
    """What the first rows hold of one column; values: the different cells, as text, in the order of
    their appearance."""

    values: dict[str, None] = field(default_factory=dict)
    missing: int = 0

    def add(self, column: np.ndarray | pd.Categorical) -> None:
        """The cells of a block of rows."""
        if not isinstance(column, pd.Categorical):  # numbers
            missing = np.isnan(column)
            self.missing += int(missing.sum())
            self.values |= dict.fromkeys(map(_number_text, pd.unique(column[~missing]).tolist()))
            return
        counts = np.bincount(column.codes, minlength=len(column.categories))
        for text, count in zip(column.categories, counts.tolist()):
            if text == "":
                self.missing += count
            elif count and _MARK in text:
                self.values |= dict.fromkeys(text.split(_MARK))
            elif count:
                self.values[text] = None

    def all(self, pattern: re.Pattern) -> bool:
        """Whether every value is of this form."""
        return all(map(pattern.fullmatch, self.values))


def _number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def fill(columns: Columns, tables: Sequence[tuple]) -> tuple[Columns, list[Inferred]]:
    """The description with a role for every column that it does not name, and what each column is.

    tables: (source, FileFormat of any kinds) of the rows, or of one of their files, and of each of
    `columns.join`.
    Warns:   UserWarning: a column is ignored.
    """
    found: list[Inferred] = []
    keys = [_both(rule.on) for rule in columns.join]
    for number, (source, file_format) in enumerate(tables):
        joined = keys[number - 1][1] if number else None
        left = {left for left, _ in keys} if not number else set()
        found += _table(source, file_format, columns, left, joined)
    for each in found:
        if each.kind == "ignored" and not _UNNAMED.fullmatch(each.name) and each.why != "named":
            warnings.warn(
                f"column {each.name!r} is ignored: {each.why}; `sparse={each.name!r}` keeps it",
                stacklevel=2,
            )
    return _completed(columns, found), found


def _both(on: str | tuple[str, str]) -> tuple[str, str]:
    return (on, on) if isinstance(on, str) else tuple(on)


def _table(
    source, file_format: FileFormat, columns: Columns, keys: set[str], joined: str | None
) -> list[Inferred]:
    """The columns of one table; keys: those that find a partner; joined: its own one, if any."""
    types = _arrow_types(source)
    names = file_format.names or types or column_names(source, file_format.separator)
    names = [name for name in names if name != joined]
    readable = {name: kind for name in names if (kind := _kind_to_read(types.get(name)))}
    separators = {name: _MARK for name in readable if _is_list(types.get(name))}
    seen, rows = {name: _Seen() for name in readable}, 0
    reading = replace(file_format, kinds=readable, separators=separators)
    # Bad rows are reported by the one who reads all rows.
    bad_rows = BadRows(source if isinstance(source, Path) else Path("table"), Policy("skip", 1.0))
    for block in read_blocks(source, reading, bad_rows):
        for name, each in seen.items():
            each.add(block.columns[name])
        rows += len(block)
        if rows >= FIRST_ROWS:
            break
    if not rows:
        return []  # the one who reads all rows says why
    roles = _roles(columns)
    found = []
    for name in names:
        each = seen.get(name, _Seen())
        kind, why = roles.get(name) or _judge(name, each, rows, types.get(name), columns, keys)
        examples = tuple(islice(each.values, 3))
        found.append(Inferred(name, kind, why, len(each.values), each.missing, examples))
    return found


def _roles(columns: Columns) -> dict[str, tuple[str, str]]:
    """column -> (kind, why) of the columns that the description names.

    A group is a feature too, where inference or the description says so, and so is a domain column
    with groups or bins.
    """
    roles = dict.fromkeys(columns.kinds, ("read", "named"))
    roles |= dict.fromkeys(columns.sparse, ("sparse", "named"))
    roles |= dict.fromkeys(columns.dense, ("dense", "named"))
    roles |= {spec.column: ("multi", "named") for spec in columns.multi}
    roles |= dict.fromkeys(columns.ignore, ("ignored", "named"))
    domain, split = columns.domain, columns.split
    if domain and columns.domain_feature and not (domain.groups or domain.bins or domain.first):
        roles.setdefault(domain.column, ("domain", "named"))
    if split is not None and split.column is not None:
        roles[split.column] = ("split", "named")
    if columns.time is not None:
        roles[columns.time] = ("time", "named")
    return roles | {parse_label(rule)[0]: ("label", "named") for rule in columns.labels.values()}


def _arrow_types(source) -> dict[str, pa.DataType]:
    """Name -> type of a table in memory or a Parquet file; of text, none."""
    if not isinstance(source, pa.Table) and not parquet.is_parquet(source):
        return {}
    schema = parquet.schema_of(parquet.parts(source)[0])
    return dict(zip(schema.names, schema.types))


def _is_list(held: pa.DataType | None) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return held is not None and any(check(held) for check in lists)


def _kind_to_read(held: pa.DataType | None) -> str | None:
    """The kind that gives the cells of any column of this type, None where there is none."""
    if held is None:
        return "code"
    if _is_list(held):
        inner, text = held.value_type, (pa.types.is_string, pa.types.is_large_string)
        good = any(check(inner) for check in (*text, pa.types.is_integer))
        return "text" if good else None
    if pa.types.is_nested(held) or pa.types.is_binary(held) or pa.types.is_large_binary(held):
        return None
    if pa.types.is_temporal(held) and not pa.types.is_date(held):
        return None
    return "number" if pa.types.is_floating(held) else "code"


def _judge(
    name: str,
    seen: _Seen,
    rows: int,
    held: pa.DataType | None,
    columns: Columns,
    keys: set[str],
) -> tuple[str, str]:
    """(kind, why) of a column that the description does not name; rows: of its own table."""
    distinct = len(seen.values)
    if _UNNAMED.fullmatch(name):
        return "ignored", "unnamed index"
    if held is not None and _kind_to_read(held) is None:
        if pa.types.is_temporal(held):
            return "ignored", _TIMES.format(name)
        return "ignored", f"the type {held} has no kind"
    if _is_list(held):
        return "multi", "lists"
    if columns.domain is not None and name == columns.domain.column and columns.domain.first:
        return "multi", "the domains are the first of its values"
    if name in keys:
        return "sparse", "key of a join"
    if distinct <= 1:
        return "ignored", "one value" if distinct else "no value"
    if columns.domain is not None and columns.domain.bins and name == columns.domain.column:
        return "dense", "the domains are bins of it"
    if seen.all(_BOOLEAN):
        return "sparse", "booleans"
    identifies = bool(_ID.search(name)) or name == columns.group
    padded = any(map(_PADDED.fullmatch, seen.values))
    if not padded and seen.all(_WHOLE) and max(map(_size, seen.values)) < 2**63:
        return _whole(name, seen, rows, identifies)
    if not seen.all(_DIGITS) and seen.all(_DECIMAL):
        return "dense", "decimal numbers"
    if distinct > MOST_TEXTS * rows and not identifies:
        iso = seen.all(_ISO)
        return "ignored", _TIMES.format(name) if iso else "text that differs in most rows"
    return "sparse", "numbers that only text can hold" if seen.all(_DIGITS) else "text"


def _size(text: str) -> int:
    return abs(int(text))


def _whole(name: str, seen: _Seen, rows: int, identifies: bool) -> tuple[str, str]:
    distinct = len(seen.values)
    if identifies:
        return "sparse", "whole numbers, an id by its name"
    numbers = np.array(list(map(int, seen.values)), np.int64)
    unit = times.unit_of(numbers) if _TIME.search(name) else None
    if unit and times.is_plausible(numbers, unit).all():
        return "ignored", _TIMES.format(name)
    if distinct <= MAX_CATEGORIES and distinct < MOST_PER_ROW * rows:
        return "sparse", "whole numbers, few"
    return "dense", "whole numbers, many"


def _completed(columns: Columns, found: Sequence[Inferred]) -> Columns:
    """With the inferred columns behind the named ones, in the order of the tables."""
    new = [each for each in found if each.why != "named"]
    named = {kind: tuple(e.name for e in new if e.kind == kind) for kind in ("sparse", "dense")}
    marks = {columns.domain.column: columns.domain.first} if columns.domain else {}
    multi = (
        MultiColumn(each.name, separator=marks.get(each.name) or "|")
        for each in new
        if each.kind == "multi"
    )
    return replace(
        columns,
        sparse=columns.sparse + named["sparse"],
        dense=columns.dense + named["dense"],
        multi=(*columns.multi, *multi),
        ignore=columns.ignore + tuple(each.name for each in new if each.kind == "ignored"),
    )


def contradicted(error: DataError, found: Sequence[Inferred]) -> DataError:
    """The error of a cell, with the remedy for a column whose kind was inferred from the rows
    before it."""
    inferred = {each.name for each in found if each.kind == "dense" and each.why != "named"}
    if not isinstance(error, DataValueError) or error.column not in inferred:
        return error
    remedy = f"the column was taken for numbers; if it holds names, `sparse={error.column!r}`"
    return type(error)(**error.parts | {"remedy": remedy})
