"""One table from every kind of source, in one piece or in blocks, gives the same rows."""

import gzip
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from hamur.data import raw_rows
from hamur.data.frames import as_arrow, files_of, is_files
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.cells import MISSING_WORDS
from hamur.data.text.lines import FileFormat, separator_of
from hamur.data.text.reader import read_blocks, read_rows
from hamur.errors import (
    DataError,
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    EmptySplitError,
    TruncatedFileError,
)
from tests.support.faults import assert_ours

KINDS = {"user": "id", "item": "code", "price": "number", "time": "time", "click": "int"}
SKIP = Policy("skip", 1.0)


def read(source, policy=SKIP, kinds=KINDS, **options):
    bad_rows = BadRows(source if isinstance(source, Path) else Path("rows"), policy)
    rows = read_rows(source, FileFormat(kinds, **options), bad_rows)
    return rows, bad_rows


def cells(rows):
    columns = {name: np.asarray(column).tolist() for name, column in rows.columns.items()}
    return {n: [None if c != c else c for c in column] for n, column in columns.items()}


# ---- one table in every form

NAMES = [7, 7.0, "7", "007", "a,b", 'say "x"', "é", "-1", 2**60, None, "NA"]
users, items = st.sampled_from(NAMES), st.sampled_from([*NAMES, True, False, 0.5])
prices = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.integers(-(10**6), 10**6).map(lambda n: n / 64),
    st.just(math.nan),
)
tables = st.lists(st.tuples(users, items, prices, st.integers(10**9, 2 * 10**9)), min_size=1)


@settings(max_examples=40, deadline=None)
@given(tables, st.booleans())
def test_csv_parquet_feather_and_rows_in_memory_are_read_alike(tmp_path_factory, rows, numbers):
    """Columns of one type, and of several in one column of a frame or of dicts."""
    folder = tmp_path_factory.mktemp("forms")
    rows = [row for row in rows if not numbers or type(row[1]) in (int, float)] or [(1, 2, 0.5, 9)]
    frame = pd.DataFrame(rows, columns=list(KINDS)[:4], dtype=object).assign(click=1)
    frame.to_csv(folder / "a.csv", index=False)
    table = as_arrow(frame)
    parquet.write_table(table, folder / "a.parquet")
    feather.write_feather(table, str(folder / "a.feather"))
    records = [dict(zip(frame.columns, row)) for row in frame.itertuples(index=False, name=None)]
    sources = [folder / "a.parquet", folder / "a.feather", table, as_arrow(records)]
    sources.append(as_arrow({name: list(frame[name]) for name in frame}))
    words = (*MISSING_WORDS, "-1")
    one, bad = read(folder / "a.csv", missing=words)
    for source in sources:
        other, also_bad = read(source, missing=words)
        assert cells(one) == cells(other)
        assert (one.lines - 1).tolist() == other.lines.tolist()
        assert bad.dropped == also_bad.dropped


TEXT = (
    "user,item,price,time,click\r\n"
    'u1,"a\r\nb",1.5,1400000000,0\r\n'
    "u2,é,NA,1400000001,1\r\n"
    "nan,x,2,1400000002,1\r\n"
    "u3,7.0,inf,1400000003,1\r\n"
    "u4,,,2014-05-13,True\r\n"
    "\r\n"
)
EXPECTED = {
    "user": ["u1", "u2", "u4"],
    "item": ["a\nb", "é", ""],
    "price": [1.5, None, None],
    "time": [1400000000, 1400000001, 1399939200],
    "click": [0, 1, 1],
}


