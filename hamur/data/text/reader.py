"""The columns of a delimited text file: fast when all is well, precise when it is not.

Values are parsed by pandas' C reader in blocks of lines; only where it objects does a slower path
look for the row, the column and the value to name.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.errors import DataValueError, EmptySplitError
from hamur.data.text import lines as text_lines
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.lines import FileFormat

MISSING = -1
_DTYPES = {"int": "int64", "category": "int64", "float": "float64", "text": "category"}
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

Column = np.ndarray | pd.Categorical


@dataclass(frozen=True)
class Rows:
    """columns: name -> (N,) int64 ("int"), int32 or int64 ("category"), float64 ("float") or
    pandas Categorical ("text"); lines (N,), where they stand in the file."""

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


def read_rows(path: Path, file_format: FileFormat, bad_rows: BadRows) -> Rows:
    """All rows of a file whose cells have the right form; the others go to `bad_rows`.

    Cells of a "category" column that are empty become MISSING.  The caller, who has more to check,
    calls `bad_rows.raise_if_any`.
    Raises:  DataFormatError: separator, encoding; TruncatedFileError; EmptySplitError: no row.
    """
    names = file_format.names or tuple(text_lines.read_header(path, file_format.separator))
    blocks = []
    for block, first_line in text_lines.whole_lines(path, skip_header=file_format.names is None):
        if not blocks:
            text_lines.check_separator(path, block, file_format, len(names))
        blocks.append(parse_block(block, first_line, file_format, names, bad_rows))
        if bad_rows and bad_rows.policy.on_bad_rows == "error":
            break  # a later line cannot be the first bad one
    if not blocks:
        raise EmptySplitError("the file has no row", file=path, remedy="check how it was made")
    columns = {name: _concatenate([b.columns[name] for b in blocks]) for name in file_format.kinds}
    rows = Rows(columns, np.concatenate([block.lines for block in blocks]))
    bad_rows.rows_read = len(rows) + sum(bad_rows.dropped.values())
    return rows


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
    return pd.Categorical([]) if kind == "text" else np.empty(0, _DTYPES[kind])


def _values(series: pd.Series, kind: str) -> Column:
    if kind == "text":
        return series.array
    values = series.to_numpy()
    # Data sets of many id columns are large: half the memory wherever the ids fit.
    small = kind == "category" and values.max(initial=0) < 2**31
    return values.astype(np.int32) if small else values


def _is_sound(column: Column, kind: str) -> bool:
    if kind == "text":
        return True
    return bool(np.isfinite(column).all() if kind == "float" else (column >= 0).all())


def _parse_cells(
    frame: pd.DataFrame,
    numbers: np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> Rows:
    """A block with a bad or a missing cell: all cells as text, judged by pattern."""
    good, columns = np.ones(len(frame), bool), {}
    for name, kind in file_format.kinds.items():
        cells = frame[name].str.strip()
        if kind == "text":
            columns[name] = pd.Categorical(frame[name])
            continue
        right = cells.str.fullmatch(_PATTERNS[kind]).to_numpy(bool)
        if kind == "float":  # 1e400 looks like a number and is none
            right = right & np.isfinite(cells.where(right, "0").astype(np.float64).to_numpy())

        def error(row: int, name=name, kind=kind) -> DataValueError:
            return DataValueError(
                "not a usable value",
                file=bad_rows.path,
                line=int(numbers[row]),
                column=name,
                column_number=names.index(name) + 1,
                value=frame[name].iloc[row],
                expected=_EXPECTED[kind],
                remedy=SKIP_REMEDY,
            )

        good &= bad_rows.add_where(~right & good, numbers, f"bad value in {name}", error)
        cells = cells.where(right, "0").replace("", str(MISSING))
        if kind != "float":
            cells = cells.str.replace(r"\.0*$", "", regex=True)
        columns[name] = _values(cells.astype(_DTYPES[kind]), kind)
    return Rows(columns, numbers).keep(good)


def _concatenate(parts: list[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.Categorical):
        return pd.api.types.union_categoricals(parts)
    return np.concatenate(parts)
