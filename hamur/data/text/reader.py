"""The columns of a delimited text or Parquet file: fast when all is well, precise when it is not.

Cells of text are parsed by pandas' C reader in blocks of lines; only where it objects does a
slower path look for the row, the column and the value to name.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.errors import DataValueError, EmptySplitError
from hamur.data.text import lines as text_lines
from hamur.data.text import times
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.blocks import long_line
from hamur.data.text.lines import FileFormat

MISSING = -1
MISSING_WORDS = ("", "NA", "NaN", "nan", "null", "NULL", "None", r"\N")
NAMES = ("id", "text", "code")  # kinds of which cells are names
_DTYPES = {"int": "int64", "category": "int64", "float": "float64", "time": "int64"}
_DTYPES |= dict.fromkeys(NAMES, "category")
MAX_CELL = 1 << 16  # characters of a text
_WHOLE_NUMBER = r"[+-]?(0*[0-9]{1,19}(\.0*)?|\.0+)"
_PATTERNS = {
    "int": _WHOLE_NUMBER,
    "category": f"({_WHOLE_NUMBER})?",
    "float": r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?",
}
EXPECTED = {
    "int": "a whole number >= 0",
    "category": "a whole number >= 0 or nothing",
    "float": "a finite number",
    "time": times.EXPECTED,
    "id": "a name: text or a whole number, and not " + ", ".join(MISSING_WORDS[1:]),
}
_TEXT = f"text of at most {MAX_CELL:,} characters, or a number that a float holds exactly"
EXPECTED |= dict.fromkeys(("text", "code"), _TEXT)
_FLAGS = {"True": "1", "TRUE": "1", "true": "1", "False": "0", "FALSE": "0", "false": "0"}
_SMALL, _EXACT = 1e-8, 2**53
_EXPONENT = re.compile(rb"[0-9.][eE][+-]?[0-9]")

_TYPE = re.compile(r":(token|float)(_seq)?$")
_WHOLE = re.compile(r"(-?\d+)\.0*")

Column = np.ndarray | pd.Categorical


@dataclass(frozen=True)
class Rows:
    """columns: name -> (N,) int64 ("int", "time"), int32 or int64 ("category"), float64 ("float")
    or pandas Categorical (NAMES); lines (N,), their numbers in the file, in Parquet from 1."""

    columns: dict[str, Column]
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def keep(self, good: np.ndarray) -> "Rows":
        """The rows where `good` (N,) bool is set; this object if that is all of them."""
        if good.all():
            return self
        columns = {name: column[good] for name, column in self.columns.items()}
        return Rows(columns, self.lines[good])


@dataclass(frozen=True)
class Cells:
    """A column: values (N,); right (N,) bool, whether the cell may be; show: row -> the cell."""

    values: Column
    right: np.ndarray
    show: Callable[[int], object]


def column_names(path: Path, separator: str = ",") -> list[str]:
    """The columns of a Parquet file, or in the header of a text table, without their types."""
    from hamur.data import parquet

    if parquet.is_parquet(path):
        return parquet.column_names(path)
    return [plain_name(name) for name in text_lines.read_header(path, separator)]


def plain_name(name: str) -> str:
    """A column's name without the type that RecBole's files add, as in "user_id:token"."""
    return _TYPE.sub("", name)


def read_rows(path: Path, file_format: FileFormat, bad_rows: BadRows) -> Rows:
    """All rows of a file, text or Parquet, whose cells have the right form; the others go to
    `bad_rows`.

    Cells of a "category" column that are empty become MISSING.  The caller, who has more to check,
    calls `bad_rows.raise_if_any`.
    Raises:  DataFormatError: separator, encoding; TruncatedFileError; EmptySplitError: no row.
    """
    blocks = list(_blocks(path, file_format, bad_rows))
    if not blocks:
        raise EmptySplitError("the file has no row", file=path, remedy="check how it was made")
    columns = {name: concatenate([b.columns[name] for b in blocks]) for name in file_format.kinds}
    rows = Rows(columns, np.concatenate([block.lines for block in blocks]))
    for name, kind in file_format.kinds.items():
        if kind in ("code", "id"):
            rows = _plain(rows, name, kind, bad_rows)
    bad_rows.rows_read = len(rows) + sum(bad_rows.dropped.values())
    return rows


def _blocks(path: Path, file_format: FileFormat, bad_rows: BadRows) -> Iterator[Rows]:
    from hamur.data import parquet

    if parquet.is_parquet(path):
        last, names = 0, parquet.column_names(path)
        for columns in parquet.read_blocks(path, file_format):
            first, last = last + 1, last + len(next(iter(columns.values())).right)
            lines = np.arange(first, last + 1)
            yield _usable(columns, lines, file_format, names, bad_rows)
            if bad_rows and bad_rows.policy.on_bad_rows == "error":
                return
        return
    names = file_format.names or tuple(column_names(path, file_format.separator))
    checked = False
    skip_header, max_line = file_format.names is None, bad_rows.policy.max_line
    for block, first_line in text_lines.whole_lines(path, skip_header, max_line):
        if not checked:
            text_lines.check_separator(path, block, file_format, len(names))
            checked = True
        yield parse_block(block, first_line, file_format, names, bad_rows)
        if bad_rows and bad_rows.policy.on_bad_rows == "error":
            return  # a later line cannot be the first bad one


def parse_block(
    block: bytes, first_line: int, file_format: FileFormat, names: Sequence[str], bad_rows: BadRows
) -> Rows:
    """The rows of a block of whole lines; those that cannot be used go to `bad_rows`."""
    text_lines.check_bytes(bad_rows.path, block, first_line, file_format)
    block, numbers = text_lines.well_formed(block, first_line, file_format, names, bad_rows)
    text_lines.check_encoding(bad_rows.path, block, numbers, file_format.encoding)
    return _parse(block, numbers, file_format, names, bad_rows)


def _parse(
    block: bytes,
    numbers: np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> Rows:
    """A block of well-formed lines, of these line numbers, as columns."""
    reader = dict(
        sep=file_format.mark.decode(),
        header=None,
        names=names,
        usecols=list(file_format.kinds),
        quoting=csv.QUOTE_MINIMAL if file_format.quoted else csv.QUOTE_NONE,
        encoding=file_format.encoding,
        na_filter=False,
        skip_blank_lines=False,
        lineterminator="\n",
        low_memory=False,
    )
    kinds = file_format.kinds
    if not block:
        return Rows({name: _empty(kind) for name, kind in kinds.items()}, numbers)
    # Without a type pandas says what it has read: whole numbers, or what might have lost digits.
    dtypes = {n: _DTYPES[kind] for n, kind in kinds.items() if _DTYPES[kind] != "int64"}
    try:
        frame = pd.read_csv(io.BytesIO(block), dtype=dtypes, **reader)
    except (ValueError, OverflowError):
        frame = None
    doubts = _Doubts(block, file_format.mark)
    if frame is not None and all(doubts.sound(frame[n], kind) for n, kind in kinds.items()):
        return Rows({name: _values(frame[name], kind) for name, kind in kinds.items()}, numbers)
    frame = pd.read_csv(io.BytesIO(block), dtype=str, **reader)
    columns = {
        name: _parse_cells(frame[name], kind, file_format.time_unit) for name, kind in kinds.items()
    }
    return _usable(columns, numbers, file_format, names, bad_rows)


def _empty(kind: str) -> Column:
    return pd.Categorical([]) if _DTYPES[kind] == "category" else np.empty(0, _DTYPES[kind])


def _values(series: pd.Series, kind: str) -> Column:
    if _DTYPES[kind] == "category":
        return series.array
    return small(series.to_numpy(_DTYPES[kind]), kind)


def small(values: np.ndarray, kind: str) -> np.ndarray:
    """Data sets of many id columns are large: half the memory wherever the ids fit."""
    return (
        values.astype(np.int32) if kind == "category" and values.max(initial=0) < 2**31 else values
    )


class _Doubts:
    """What a block holds that a fast parser may have read otherwise; looked for once at most."""

    def __init__(self, block: bytes, mark: bytes):
        self.block, self.mark = block, mark

    @cached_property
    def exponent(self) -> bool:
        return bool(_EXPONENT.search(self.block))

    @cached_property
    def long_line(self) -> bool:
        return long_line(self.block, MAX_CELL) >= 0

    # pandas counts leading zeros among the 17 digits that it looks at; a float32 has 8.
    @cached_property
    def small(self) -> bool:
        return b"." + 8 * b"0" in self.block

    @cached_property
    def padded(self) -> bool:
        zeros = 9 * b"0"
        starts = (self.mark + zeros, b"\n" + zeros)
        return self.block.startswith(zeros) or any(start in self.block for start in starts)

    @cached_property
    def zeros(self) -> bool:
        return 16 * b"0" in self.block

    def sound(self, series: pd.Series, kind: str) -> bool:
        """Whether the column holds what its text says; if not, a slower reader has to tell."""
        if _DTYPES[kind] == "category":
            return not self.long_line or int(series.cat.categories.str.len().max()) <= MAX_CELL
        values = series.to_numpy()
        if kind != "float" and values.dtype in (np.int64, bool):
            return bool((values >= 0).all())
        if values.dtype != np.float64:
            return False
        size = np.abs(values)
        if kind != "float":
            whole = (values >= 0) & (size < _EXACT) & (values == np.floor(values))
            return bool(whole.all()) and not self.exponent
        least = size.min(initial=np.inf, where=size > 0)
        return (
            bool(np.isfinite(size).all())
            and not self.padded
            and not (least < _SMALL and self.small)
            and not (self.zeros and (size == 0).any())
        )


def _parse_cells(texts: pd.Series, kind: str, unit: str | None) -> Cells:
    """A column of a block with a bad or a missing cell."""
    if kind in NAMES:
        texts = texts.fillna("")
        values, right = pd.Categorical(texts), (texts.str.len() <= MAX_CELL).to_numpy(bool)
    else:
        values, right = numbers(texts, kind, unit)
    return Cells(small(values, kind), right, lambda row: texts.iloc[row])


def _usable(
    columns: dict[str, Cells],
    lines: np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> Rows:
    """The rows of a block without a bad cell."""
    good = np.ones(len(lines), bool)
    for name, kind in file_format.kinds.items():

        def error(row: int, name=name, kind=kind) -> DataValueError:
            value, number = columns[name].show(row), names.index(name) + 1
            return _bad_value(bad_rows, lines[row], name, kind, value, number)

        bad = ~columns[name].right & good
        good &= bad_rows.add_where(bad, lines, f"bad value in {name}", error)
    return Rows({name: column.values for name, column in columns.items()}, lines).keep(good)


def _bad_value(
    bad_rows: BadRows, line: int, name: str, kind: str, value: object, number: int | None = None
) -> DataValueError:
    return DataValueError(
        "not a usable value",
        file=bad_rows.path,
        line=int(line),
        column=name,
        column_number=number,
        value=value,
        expected=EXPECTED[kind],
        remedy=SKIP_REMEDY,
    )


def numbers(texts: pd.Series, kind: str, unit: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Text as numbers, MISSING where it is none or missing; and (N,) bool whether the cell may be.

    unit: of times, see `FileFormat`.
    """
    texts = texts.astype(str).str.strip()
    if kind == "time":
        return times.numbers_of(texts, unit)
    texts = texts.replace(_FLAGS)
    right = texts.str.fullmatch(_PATTERNS[kind]).to_numpy(bool)
    texts = texts.where(right, "0")
    if kind != "float":
        whole = [int(Decimal(text or MISSING)) for text in texts]
        fits = [text == "" or 0 <= number < 2**63 for text, number in zip(texts, whole)]
        whole = [number if fit else 0 for number, fit in zip(whole, fits)]
        return np.array(whole, np.int64), right & np.array(fits, bool)
    values = texts.astype(np.float64).to_numpy()
    return values, right & np.isfinite(values)  # 1e400 looks like a number and is none


