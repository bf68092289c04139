"""What a user may give as a table: files, or rows in memory, which become an Arrow table."""

import datetime
import glob
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import interchange

from hamur.data.parquet import is_parquet
from hamur.errors import DataFileNotFoundError, DataFormatError, DataValueError

_GIVEN = "a DataFrame, an Arrow table, a list of dicts, or a dict of lists"


def files_of(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files of a path, a glob, or a list of both, each once, in this order.

    Raises:  DataFileNotFoundError: no such file.
    """
    files = []
    for each in [source] if isinstance(source, (str, Path)) else source:
        path = Path(each).expanduser()
        found = [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))
        if not found:
            problem = "no such file"
            raise DataFileNotFoundError(problem, file=path, remedy="check the path")
        if path.is_dir() and not is_parquet(path):
            problem, remedy = "no .parquet file in the folder", "name the files of the table"
            raise DataFileNotFoundError(problem, file=path, remedy=remedy)
        files += found
    return list(dict.fromkeys(files))


def is_files(source) -> bool:
    """Whether a source is named by its files, and not rows in memory."""
    if isinstance(source, (str, Path)):
        return True
    listed = isinstance(source, (list, tuple)) and bool(source)
    return listed and all(isinstance(each, (str, Path)) for each in source)


def as_arrow(source) -> pa.Table:
    """Rows in memory, whose cells mean what they would in a CSV file; None and NaN are missing.

    source: a pandas or other DataFrame, an Arrow table, a list of dicts (a key that a row lacks is
    a missing cell), or a dict of lists.  Columns of mixed values are taken cell by cell, as text.
    Raises:  TypeError: none of these; DataFormatError: rows that are no dicts, columns of different
        lengths, two columns of one name.
    """
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    if isinstance(source, pd.DataFrame):
        columns = [(str(name), source.iloc[:, n]) for n, name in enumerate(source.columns)]
    elif isinstance(source, Mapping):
        columns = [(str(name), values) for name, values in source.items()]
    elif isinstance(source, (list, tuple)):
        columns = _columns(source)
    elif hasattr(source, "to_arrow"):
        return as_arrow(source.to_arrow())
    elif hasattr(source, "__arrow_c_stream__"):
        return pa.table(source)
    elif hasattr(source, "__dataframe__"):
        return interchange.from_dataframe(source)
    else:
        raise TypeError(f"rows are of the type {type(source).__name__}; use {_GIVEN}")
    names = [name for name, _ in columns]
    arrays = [_array(name, values) for name, values in columns]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise DataFormatError("two columns of one name", column=name, remedy="rename one")
    if len(set(map(len, arrays))) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in zip(names, arrays))
        remedy = "give every column as many values"
        raise DataFormatError("columns of different lengths", value=lengths, remedy=remedy)
    return pa.Table.from_arrays(arrays, names)


def _columns(rows: Sequence[Mapping]) -> list[tuple[str, list]]:
    names = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataFormatError(
                f"row {number} is a {type(row).__name__}", expected="a dict", remedy=f"use {_GIVEN}"
            )
        names |= dict.fromkeys(row)
    return [(str(name), [row.get(name) for row in rows]) for name in names]


def _array(name: str, values: Iterable) -> pa.Array:
    """Numbers, text and so on as Arrow takes them; mixed values as text."""
    try:
        array = pa.array(values, from_pandas=True)
        numbers = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
        loose = getattr(values, "dtype", None) in (None, np.dtype(object))
        if numbers and loose and any(map(_is_changed, values)):
            return _text(name, values)
        return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _text(name, values)


def _is_changed(value) -> bool:
    """Whether Arrow makes another number of it: of True 1, of a large one a float."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return isinstance(value, (bool, np.bool_)) or (whole and not -(2**53) <= value <= 2**53)


def _text(name: str, values: Iterable) -> pa.Array:
    texts = []
    for row, value in enumerate(values, 1):
        plain = isinstance(value, _PLAIN)
        missing = value is None or value is pd.NA or value is pd.NaT or (plain and value != value)
        text = None if missing else str(value) if plain else _UNUSABLE
        if text is not None and not _is_text(text):
            raise DataValueError(
                f"row {row}, column {name!r} cannot be used",
                column=name,
                value=value if plain else type(value).__name__,
                expected="text, a number, a truth value, a date or a time",
                remedy="give such a value, or None",
            )
        texts.append(text)
    return pa.array(texts, pa.string())


_PLAIN = (str, int, float, Decimal, np.generic, datetime.date, datetime.time, datetime.timedelta)
_UNUSABLE = "\ud800"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a half of a surrogate pair, as JSON may hold
        return False
    return True
