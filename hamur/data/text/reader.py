"""The columns of a delimited text or Parquet file: fast when all is well, precise when it is not.

Cells of text are parsed by pandas' C reader in blocks of lines; only where it objects does a
slower path look for the row, the column and the value to name.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.errors import DataFormatError, DataValueError, EmptySplitError
from hamur.data.text import lines as text_lines
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.lines import FileFormat

MISSING = -1
PARQUET = ".parquet"
_DTYPES = {"int": "int64", "category": "int64", "float": "float64"}
_DTYPES |= {"text": "category", "code": "category"}
_PATTERNS = {
    "int": r"\d{1,18}(\.0*)?",
    "category": r"(\d{1,18}(\.0*)?)?",
    "float": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
}
_EXPECTED = {
    "int": "a whole number >= 0",
    "category": "a whole number >= 0 or nothing",
    "float": "a finite number",
}

_WHOLE = re.compile(r"(-?\d+)\.0*")

Column = np.ndarray | pd.Categorical


@dataclass(frozen=True)
class Rows:
    """columns: name -> (N,) int64 ("int"), int32 or int64 ("category"), float64 ("float") or
    pandas Categorical ("text", "code"); lines (N,), their numbers in the file."""

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
    """The columns of a Parquet file, or in the header of a text table."""
    if path.suffix != PARQUET:
        return text_lines.read_header(path, separator)
    import pyarrow.parquet

    with _named_errors(path):
        return pyarrow.parquet.read_schema(path).names


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
    for name, kind in file_format.kinds.items():
        if kind == "code":
            columns[name] = _plain(columns[name])
    rows = Rows(columns, np.concatenate([block.lines for block in blocks]))
    bad_rows.rows_read = len(rows) + sum(bad_rows.dropped.values())
    return rows


def _blocks(path: Path, file_format: FileFormat, bad_rows: BadRows) -> Iterator[Rows]:
    if path.suffix == PARQUET:
        yield from _parquet_rows(path, file_format, bad_rows)
        return
    names = file_format.names or tuple(text_lines.read_header(path, file_format.separator))
    checked = False
    for block, first_line in text_lines.whole_lines(path, skip_header=file_format.names is None):
        if not checked:
            text_lines.check_separator(path, block, file_format, len(names))
            checked = True
        yield parse_block(block, first_line, file_format, names, bad_rows)
        if bad_rows and bad_rows.policy.on_bad_rows == "error":
            return  # a later line cannot be the first bad one


def _parquet_rows(path: Path, file_format: FileFormat, bad_rows: BadRows) -> Iterator[Rows]:
    """Rows of a Parquet file; their lines count from 1."""
    import pyarrow.parquet

    with _named_errors(path):
        frame = pyarrow.parquet.read_table(path, columns=list(file_format.kinds)).to_pandas()
    if len(frame):
        lines = np.arange(1, len(frame) + 1)
        yield _parse_cells(frame, lines, file_format, column_names(path), bad_rows)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except pyarrow.ArrowInvalid as error:
        raise DataFormatError(
            f"no Parquet file ({str(error).splitlines()[0]})", file=path, remedy="write it again"
        ) from None


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
    return _parse_cells(frame, numbers, file_format, names, bad_rows)


def _empty(kind: str) -> Column:
    return pd.Categorical([]) if _DTYPES[kind] == "category" else np.empty(0, _DTYPES[kind])


def _values(series: pd.Series, kind: str) -> Column:
    if _DTYPES[kind] == "category":
        return series.array
    values = series.to_numpy()
    # Data sets of many id columns are large: half the memory wherever the ids fit.
    small = kind == "category" and values.max(initial=0) < 2**31
    return values.astype(np.int32) if small else values


def _is_sound(column: Column, kind: str) -> bool:
    if _DTYPES[kind] == "category":
        return True
    return bool(np.isfinite(column).all() if kind == "float" else (column >= 0).all())


def _parse_cells(
    frame: pd.DataFrame,
    lines: np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> Rows:
    """The rows of a block with a bad or a missing cell, all cells as text; or of Parquet."""
    good, columns = np.ones(len(frame), bool), {}
    for name, kind in file_format.kinds.items():
        cells = frame[name]
        if _DTYPES[kind] == "category":
            columns[name] = pd.Categorical(cells.astype(str).where(cells.notna(), ""))
            continue
        numbers = isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iuf"
        values, right = (_check_numbers if numbers else _check_text)(cells, kind)
        columns[name] = _values(pd.Series(values, dtype=_DTYPES[kind]), kind)

        def error(row: int, name=name, kind=kind, cells=cells) -> DataValueError:
            return DataValueError(
                "not a usable value",
                file=bad_rows.path,
                line=int(lines[row]),
                column=name,
                column_number=names.index(name) + 1,
                value=cells.iloc[row : row + 1].tolist()[0],
                expected=_EXPECTED[kind],
                remedy=SKIP_REMEDY,
            )

        good &= bad_rows.add_where(~right & good, lines, f"bad value in {name}", error)
    return Rows(columns, lines).keep(good)


def _check_text(cells: pd.Series, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Text as numbers, MISSING where it is none or empty; and (N,) bool whether the cell may be."""
    cells = cells.astype(str).where(cells.notna(), "").str.strip()
    right = cells.str.fullmatch(_PATTERNS[kind]).to_numpy(bool)
    cells = cells.where(right, "0").replace("", str(MISSING))
    if kind != "float":
        return cells.str.replace(r"\.0*$", "", regex=True).astype(np.int64).to_numpy(), right
    values = cells.astype(np.float64).to_numpy()
    return values, right & np.isfinite(values)  # 1e400 looks like a number and is none


def _check_numbers(cells: pd.Series, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The same of cells that are numbers already, NaN for missing ones."""
    values = cells.to_numpy()
    right = np.isfinite(values)
    if kind != "float":
        right &= (values >= 0) & (values == np.floor(values))
    values = np.where(right, values, MISSING)
    return values, right | (cells.isna().to_numpy() & (kind == "category"))


def _plain(column: pd.Categorical) -> pd.Categorical:
    """Cells that print a whole number as 1.0 are the number."""
    names = [str(name) for name in column.categories]
    names = [match[1] if (match := _WHOLE.fullmatch(name)) else name for name in names]
    distinct, place = np.unique(np.array(names, dtype=str), return_inverse=True)
    return pd.Categorical.from_codes(place[column.codes], distinct)


def concatenate(parts: list[Column]) -> Column:
    """One column from the same column of several blocks or files."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.Categorical):
        return pd.api.types.union_categoricals(parts)
    return np.concatenate(parts)
