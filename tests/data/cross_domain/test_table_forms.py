"""One pair of tables in the forms that people have: times, ids, missing cells, headers, files."""

import gzip
import io
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hamur.data import load_pair
from hamur.data.cross_domain import TableFormat
from hamur.errors import DataFormatError, DataValueError, TruncatedFileError

BEGIN, BIG, USERS, ITEMS, ROWS = 1_400_000_000, 2**53, 60, 30, 700
COLUMNS = "user=user,item=item,rating=rating,timestamp=timestamp,category=category"


def frame(first_item=0):
    rng = np.random.default_rng(first_item)
    columns = dict(user=rng.permutation(np.arange(ROWS) % USERS))
    columns |= dict(item=rng.integers(0, ITEMS, ROWS), rating=rng.integers(1, 6, ROWS))
    columns |= dict(timestamp=BEGIN + 3600 * np.arange(ROWS))
    table = pd.DataFrame(columns)
    return table.assign(item=table["item"] + first_item, category=list("ab" * (ROWS // 2)))


@pytest.fixture
def source(tmp_path):
    """A function: the lines of a source file, its name -> the file."""

    def write(table, name="source.csv", **options):
        table.to_csv(tmp_path / name, index=False, **options)
        return tmp_path / name

    return write


@pytest.fixture
def load(tmp_path):
    """A function: a source file -> the pair with the same target."""
    frame(1000).to_csv(tmp_path / "target.csv", index=False)

    def load(file, columns=COLUMNS, time_unit=None, target="target.csv", **options):
        return load_pair(
            file, tmp_path / target, TableFormat(columns, time_unit=time_unit), **options
        )

    return load


def listed(pair):
    tables = [(t.sparse, t.labels, t.time, t.row_id) for t in (pair.source, *pair.target)]
    names = {name: values.tolist() for name, values in pair.names.items()}
    return [[column.tolist() for column in columns] for columns in tables], names


@pytest.fixture
def plain(load, source):
    return listed(load(source(frame(), "plain.csv")))


# ---- ids


@pytest.mark.parametrize("first", [BIG, 0], ids=["beyond 2**53", "small"])
def test_a_null_is_one_bad_row_and_changes_no_other_id(first, load, tmp_path):
    """The files have no notes of pandas, as those of other writers; nulls made floats of it all."""
    paths = [tmp_path / f"{name}.parquet" for name in ("source", "target")]
    for path, table in zip(paths, (frame(), frame(1000))):
        item, user = (pd.array(table[name] + first, "Int64") for name in ("item", "user"))
        item[3], user[7] = pd.NA, pd.NA
        table = pa.table(dict(table) | {"item": pa.array(item), "user": pa.array(user)})
        pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(DataValueError, match=r"source\.parquet:4: column 'item'.*got ''"):
        load(paths[0], target="target.parquet")
    pair = load(paths[0], target="target.parquet", on_bad_rows="skip")
    assert pair.names["user"].tolist()[1:] == sorted(str(first + n) for n in range(USERS))
    assert pair.names["source_item"].tolist()[1:] == sorted(str(first + n) for n in range(ITEMS))
    counts = pair.target_schema.split["domains"]["source"]["files"]["source.parquet"]
    assert counts == {
        "rows_read": ROWS, "rows_kept": ROWS - 2,
        "dropped": {"bad value in item": 1, "bad value in user": 1},
    }  # fmt: skip


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "null", "NULL", "None", r"\N", "", "  "])
def test_words_that_mean_missing_are_no_user_and_no_category(word, load, source, plain):
    table = frame().astype(str)
    table.loc[4, "user"] = word
    with pytest.raises(DataValueError, match=r"source\.csv:6: column 'user'.*expected a name"):
        load(source(table))
    table = frame().astype(str)
    table.loc[:4, "category"] = word
    table.loc[5:8, "user"] += ".0"  # as a column of floats is written
    rows, names = listed(load(source(table)))
    assert names == plain[1] and (rows[0] == plain[0][0]) == (word is None)
    table["category"] = table["category"].replace(word, None)
    table.to_parquet(source(table).with_name("source.parquet"))
    assert listed(load(source(table).with_name("source.parquet"))) == (rows, names)


def test_packed_content_under_a_plain_name_is_told(load, source):
    file = source(frame())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(file)
    packed = gzip.compress(file.read_bytes())
    for name, data, told in (
        ("source.csv", packed, r"source\.csv: .*is gzip-compressed.*rename it to end in \.gz"),
        ("source.csv", content.getvalue(), "is a zip archive.*unpack it and pass"),
        ("source.csv.gz", gzip.compress(packed), "is packed twice.*unpack it once"),
    ):
        file.with_name(name).write_bytes(data)
        with pytest.raises(DataFormatError, match=told):
            load(file.with_name(name))


# ---- headers


def test_equal_names_matter_in_columns_that_are_read_alone(load, source, plain):
    for name, problem in (("note", None), ("", None), ("item", "two columns of one name")):
        table = frame().assign(first="x", second=7)
        table.columns = [*table.columns[:-2], name, name]
        if problem is None:
            assert listed(load(source(table))) == plain
            continue
        with pytest.raises(DataFormatError, match=r"source\.csv:1: column 'item': two columns"):
            load(source(table))


# ---- times


@pytest.mark.parametrize("unit, factor", [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_of_times_is_seen_and_told_or_given(unit, factor, load, source, plain, caplog):
    table = frame()
    table["timestamp"] = table["timestamp"] * factor + factor // 2
    file = source(table)
    assert listed(load(file)) == plain
    told = [text for text in caplog.messages if "timestamp" in text]
    assert len(told) == (unit != "s") and all("look like" in text for text in told)
    table.loc[9, "timestamp"] = BEGIN * (1000 if unit == "s" else 1)
    with pytest.raises(DataValueError, match=r"csv:11: column 'timestamp'.*these look like"):
        load(source(table))
    caplog.clear()
    for name in ("source", "target"):  # a unit that is given holds for both tables
        both = frame(0 if name == "source" else 1000)
        source(both.assign(timestamp=both["timestamp"] * factor), f"given_{name}.csv")
    given = dict(time_unit=unit, target="given_target.csv")
    pair = load(file.with_name("given_source.csv"), **given)
    assert listed(pair) == plain and not caplog.messages
    wrong = {"time_unit": "s" if unit != "s" else "ns"}
    with pytest.raises(DataValueError, match=f"Remedy: use `time_unit='{unit}'`, or leave it out"):
        load(file.with_name("given_source.csv"), **given | wrong)


FORMS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.750+00:00"]


@pytest.mark.parametrize("form", [*FORMS, "s", "ms", "us", "ns"])
@pytest.mark.parametrize("given", [None, "s"])
def test_iso_times_and_columns_of_times_have_their_unit(form, given, load, source, plain, caplog):
    table = frame()
    when = pd.to_datetime(table["timestamp"], unit="s")
    if "%" in form:
        file = source(table.assign(timestamp=when.dt.strftime(form)))
    else:
        file = source(table).with_name("source.parquet")
        table.assign(timestamp=when.astype(f"datetime64[{form}]")).to_parquet(file)
    pair = load(file, time_unit=given)
    assert listed(pair) == plain and not caplog.messages


# ---- headers, separators, files


def test_typed_headers_tabs_and_packed_files(load, source, plain):
    types = dict(user="user_id:token", item="item_id:token", rating="rating:float")
    types |= dict(timestamp="timestamp:float", category="c:token_seq")
    source(frame(1000).rename(columns=types), "target.inter", sep="\t")
    file = source(frame().rename(columns=types), "source.inter", sep="\t")
    for user in ("user_id", "user_id:token"):
        columns = f"user={user},item=item_id,rating=rating,timestamp=timestamp,category=c"
        assert listed(load(file, columns, target="target.inter")) == plain
    packed = source(frame(), "source.csv.gz")
    assert listed(load(packed)) == plain
    packed.write_bytes(packed.read_bytes()[:-300])
    with pytest.raises(TruncatedFileError, match=r"source\.csv\.gz.*ends early"):
        load(packed)
    packed.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(DataFormatError, match="no column for 'user'"):
        load(packed)


@pytest.mark.parametrize("mark", [";", "\t", "|", "::"])
def test_a_wrong_separator_is_named(mark, load, source):
    file = source(frame())
    expected = listed(load_pair(file, file, TableFormat(COLUMNS), allow_same=True))
    file.write_text(frame().to_csv(index=False).replace(",", mark))
    with pytest.raises(DataFormatError) as caught:
        load(file)
    assert f"one column only, which looks separated by {mark!r}" in str(caught.value)
    assert "with `separator`" in caught.value.remedy
    for given in {mark, mark.replace("\t", r"\t")}:
        table_format = TableFormat(COLUMNS, separator=given)
        assert listed(load_pair(file, file, table_format, allow_same=True)) == expected
    for wrong in ("", "\n", '"', "ü"):
        with pytest.raises(ValueError, match="`separator` is"):
            TableFormat(COLUMNS, separator=wrong)