def compressed(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("block_bytes", [16, 50, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "cp1252", "gb18030"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, compressed])
def test_text_of_any_form_gives_these_rows(tmp_path, pack, encoding, block_bytes, monkeypatch):
    """Byte order mark, CR LF, cells of several lines, a blank last line, packed, recoded; whatever
    the blocks, rows have the number of their first line."""
    monkeypatch.setattr("hamur.data.text.lines.BLOCK_BYTES", block_bytes)
    end = {bytes: "", gzip.compress: ".gz", compressed: ".zst"}[pack]
    path, mark = tmp_path / f"a.csv{end}", "\ufeff" if encoding[:5] in ("utf-8", "utf-1") else ""
    path.write_bytes(pack((mark + TEXT).replace(mark * 2, mark).encode(encoding)))
    rows, bad_rows = read(path, multiline=True, encoding=encoding)
    assert cells(rows) == EXPECTED and rows.lines.tolist() == [2, 4, 7]
    assert [line for _, line, *_ in bad_rows.listing()] == [5, 6]
    assert bad_rows.counts()["rows_read"] == 5
    parts = list(read_blocks(path, FileFormat(KINDS, multiline=True, encoding=encoding), bad_rows))
    assert sum(map(len, parts)) == 3 and (block_bytes > 50) == (len(parts) == 1)
    with pytest.raises(DataValueError, match=r"a\.csv.*:5: column .*'user'.*id|name"):
        read(path, Policy(), multiline=True, encoding=encoding)[1].raise_if_any()


def test_text_of_another_encoding_is_one_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode("cp1252"))
    for encoding, line in (("utf-8", 4), ("ascii", 4), ("utf-16", 1)):
        with pytest.raises(DataFormatError) as caught:
            read(path, multiline=True, encoding=encoding)
        assert_ours(caught.value)
        assert caught.value.line == line or encoding == "utf-16"
    for encoding in ("rot13", "no such", "hex"):
        with pytest.raises(ValueError, match="`encoding` is"):
            FileFormat(KINDS, encoding=encoding)


def test_a_cut_zst_is_damaged(tmp_path):
    content = compressed((TEXT * 50).encode())
    for cut in (8, len(content) // 2, len(content) - 3):
        (tmp_path / "a.csv.zst").write_bytes(content[:cut])
        with pytest.raises(TruncatedFileError, match=r"a\.csv\.zst: .*damaged or ends early"):
            read(tmp_path / "a.csv.zst", multiline=True)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "b.csv.zst")


@pytest.mark.parametrize("first, names, separator", [
    ("a,b,c", None, ","), ("a\tb,c\td", None, "\t"), ("user::item::x|y|z|w", None, "::"),
    ('"a,b,c";d;e', None, ";"), ("alone", None, ","), ("1|Toy Story, The|1995||", None, "|"),
    ("1,Toy,Adventure|Animation|Children|Comedy", ("id", "title", "genres"), ","),
])  # fmt: skip
def test_the_separator_is_that_of_the_first_line(tmp_path, first, names, separator):
    (tmp_path / "a.txt").write_text(first + "\n1;2;3;4;5;6\n")
    assert separator_of(tmp_path / "a.txt", names) == separator


# ---- rows in memory


def test_frames_of_any_library_become_arrow_tables():
    table = pa.table({"a": [1, None], "b": ["x", "y"]})

    class Polars:
        def to_arrow(self):
            return table

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    class Exchange:
        def __dataframe__(self, **_):
            return table.__dataframe__()

    sources = [table, table.to_batches()[0], Polars(), Stream(), Exchange(), table.to_pandas()]
    for source in (*sources, table.to_pylist(), table.to_pydict()):
        assert as_arrow(source).to_pylist() == [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]


def test_mixed_columns_are_text_cell_by_cell():
    day = pd.Timestamp("2014-05-13")
    mixed = ["007", 7, 7.0, True, None, math.nan, pd.NA, 2**70, np.int8(3), day.date()]
    expected = ["007", "7", "7.0", "True", None, None, None, str(2**70), "3", "2014-05-13"]
    for source in (pd.DataFrame({"x": mixed}), [{"x": x} for x in mixed], {"x": mixed}):
        assert as_arrow(source)["x"].to_pylist() == expected
    assert as_arrow([{"a": 1}, {"b": "x"}]).to_pylist() == [
        {"a": 1, "b": None}, {"a": None, "b": "x"}
    ]  # fmt: skip