def _plain(rows: Rows, name: str, kind: str, bad_rows: BadRows) -> Rows:
    """The rows with plain names in this column: those that print a whole number as 1.0 are the
    number, words like NaN are missing.  A missing id is a bad row."""
    column = rows.columns[name]
    names = pd.Series(column.categories, dtype=object).astype(str)
    missing = names.isin(MISSING_WORDS).to_numpy()
    odd = names.str.fullmatch(_WHOLE.pattern).to_numpy(bool) | missing
    if not odd.any():
        return rows
    plain = names.to_numpy(object)
    plain[missing] = ""
    plain[odd & ~missing] = [_WHOLE.fullmatch(text)[1] for text in names[odd & ~missing]]
    place, distinct = pd.factorize(plain)
    plain = pd.Categorical.from_codes(place[column.codes], distinct)
    rows = Rows(rows.columns | {name: plain}, rows.lines)
    if kind == "code":
        return rows

    def error(row: int) -> DataValueError:
        return _bad_value(bad_rows, rows.lines[row], name, kind, column[row])

    empty = missing[column.codes]
    return rows.keep(bad_rows.add_where(empty, rows.lines, f"bad value in {name}", error))


def concatenate(parts: list[Column]) -> Column:
    """One column from the same column of several blocks or files."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.Categorical):
        return pd.api.types.union_categoricals(parts)
    return np.concatenate(parts)
