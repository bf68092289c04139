"""Bad input: the class, the line, the column, the value and a remedy; strict and skipping."""

import csv

import numpy as np
import pytest

from hamur.data import load_ali_ccp, load_movielens
from hamur.errors import (
    DataFormatError,
    DataValueError,
    DuplicateRowError,
    EmptySplitError,
    JoinError,
    TruncatedFileError,
    UnknownDomainError,
)
from tests.support.lines import get_line, set_line

# file, line, new text, error, column, value, words of the message
RAW_CASES = {
    "short": ("ratings.dat", 7, "1::5::3", DataFormatError, None, "1::5::3", "3 fields"),
    "long": ("ratings.dat", 7, "1::5::3::9::9", DataFormatError, None, "1::5::3::9::9", "5 fields"),
    "blank": ("ratings.dat", 7, "", DataFormatError, None, "", "0 fields"),
    "no number": ("ratings.dat", 7, "x::5::3::9", DataValueError, "user_id", "x", "column 1"),
    "empty": ("ratings.dat", 7, "1::5::3::", DataValueError, "timestamp", "", "column 4"),
    "nan": ("ratings.dat", 7, "1::nan::3::9", DataValueError, "movie_id", "nan", "column 2"),
    "inf": ("ratings.dat", 7, "1::inf::3::9", DataValueError, "movie_id", "inf", "column 2"),
    "negative": ("ratings.dat", 7, "-1::5::3::9", DataValueError, "user_id", "-1", "number >= 0"),
    "huge": ("ratings.dat", 7, f"1::{10**20}::3::9", DataValueError, "movie_id", f"{10**20}", ""),
    "rating 0": ("ratings.dat", 7, "1::99999::0::9", DataValueError, "rating", 0, "1, 2, 3, 4, 5"),
    "rating 6": ("ratings.dat", 7, "1::99999::6::9", DataValueError, "rating", 6, "1, 2, 3, 4, 5"),
    "no user": ("ratings.dat", 7, "777::5::3::9", JoinError, "user_id", [777], "users.dat"),
    "no movie": ("ratings.dat", 7, "1::99999::3::9", JoinError, "movie_id", [99999], "movies.dat"),
    "age": ("users.dat", 3, "3::F::30::1::02138", UnknownDomainError, "age", 30, "1, 18, 25, 35"),
    "no age": ("users.dat", 3, "3::F::::1::02138", DataValueError, "age", "", "column 3"),
    "users": ("users.dat", 3, "3::F::25::1", DataFormatError, None, "3::F::25::1", "4 fields"),
    "same user": ("users.dat", 3, "2::F::25::1::02138", DuplicateRowError, "user_id", 2, "line 2"),
    "movies": ("movies.dat", 4, "9::Title", DataFormatError, None, "9::Title", "2 fields"),
}


@pytest.mark.parametrize("case", RAW_CASES)
def test_raw_movielens_row(movielens_copy, tmp_path, case):
    name, line, text, error, column, value, words = RAW_CASES[case]
    path = movielens_copy / name
    set_line(path, line, text)
    with pytest.raises(error) as caught:
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")
    found = caught.value
    assert type(found) is error
    assert (found.file, found.line, found.column, found.value) == (path, line, column, value)
    assert words in str(found) and "Remedy: " in str(found)
    assert str(found).startswith(f"{path}:{line}:")
    assert "\n" not in str(found)


def test_repeated_rating_names_both_lines(movielens_copy, tmp_path):
    path = movielens_copy / "ratings.dat"
    set_line(path, 40, get_line(path, 9))
    with pytest.raises(DuplicateRowError, match=r"ratings\.dat:40: .*line 9 already.*Remedy"):
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")


def test_join_error_counts_rows_and_shows_five_keys(movielens_copy, tmp_path):
    path = movielens_copy / "users.dat"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[7:]))  # the first seven users are gone
    with pytest.raises(JoinError) as caught:
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")
    assert caught.value.line == 1 and caught.value.value == [1, 2, 3, 4, 5]
    ratings = (movielens_copy / "ratings.dat").read_text().splitlines()
    missing = sum(int(line.split("::")[0]) <= 7 for line in ratings)
    assert f"{missing} rows of 7 keys" in str(caught.value)