@pytest.mark.parametrize("source, kind", [
    ([{"x": "\ud800"}], DataValueError), ([{"x": 1}, {"x": {"y": 1}}], DataValueError),
    ([{"x": 1}, {"x": b"z"}], DataValueError), ([{"x": 1}, [2]], DataFormatError),
    ({"x": [1], "y": [1, 2]}, DataFormatError), ({"x": [1], 1: [2], "1": [2]}, DataFormatError),
    ({"x": "ab", "y": [1, 2]}, DataFormatError), ({"x": 1, "y": [1]}, DataFormatError),
    (7, TypeError), (pd.DataFrame([[1, 2]], columns=["x", "x"]), DataFormatError),
])  # fmt: skip
def test_rows_that_are_no_table_are_one_line(source, kind):
    with pytest.raises(kind) as caught:
        as_arrow(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [2, 600])
@pytest.mark.parametrize("odd", [["a"], ("a",), np.array([1])])
def test_a_column_of_lists_and_text_names_its_first_list(rows, odd):
    cells = ["b"] * (rows - 1) + [odd]
    for source in (pd.DataFrame({"x": cells}), [{"x": cell} for cell in cells], {"x": cells}):
        with pytest.raises(
            DataValueError, match=f"column 'x': row {rows} cannot be used"
        ) as caught:
            raw_rows.read(source, FileFormat({"x": "text"}, separators={"x": "|"}))
        assert_ours(caught.value)
        assert caught.value.line == rows and "or None" in caught.value.remedy


def test_files_are_found_by_name_pattern_and_list(tmp_path, monkeypatch):
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found = files_of(["c.txt", "*.csv", "a.csv"])
    assert [path.name for path in found] == ["c.txt", "a.csv", "b.csv"]
    assert is_files("a") and is_files([tmp_path, "b"]) and not is_files([{}]) and not is_files([])
    for odd in ("*.tsv", "d.csv", str(tmp_path)):
        with pytest.raises(DataFileNotFoundError):
            files_of(odd)


def test_what_is_wrong_first_is_told_first(tmp_path, monkeypatch):
    """Blocks are read ahead: a later line that is too long does not hide a bad row."""
    monkeypatch.setattr("hamur.data.text.lines.BLOCK_BYTES", 64)
    rows = [f"u{n},i,1,{1_400_000_000 + n},1" for n in range(99)]
    rows[3] = "u3,i,x,1400000000,1"
    path = tmp_path / "a.csv"
    path.write_text("\n".join([",".join(KINDS), *rows, "x" * (2 << 20)]) + "\n")
    with pytest.raises(DataValueError, match=r"a\.csv:5: column .*'price'"):
        read(path, Policy(max_line_mib=1))[1].raise_if_any()


def test_no_column_to_read_is_no_row(tmp_path):
    with pytest.raises(EmptySplitError, match="no row"):
        read(pa.table({"x": [b"1"]}), kinds={})


FEW_CELLS = [
    pa.array([1, -5, None, 2**62]), pa.array([1, 2**64 - 1, None], pa.uint64()),
    pa.array([1.0, 0.5, None, math.nan]), pa.array(["007", "7.0", None, "NA"]),
    pa.array([True, None]), pa.array([Decimal("1.50")]), pa.array([0.1, 1, None], pa.float32()),
    pa.array(["a", None]).dictionary_encode(), pa.nulls(2), pa.array([pd.Timestamp(0).date()]),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["code", "id", "number", "float", "int", "category", "text"])
def test_a_small_arrow_table_is_read_as_a_large_one(kind, monkeypatch):
    def found(table):
        try:
            rows = raw_rows.read(table, FileFormat({"x": kind}))
        except DataError as error:
            return str(error)
        return np.asarray(rows.columns["x"], object).tolist()

    for array in FEW_CELLS:
        for part in (array, *(array.slice(row, 1) for row in range(len(array)))):
            few = found(pa.table({"x": part}))
            with monkeypatch.context() as patch:
                patch.setattr(raw_rows, "FEW", -1)
                assert repr(few) == repr(found(pa.table({"x": part}))), part
