"""Damaged and odd Parquet files: refused in one line, or read as Arrow itself shows them."""

import io
import math
import random
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from hamur.data.text import times
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.cells import MAX_CELL, MISSING_WORDS
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import read_rows
from tests.support.faults import assert_ours

KINDS = dict(user="id", item="id", rating="float", time="time", kind="code", n="category")
KINDS["price"] = "number"
SUFFIXES = (".parquet", ".feather", "memory")
ROWS = 60
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
INTEGERS += [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TYPES = [*INTEGERS, pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null(), pa.binary()]
TYPES += [pa.decimal128(38, 2), pa.decimal256(60, 0), pa.string(), pa.large_string()]
TYPES += [pa.string_view(), pa.date32(), pa.date64(), pa.time64("us"), pa.duration("s")]
TYPES += [pa.timestamp(unit, zone) for unit in times.UNITS for zone in (None, "UTC")]
TYPES += [pa.dictionary(pa.int32(), held) for held in (pa.string(), pa.int64(), pa.float64())]
NUMBERS = [2**53, 2**53 + 1, 2**62, -(2**63), 2**31, 0, 1, -1, 1_400_000_000, 4 * 10**18, None]
FLOATS = [*map(float, NUMBERS[:-1]), 0.5, 1e300, 2047.0, 2049.0, math.nan, math.inf, None]
TEXTS = [
    *MISSING_WORDS,
    "7",
    "7.0",
    "007",
    "-1",
    "1e3",
    "1.5",
    "x" * (MAX_CELL + 1),
    "\0",
    "ü",
    None,
]
TEXTS += ["2014-05-13", "2014-05-13T12:00:00Z", "1400000000.5", "99999999999999999999", " 7 "]
BAD, REFUSED = object(), object()
LIMIT = 3.403e38  # of a float32, which every number becomes


def plain_table(rng):
    def cells(make):
        return [make() for _ in range(ROWS)]

    return pa.table({
        "user": cells(lambda: 2**53 + rng.randrange(9)),
        "item": cells(lambda: f"i{rng.randrange(20)}"),
        "rating": cells(lambda: float(rng.randint(1, 5))),
        "time": cells(lambda: 1_400_000_000 + rng.randrange(10**6)),
        "kind": pa.array(cells(lambda: rng.choice(["a", "b", None])), pa.string()),
        "n": pa.array(cells(lambda: rng.choice([1, 2, None])), pa.int16()),
        "price": cells(lambda: rng.choice([0.5, 12.0, None, math.nan])),
    })  # fmt: skip


def odd_column(rng):
    """Of any type, with nulls and values at its borders."""
    values = rng.choice([NUMBERS, FLOATS, TEXTS])
    array = pa.array([rng.choice(values) for _ in range(ROWS)], from_pandas=False)
    for held in rng.sample(TYPES, len(TYPES)):
        try:
            (column := array.cast(held, safe=False)).validate(full=True)
            written(rng, pa.table({"x": column}))
        except pa.ArrowException:
            continue  # no such cast, or times that no file can hold
        return column
    raise AssertionError(values)


def written(rng, table, store_schema=True, suffix=".parquet"):
    """The bytes of a file, written in one of many ways."""
    file = io.BytesIO()
    if suffix != ".parquet":
        compression, size = rng.choice(["uncompressed", "lz4", "zstd"]), rng.choice([7, 1000])
        feather.write_feather(table, file, compression, chunksize=size)
        return file.getvalue()
    pq.write_table(
        table, file, compression=rng.choice(["none", "snappy", "zstd", "gzip"]),
        use_dictionary=rng.random() < 0.5, data_page_version=rng.choice(["1.0", "2.0"]),
        row_group_size=rng.choice([7, 1000]), write_page_checksum=rng.random() < 0.2,
        store_schema=store_schema,
    )  # fmt: skip
    return file.getvalue()


def damaged(rng, content, other):
    """Bytes changed, cut out or repeated, the end missing, or the footer of another file."""
    content, change = bytearray(content), rng.randrange(6)
    at, size = rng.randrange(len(content)), rng.randint(1, 8)
    if change <= 1:
        for place in (at, *rng.sample(range(len(content)), rng.randrange(3))):
            content[place] ^= 1 << rng.randrange(8) if change else rng.randrange(1, 256)
    elif change == 2:
        del content[at : at + size]
    elif change == 3:
        content[at:at] = content[at : at + size]
    elif change == 4:
        del content[at:]
    elif not content.startswith(b"PAR1"):
        content[at:] = other[at:]
    else:
        sizes = [int.from_bytes(each[-8:-4], "little") + 8 for each in (content, other)]
        content[-sizes[0] :] = other[-sizes[1] :]
    return bytes(content)


def by_hand(cell, held, kind):
    """What a cell that Arrow shows is read as, BAD, or REFUSED where the type does not fit."""
    temporal = pa.types.is_date(held) or pa.types.is_timestamp(held)
    numeric, named = kind in ("float", "category", "number"), kind in ("id", "code")
    if pa.types.is_binary(held) or pa.types.is_time(held) or pa.types.is_duration(held):
        return REFUSED
    if temporal and (numeric or kind == "id" or (named and pa.types.is_timestamp(held))):
        return REFUSED
    if pa.types.is_boolean(held) and kind in ("id", "time"):
        return REFUSED
    if (pa.types.is_float16(held) or pa.types.is_float32(held)) and kind == "time":
        return REFUSED
    if isinstance(cell, str) and (named or kind != "category"):
        cell = None if cell in MISSING_WORDS else cell
    if cell is None or cell != cell or (kind == "category" and cell == ""):
        return {"code": "", "category": -1, "number": math.nan}.get(kind, BAD)
    if kind == "number":
        return math.nan if cell == "" else by_hand(cell, held, "float")
    if temporal and named:
        day = str(np.datetime64(cell, "s").astype("datetime64[D]"))
        return day if len(day) == 10 else BAD
    if temporal:
        return cell if times.EARLIEST <= cell <= times.LATEST else BAD
    if isinstance(cell, bool):
        return str(cell) if named else int(cell)
    if isinstance(cell, float):
        exact = abs(cell) < {16: 2**11, 32: 2**24}.get(held.bit_width, 2**53)
        if kind == "float":
            return cell if abs(cell) < LIMIT else BAD  # nan too
        if kind == "time":
            return math.floor(cell) if 0 <= cell < 2**63 else BAD
        if not exact or (cell != int(cell) and kind != "code") or (kind == "category" and cell < 0):
            return BAD
        return int(cell) if kind == "category" else str(int(cell)) if cell == int(cell) else cell
    text = f"{cell:f}" if isinstance(cell, Decimal) else str(cell)
    if named:
        plain = re.fullmatch(r"(-?\d+)\.0*", text)
        return BAD if len(text) > MAX_CELL or "\0" in text else plain[1] if plain else text
    text = text.strip()
    if kind == "time" and re.fullmatch(r"\d{4}-\d\d-\d\d.*", text):
        return 1_399_939_200 + 43_200 * ("T12" in text)
    if not re.fullmatch(r"[+-]?[0-9.]+(e[+]?[0-9]+)?", text):
        return BAD
    if kind == "float":
        return float(text) if float(text) < LIMIT else BAD
    if kind == "category" and not re.fullmatch(r"[+-]?\d+(\.0*)?", text):  # as a float
        return int(float(text)) if 0 <= float(text) == int(float(text)) < 2**53 else BAD
    whole = int(float(text)) if "e" in text else int(Decimal(text))
    return whole if 0 <= whole < 2**63 else BAD


def shown(column):
    """The cells; times and dates as whole seconds."""
    column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        per_second = times.PER_SECOND[column.type.unit]
        return [t and t // per_second for t in column.cast(pa.int64()).to_pylist()]
    return column.to_pylist()


def check(source, seed):
    """The error of the reader, or None; its rows are those of Arrow by hand.

    source: the path of a file, or a table in memory.
    """
    path = Path("rows") if isinstance(source, pa.Table) else source
    bad_rows = BadRows(path, Policy("skip", 1.0))
    try:
        rows = read_rows(source, FileFormat(KINDS), bad_rows)
    except Exception as error:
        assert_ours(error, seed)
        return error
    table, expected = source, {}
    if path.suffix == ".parquet":
        table = pq.ParquetFile(path).read(columns=list(KINDS))
    elif path.suffix:
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    for name, kind in KINDS.items():
        held = table.schema.field(name).type
        held = held.value_type if pa.types.is_dictionary(held) else held
        expected[name] = [by_hand(cell, held, kind) for cell in shown(table.column(name))]
    cells = list(zip(*expected.values(), strict=True))
    good = [row for row, of_row in enumerate(cells) if BAD not in of_row]
    assert (rows.lines - 1).tolist() == good, seed
    for name in KINDS:
        for found, row in zip(np.asarray(rows.columns[name]).tolist(), good, strict=True):
            right = expected[name][row]
            same = right != right and found != found
            same |= isinstance(right, float) and math.isclose(float(found), right, rel_tol=1e-7)
            assert found == right or same, (seed, name, row, found, right)
    return None


NUMBERS_OF_FILES = [60, pytest.param(2000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("num_files", NUMBERS_OF_FILES)
@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_damaged_files_are_refused_or_read_as_arrow_shows_them(suffix, num_files, tmp_path):
    refused, path = 0, tmp_path / f"x{suffix}"
    for number in range(num_files):
        seed = f"damaged {number}"
        rng = random.Random(seed)
        both = [written(rng, plain_table(rng), n < 2, suffix) for n in range(2)]
        path.write_bytes(damaged(rng, *both))
        refused += check(path, seed) is not None
    print(f"{suffix}: 'damaged 0' to 'damaged {num_files - 1}': {refused} files refused")
    assert num_files / 5 < refused < num_files


@pytest.mark.parametrize("num_files", NUMBERS_OF_FILES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_every_type_are_refused_by_name_or_read_as_arrow_shows_them(
    suffix, num_files, tmp_path
):
    refused, path = 0, tmp_path / f"x{suffix}"
    for number in range(num_files):
        seed = f"odd {number}"
        rng = random.Random(seed)
        name, column, table = rng.choice(list(KINDS)), odd_column(rng), plain_table(rng)
        table = table.set_column(table.schema.get_field_index(name), name, column)
        if suffix != "memory":
            path.write_bytes(written(rng, table, suffix=suffix))
        error = check(table if suffix == "memory" else path, seed)
        held = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        assert (by_hand(None, held, KINDS[name]) is REFUSED) == (error is not None), (seed, error)
        assert error is None or f"column {name!r}: the type" in str(error), (seed, error)
        refused += error is not None
    print(f"{suffix}: 'odd 0' to 'odd {num_files - 1}': {refused} files refused")
    assert num_files / 10 < refused < num_files / 2
