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

from hamur.data import own_columns, parquet
from hamur.data.arrow_cells import LISTS, TEXT, WHOLE, is_of
from hamur.data.columns import Columns, MultiColumn
from hamur.data.text import times
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import column_names, read_blocks
from hamur.errors import DataError, DataValueError

FIRST_ROWS = 1_000_000
MAX_CATEGORIES, MOST_PER_ROW = 1000, 0.1  # of a whole number that is a category
MOST_TEXTS = 0.5  # of the rows; more different texts tell the rows apart and nothing else
_ID = re.compile(r".*(id|code|key|type|category)", re.IGNORECASE)
_UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)?|__index_level_\d+__")
_TIME = re.compile(
    r"(.*_)?ts|.*(time|timestamp)|.*(time|timestamp|ts)_?(s|ms|us|ns)", re.IGNORECASE
)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DIGITS = re.compile(r"[+-]?[0-9]+")  # also 007 and what no int64 holds
_DECIMAL = re.compile(times.NUMBER + r"|[+-]?inf(inity)?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?[0-9]+(\.[0-9]{3})*(,[0-9]+)?")
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")
_MARK = "\x1f"  # between the entries of a list, here only
TIMES = "times"  # why a column is ignored that may be the time
HEADER = ("column", "kind", "why", "distinct", "missing", "examples")


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


def fill(columns: Columns, tables: Sequence[tuple]) -> tuple[Columns, list[Inferred]]:
    """The description with a role for every column that it does not name, and what each column is.

    tables: (source, FileFormat of any kinds) of the rows, or of one of their files, and of each of
    `columns.join`, whose keys are pairs.
    Warns:   UserWarning: a column is ignored.
    """
    keys = [rule.on for rule in columns.join]
    found = _table(*tables[0], columns, {left for left, _ in keys})
    for (_, right), table in zip(keys, tables[1:]):
        found += [each for each in _table(*table, columns, set()) if each.name != right]
    new = [each for each in found if each.why != "named"]
    for each in new:
        if each.kind == "ignored" and not _UNNAMED.fullmatch(each.name):
            text = f"column {each.name!r} is ignored: {each.why}; "
            if each.why == TIMES:
                text += f"`time={each.name!r}` divides the rows by them; "
            text += f"`sparse={each.name!r}` keeps it"
            warnings.warn(text, stacklevel=2)
    sparse, dense, multi, ignored = (
        [each.name for each in new if each.kind == kind]
        for kind in ("sparse", "dense", "multi", "ignored")
    )
    marks = {columns.domain.column: columns.domain.first} if columns.domain else {}
    lists = [MultiColumn(name, separator=marks.get(name) or "|") for name in multi]
    return own_columns.with_roles(columns, sparse, dense, lists, ignored), found


@dataclass
class _Seen:
    """What the first rows hold of one column: the different cells, as text."""

    values: dict[str, None] = field(default_factory=dict)
    missing: int = 0

    def add(self, column: np.ndarray | pd.Categorical) -> None:
        """The cells of a block of rows."""
        if not isinstance(column, pd.Categorical):  # numbers
            column = pd.Categorical(column)
            self.missing += int((column.codes < 0).sum())
            self.values |= dict.fromkeys(map(_number_text, column.categories.tolist()))
            return
        counts = np.bincount(column.codes, minlength=len(column.categories))
        for text in column.categories[counts > 0]:
            self.values |= dict.fromkeys(text.split(_MARK))
        if "" in self.values:
            del self.values[""]
            self.missing += int(counts[column.categories.get_loc("")])

    def all(self, pattern: re.Pattern) -> bool:
        """Whether every value is of this form."""
        return all(map(pattern.fullmatch, self.values))


def _number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _table(source, file_format: FileFormat, columns: Columns, keys: set[str]) -> list[Inferred]:
    """The columns of one table; keys: those that find a partner."""
    types = {}
    if isinstance(source, pa.Table) or parquet.is_parquet(source):
        types = {each.name: each.type for each in parquet.schema_of(parquet.parts(source)[0])}
    form = file_format.separator, file_format.encoding
    names = file_format.names or types or column_names(source, *form)
    kinds = {name: kind for name in names if (kind := _kind_to_read(types.get(name)))}
    separators = {name: _MARK for name, kind in kinds.items() if kind == "text"}
    seen, rows = {name: _Seen() for name in kinds}, 0
    reading = replace(file_format, kinds=kinds, separators=separators)
    # Bad rows are reported by the one who reads all rows.
    bad_rows = BadRows(source if isinstance(source, Path) else Path("table"), Policy("skip", 1.0))
    for block in read_blocks(source, reading, bad_rows):
        for name, each in seen.items():
            each.add(block.columns[name])
        rows += len(block)
        if rows >= FIRST_ROWS:
            break
    if not rows:
        return []
    roles, found = _roles(columns), []
    for name in names:
        each = seen.get(name, _Seen())
        if name in roles:
            kind, why = roles[name], "named"
        elif name not in seen:
            times_of = pa.types.is_timestamp(types[name])
            kind, why = "ignored", TIMES if times_of else f"of the type {types[name]}"
        else:
            kind, why = _judge(name, each, rows, kinds[name], columns, keys)
        examples = tuple(islice(each.values, 3))
        found.append(Inferred(name, kind, why, len(each.values), each.missing, examples))
    return found


