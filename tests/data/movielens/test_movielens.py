"""MovieLens: encoding, domains, splits, and the equality of its file formats."""

import numpy as np
import pytest

from hamur.data import load_movielens
from hamur.data.descriptions import CSV_COLUMNS, DOMAIN_OF_AGE
from hamur.data.table import Table
from hamur.errors import (
    DataFileNotFoundError,
    DataFormatError,
    EmptySplitError,
    StatsMismatchError,
)
from tests.support.caches import assert_same

FIELDS = ("user_id", "movie_id", "gender", "occupation", "zip", "cate_id", "domain_indicator")


def joined_table(splits) -> Table:
    """All rows of the three splits, sorted by user and movie (fit_on="all": ids are ranks)."""
    columns = {
        name: np.concatenate([getattr(table, name) for table in splits])
        for name in ("sparse", "dense", "labels", "domain", "group", "time")
    }
    order = np.lexsort((columns["sparse"][:, 1], columns["group"]))
    return Table(**{name: column[order] for name, column in columns.items()})


def test_every_cell_follows_from_the_files(movielens_folder, tmp_path):
    """A row-by-row reference with dictionaries, for all splits."""
    splits, schema = load_movielens(movielens_folder, cache_dir=tmp_path)
    ratings, users, movies = (
        (movielens_folder / name).read_text(encoding="latin-1").splitlines()
        for name in ("ratings.dat", "users.dat", "movies.dat")
    )
    ratings = [line.split("::") for line in ratings]
    users, movies = (dict(line.split("::", 1) for line in lines) for lines in (users, movies))
    rows = []
    for user, movie, rating, time in ratings:
        gender, age, occupation, code = users[user].split("::")
        genre = movies[movie].split("::")[1].split("|")[0]
        values = (int(user), int(movie), gender, int(occupation), code, genre)
        rows.append((values, int(age), int(rating) > 3, int(time)))
    train_rows = splits.train.row_id
    ids = []
    for f in range(6):
        known = sorted({rows[row][0][f] for row in train_rows})
        ids.append({value: number for number, value in enumerate(known, start=1)})
    assert schema.sparse_names == FIELDS and schema.dense_names == ("age",)
    assert schema.vocab_sizes == (*(len(known) + 1 for known in ids), 3)
    ages = [rows[row][1] for row in train_rows]
    low, high = min(ages), max(ages)
    for table in splits:
        table.validate(schema)
        for i, row in enumerate(table.row_id):
            values, age, liked, time = rows[row]
            expected = [ids[f].get(value, 0) for f, value in enumerate(values)]
            assert table.sparse[i].tolist() == [*expected, DOMAIN_OF_AGE[age]]
            assert table.domain[i] == DOMAIN_OF_AGE[age] and table.labels[i, 0] == liked
            assert table.dense[i, 0] == pytest.approx((age - low) / (high - low))
            assert (table.group[i], table.time[i]) == (values[0], time)


@pytest.mark.parametrize("split", ["random", "temporal", "user_temporal"])
def test_splits_are_disjoint_and_complete(movielens_folder, tmp_path, split):
    splits, schema = load_movielens(movielens_folder, split=split, cache_dir=tmp_path)
    rows = np.concatenate([table.row_id for table in splits])
    np.testing.assert_array_equal(np.sort(rows), np.arange(2000))
    assert schema.split["rule"] == split
    assert [schema.split["rows"][p] for p in ("train", "valid", "test")] == list(map(len, splits))
    for table in splits:
        assert (np.diff(table.row_id) > 0).all()  # rows in file order


def test_split_depends_on_its_seed_only(movielens_folder, tmp_path):
    loaded = [
        load_movielens(movielens_folder, split_seed=seed, cache_dir=tmp_path / str(i))[1].split
        for i, seed in enumerate((1, 1, 2))
    ]
    prints = [split["row_ids_sha256"]["test"] for split in loaded]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("order", ["public", "reversed", "shuffled rows"])
def test_raw_files_and_joined_file_are_the_same_data(movielens_folder, tmp_path, joined, order):
    columns = CSV_COLUMNS[::-1] if order == "reversed" else CSV_COLUMNS
    file = joined(movielens_folder, tmp_path / "ml-1m.csv", columns)
    if order == "shuffled rows":
        lines = file.read_text().splitlines()
        shuffled = np.random.default_rng(0).permutation(lines[1:])
        file.write_text("\n".join([lines[0], *shuffled]) + "\n")
    options = dict(fit_on="all", cache_dir=tmp_path / "cache")
    raw, raw_schema = load_movielens(movielens_folder, **options)
    for path in (file, file.parent):
        csv, schema = load_movielens(path, **options)
        assert_same([joined_table(raw)], [joined_table(csv)])
        assert schema.fields == raw_schema.fields
        if order != "shuffled rows":
            assert_same([raw.test], [csv.test])


def test_fit_on_all_has_no_unknown_row(movielens_folder, tmp_path):
    splits, schema = load_movielens(movielens_folder, fit_on="all", cache_dir=tmp_path)
    ids = np.concatenate([table.sparse for table in splits])
    assert schema.vocab_sizes == tuple((ids.max(axis=0) + 1).tolist())
    assert all(len(np.unique(ids[:, f])) == size for f, size in enumerate(schema.vocab_sizes))


@pytest.mark.parametrize("seed", range(20))
def test_no_id_of_validation_or_test_shapes_the_vocabulary(movielens_folder, tmp_path, seed):
    splits, schema = load_movielens(movielens_folder, split_seed=seed, cache_dir=tmp_path)
    for f, size in enumerate(schema.vocab_sizes[:-1]):
        assert set(np.unique(splits.train.sparse[:, f])) == set(range(1, size))
        assert max(splits.valid.sparse[:, f].max(), splits.test.sparse[:, f].max()) < size
    unknown = schema.split["unknown"]["movie_id"]
    assert unknown[0] == 0 and unknown[1] == (splits.valid.sparse[:, 1] == 0).sum()


