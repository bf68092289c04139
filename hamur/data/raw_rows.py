"""Rows that are in memory already, a DataFrame, dictionaries or an Arrow table, as rows of the
reader: every cell is read as the same cell of a CSV file would be."""

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Number
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.cells import LARGEST, MAX_CELL, MISSING, MISSING_WORDS, NAMES
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import Rows, read_rows
from hamur.errors import DataFormatError, DataValueError

PLACE = Path("rows")  # what errors say instead of a file's name
FEW = 64  # dictionaries that are read cell by cell: others need 2 ms before the first
_ODD = re.compile(r"\s*|-?\d+\.0*|(?s:.*\0.*)")  # text that is not what it looks like
_REMEDY = "pass a DataFrame, an Arrow table, or a list of dictionaries"


def names_of(source) -> list[str]:
    """The columns of the rows.

    Raises:  DataFormatError: no rows of a table; two columns of one name.
    """
    source = [source] if isinstance(source, Mapping) else source
    if _is_dictionaries(source):
        return list(dict.fromkeys(name for row in source for name in row))
    columns = getattr(source, "column_names", None)  # of Arrow
    columns = getattr(source, "columns", None) if columns is None else columns
    if columns is None:
        problem = f"rows are a {type(source).__name__}"
        raise DataFormatError(problem, expected="a table", remedy=_REMEDY)
    names = [str(name) for name in columns]
    for name in names:
        if names.count(name) > 1:
            raise DataFormatError(f"two columns {name!r}", column=name, remedy="rename one")
    return names


def read(source, file_format: FileFormat) -> Rows:
    """The columns of the format; lines count the rows from 1.

    Raises:  DataValueError: a cell that its kind cannot have; names row and column.
    """
    source = [source] if isinstance(source, Mapping) else source
    if _is_dictionaries(source) and len(source) <= FEW:
        columns = {name: _few(source, name, kind) for name, kind in file_format.kinds.items()}
        if all(column is not None for column in columns.values()):
            return Rows(columns, np.arange(1, len(source) + 1))
    table, bad_rows = arrow_table(source, file_format), BadRows(PLACE, Policy())
    rows = read_rows(table, file_format, bad_rows)
    bad_rows.raise_if_any()
    return rows


def arrow_table(source, file_format: FileFormat) -> pa.Table:
    """The columns of the format of rows of any form."""
    if _is_dictionaries(source):
        columns = {name: [row.get(name) for row in source] for name in file_format.kinds}
        return pa.table({n: _texts(c, n, file_format) for n, c in columns.items()})
    if hasattr(source, "to_arrow"):  # polars
        source = source.to_arrow()
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if isinstance(source, pd.DataFrame):
        frame = source.set_axis([str(name) for name in source.columns], axis=1)
        columns = {name: _of_pandas(frame[name], name, file_format) for name in file_format.kinds}
        return pa.table(columns)
    return source.select(list(file_format.kinds))


def _is_dictionaries(source) -> bool:
    return isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source)


def _of_pandas(column: pd.Series, name: str, file_format: FileFormat) -> pa.Array:
    try:
        array = pa.Array.from_pandas(column)
    except (pa.ArrowException, OverflowError):  # cells of several types
        return _texts(column.tolist(), name, file_format)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _texts(cells: list, name: str, file_format: FileFormat) -> pa.Array:
    """The cells as a CSV file would have them."""
    separator = file_format.separators.get(name)
    try:
        return pa.array([_text(cell, separator) for cell in cells], pa.large_string())
    except (TypeError, ValueError):
        for row, cell in enumerate(cells, 1):
            _check(cell, separator, row, name)
        raise


def _text(cell, separator: str | None) -> str | None:
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell is pd.NaT or cell != cell:
        return None
    if isinstance(cell, (str, Number)):
        return str(cell)
    if isinstance(cell, (datetime.date, datetime.datetime)):
        return cell.isoformat()
    if separator is not None and isinstance(cell, (list, tuple, np.ndarray)):
        parts = [_text(each, None) for each in cell]
        if None not in parts and not any(separator in part for part in parts):
            return separator.join(parts)
    raise TypeError


def _check(cell, separator: str | None, row: int, name: str) -> None:
    """Raises DataValueError where the cell has no text."""
    try:
        pa.array([_text(cell, separator)], pa.large_string())
    except (TypeError, ValueError):
        raise DataValueError(
            "not a usable value",
            file=PLACE,
            line=row,
            column=name,
            value=cell,
            expected="text, a number, or nothing",
            remedy="correct the row",
        ) from None


def _few(rows: Sequence[Mapping], name: str, kind: str) -> np.ndarray | None:
    """The column of a few rows; None where a cell needs the care of the reader."""
    cells = [row.get(name) for row in rows]
    if kind in NAMES:
        cells = [_name(cell, kind) for cell in cells]
        return None if None in cells else np.array(cells, object)
    if kind in ("int", "category"):
        missing = kind == "category"
        if not all((type(c) is int and 0 <= c < 2**63) or (c is None and missing) for c in cells):
            return None
        return np.array([MISSING if cell is None else cell for cell in cells], np.int64)
    if kind not in ("float", "number"):
        return None
    cells = [math.nan if cell is None and kind == "number" else cell for cell in cells]
    if not all(type(cell) in (int, float) and not abs(cell) > LARGEST for cell in cells):
        return None
    column = np.array(cells, np.float64)
    return column if kind == "number" or not np.isnan(column).any() else None


def _name(cell, kind: str) -> str | None:
    """Plain text of a cell, None where it is odd."""
    if type(cell) is int:
        return str(cell) if -(2**63) <= cell < 2**63 else None
    if cell is None and kind != "id":
        return ""
    if type(cell) is not str or len(cell) > MAX_CELL or _ODD.fullmatch(cell):
        return None
    return None if cell in MISSING_WORDS else cell
