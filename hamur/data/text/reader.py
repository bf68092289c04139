"""The columns of a delimited text or Parquet file: fast when all is well, precise when it is not.

Cells of text are parsed by pandas' C reader in blocks of lines; only where it objects does a
slower path look for the row, the column and the value to name.
"""

import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data import parquet
from hamur.data.text import lines as text_lines
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.cells import (
    DTYPES,
    EXPECTED,
    MAX_CELL,
    MISSING_WORDS,
    NAMES,
    Cells,
    Column,
    Doubts,
    numbers,
    small,
)
from hamur.data.text.lines import FileFormat
from hamur.errors import DataFormatError, DataValueError, EmptySplitError

_TYPE = re.compile(r":(token|float)(_seq)?$")
_WHOLE = re.compile(r"(-?\d+)\.0*")


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


def column_names(path: Path, separator: str = ",") -> list[str]:
    """The columns of a Parquet file, or in the header of a text table, without their types."""
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
    for name in file_format.kinds:
        if names.count(name) > 1:
            raise DataFormatError(
                "two columns of one name", file=path, line=1, column=name, remedy="rename one"
            )
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
        # Columns that nobody reads may have any names, also equal ones.
        names=[name if name in file_format.kinds else n for n, name in enumerate(names)],
        usecols=list(file_format.kinds),
        quoting=csv.QUOTE_MINIMAL if file_format.quoted else csv.QUOTE_NONE,
        encoding=file_format.encoding,
        na_filter=False,
        skip_blank_lines=False,
        lineterminator="\n",
    )
    kinds = file_format.kinds
    if not block:
        return Rows({name: _empty(kind) for name, kind in kinds.items()}, numbers)
    # Without a type pandas says what it has read: whole numbers, or what might have lost digits.
    dtypes = {n: DTYPES[kind] for n, kind in kinds.items() if DTYPES[kind] != "int64"}
    try:
        with warnings.catch_warnings():  # of text among numbers
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            frame = pd.read_csv(io.BytesIO(block), dtype=dtypes, **reader)
    except (ValueError, OverflowError):
        frame = None
    doubts = Doubts(block, file_format.mark)
    if frame is not None and all(doubts.sound(frame[n], kind) for n, kind in kinds.items()):
        return Rows({name: _values(frame[name], kind) for name, kind in kinds.items()}, numbers)
    frame = pd.read_csv(io.BytesIO(block), dtype=str, **reader)
    columns = {
        name: _parse_cells(frame[name], kind, file_format.time_unit) for name, kind in kinds.items()
    }
    return _usable(columns, numbers, file_format, names, bad_rows)


def _empty(kind: str) -> Column:
    return pd.Categorical([]) if DTYPES[kind] == "category" else np.empty(0, DTYPES[kind])


def _values(series: pd.Series, kind: str) -> Column:
    if DTYPES[kind] == "category":
        return series.array
    return small(series.to_numpy(DTYPES[kind]), kind)


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


def _plain(rows: Rows, name: str, kind: str, bad_rows: BadRows) -> Rows:
    """The rows with plain names in this column: those that print a whole number as 1.0 are the
    number, blanks and words like NaN are missing.  A missing id is a bad row."""
    column = rows.columns[name]
    names = pd.Series(column.categories, dtype=object).astype(str)
    missing = (names.isin(MISSING_WORDS) | names.str.isspace()).to_numpy(bool)
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