def test_zip_codes_are_text(movielens_copy, tmp_path):
    """Codes that are equal as numbers, or not numbers at all, stay apart."""
    lines = (movielens_copy / "users.dat").read_text().splitlines()
    codes = ["02138", "2138", "98107-2117", "98107"]
    for row, code in enumerate(codes):
        lines[row] = lines[row].rpartition("::")[0] + "::" + code
    (movielens_copy / "users.dat").write_text("\n".join(lines) + "\n")
    splits, _ = load_movielens(movielens_copy, fit_on="all", cache_dir=tmp_path)
    users = np.concatenate([table.group for table in splits])
    ids = np.concatenate([table.sparse[:, 4] for table in splits])
    assert len({ids[users == user][0] for user in range(1, 5)}) == 4


def test_line_ends_byte_order_mark_and_blank_last_line_do_no_harm(
    movielens_copy, movielens_folder, tmp_path
):
    for name in ("ratings.dat", "users.dat", "movies.dat"):
        content = (movielens_copy / name).read_bytes().replace(b"\n", b"\r\n") + b"\r\n"
        (movielens_copy / name).write_bytes(b"\xef\xbb\xbf" + content)
    changed, _ = load_movielens(movielens_copy, cache_dir=tmp_path)
    plain, _ = load_movielens(movielens_folder, cache_dir=tmp_path)
    assert_same(plain, changed)


def test_small_blocks_give_the_same_tables(movielens_folder, tmp_path, joined, monkeypatch):
    file = joined(movielens_folder, tmp_path / "ml-1m.csv")
    reference, _ = load_movielens(file, cache_dir=tmp_path / "a")
    monkeypatch.setattr("hamur.data.text.lines.BLOCK_BYTES", 1000)
    blocks, _ = load_movielens(file, cache_dir=tmp_path / "b")
    assert_same(reference, blocks)


def test_empty_category_is_unknown(movielens_folder, tmp_path, joined, set_cell):
    file = joined(movielens_folder, tmp_path / "ml-1m.csv")
    reference, _ = load_movielens(file, cache_dir=tmp_path / "a")
    row = int(reference.test.row_id[0])
    for column in ("gender", "occupation", "zip"):
        set_cell(file, row + 2, column, "")
    splits, _ = load_movielens(file, cache_dir=tmp_path / "b")
    assert splits.test.sparse[0, 2:5].tolist() == [0, 0, 0]
    assert_same([reference.train], [splits.train])


def test_folder_with_two_formats_is_ambiguous(movielens_copy, tmp_path, joined):
    joined(movielens_copy, movielens_copy / "ml-1m.csv")
    with pytest.raises(DataFormatError, match=r"ambiguous.*ml-1m\.csv.*source_format"):
        load_movielens(movielens_copy, cache_dir=tmp_path / "c")
    for source_format in ("raw", "csv"):
        _, schema = load_movielens(
            movielens_copy, source_format=source_format, cache_dir=tmp_path / "c"
        )
        assert ("ml-1m.csv" in schema.split["files"]) == (source_format == "csv")
    with pytest.raises(ValueError, match="use 'raw' or 'csv'"):
        load_movielens(movielens_copy, source_format="zip")


def test_csv_is_recognised_by_its_header_whatever_its_name(movielens_folder, tmp_path, joined):
    folder = tmp_path / "any"
    folder.mkdir()
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    (folder / "empty.csv").write_text("")
    joined(movielens_folder, folder / "my-ratings.csv", CSV_COLUMNS[::-1])
    _, schema = load_movielens(folder, cache_dir=tmp_path / "c")
    assert list(schema.split["files"]) == ["my-ratings.csv"]


def test_nothing_or_a_part_of_it_found(movielens_copy, tmp_path):
    with pytest.raises(DataFileNotFoundError, match=r"no such file or folder.*grouplens"):
        load_movielens(tmp_path / "absent")
    (movielens_copy / "users.dat").unlink()
    with pytest.raises(DataFileNotFoundError, match=r"users\.dat is missing beside ratings\.dat"):
        load_movielens(movielens_copy)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").write_text("")
    with pytest.raises(DataFormatError, match=r"not recognised.*x\.txt"):
        load_movielens(tmp_path / "other")


def test_unknown_options_are_refused(movielens_folder):
    for name, value in {"split": "by_day", "on_bad_rows": "ignore", "fit_on": "test",
                        "genres": "all"}.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}`? is '{value}'; use one of"):
            load_movielens(movielens_folder, **{name: value})


def test_too_few_rows_for_a_split(movielens_copy, tmp_path):
    lines = (movielens_copy / "ratings.dat").read_text().splitlines()[:5]
    (movielens_copy / "ratings.dat").write_text("\n".join(lines) + "\n")
    with pytest.raises(EmptySplitError, match="split 'valid' has no row"):
        load_movielens(movielens_copy, cache_dir=tmp_path)


def test_complete_file_with_other_counts_is_refused(movielens_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("hamur.data.movielens.load.OFFICIAL_ROWS", 2000)
    monkeypatch.setattr("hamur.data.movielens.load.OFFICIAL_USERS", 100)
    with pytest.raises(StatsMismatchError, match=r"domain 0.*expected.*Remedy"):
        load_movielens(movielens_folder, cache_dir=tmp_path)
    load_movielens(movielens_folder, cache_dir=tmp_path, check_statistics=False)