@pytest.mark.parametrize("block", [200, 16 << 20])
def test_first_bad_row_of_the_file_is_reported_whatever_its_kind(
    movielens_copy, tmp_path, monkeypatch, block
):
    monkeypatch.setattr("hamur.data.text.lines.BLOCK_BYTES", block)
    path = movielens_copy / "ratings.dat"
    for line, text in {90: "1::2", 80: "1::x::3::9", 70: "1::5::9::9", 60: "777::5::3::9"}.items():
        set_line(path, line, text)
        with pytest.raises((DataFormatError, DataValueError, JoinError)) as caught:
            load_movielens(movielens_copy, cache_dir=tmp_path / "c")
        assert caught.value.line == line


def test_wrong_separator(movielens_copy, joined, tmp_path):
    csv_file = joined(movielens_copy, tmp_path / "ml-1m.csv")
    csv_file.write_text(csv_file.read_text().replace(",", "\t"))
    with pytest.raises(DataFormatError, match=r"ml-1m\.csv:1: wrong separator: '\\t' seen.*','"):
        load_movielens(csv_file)
    path = movielens_copy / "ratings.dat"
    path.write_text(path.read_text().replace("::", ","))
    with pytest.raises(DataFormatError, match=r"ratings\.dat:1: wrong separator: ',' seen.*'::'"):
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")


def test_file_that_ends_inside_a_row(movielens_copy, tmp_path):
    path = movielens_copy / "ratings.dat"
    lines = path.read_bytes().splitlines(keepends=True)
    content = b"".join(lines[:1500]) + b"12::34"
    path.write_bytes(content)
    for mode in ("error", "skip"):
        with pytest.raises(TruncatedFileError) as caught:
            load_movielens(movielens_copy, on_bad_rows=mode, cache_dir=tmp_path / "c")
        assert (caught.value.line, caught.value.value) == (1501, "12::34")
        assert f"at byte {len(content)}; the last complete line is 1500" in str(caught.value)


@pytest.mark.parametrize("name", ["ratings.dat", "users.dat", "movies.dat"])
def test_empty_file(movielens_copy, tmp_path, name):
    (movielens_copy / name).write_bytes(b"")
    with pytest.raises(EmptySplitError, match=f"{name}.*no row.*Remedy"):
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")
    (tmp_path / "ml-1m.csv").write_text("")
    with pytest.raises(EmptySplitError, match="the file is empty"):
        load_movielens(tmp_path)


def test_wrong_encodings(movielens_copy, joined, tmp_path):
    csv_file = joined(movielens_copy, tmp_path / "ml-1m.csv")
    text = csv_file.read_text(encoding="utf-8")
    line = next(i for i, row in enumerate(text.split("\n"), start=1) if not row.isascii())
    csv_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataFormatError, match=f"csv:{line}: not utf-8 text.*latin-1"):
        load_movielens(csv_file, cache_dir=tmp_path / "c")
    csv_file.write_bytes(text.encode("utf-16"))
    with pytest.raises(DataFormatError, match="a UTF-16 byte order mark at byte 0"):
        load_movielens(csv_file)
    path = movielens_copy / "ratings.dat"
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\0" + content[100:])
    with pytest.raises(DataFormatError, match="a NUL byte at byte 100"):
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")


ALI_CASES = {
    "click 2": ("click", "2", DataValueError, 2, "0, 1"),
    "click text": ("click", "yes", DataValueError, "yes", "whole number"),
    "no click": ("click", "", DataValueError, "", "whole number"),
    "id text": ("205", "a7", DataValueError, "a7", "whole number >= 0 or nothing"),
    "id negative": ("205", "-7", DataValueError, "-7", "whole number >= 0 or nothing"),
    "id fraction": ("205", "7.5", DataValueError, "7.5", "whole number >= 0 or nothing"),
    "dense text": ("D508", "x", DataValueError, "x", "a finite number"),
    "dense nan": ("D508", "NaN", DataValueError, "NaN", "a finite number"),
    "dense inf": ("D508", "inf", DataValueError, "inf", "a finite number"),
    "dense empty": ("D508", "", DataValueError, "", "a finite number"),
    "domain 0": ("301", "0", UnknownDomainError, 0, "1 rows have it"),
    "domain 9": ("301", "9", UnknownDomainError, 9, "one of 1, 2, 3"),
    "no domain": ("301", "", UnknownDomainError, "", "domain_map"),
}


