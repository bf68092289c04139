"""Pairs of domains: a reference with dictionaries, the rules of time, the two tables' checks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamur.data import load_pair
from hamur.data.cross_domain import Interactions, JoinRules, TableFormat, join_pair
from hamur.data.cross_domain.dataset import CATEGORY, USER, UserHistories
from hamur.data.cross_domain.tables import COLUMNS as PLAIN
from hamur.data.encode import Codes
from hamur.errors import (
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    DuplicateRowError,
    EmptySplitError,
    JoinError,
)
from tests.support.pair_reference import Reference, assert_equal, listed

DAY, BEGIN = 86_400, 1_300_000_000
COLUMNS = PLAIN + ",category=category"


def write(path, rows, header="user,item,rating,timestamp,category"):
    """rows: (user, item, rating, day, category)"""
    lines = [header] if header else []
    lines += [f"{u},{i},{r},{BEGIN + DAY * d},{c}" for u, i, r, d, c in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def load(source, target, columns=COLUMNS, header=True, time_unit="s", **rules):
    table_format = TableFormat(columns, header=header, time_unit=time_unit)
    return load_pair(source, target, table_format, **rules)


# Six users: u1 has everything, u2 two target rows, u3 no source row, u4 ties on a day,
# u5 source rows on and after the day of validation only, u6 three target rows.
SOURCE = [
    ("u1", "s1", 5, 1, "A"), ("u1", "s2", 2, 3, "A"), ("u1", "s3", 4, 9, "B"),
    ("u2", "s1", 4, 1, "A"), ("u4", "s2", 5, 2, "A"), ("u4", "s4", 1, 2, "C"),
    ("u5", "s4", 5, 5, "C"), ("u5", "s5", 4, 7, "C"), ("u6", "s1", 3, 0, "A"),
]  # fmt: skip
TARGET = [
    ("u1", "t1", 5, 2, "X"), ("u1", "t2", 1, 4, "X"), ("u1", "t3", 4, 6, "Y"),
    ("u1", "t1", 4, 8, "X"),
    ("u2", "t1", 5, 1, "X"), ("u2", "t2", 5, 2, "X"),
    ("u3", "t1", 5, 1, "X"), ("u3", "t2", 5, 2, "X"), ("u3", "t3", 5, 3, "Y"),
    ("u4", "t2", 4, 3, "X"), ("u4", "t4", 2, 3, "Y"), ("u4", "t1", 5, 3, "X"),
    ("u5", "t1", 1, 5, "X"), ("u5", "t2", 5, 5, "X"), ("u5", "t5", 5, 6, "Z"),
    ("u6", "t3", 4, 1, "Y"), ("u6", "t1", 4, 2, "X"), ("u6", "t2", 2, 3, "X"),
]  # fmt: skip


def plain_codes(column, values):
    """Codes in the order of `values`, whatever that is."""
    return Codes(np.array([values.index(cell) for cell in column], np.int32), np.array(values))


@pytest.mark.parametrize(
    "items",
    [["9", "10", "1", "100"], ["1", "10", "100", "9"], [1, 9, 10, 100], ["i", "j", "k", "l"]],
)
def test_an_item_keeps_its_category_whatever_its_id_looks_like(items):
    """Ids that are numbers, text, and text of numbers in numerical or any other order."""
    users, days = list("aaabbbcccccc"), list(range(12))
    column = [items[n] for n in (0, 1, 2, 1, 2, 0, 3, 0, 1, 2, 3, 0)]
    category = Codes(np.array([0, 1, 0, 2], np.int32), np.array(["A", "B", "C"]))
    rows = Interactions(
        "S", plain_codes(users, list("abc")), plain_codes(column, items), category,
        np.arange(12), np.ones(12, np.float32), BEGIN + DAY * np.array(days),
    )  # fmt: skip
    pair = join_pair(rows, replace(rows, name="T"), JoinRules(vocabulary="all"))
    for side in ("source", "target"):
        found = dict(zip(pair.names[f"{side}_item"][1:], getattr(pair, f"{side}_categories")[1:]))
        named = {item: pair.names[f"{side}_category"][c] for item, c in found.items()}
        assert named == dict(zip(map(str, items), "ABAC"))
    table = pair.target.train
    assert (table.sparse[:, 2] == pair.target_categories[table.sparse[:, 1]]).all()


def numbered(rows):
    return [(u, i, r, BEGIN + DAY * d, n) for n, (u, i, r, d, _) in enumerate(rows)]


def reference(source, target, **options):
    names = [{i: c for _, i, _, _, c in rows} for rows in (source, target)]
    return Reference(numbered(source), numbered(target), *names, **options)


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "books.csv", SOURCE), write(tmp_path / "toys.csv", TARGET)


@pytest.fixture
def small(files):
    return load(*files)


def test_six_users_by_hand(small):
    assert small.names["user"].tolist() == ["", "u1", "u4", "u5", "u6"]
    assert [row[:2] for row in listed(small.target.test)] == [[1, 1], [2, 1], [3, 0], [4, 2]]
    assert small.target.valid.time.tolist() == [BEGIN + DAY * d for d in (6, 3, 5, 2)]
    begin, end = small.pool(UserHistories.of(small.source), small.target.train)
    # u1 before day 2: s1; before day 4: s1 s2.  u4 before day 3: both.  u5: nothing.  u6: s1.
    assert (end - begin).tolist() == [1, 2, 2, 0, 1]
    assert dict(small.target_schema.split["users"]) == {
        "shared": 5,
        "too_few_target_rows": 1,
        "kept": 4,
    }
    assert_equal(small, reference(SOURCE, TARGET))


def test_300_random_users_as_the_reference_has_them(tmp_path):
    rng = np.random.default_rng(5)
    tables = []
    for prefix, rows in (("s", 4_000), ("t", 2_500)):
        user, item, day = (rng.integers(n, size=rows) for n in (330, 40, 300))
        rating = rng.integers(1, 6, rows)
        keys = np.unique(np.stack([user, item, day, rating], axis=1), axis=0)
        keys = rng.permutation(keys)
        tables.append(
            [(f"u{u}", f"{prefix}{i}", r, d, f"c{i % 7}") for u, i, d, r in keys.tolist()]
        )
    paths = [write(tmp_path / f"{n}.csv", rows) for n, rows in zip("ab", tables)]
    pair = load(*paths)
    assert pair.num_users > 250
    assert_equal(pair, reference(*tables))


rows_of = st.lists(
    st.tuples(
        st.sampled_from([f"u{n}" for n in range(6)]),
        st.sampled_from([f"i{n}" for n in range(5)]),
        st.integers(1, 5),
        st.integers(0, 4),
    ),
    min_size=8,
    max_size=40,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(source=rows_of, target=rows_of)
def test_small_pairs_with_many_ties(tmp_path_factory, source, target):
    folder = tmp_path_factory.mktemp("pair")
    tables = [[(*row, f"c{row[1]}") for row in rows] for rows in (source, target)]
    paths = [write(folder / f"{n}.csv", rows) for n, rows in zip("ab", tables)]
    expected = reference(*tables)
    if not expected.user:
        # Items of both tables have the same names, which looks like exchanged columns.
        with pytest.raises((EmptySplitError, JoinError, DataFormatError)):
            load(*paths)
        return
    assert_equal(load(*paths), expected)


def test_inclusive_pools_hold_the_same_day(small):
    strict, equal = (
        small.pool(UserHistories.of(small.source), small.target.train, inclusive=way)
        for way in (False, True)
    )
    assert (equal[1] - strict[1]).tolist() == [0, 0, 0, 1, 0]  # u5: s4 on the day of t1


def test_vocabulary_of_all_rows(files):
    assert_equal(load(*files, vocabulary="all"), reference(SOURCE, TARGET, everything=True))


def test_global_time_keeps_days_together(files):
    pair = load(*files, split="global_time")
    train, valid, test = (part.time for part in pair.target)
    assert train.max() < valid.min() <= valid.max() < test.min()
    assert (pair.valid_time[1:] == valid.min()).all()
    users = {part: set(getattr(pair.target, part).sparse[:, USER]) for part in ("valid", "test")}
    assert all(found <= set(pair.target.train.sparse[:, USER]) for found in users.values())


def test_without_time_the_split_is_drawn_and_pools_are_whole(files):
    columns = COLUMNS.replace("timestamp=timestamp", "timestamp=none")
    one, same, other = (load(*files, columns=columns, split_seed=s) for s in (1, 1, 5))
    assert not one.timed
    assert listed(one.target.test) == listed(same.target.test) != listed(other.target.test)
    begin, end = one.pool(UserHistories.of(one.source), one.target.train)
    rows = np.bincount(one.source.sparse[:, USER])
    assert (end - begin == rows[one.target.train.sparse[:, USER]]).all()
    with pytest.raises(ValueError, match="needs a timestamp"):
        load(*files, columns=columns, split="global_time")


def test_without_ratings_every_row_is_positive(files):
    pair = load(*files, columns="user=user,item=item,timestamp=timestamp")
    assert all((part.labels == 1).all() for part in (pair.source, *pair.target))
    assert pair.names["source_category"].tolist() == ["", "unknown"]


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "ms"])
def test_files_without_header_tabs_parquet_and_milliseconds(tmp_path, small, form):
    paths = [tmp_path / f"{n}.{'csv' if form == 'ms' else form}" for n in "ab"]
    for path, rows in zip(paths, (SOURCE, TARGET)):
        frame = pd.DataFrame(numbered(rows)).iloc[:, :4]
        frame.columns = ["user", "item", "rating", "timestamp"]
        frame["timestamp"] *= 1000 if form == "ms" else 1
        if form == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, sep="\t" if form == "tsv" else ",", index=False, header=False)
    columns = PLAIN if form == "parquet" else "user=1,item=2,rating=3,timestamp=4"
    time_unit = "ms" if form == "ms" else "s"
    pair = load(*paths, columns, header=form == "parquet", time_unit=time_unit)
    for table, known in zip((pair.source, *pair.target), (small.source, *small.target)):
        expected = known.sparse.copy()
        expected[:, CATEGORY] = 1  # "unknown"
        np.testing.assert_array_equal(table.sparse, expected)
        np.testing.assert_array_equal(table.labels, known.labels)
        np.testing.assert_array_equal(table.time, known.time)
        np.testing.assert_array_equal(table.row_id, known.row_id)


# ---- bad input


@pytest.mark.parametrize(
    ("new", "error", "column", "words"),
    [
        ("u1,t1,six,1300000000,X", DataValueError, "rating", ""),
        ("u1,t1,6,1300000000,X", DataValueError, "rating", "rating_max"),
        ("u1,t1,nan,1300000000,X", DataValueError, "rating", ""),
        ("u1,t1,5,1300000000000,X", DataValueError, "timestamp", "look like milliseconds"),
        ("u1,t1,5,12.5,X", DataValueError, "timestamp", ""),
        ("u1,t1,5,-1,X", DataValueError, "timestamp", ""),
        (",t1,5,1300000000,X", DataValueError, "user", "a name"),
        ("u1,,5,1300000000,X", DataValueError, "item", "a name"),
        ("u1,t1,5,1300000000", DataFormatError, None, ""),
        ("u1,t1,5,1300172800,X", DuplicateRowError, "user", "repeats line 2, got 'u1'"),
    ],
)
def test_bad_rows_name_file_line_and_column(files, new, error, column, words):
    lines = files[1].read_text().splitlines()
    lines[4] = new
    files[1].write_text("\n".join(lines) + "\n")
    with pytest.raises(error) as caught:
        load(*files)
    found, text = caught.value, str(caught.value)
    assert (found.file, found.line, found.column) == (files[1], 5, column)
    assert words in text and "Remedy: " in text and "\n" not in text
    pair = load(*files, on_bad_rows="skip", max_bad_fraction=0.1)
    counts = pair.target_schema.split["domains"]["toys"]["files"]["toys.csv"]
    assert counts["rows_read"] == counts["rows_kept"] + 1 and sum(counts["dropped"].values()) == 1


def test_exchanged_columns_are_found_by_their_look(tmp_path):
    rows = [(f"B0{n:08d}", f"A{n:013d}", 5, n, "X") for n in range(30)]
    write(tmp_path / "c.csv", rows)
    with pytest.raises(DataFormatError, match="look swapped") as caught:
        load(tmp_path / "c.csv", write(tmp_path / "d.csv", TARGET))
    text = "'user' holds product numbers and 'item' reviewer ids in 30 of the first 30 rows"
    assert text in str(caught.value)


def test_no_common_user_and_what_an_exchange_would_give(tmp_path):
    strangers = [(f"x{u}", *rest) for u, *rest in TARGET]
    turned = [(i, u, *rest) for u, i, *rest in TARGET]
    source = write(tmp_path / "a.csv", SOURCE)
    with pytest.raises(JoinError, match=r"0 users in both files: 5 in a, 6 in b\. Remedy"):
        load(source, write(tmp_path / "b.csv", strangers))
    target = write(tmp_path / "b.csv", turned)
    text = "0 users in both files.*columns user and item exchanged in {} 5 would be shared"
    with pytest.raises(DataFormatError, match=text.format(r"the target \(b\)")):
        load(source, target)
    with pytest.raises(DataFormatError, match=text.format(r"the source \(b\)")):
        load(target, source)
    # Users and items are texts of different lengths.
    turned = [(f"{i} of the books", u, *rest) for u, i, *rest in SOURCE]
    with pytest.raises(DataFormatError, match=text.format("both tables")):
        load(write(tmp_path / "c.csv", turned), target)
    long = [(f"{u}, a customer", *rest) for u, *rest in TARGET]
    turned = [(i, f"{u}, a customer", *rest) for u, i, *rest in SOURCE]
    for path, rows in (("c.csv", turned), ("d.csv", long)):
        write(tmp_path / path, [[f'"{cell}"' for cell in row[:2]] + [*row[2:]] for row in rows])
    with pytest.raises(DataFormatError, match=text.format(r"the source \(c\)")):
        load(tmp_path / "c.csv", tmp_path / "d.csv")


def test_too_few_rows_ratings_that_are_none_same_file_missing_columns(tmp_path):
    few = [row for n, row in enumerate(TARGET) if n % 3 == 0]
    paths = write(tmp_path / "a.csv", SOURCE), write(tmp_path / "few.csv", few)
    with pytest.raises(EmptySplitError, match="no user has 3 rows in few"):
        load(*paths)
    many = [("u1", f"t{n}", n / 8, n, "X") for n in range(40)]
    with pytest.raises(DataFormatError, match="more than 21 different ratings"):
        load(paths[0], write(tmp_path / "many.csv", many))
    with pytest.raises(DataFormatError, match="the same file for both"):
        load(paths[0], paths[0])
    assert load(paths[0], paths[0], allow_same=True).num_users == 1
    with pytest.raises(DataFormatError, match="column 'stars': no column for 'rating'"):
        load(*paths, columns="user=user,item=item,rating=stars")
    with pytest.raises(DataFileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere.csv", paths[1])
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataFormatError, match="no Parquet file"):
        load(tmp_path / "x.parquet", paths[1])


def test_columns_are_checked():
    assert TableFormat("user=1,item=2,rating=none").roles == {"user": "1", "item": "2"}
    for wrong in ("user=1", "user=1,item=none", "user=1,item=2,stars=3"):
        with pytest.raises(ValueError, match="use user=user"):
            TableFormat(wrong)
