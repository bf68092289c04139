"""Parquet: every Arrow type is read exactly or refused by name, as the same cells of a CSV are."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamur.data import load_pair, parquet
from hamur.data.cross_domain import TableFormat
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import MAX_CELL, read_rows
from hamur.errors import DataFileNotFoundError, DataFormatError, DataValueError

BIG, SECONDS = 2**53, 1_400_000_000
DAY = datetime.date(2014, 5, 13)
NOON = datetime.datetime(2014, 5, 13, 12, 0, 0, 999_999)
NOON_SECONDS = 1_399_982_400
SKIP = Policy("skip", 1.0)


def write(path, **columns):
    """A file that only Arrow has touched: no notes of pandas about types."""
    pq.write_table(pa.table(columns), path)
    return path


def read(path, kinds, policy=SKIP, **options):
    bad_rows = BadRows(path, policy)
    rows = read_rows(path, FileFormat(kinds, **options), bad_rows)
    return rows, bad_rows


def cells(rows, name="x"):
    return np.asarray(rows.columns[name]).tolist()


whole = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32())
whole += (pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 0))
whole += (pa.decimal256(40, 0), pa.string(), pa.large_string())
whole += (
    pa.dictionary(pa.int8(), pa.int64()),
    pa.dictionary(pa.int8(), pa.string()),
)


@pytest.mark.parametrize("kind, expected", [("id", ["7", "0"]), ("code", ["7", "0", ""]),
    ("int", [7, 0]), ("category", [7, 0, -1]), ("float", [7.0, 0.0])])  # fmt: skip
@pytest.mark.parametrize("held", whole, ids=str)
def test_whole_numbers_of_every_type_are_the_same_cells(held, kind, expected, tmp_path):
    """A null is a missing cell where that is allowed, and a bad row elsewhere."""
    if pa.types.is_decimal(held):
        array = pa.array([Decimal(7), Decimal(0), None], held)
    else:
        values = held.value_type if pa.types.is_dictionary(held) else held
        array = pa.array(["7", "0", None]).cast(pa.int8()).cast(values)
        array = array.dictionary_encode() if values != held else array
    rows, bad_rows = read(write(tmp_path / "x.parquet", x=array), {"x": kind})
    assert cells(rows) == expected
    assert rows.lines.tolist() == [1, 2, 3][: len(expected)]
    assert sum(bad_rows.dropped.values()) == 3 - len(expected)


# kind, Arrow array -> the cells of rows without a bad one, and the rows of bad ones.
JUDGED = [
    ("id", pa.array([BIG, BIG + 1, None, -(2**63), 2**63 - 1]),
     [str(BIG), str(BIG + 1), str(-(2**63)), str(2**63 - 1)], [3]),
    ("id", pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"], []),
    ("id", pa.array([1.0, BIG - 1.0, float(BIG), 1.5, np.nan, np.inf]), ["1", str(BIG - 1)],
     [3, 4, 5, 6]),
    ("id", pa.array([1.0, 2.0**24 - 1, 2.0**24], pa.float32()), ["1", str(2**24 - 1)], [3]),
    ("id", pa.array(np.array([2047, 2048], np.float16)), ["2047"], [2]),
    ("id", pa.array([Decimal(10**37 + 1), None], pa.decimal128(38, 0)), [str(10**37 + 1)], [2]),
    ("id", pa.array(["a", "", "nan", "None", r"\N", "007", "7.00", "x" * (MAX_CELL + 1)]),
     ["a", "007", "7"], [2, 3, 4, 5, 8]),
    ("code", pa.array([0.5, 7.0, np.nan, 1e300]), ["0.5", "7", ""], [4]),
    ("code", pa.array([Decimal("7.00"), Decimal("7.50")]), ["7", "7.50"], []),
    ("code", pa.array([True, None, False]), ["True", "", "False"], []),
    ("code", pa.array([DAY, None]), ["2014-05-13", ""], []),
    ("code", pa.nulls(2), ["", ""], []),
    ("text", pa.array(["7.0", "nan", None]), ["7.0", "nan", ""], []),
    ("int", pa.array([True, False, None]), [1, 0], [3]),
    ("int", pa.array([-1, 2**63 - 1]), [2**63 - 1], [1]),
    ("int", pa.array([2**63, 5], pa.uint64()), [5], [1]),
    ("int", pa.array([1.5, float(BIG), 3.0]), [3], [1, 2]),
    ("int", pa.array([Decimal("2.00"), Decimal("2.50")]), [2], [2]),
    ("float", pa.array([np.inf, np.nan, 0.1]), [0.1], [1, 2]),
    ("float", pa.array([Decimal("0.10"), None]), [0.1], [2]),
    ("float", pa.array(["0.1", "x"]), [0.1], [2]),
    ("time", pa.array([SECONDS, None]), [SECONDS], [2]),
    ("time", pa.array([SECONDS + 0.75, np.nan, -1.0]), [SECONDS], [2, 3]),
    ("time", pa.array([Decimal("1400000000.75")]), [SECONDS], []),
    ("time", pa.array([DAY, None]), [NOON_SECONDS - 43_200], [2]),
    ("time", pa.array([DAY, None], pa.date64()), [NOON_SECONDS - 43_200], [2]),
    ("time", pa.array([datetime.date(1970, 1, 2), DAY]), [NOON_SECONDS - 43_200], [1]),
]  # fmt: skip
JUDGED += [
    ("time", pa.array([NOON, None], pa.timestamp(unit, zone), safe=False) if unit in "us ns" else
     pa.array([NOON.replace(microsecond=0), None], pa.timestamp(unit, zone)), [NOON_SECONDS], [2])
    for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "Asia/Tokyo")
]  # fmt: skip
JUDGED += [
    ("time", pa.array([f"2014-05-13{clock}", "yesterday", "now", ""]), [NOON_SECONDS], [2, 3, 4])
    for clock in ("T12:00:00Z", " 12:00:00", "T12:00:00.999", "T14:00:00+02:00")
]


@pytest.mark.parametrize("kind, array, expected, bad", JUDGED, ids=lambda part: None)
def test_cells_are_exact_or_bad_rows(kind, array, expected, bad, tmp_path):
    path = write(tmp_path / "x.parquet", x=array)
    rows, bad_rows = read(path, {"x": kind})
    assert cells(rows) == expected
    assert [line for _, line, *_ in bad_rows.listing()] == bad
    if bad:
        with pytest.raises(DataValueError, match=rf"x\.parquet:{bad[0]}: column .*'x': not a usa"):
            read(path, {"x": kind}, Policy())[1].raise_if_any()
            raise bad_rows._errors[bad[0]][1]


REFUSED = [
    ("id", pa.array([b"a"])), ("id", pa.array([[1]])), ("id", pa.array([{"a": 1}])),
    ("id", pa.array([DAY])), ("id", pa.array([True])), ("id", pa.array([NOON])),
    ("code", pa.array([["a", "b"]])), ("code", pa.array([NOON])), ("text", pa.array([b"a"])),
    ("code", pa.array([b"ab"], pa.binary(2))), ("code", pa.nulls(1, pa.map_("str", "int8"))),
    ("int", pa.array([DAY])), ("float", pa.array([NOON])), ("time", pa.array([True])),
    ("time", pa.array([1.4e9], pa.float32())), ("time", pa.array(np.array([1], np.float16))),
    ("time", pa.array([datetime.time(1, 2)])), ("time", pa.array([datetime.timedelta(1)])),
]  # fmt: skip


@pytest.mark.parametrize("kind, array", REFUSED, ids=lambda part: str(getattr(part, "type", part)))
def test_types_that_a_column_cannot_have_are_refused_by_name(kind, array, tmp_path):
    path = write(tmp_path / "x.parquet", x=array)
    with pytest.raises(DataFormatError) as caught:
        read(path, {"x": kind})
    text = str(caught.value)
    held = str(array.type).replace("item", "element").partition(">")[0]
    assert f"the type {held}" in text and caught.value.column == "x" and caught.value.file == path
    assert "\n" not in text and "Remedy: cast" in text


def test_lists_are_several_values_where_a_column_may_have_them(tmp_path):
    lists = pa.array([["a", "b"], [], None, ["c|d"], ["e", None], ["f"]])
    path = write(tmp_path / "x.parquet", x=lists)
    rows, bad_rows = read(path, {"x": "text"}, separators={"x": "|"})
    assert cells(rows) == ["a|b", "", "", "f"]
    assert [line for _, line, *_ in bad_rows.listing()] == [4, 5]
    path = write(tmp_path / "x.parquet", x=pa.array([[1, 20], [3]], pa.large_list(pa.int64())))
    assert cells(read(path, {"x": "text"}, separators={"x": "|"})[0]) == ["1|20", "3"]


# ---- CSV and Parquet of one table

ids = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(BIG - 2, BIG + 9), st.integers(0, 5), st.none()
)
tables = st.lists(
    st.tuples(ids, ids, st.sampled_from([1, 2.5, 5, None]),
              st.sampled_from([None, "s", "ms", "us", "ns", "text", "date"]),
              st.integers(10**8, 4 * 10**9), st.sampled_from([None, "A", "NA", "", "1.0", "ü"])),
    min_size=1, max_size=12,
)  # fmt: skip
KINDS = {"user": "id", "item": "id", "rating": "float", "time": "time", "kind": "code"}


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from(["int64", "time", "text"]))
def test_csv_and_parquet_of_a_table_are_read_alike(tmp_path_factory, table, times):
    folder = tmp_path_factory.mktemp("same")
    user, item, rating, unit, second, kind = map(list, zip(*table))
    if times == "time":  # a type of its own
        when = pa.array(
            [s * 1000 + 7 if u else None for u, s in zip(unit, second)], pa.timestamp("ms")
        )
        texts = (
            pd.Series(when.to_pandas()).dt.strftime("%Y-%m-%dT%H:%M:%S.%f").where(when.is_valid())
        )
    elif times == "int64":
        factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
        when = pa.array([s * factor.get(u, 1) if u else None for u, s in zip(unit, second)])
        texts = pd.Series(when.to_pylist(), dtype=object)
    else:
        when = [
            u and (str(s) if u == "text" else f"{s}.5" if u == "s" else u)
            for u, s in zip(unit, second)
        ]
        when, texts = pa.array(when, pa.string()), pd.Series(when, dtype=object)
    columns = dict(
        user=pa.array(user, pa.int64()), item=pa.array(item, pa.int64()),
        rating=pa.array(rating, pa.float64()), time=when, kind=pa.array(kind, pa.string()),
    )  # fmt: skip
    path = write(folder / "a.parquet", **columns)
    frame = pd.DataFrame({"user": user, "item": item, "rating": rating, "kind": kind}, dtype=object)
    frame.assign(time=texts).to_csv(folder / "a.csv", index=False)
    (one, bad), (other, also_bad) = read(path, KINDS), read(folder / "a.csv", KINDS)
    assert bad.dropped == also_bad.dropped and (one.lines + 1 == other.lines).all()
    for name in KINDS:
        assert cells(one, name) == cells(other, name)


# ---- parts


def pair_columns(first=0, rows=600, seed=0):
    rng = np.random.default_rng(seed)
    columns = dict(user=rng.integers(0, 40, rows), item=rng.integers(first, first + 30, rows))
    columns |= dict(
        rating=rng.integers(1, 6, rows).astype(float), timestamp=SECONDS + np.arange(rows)
    )
    columns["category"] = rng.choice(["a", "b"], rows)
    return {name: pa.array(column) for name, column in columns.items()}


COLUMNS = TableFormat("user=user,item=item,rating=rating,timestamp=timestamp,category=category")


def listed(pair):
    tables = (pair.source, *pair.target)
    return [
        (t.sparse.tolist(), t.labels.tolist(), t.time.tolist(), t.row_id.tolist()) for t in tables
    ]


def test_a_folder_of_parts_is_a_table(tmp_path):
    columns = pair_columns()
    whole = write(tmp_path / "s.parquet", **columns)
    target = write(tmp_path / "t.parquet", **pair_columns(1000, seed=1))
    parts = tmp_path / "parts"
    parts.mkdir()
    write(parts / "part-1.parquet", **{name: columns[name][250:] for name in reversed(columns)})
    first = {name: column[:250] for name, column in columns.items()}
    first["user"], first["rating"] = first["user"].cast("float64"), first["rating"].cast("float32")
    write(parts / "part-0.parquet", **first)
    (parts / "_metadata.parquet").write_bytes(b"?")
    (parts / "_SUCCESS").touch()
    assert listed(load_pair(parts, target, COLUMNS)) == listed(load_pair(whole, target, COLUMNS))
    bad = {name: column[:5] for name, column in columns.items()}
    for change, words in (
        ({"user": bad["user"].cast("string")}, r"part-2\.parquet: a part with other columns.*text"),
        ({"more": bad["user"]}, r"part-2\.parquet: a part with other columns.*'more'"),
        ({"user": pa.array([[1]] * 5)}, r"part-2\.parquet: column 'user': the type list"),
    ):
        write(parts / "part-2.parquet", **bad | change)
        with pytest.raises(DataFormatError, match=words):
            load_pair(parts, target, COLUMNS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileNotFoundError, match=r"empty: no \.parquet file in the folder"):
        load_pair(tmp_path / "empty", target)


# ---- files that are none


def test_files_that_cannot_be_read_are_one_line(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", x=pa.array([1, 2, 3]))
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-20], content[:30] + content[40:], b"user,item\n1,2\n"):
        path.write_bytes(damaged)
        with pytest.raises(DataFormatError, match=r"x\.parquet: no Parquet file, or a damaged one"):
            read(path, {"x": "int"})
    path.write_bytes(content)
    monkeypatch.setattr(parquet, "MAX_ROWS", 2)
    with pytest.raises(DataFormatError, match=r"3 rows.*at most 2"):
        read(path, {"x": "int"})
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), path)
    with pytest.raises(DataFormatError, match="two columns of one name"):
        read(path, {"x": "int"})
    pq.write_table(pa.table([[1], ["a"], ["b"]], names=["x", "note", "note"]), path)
    assert cells(read(path, {"x": "int"})[0]) == [1]


def test_a_long_text_that_is_repeated_costs_its_length_once(tmp_path):
    """In a file of 30 kB, once; 60,000 times it would be 30 GB."""
    codes = pa.array(np.zeros(60_000, np.int32))
    path = write(tmp_path / "x.parquet", x=pa.DictionaryArray.from_arrays(codes, ["x" * 500_000]))
    _, bad_rows = read(path, {"x": "code"})
    assert sum(bad_rows.dropped.values()) == 60_000 and path.stat().st_size < 100_000
