"""The columns of a delimited text or Parquet file: fast when all is well, precise when it is not.

Cells of text are parsed by pandas' C reader in blocks of lines; only where it objects does a
slower path look for the row, the column and the value to name.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.errors import DataValueError, EmptySplitError
from hamur.data.text import lines as text_lines
from hamur.data.text import times
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.lines import FileFormat

MISSING = -1
MISSING_WORDS = ("", "NA", "NaN", "nan", "null", "NULL", "None", r"\N")
NAMES = ("id", "text", "code")  # kinds of which cells are names
_DTYPES = {"int": "int64", "category": "int64", "float": "float64", "time": "int64"}
_DTYPES |= dict.fromkeys(NAMES, "category")
_PATTERNS = {
    "int": r"[1-8]?\d{1,18}(\.0*)?",
    "category": r"([1-8]?\d{1,18}(\.0*)?)?",
    "float": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
}
EXPECTED = {
    "int": "a whole number >= 0",
    "category": "a whole number >= 0 or nothing",
    "float": "a finite number",
    "time": times.EXPECTED,
    "id": "a name: text or a whole number, and not " + ", ".join(MISSING_WORDS[1:]),
}
EXPECTED |= dict.fromkeys(("text", "code"), "text, or a number that a float holds exactly")

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
    for block, first_line in text_lines.whole_lines(path, skip_header=file_format.names is None):
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
    text_lines.check_no_nul(bad_rows.path, block, first_line)
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
    )
    if not block:
        return Rows({name: _empty(kind) for name, kind in file_format.kinds.items()}, numbers)
    dtypes = {name: _DTYPES[kind] for name, kind in file_format.kinds.items()}
    try:
        with np.errstate(invalid="ignore"):  # "inf" where a whole number has to be
            frame = pd.read_csv(io.BytesIO(block), dtype=dtypes, **reader)
    except (ValueError, OverflowError):
        sound = False
    else:
        columns = {name: _values(frame[name], kind) for name, kind in file_format.kinds.items()}
        sound = all(_is_sound(columns[name], kind) for name, kind in file_format.kinds.items())
    if sound:
        return Rows(columns, numbers)
    frame = pd.read_csv(io.BytesIO(block), dtype=str, **reader)
    columns = {
        name: _parse_cells(frame[name], kind, file_format.time_unit)
        for name, kind in file_format.kinds.items()
    }
    return _usable(columns, numbers, file_format, names, bad_rows)


def _empty(kind: str) -> Column:
    return pd.Categorical([]) if _DTYPES[kind] == "category" else np.empty(0, _DTYPES[kind])


def _values(series: pd.Series, kind: str) -> Column:
    if _DTYPES[kind] == "category":
        return series.array
    return small(series.to_numpy(), kind)


def small(values: np.ndarray, kind: str) -> np.ndarray:
    """Data sets of many id columns are large: half the memory wherever the ids fit."""
    return (
        values.astype(np.int32) if kind == "category" and values.max(initial=0) < 2**31 else values
    )


def _is_sound(column: Column, kind: str) -> bool:
    if _DTYPES[kind] == "category":
        return True
    return bool(np.isfinite(column).all() if kind == "float" else (column >= 0).all())


def _parse_cells(texts: pd.Series, kind: str, unit: str | None) -> Cells:
    """A column of a block with a bad or a missing cell."""
    if kind in NAMES:
        values, right = pd.Categorical(texts.fillna("")), np.ones(len(texts), bool)
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
    right = texts.str.fullmatch(_PATTERNS[kind]).to_numpy(bool)
    texts = texts.where(right, "0").replace("", str(MISSING))
    if kind != "float":
        return texts.str.replace(r"\.0*$", "", regex=True).astype(np.int64).to_numpy(), right
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