@pytest.mark.parametrize("case", ALI_CASES)
def test_ali_ccp_cell(ali_copy, set_cell, tmp_path, case):
    column, text, error, value, words = ALI_CASES[case]
    path = ali_copy / "ali_ccp_val.csv"
    set_cell(path, 8, column, text)
    with pytest.raises(error) as caught:
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    found = caught.value
    assert type(found) is error
    assert (found.file, found.line, found.column, found.value) == (path, 8, column, value)
    assert words in str(found) and "Remedy: " in str(found)


def test_skip_counts_and_lists_every_kind_once(movielens_copy, tmp_path, caplog):
    """Seven defects of seven kinds."""
    path = movielens_copy / "ratings.dat"
    defects = {
        10: ("1::5", "wrong number of fields"),
        20: ("1::x::3::9", "bad value in movie_id"),
        30: ("y::5::3::9", "bad value in user_id"),
        40: ("1::5::7::9", "not an allowed value in rating"),
        50: (get_line(path, 9), "repeated user_id and movie_id"),
        60: ("777::5::3::9", "no partner in users.dat"),
        70: ("1::99999::3::9", "no partner in movies.dat"),
    }
    for line, (text, _) in defects.items():
        set_line(path, line, text)
    splits, schema = load_movielens(movielens_copy, on_bad_rows="skip", cache_dir=tmp_path / "c")
    counts = schema.split["files"]["ratings.dat"]
    assert dict(counts["dropped"]) == {reason: 1 for _, reason in defects.values()}
    assert (counts["rows_read"], counts["rows_kept"]) == (2000, 1993)
    assert sum(map(len, splits)) == 1993
    rows = np.concatenate([table.row_id for table in splits])
    assert not {line - 1 for line in defects} & set(rows)
    assert "left out 7 of 2000 rows" in caplog.text
    (listing,) = (tmp_path / "c").rglob("bad_rows.csv")
    with listing.open(newline="") as file:
        listed = [(int(row["line"]), row["text"], row["reason"]) for row in csv.DictReader(file)]
    assert listed == [(line, *defect) for line, defect in defects.items()]


def test_skipped_user_takes_the_ratings_along(movielens_copy, tmp_path):
    set_line(movielens_copy / "users.dat", 3, "3::F::30::1::02138")
    ratings = (movielens_copy / "ratings.dat").read_text().splitlines()
    of_user = sum(line.startswith("3::") for line in ratings)
    splits, schema = load_movielens(movielens_copy, on_bad_rows="skip", cache_dir=tmp_path / "c")
    files = schema.split["files"]
    assert dict(files["users.dat"]["dropped"]) == {"no domain in age": 1}
    assert dict(files["ratings.dat"]["dropped"]) == {"no partner in users.dat": of_user}
    assert not any((table.group == 3).any() for table in splits)


def test_too_many_bad_rows_stop_all_the_same(movielens_copy, tmp_path):
    path = movielens_copy / "ratings.dat"
    for line in range(1, 121):  # 6 %
        set_line(path, line, "1::x::3::9")
    options = dict(on_bad_rows="skip", cache_dir=tmp_path / "c")
    with pytest.raises(DataFormatError, match=r"120 of 2000 rows are bad.*at most 5\.0%.*Remedy"):
        load_movielens(movielens_copy, **options)
    splits, _ = load_movielens(movielens_copy, max_bad_fraction=0.1, **options)
    assert sum(map(len, splits)) == 1880


def test_skip_leaves_bad_rows_of_the_processed_files_out(ali_copy, set_cell, tmp_path):
    path = ali_copy / "ali_ccp_train.csv"
    for line, column, text in ((3, "click", "2"), (4, "D508", "x"), (5, "301", "0")):
        set_cell(path, line, column, text)
    set_line(path, 6, "1,2,3")
    splits, schema = load_ali_ccp(ali_copy, on_bad_rows="skip", cache_dir=tmp_path / "c")
    counts = schema.split["files"]["ali_ccp_train.csv"]
    assert set(counts["dropped"].values()) == {1} and len(counts["dropped"]) == 4
    assert (counts["rows_read"], counts["rows_kept"], len(splits.train)) == (1200, 1196, 1196)
    assert splits.train.row_id[:3].tolist() == [0, 5, 6]


def test_skip_on_clean_files_changes_nothing(movielens_folder, tmp_path):
    strict, _ = load_movielens(movielens_folder, cache_dir=tmp_path)
    skip, _ = load_movielens(movielens_folder, on_bad_rows="skip", cache_dir=tmp_path)
    np.testing.assert_array_equal(strict.train.sparse, skip.train.sparse)
    assert not list(tmp_path.rglob("bad_rows.csv"))
