"""What a user may give as a table: files, or rows in memory, which become an Arrow table."""

import datetime
import glob
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
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


def columns_of(source) -> list[tuple[str, Iterable]]:
    """Names and values of the columns of rows in memory, as they are there.

    source: a pandas or other DataFrame, an Arrow table, a list of dicts (a key that a row lacks is
    a missing cell), or a dict of lists.
    Raises:  TypeError: none of these; DataFormatError: rows that are no dicts.
    """
    if isinstance(source, (pd.DataFrame, Mapping)):
        for name, values in source.items():
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
                about = dict(column=str(name), value=values, expected="a list of its cells")
                raise DataFormatError("no column", **about, remedy=f"use {_GIVEN}")
        return [(str(name), values) for name, values in source.items()]
    if isinstance(source, (list, tuple)):
        return [(str(key), [row.get(key) for row in source]) for key in _keys(source)]
    if isinstance(source, (pa.Table, pa.RecordBatch)):
        return list(zip(source.schema.names, source.columns))
    if hasattr(source, "to_arrow"):
        return columns_of(source.to_arrow())
    if hasattr(source, "__arrow_c_stream__"):
        return columns_of(pa.table(source))
    if hasattr(source, "__dataframe__"):
        return columns_of(interchange.from_dataframe(source))
    raise TypeError(f"rows are a {type(source).__name__}; use {_GIVEN}")


def names_of(source) -> list[str]:
    """The columns of rows in memory."""
    if isinstance(source, (list, tuple)):
        return list(map(str, _keys(source)))
    return [name for name, _ in columns_of(source)]


def _keys(rows: Sequence[Mapping]) -> dict:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            problem = f"row {number} is a {type(row).__name__}"
            raise DataFormatError(problem, expected="a dict", remedy=f"use {_GIVEN}")
    return dict.fromkeys(chain.from_iterable(rows))


def as_arrow(source, names: Collection[str] | None = None) -> pa.Table:
    """Rows in memory, whose cells mean what they would in a CSV file; None and NaN are missing.

    source: see `columns_of`; names: of the columns to take.  Columns of mixed values are taken cell
        by cell, as text.
    Raises:  as `columns_of`; DataFormatError: columns of different lengths, two of one name.
    """
    if names is None and isinstance(source, pa.Table):
        return source
    columns = [(n, values) for n, values in columns_of(source) if names is None or n in names]
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


def _array(name: str, values: Iterable) -> pa.Array:
    """Numbers, text and so on as Arrow takes them; mixed values as text."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
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
                f"row {row} cannot be used",
                line=row,
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
