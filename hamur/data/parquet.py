"""Parquet files and folders of parts as columns; values are cast in Arrow, so that none changes its
type before it is judged.

Each cell is read as the same cell of a CSV file would be.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hamur.data.text import times
from hamur.data.text.cells import (
    EXPECTED,
    LARGEST,
    MAX_CELL,
    MISSING,
    NAMES,
    Cells,
    numbers,
    small,
)
from hamur.data.text.lines import FileFormat
from hamur.errors import DataFormatError

SUFFIX = ".parquet"
MAX_ROWS = 2**31  # a small file may hold one value any number of times, or say that it does
_BLOCK_ROWS = 1 << 20
_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}  # bits of a float: whole numbers below are exact

_WHOLE = (pa.types.is_integer,)
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
# What a column holds -> its Arrow types.
_TYPES = {
    "nothing": (pa.types.is_null,),
    "numbers": (*_WHOLE, pa.types.is_floating, pa.types.is_decimal),
    "text": _TEXT,
    "booleans": (pa.types.is_boolean,),
    "dates": (pa.types.is_date,),
    "times": (pa.types.is_timestamp,),
}
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
# What a column holds -> the kinds, see `FileFormat`, that it may have; the others have all.
_KINDS = {
    "booleans": ("int", "category", "float", "text", "code"),
    "dates": ("time", "text", "code"),
    "times": ("time",),
}


def is_parquet(path: Path) -> bool:
    """Whether it is a Parquet file by its name, or a folder of parts."""
    return bool(parts(path)) if path.is_dir() else path.suffix == SUFFIX


def parts(path: Path) -> list[Path]:
    """The file, or the files of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(part for part in path.glob("*" + SUFFIX) if part.name[0] not in "._")


def column_names(path: Path) -> list[str]:
    """Of a file, or of all parts.  Raises DataFormatError: no Parquet, or parts have others."""
    first, *others = parts(path)
    names = _schema(first).names
    for part in others:
        _check_part(part, sorted(_schema(part).names), sorted(names), first)
    return names


def read_blocks(path: Path, file_format: FileFormat) -> Iterator[dict[str, Cells]]:
    """The cells of every column, in blocks of rows; the parts one after the other.

    Raises:  DataFormatError: no Parquet, damaged, a type that the kind of a column cannot have,
        parts of different types, too many rows.
    """
    files, known = parts(path), {}
    for part in files:
        schema = _schema(part)
        for name, kind in file_format.kinds.items():
            held = _held(part, schema, name, kind, name in file_format.separators)
            if held != "nothing":
                _check_part(part, {name: held}, {name: known.setdefault(name, held)}, files[0])
    for part in files:
        for batch in _batches(part, list(file_format.kinds)):
            yield {
                name: _column(batch.column(name), kind, name, file_format)
                for name, kind in file_format.kinds.items()
            }


def _check_part(part: Path, found: object, expected: object, first: Path) -> None:
    if found != expected:
        raise DataFormatError(
            "a part with other columns",
            file=part,
            value=found,
            expected=f"{expected} as in {first.name}",
            remedy="write all parts alike, or remove the one that does not belong to the table",
        )


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Raises DataFormatError for whatever the library says of the file."""
    path.open("rb").close()  # an error of the system has the file's name
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataFormatError(
            f"no Parquet file, or a damaged one ({reason})", file=path, remedy="write it again"
        ) from None


def _schema(path: Path) -> pa.Schema:
    with _named_errors(path):
        return pq.read_schema(path)


def _held(path: Path, schema: pa.Schema, name: str, kind: str, lists: bool) -> str:
    """What the column holds, "lists" only where there may be; DataFormatError: no such column, or
    a type that the kind cannot have."""
    if name not in schema.names:
        raise DataFormatError(
            "no such column",
            file=path,
            column=name,
            expected="one of " + ", ".join(schema.names),
            remedy="name a column of the file, or add this one",
        )
    if schema.names.count(name) > 1:
        problem = "two columns of one name"
        raise DataFormatError(problem, file=path, column=name, remedy="rename one")
    field = schema.field(name)
    held = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    coarse = kind == "time" and _is(held, (pa.types.is_float16, pa.types.is_float32))
    for content, types in _TYPES.items():
        if _is(held, types) and kind in _KINDS.get(content, (kind,)) and not coarse:
            return content
    if lists and _is(held, _LISTS) and _is(held.value_type, (*_TEXT, *_WHOLE)):
        return "lists"
    raise DataFormatError(
        f"the type {' '.join(str(field.type).split())} does not fit",
        file=path,
        column=field.name,
        expected="integers or float64, which hold seconds" if coarse else EXPECTED[kind],
        remedy="cast the column and write the file again, or name another column",
    )


def _is(held: pa.DataType, types: tuple[Callable, ...]) -> bool:
    return any(check(held) for check in types)


def _batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Blocks of valid rows.  Text comes as a dictionary: a small file may hold a long one any
    number of times."""
    with _named_errors(path):
        texts = [field.name for field in pq.read_schema(path) if _is(field.type, _TEXT)]
        options = dict(read_dictionary=texts, page_checksum_verification=True)
        with pq.ParquetFile(path, **options) as file:
            rows, read = file.metadata.num_rows, 0
            blocks = file.iter_batches(_BLOCK_ROWS, columns=names) if rows <= MAX_ROWS else ()
            for batch in blocks:
                batch.validate(full=True)
                read += len(batch)
                yield batch
    if read != rows:
        raise DataFormatError(
            f"{rows} rows are announced",
            file=path,
            value=read,
            expected=f"as many rows, and at most {MAX_ROWS}",
            remedy="write it again, in several files if need be",
        )


