"""Rows in memory, as the reader of files gives them: a DataFrame, an Arrow table, dictionaries."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.frames import as_arrow, columns_of
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows, Policy
from hamur.data.text.cells import LARGEST, MAX_CELL, MISSING, MISSING_WORDS, NAMES
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import Rows, read_rows
from hamur.errors import DataError

PLACE = Path("rows")  # what errors say instead of a file's name
FEW = 512  # rows that are read cell by cell: the reader needs 2 ms before the first row
# Text that is not what it looks like.
_ODD = re.compile(r"\s*|-?\d+\.0*|true|TRUE|false|FALSE|-0|(?s:.*[\0\ud800-\udfff].*)")
_REMEDY = "correct the row"


def one_row(source):
    """A dictionary of cells as the list of it; else the source itself."""
    cells = isinstance(source, Mapping) and not any(
        isinstance(value, (Sequence, np.ndarray, pd.Series)) and not isinstance(value, str)
        for value in source.values()
    )
    return [source] if cells else source


def read(source, file_format: FileFormat) -> Rows:
    """The columns of the format, whatever the others hold; lines count the rows from 1.

    Raises:  DataError: a cell that its kind cannot have; names row and column.
    """
    kinds = file_format.kinds
    if not kinds and isinstance(source, (list, tuple)):  # whose rows have none of the columns
        return Rows({}, np.arange(1, len(source) + 1))
    columns = [(name, values) for name, values in columns_of(source) if name in kinds]
    sizes = {len(values) if isinstance(values, Sized) else None for _, values in columns}
    rows = sizes.pop() if len(sizes) == 1 and len(columns) == len(kinds) else None
    if rows and rows <= FEW and file_format.missing == MISSING_WORDS:
        few = {name: _few(values, kinds[name]) for name, values in columns}
        if all(column is not None for column in few.values()):
            return Rows(few, np.arange(1, rows + 1))
    bad_rows = BadRows(PLACE, Policy())
    try:
        rows = read_rows(as_arrow(source, kinds), file_format, bad_rows)
        bad_rows.raise_if_any()
    except DataError as error:
        if error.remedy != SKIP_REMEDY:
            raise
        raise type(error)(**error.parts | {"remedy": _REMEDY}) from None
    return rows


def _few(values: Iterable, kind: str) -> np.ndarray | None:
    """A column of a few rows; None where a cell needs the care of the reader."""
    as_list = getattr(values, "to_pylist", None) or getattr(values, "tolist", None)
    cells = as_list() if as_list else values
    if kind in NAMES:
        cells = [_name(cell, kind) for cell in cells]
        return None if None in cells else np.array(cells, object)
    if kind in ("int", "category"):
        cells = [_whole(cell, kind) for cell in cells]
        return None if None in cells else np.array(cells, np.int64)
    if kind not in ("float", "number"):
        return None
    cells = [math.nan if cell is None and kind == "number" else cell for cell in cells]
    if not all(type(cell) in (int, float) and not abs(cell) > LARGEST for cell in cells):
        return None
    column = np.array(cells, np.float64)
    return column if kind == "number" or not np.isnan(column).any() else None


def _whole(cell, kind: str) -> int | None:
    """The number of a plain cell, None where it is odd."""
    if cell is None and kind == "category":
        return MISSING
    if type(cell) is str and cell.isascii() and cell.isdigit() and len(cell) < 19:
        cell = int(cell)
    return cell if type(cell) is int and 0 <= cell < 2**63 else None


def _name(cell, kind: str) -> str | None:
    """Plain text of a cell, None where it is odd."""
    if type(cell) is int:
        return str(cell) if -(2**63) <= cell < 2**63 else None
    if cell is None and kind != "id":
        return ""
    if type(cell) is not str or len(cell) > MAX_CELL or _ODD.fullmatch(cell):
        return None
    return None if cell in MISSING_WORDS else cell