def _kind_to_read(held: pa.DataType | None) -> str | None:
    """The kind that gives the cells of any column of this type; None where there is none."""
    if held is None:
        return "code"
    if is_of(held, LISTS):
        return "text" if is_of(held.value_type, (*TEXT, *WHOLE)) else None
    odd = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    if is_of(held, odd) or (pa.types.is_temporal(held) and not pa.types.is_date(held)):
        return None
    return "number" if pa.types.is_floating(held) else "code"


def _roles(columns: Columns) -> dict[str, str]:
    """What the columns are that the description names.

    A group is a feature too, where inference or the description says so, and so is a domain column
    with groups, bins or lists.
    """
    roles = dict.fromkeys(columns.kinds, "read") | dict.fromkeys(columns.sparse, "sparse")
    roles |= dict.fromkeys(columns.dense, "dense") | dict.fromkeys(columns.ignore, "ignored")
    roles |= {spec.column: "multi" for spec in columns.multi}
    domain, split = columns.domain, columns.split
    if domain and columns.domain_feature and not (domain.groups or domain.bins or domain.first):
        roles.setdefault(domain.column, "domain")
    if domain and roles.get(domain.column) == "read":
        roles[domain.column] = "domain"
    if split is not None and split.column is not None:
        roles[split.column] = "split"
    if columns.time is not None:
        roles[columns.time] = "time"
    return roles | dict.fromkeys(columns.label_columns, "label")


def _judge(
    name: str, seen: _Seen, rows: int, kind: str, columns: Columns, keys: set[str]
) -> tuple[str, str]:
    """(kind, why) of a column that the description does not name; rows: of its own table; kind: by
    which it was read."""
    values, domain = seen.values, columns.domain
    divides = domain is not None and domain.column == name
    if _UNNAMED.fullmatch(name):
        return "ignored", "unnamed index"
    if values and _are_times(name, seen, rows):
        return "ignored", TIMES
    if kind == "text" or (divides and domain.first):
        return "multi", "lists"
    if name in keys:
        return "sparse", "key of a join"
    if len(values) <= 1:
        return "ignored", "one value" if values else "no value"
    if divides and domain.bins:
        return "dense", "the domains are bins of it"
    if seen.all(_BOOLEAN):
        return "sparse", "booleans"
    identifies = name == columns.group or _ID.fullmatch(name)
    if _are_whole(seen):
        if identifies:
            return "sparse", "whole numbers, an id"
        few = len(values) <= MAX_CATEGORIES and len(values) < MOST_PER_ROW * rows
        return ("sparse", "whole numbers, few") if few else ("dense", "whole numbers, many")
    if seen.all(_DECIMAL) and not seen.all(_DIGITS):
        return "dense", "decimal numbers"
    comma = seen.all(_COMMA) and not seen.all(_DIGITS)
    why = "numbers with a decimal comma, not a point" if comma else "text"
    if len(values) > MOST_TEXTS * rows and not identifies:
        return "ignored", "text that differs in most rows" if why == "text" else why
    return "sparse", "numbers that only text can hold" if seen.all(_DIGITS) else why


def _are_whole(seen: _Seen) -> bool:
    return seen.all(_WHOLE) and max(abs(int(text)) for text in seen.values) < 2**63


def _are_times(name: str, seen: _Seen, rows: int) -> bool:
    """Whether a column is named like a time and holds whole numbers that are plausible ones, or
    has ISO times that differ in most rows."""
    if seen.all(_ISO):
        return len(seen.values) > MOST_TEXTS * rows
    if not _TIME.fullmatch(name) or not _are_whole(seen):
        return False
    numbers = np.array(list(map(int, seen.values)))
    unit = times.unit_of(numbers)
    return unit is not None and bool(times.is_plausible(numbers, unit).all())


def contradicted(error: DataError, found: Sequence[Inferred]) -> DataError:
    """The error of a cell, with the remedy for a column whose kind was inferred from the rows
    before it."""
    inferred = {each.name for each in found if each.kind == "dense" and each.why != "named"}
    if not isinstance(error, DataValueError) or error.column not in inferred:
        return error
    remedy = f"the column was taken for numbers; if it holds names, `sparse={error.column!r}`"
    return type(error)(**error.parts | {"remedy": remedy})