def _column(array: pa.Array, kind: str, name: str, file_format: FileFormat) -> Cells:
    def show(row: int) -> object:
        cell = array.slice(row, 1)
        return (cell.cast(pa.string()) if pa.types.is_temporal(cell.type) else cell)[0].as_py()

    if pa.types.is_dictionary(array.type) and not _is(array.type.value_type, _TEXT):
        array = array.dictionary_decode()
    if _is(array.type, _LISTS):
        return Cells(*_joined(array, file_format.separators[name]), show)
    if kind in NAMES:
        return Cells(*_names(array, kind), show)
    if pa.types.is_temporal(array.type):
        return Cells(*_times(array, file_format.time_unit), show)
    if _is(array.type, (*_WHOLE, pa.types.is_floating, pa.types.is_boolean)):
        values, right = _numbers(array, kind)
        return Cells(small(values, kind), right, show)
    codes, values = _distinct(array)
    texts = pd.Series([*_strings(values), ""], dtype=object)
    values, right = numbers(texts, kind, file_format.time_unit)
    return Cells(small(values[codes], kind), right[codes], show)


def _distinct(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """(N,) int64 positions among the values, -1 for a null; and the values."""
    if _is(array.type, (pa.types.is_decimal,)):
        array = array.cast(pa.large_string())
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.cast(pa.int64()).fill_null(MISSING).to_numpy()
    null = np.append(array.dictionary.is_null().to_numpy(zero_copy_only=False), True)
    return np.where(null[codes], MISSING, codes), array.dictionary


def _strings(values: pa.Array) -> np.ndarray:
    """(n,) object; "" for a null."""
    return values.cast(pa.large_string()).fill_null("").to_numpy(zero_copy_only=False)


def _names(array: pa.Array, kind: str) -> tuple[pd.Categorical, np.ndarray]:
    """Text, the same for a whole number of any type; NaN is a missing cell."""
    floating = pa.types.is_floating(array.type)
    exact = _EXACT[array.type.bit_width] if floating else 0
    codes, values = _distinct(array.cast(pa.float64()) if floating else array)
    names, right = _strings(values), np.ones(len(values), bool)
    if floating:
        floats = values.fill_null(np.nan).to_numpy()
        whole, missing = floats == np.floor(floats), np.isnan(floats)
        right = missing | (np.abs(floats) < exact) & (whole | (kind != "id"))
        names[missing] = ""
        names[whole & right] = [str(int(number)) for number in floats[whole & right]]
    elif pa.types.is_boolean(values.type):
        names = np.char.capitalize(names.astype(str))  # as pandas and Python write them
    else:
        longest = len("9999-12-31") if pa.types.is_date(values.type) else MAX_CELL
        right = np.array([len(name) <= longest and "\0" not in name for name in names], bool)
        names[~right] = ""
    return _categorical(codes, names), np.append(right, True)[codes]


def _numbers(array: pa.Array, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Of integers, floats and booleans."""
    floating = pa.types.is_floating(array.type)
    exact = _EXACT[array.type.bit_width] if floating else 0
    if floating or pa.types.is_boolean(array.type):
        array = array.cast(pa.float64() if floating else pa.uint8())
    missing = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    if kind == "float":
        values = values.astype(np.float64)
        return values, (np.abs(values) <= LARGEST) & ~missing
    if not floating:
        right = (values >= 0) & (values <= np.iinfo(np.int64).max)
    elif kind == "time":  # its fraction is cut off below
        right = (values >= 0) & (values < 2.0**63)
    else:
        right = (values >= 0) & (values < exact) & (values == np.floor(values))
    values = np.where(right & ~missing, values, 0).astype(np.int64)
    values[missing] = MISSING
    return values, (right | missing) if kind == "category" else right & ~missing


def _times(array: pa.Array, unit: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Dates and times, UTC without a zone, in this unit; fractions of a second are cut off."""
    if pa.types.is_timestamp(array.type):
        ticks, per_second = array.cast(pa.int64()), times.PER_SECOND[array.type.unit]
    else:
        ticks, per_second = array.cast(pa.date64()).cast(pa.int64()), 1000
    seconds = ticks.fill_null(0).to_numpy(zero_copy_only=False) // per_second
    return times.in_unit(seconds, unit)


def _categorical(codes: np.ndarray, names: np.ndarray) -> pd.Categorical:
    """From positions among names that may repeat; -1 is a missing cell, ""."""
    if (codes == MISSING).any():
        names = np.append(names.astype(object), "")
    place, distinct = pd.factorize(names.astype(object))
    return pd.Categorical.from_codes(place[codes], distinct)


def _joined(array: pa.Array, separator: str) -> tuple[pd.Categorical, np.ndarray]:
    """Lists as text with a separator; a list must hold neither nulls nor the separator."""
    array = array.cast(pa.list_(pa.string()))
    values = array.flatten()
    odd = pc.or_kleene(values.is_null(), pc.match_substring(values, separator))
    right = np.ones(len(array), bool)
    right[pc.list_parent_indices(array).filter(odd).to_numpy()] = False
    texts, usable = _names(pc.binary_join(array, separator), "text")
    return texts, right & usable
