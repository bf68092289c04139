"""The cells of an Arrow array, each read as the same cell of a CSV file would be."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hamur.data.text import times
from hamur.data.text.cells import (
    LARGEST,
    MAX_CELL,
    MISSING,
    NAMES,
    Cells,
    numbers,
    small,
    words_and_numbers,
)
from hamur.data.text.lines import FileFormat

_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}  # bits of a float: whole numbers below are exact
WHOLE = (pa.types.is_integer,)
TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def is_of(held: pa.DataType, types: tuple[Callable, ...]) -> bool:
    return any(check(held) for check in types)


def cells_of(array: pa.Array, kind: str, name: str, file_format: FileFormat) -> Cells:
    def show(row: int) -> object:
        cell = array.slice(row, 1)
        return (cell.cast(pa.string()) if pa.types.is_temporal(cell.type) else cell)[0].as_py()

    if pa.types.is_dictionary(array.type) and not is_of(array.type.value_type, TEXT):
        array = array.dictionary_decode()
    if is_of(array.type, LISTS):
        return Cells(*_joined(array, file_format.separators[name]), show)
    if kind in NAMES:
        return Cells(*_names(array, kind), show)
    if pa.types.is_temporal(array.type):
        return Cells(*_times(array, file_format.time_unit), show)
    if is_of(array.type, (*WHOLE, pa.types.is_floating, pa.types.is_boolean)):
        values, right = _numbers(array, kind, file_format)
        return Cells(small(values, kind), right, show)
    codes, values = _distinct(array)
    texts = pd.Series([*_strings(values), ""], dtype=object)
    values, right = numbers(texts, kind, file_format.time_unit, file_format.missing)
    return Cells(small(values[codes], kind), right[codes], show)


def plain_texts(
    block: bytes, mark: str, width: int, wanted: dict[int, str]
) -> dict[str, pd.Categorical]:
    """Columns of a block of UTF-8 lines of `width` fields without quotes and CR, as pandas reads
    them; wanted: position -> name."""
    names = list(map(str, range(width)))
    held = pa.dictionary(pa.int32(), pa.large_string())
    table = pyarrow.csv.read_csv(
        pa.BufferReader(block),
        pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(block) + 1),
        pyarrow.csv.ParseOptions(delimiter=mark, quote_char=False, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            check_utf8=False,
            include_columns=[names[at] for at in wanted],
            column_types=dict.fromkeys(names, held),
        ),
    )
    columns = {}
    for name, column in zip(wanted.values(), table.columns):
        codes, texts = column.chunk(0).indices.to_numpy(), column.chunk(0).dictionary
        order = pc.sort_indices(texts)
        rank = np.argsort(order.to_numpy())
        columns[name] = pd.Categorical.from_codes(rank[codes], texts.take(order).to_pandas())
    return columns


def _distinct(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """(N,) int64 positions among the values, -1 for a null; and the values."""
    if is_of(array.type, (pa.types.is_decimal,)):
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
    """Text, the same for a number of any type; NaN is a missing cell."""
    floating = pa.types.is_floating(array.type)
    exact = _EXACT[array.type.bit_width] if floating else 0
    codes, values = _distinct(array.cast(pa.float64()) if floating else array)
    names, right = _strings(values), np.ones(len(values), bool)
    if floating:
        floats = values.fill_null(np.nan).to_numpy()
        whole, missing = floats == np.floor(floats), np.isnan(floats)
        right = missing | (np.abs(floats) < exact) & (whole | (kind != "id"))
        held = floats.astype(f"f{array.type.bit_width // 8}")  # 3.7 is no 3.700000047683716
        names = np.where(missing, "", held.astype(str)).astype(object)  # as pandas and Python do
        names[whole & right] = [str(int(number)) for number in floats[whole & right]]
    elif pa.types.is_boolean(values.type):
        names = np.char.capitalize(names.astype(str))  # as pandas and Python write them
    else:
        longest = len("9999-12-31") if pa.types.is_date(values.type) else MAX_CELL
        right = np.array([len(name) <= longest and "\0" not in name for name in names], bool)
        names[~right] = ""
    if (codes == MISSING).any():
        names = np.append(names.astype(object), "")
    place, distinct = pd.factorize(names.astype(object))
    return pd.Categorical.from_codes(place[codes], distinct), np.append(right, True)[codes]


def _numbers(array: pa.Array, kind: str, file_format: FileFormat) -> tuple[np.ndarray, np.ndarray]:
    """Of integers, floats and booleans."""
    floating = pa.types.is_floating(array.type)
    exact = _EXACT[array.type.bit_width] if floating else 0
    if floating or pa.types.is_boolean(array.type):
        array = array.cast(pa.float64() if floating else pa.uint8())
    missing = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    if kind == "number":
        _, odd = words_and_numbers(file_format.missing)
        missing |= np.isin(values, odd)
        right = missing | (np.abs(values.astype(np.float64)) <= LARGEST)
        return np.where(missing, np.nan, values), right
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


def _joined(array: pa.Array, separator: str) -> tuple[pd.Categorical, np.ndarray]:
    """Lists as text with a separator; a list must hold neither nulls nor the separator."""
    array = array.cast(pa.list_(pa.string()))
    values = array.flatten()
    odd = pc.or_kleene(values.is_null(), pc.match_substring(values, separator))
    right = np.ones(len(array), bool)
    right[pc.list_parent_indices(array).filter(odd).to_numpy()] = False
    texts, usable = _names(pc.binary_join(array, separator), "text")
    return texts, right & usable
