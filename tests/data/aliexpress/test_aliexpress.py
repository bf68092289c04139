"""AliExpress: columns, join, split by page, bad input, the generator."""

import hashlib
import shutil
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hamur.data import load_aliexpress
from hamur.data.aliexpress import files
from hamur.data.splits import last_pages
from hamur.data.synthetic.aliexpress import make_aliexpress
from hamur.data.synthetic.signals import expected_auc
from hamur.errors import (
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
)
from hamur.metrics import label_entropy
from tests.support.lines import set_line, with_cell

SIZES = dict(rows=400, test_rows=150, rates=(0.3, 0.1), signal=1.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Processed NL and US, and raw NL with the same rows; and the truth of NL."""
    folder = tmp_path_factory.mktemp("aliexpress")
    for country in ("NL", "US"):
        make_aliexpress(folder / "csv", seed=1, country=country, form="processed", **SIZES)
    truth = make_aliexpress(folder / "raw", seed=1, country="NL", form="raw", **SIZES)
    return folder, truth


@pytest.fixture(scope="module")
def loaded(made, tmp_path_factory):
    """The tables and the schema of the raw files."""
    return load_aliexpress(made[0] / "raw", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def raw(made, tmp_path):
    return shutil.copytree(made[0] / "raw", tmp_path / "raw")


@pytest.fixture
def processed(made, tmp_path):
    return shutil.copytree(made[0] / "csv" / "AliExpress_NL", tmp_path / "AliExpress_NL")


# ---- a reader without any library


def cells(path):
    return [line.split(",") for line in path.read_text().splitlines()]


def joined(folder, country, part):
    """The 82 columns of every row as text, by dictionaries."""
    users = {}
    for row in cells(folder / f"{country}_user_{part}.csv"):
        users[row[0]] = (row, [])
    for row in cells(folder / f"{country}_item_{part}.csv"):
        users[row[0]][1].append(row)
    user_columns = [*range(1, 8), 31, 32], range(8, 31)
    flags = [18, 33, 34, 35, 39, 40, 41]
    numbers = [n for n in range(1, 48) if n not in flags]
    rows = []
    for user, items in users.values():
        for item in items:
            sparse = [user[n] for n in user_columns[0]] + [item[n] for n in flags]
            dense = [user[n] for n in user_columns[1]] + [item[n] for n in numbers]
            label = int(item[48])
            rows.append([user[0], sparse, dense, [int(label > 0), int(label > 1)]])
    return rows


def test_raw_files_equal_a_reader_of_dictionaries(made, loaded):
    splits, schema = loaded
    train, test = (joined(made[0] / "raw", "nl", part) for part in files.PARTS)
    order = list(dict.fromkeys(row[0] for row in train))
    counts, late, held = Counter(row[0] for row in train), set(), 0
    while held < 0.1 * len(train):
        late.add(order.pop())
        held = sum(counts[page] for page in late)
    parts = [
        [row for row in train if row[0] not in late],
        [row for row in train if row[0] in late],
        test,
    ]
    vocabularies = [
        {v: n + 1 for n, v in enumerate(sorted({float(row[1][f]) for row in parts[0]}))}
        for f in range(16)
    ]
    assert schema.vocab_sizes == tuple(len(values) + 1 for values in vocabularies)
    for table, rows in zip(splits, parts):
        table.validate(schema)
        assert np.asarray(table.group).tolist() == [int(row[0]) for row in rows]
        assert np.asarray(table.sparse).tolist() == [
            [vocabularies[f].get(float(v), 0) for f, v in enumerate(row[1])] for row in rows
        ]
        wanted = np.array([[float(v) for v in row[2]] for row in rows], np.float32)
        assert np.array_equal(np.asarray(table.dense), wanted)
        assert table.labels.tolist() == [row[3] for row in rows]
    assert not set(splits.train.group[:]) & set(splits.valid.group[:])
    assert 0.1 * len(train) <= len(splits.valid) <= 0.1 * len(train) + max(counts.values())


def test_every_cell_lands_in_its_column(tmp_path):
    """A cell's value tells the number of its raw column."""
    for part in files.PARTS:
        with (tmp_path / f"nl_user_{part}.csv").open("w") as file:
            for page in (1, 2):
                file.write(",".join(map(str, [page, *range(2, 34)])) + "\n")
        with (tmp_path / f"nl_item_{part}.csv").open("w") as file:
            for page, label in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)):
                file.write(",".join(map(str, [page, *range(102, 149), label])) + "\n")
    splits, schema = load_aliexpress(tmp_path, cache_dir=tmp_path / "c")
    (folder,) = (tmp_path / "c").glob("aliexpress-*")
    user, flags = [2, 3, 4, 5, 6, 7, 8, 32, 33], [119, 134, 135, 136, 140, 141, 142]
    found = [np.load(folder / "vocab" / f"{name}.npy").tolist() for name in schema.sparse_names]
    assert found == [[n] for n in user + flags]
    assert np.array_equal(splits.train.sparse, np.ones((3, 16)))
    # Constant outside [0, 1]: no scaled data, so scaled, and constant columns become 0.
    numbers = [*range(9, 32), *(n for n in range(102, 149) if n not in flags)]
    assert np.load(folder / "scaler.npy").tolist() == [[n, n] for n in numbers]
    assert (np.asarray(splits.train.dense) == 0).all()
    assert schema.split["constant"] == files.DENSE_COLUMNS
    assert splits.train.labels.tolist() == [[0, 0], [1, 0], [1, 1]]
    with pytest.raises(ValueError, match="encoding"):
        load_aliexpress(tmp_path, encoding="identity", cache_dir=tmp_path / "c")


def test_several_countries_are_domains_in_the_order_asked_for(made, tmp_path):
    source = made[0] / "csv"
    splits, schema = load_aliexpress(source, cache_dir=tmp_path)
    assert schema.domain_names == ("NL", "US") and schema.domain_field == "domain_indicator"
    turned, other = load_aliexpress(source, countries=("US", "NL"), cache_dir=tmp_path)
    assert other.domain_names == ("US", "NL")
    one, single = load_aliexpress(source, countries=("NL",), cache_dir=tmp_path)
    for table, reverse, alone in zip(splits, turned, one):
        table.validate(schema)
        nl = np.flatnonzero(table.domain == 0)
        assert np.array_equal(table.dense[nl], alone.dense)
        assert np.array_equal(table.labels[nl], reverse.labels[reverse.domain == 1])
        assert len(np.unique(table.row_id)) == len(table)
        assert np.array_equal(table.sparse[:, -1], table.domain)
        assert len(np.unique(table.group)) == sum(
            len(np.unique(table.group[table.domain == d])) for d in (0, 1)
        )
    assert single.domain_field is None
    with pytest.raises(DataFileNotFoundError, match=r"no data of RU.*got 'NL, US'"):
        load_aliexpress(source, countries=("NL", "RU"), cache_dir=tmp_path)
    for countries in (("NL", "US", "NL"), ()):  # whose rows were there twice, or IndexError
        with pytest.raises(ValueError, match=r"`countries` is \("):
            load_aliexpress(source, countries=countries, cache_dir=tmp_path)


def test_last_pages_are_whole_and_just_enough():
    pages = np.array([7, 7, 3, 3, 3, 9, 1, 1, 1, 1])
    assert last_pages(pages, 0.1).tolist() == [False] * 6 + [True] * 4
    assert last_pages(pages, 0.45).tolist() == [False] * 5 + [True] * 5
    assert last_pages(np.array([1, 2, 1, 3]), 0.5).tolist() == [False, True, False, True]


def test_purchases_without_a_click_are_refused_or_counted(processed, set_cell, tmp_path):
    set_cell(processed / "test.csv", 5, "click", "0")
    set_cell(processed / "test.csv", 5, "conversion", "1")
    with pytest.raises(DataValueError, match=r"test\.csv:5: .*conversion without click.*Remedy"):
        load_aliexpress(processed, cache_dir=tmp_path / "c")
    splits, schema = load_aliexpress(processed, on_bad_rows="skip", cache_dir=tmp_path / "c")
    assert len(splits.test) == 149
    assert schema.split["files"]["test.csv"]["dropped"] == {"conversion without click": 1}


def test_click_alone_and_unknown_categories(processed, set_cell, tmp_path):
    """Above the values of the training rows, missing, and inside their range."""
    for line, row in enumerate(cells(processed / "train.csv")[1:], start=2):
        if row[7] == "3":  # after search_id come the categories
            set_cell(processed / "train.csv", line, "categorical_7", "2")
    for line, value in ((3, "4711"), (4, ""), (5, "3")):
        set_cell(processed / "test.csv", line, "categorical_7", value)
    splits, schema = load_aliexpress(processed, labels=("click",), cache_dir=tmp_path / "c")
    assert schema.labels == ("click",) and splits.train.labels.shape[1] == 1
    known = {int(row[7]) for row in cells(processed / "train.csv")[1:] if row[7]}
    assert min(known) < 3 < max(known) < 4711 and 3 not in known
    assert splits.test.sparse[1:4, 6].tolist() == [0, 0, 0]
    assert (splits.test.sparse[1:4] > 0).any()  # row 0 of that field, not of all
    assert schema.split["unknown"]["categorical_7"][2] >= 3


def test_what_training_decides_ignores_the_other_rows(processed, set_cell, tmp_path):
    """Vocabularies, scaling, training rows, and the base rates with their entropies."""

    def digest(name):
        splits, schema = load_aliexpress(processed, cache_dir=tmp_path / name)
        train = splits.train.columns()  # the ids of known cells: the vocabularies
        parts = [np.asarray(train[name]).tobytes() for name in sorted(train)]
        parts += [repr((schema.fields, schema.split["constant"])).encode()]
        rates = splits.train.labels.mean(axis=0, dtype=np.float64)
        parts += [rates.tobytes(), label_entropy(splits.train.labels).tobytes()]
        return hashlib.sha256(b"".join(parts)).hexdigest(), splits

    before, splits = digest("before")
    first_of_validation = len(splits.train) + 2
    for file, line in (("test.csv", 3), ("train.csv", first_of_validation)):
        for column, value in (
            ("categorical_7", "4711"), ("categorical_9", "0"), ("numerical_30", "7.5"),
            ("numerical_58", "0.5"), ("click", "1"), ("conversion", "1"),
        ):  # fmt: skip
            set_cell(processed / file, line, column, value)
    path = processed / "test.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[4] + "\n")
    after, changed_splits = digest("after")
    assert after == before
    assert len(changed_splits.test) == len(splits.test) + 1
    assert changed_splits.valid.sparse[0, 6] == 0 and changed_splits.valid.labels[0].all()
    set_cell(processed / "train.csv", 3, "categorical_7", "4711")
    assert digest("control")[0] != before


# ---- bad input


BAD_CELLS = [
    ("nl_item_train.csv", 49, "3", "item_49"),
    ("nl_item_train.csv", 49, "", "item_49"),
    ("nl_item_test.csv", 49, "1.5", "item_49"),
    ("nl_item_test.csv", 2, "x", "item_2"),
    ("nl_item_train.csv", 3, "nan", "item_3"),
    ("nl_item_train.csv", 3, "inf", "item_3"),
    ("nl_item_train.csv", 19, "-1", "item_19"),
    ("nl_item_train.csv", 19, "0.5", "item_19"),
    ("nl_user_train.csv", 9, "", "user_9"),
    ("nl_user_test.csv", 1, "abc", "user_1"),
    ("nl_user_train.csv", 2, str(2**32 + 5), "user_2"),  # was the id 5
    ("nl_item_train.csv", 3, "1e39", "item_3"),  # was infinite, and its column NaN
]


@pytest.mark.parametrize(("name", "column", "value", "column_name"), BAD_CELLS)
def test_bad_cells_name_file_line_and_column(raw, tmp_path, name, column, value, column_name):
    set_line(raw / name, 8, with_cell(column, value))
    with pytest.raises(DataValueError) as caught:
        load_aliexpress(raw, cache_dir=tmp_path / "c")
    found = caught.value
    assert (str(found.file), found.line, found.column) == (str(raw / name), 8, column_name)
    assert "Remedy: " in str(found) and "\n" not in str(found)


def test_bad_cells_are_skipped_and_counted_one_by_one(raw, tmp_path):
    planted = Counter()
    for name, column, value, _ in BAD_CELLS:
        set_line(raw / name, 8 + 3 * planted[name], with_cell(column, value))
        planted[name] += 1
    options = dict(on_bad_rows="skip", max_bad_fraction=0.5, cache_dir=tmp_path / "c")
    _, schema = load_aliexpress(raw, **options)
    for name, number in planted.items():
        counts = schema.split["files"][name]
        of_cells = {r: n for r, n in counts["dropped"].items() if not r.startswith("no ")}
        assert sum(of_cells.values()) == number, counts
        assert counts["rows_read"] == counts["rows_kept"] + sum(counts["dropped"].values())


def test_unknown_missing_and_ambiguous_folders(made, raw, processed, tmp_path):
    with pytest.raises(DataFileNotFoundError, match="no such folder"):
        load_aliexpress(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFormatError, match="not recognised as AliExpress"):
        load_aliexpress(tmp_path / "empty")
    (raw / "nl_item_test.csv").unlink()
    with pytest.raises(DataFileNotFoundError, match=r"nl_item_test\.csv not found"):
        load_aliexpress(raw)
    both = tmp_path / "both"
    shutil.copytree(made[0] / "raw", both)
    shutil.copytree(processed, both / "AliExpress_NL")
    with pytest.raises(DataFormatError, match="ambiguous: raw and processed"):
        load_aliexpress(both)
    shutil.rmtree(both / "AliExpress_NL")
    shutil.copytree(made[0] / "raw", both / "AliExpress_NL")
    with pytest.raises(DataFormatError, match=r"ambiguous: nl_.*\.csv is present twice"):
        load_aliexpress(both)
    header = (processed / "train.csv").read_text().replace("numerical_7,", "number_7,", 1)
    (processed / "train.csv").write_text(header)
    with pytest.raises(
        DataFormatError, match="missing column 'numerical_7'; surplus column 'number_7'"
    ):
        load_aliexpress(processed)


def test_options_are_checked():
    for wrong in (dict(labels=("conversion",)), dict(encoding="x"), dict(valid_fraction=0.0)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            load_aliexpress(**wrong)


# ---- the generator


def test_generated_rows_follow_the_truth(made, loaded):
    splits, _ = loaded
    truth = made[1]
    labels = np.concatenate([splits.train.labels, splits.valid.labels])
    assert np.array_equal(labels[:, 0], truth["train"]["click"].labels)
    assert np.array_equal(labels[:, 1], truth["train"]["conversion"].labels)
    assert np.array_equal(splits.test.labels[:, 1], truth["test"]["conversion"].labels)


def test_rates_and_best_auc_are_what_they_should_be(tmp_path):
    truth = make_aliexpress(tmp_path, rows=40_000, test_rows=10, seed=4, country="ES")["train"]
    for label, rate in zip(files.LABELS, (0.028, 0.0006)):
        each = truth[label]
        assert each.probability.mean() == pytest.approx(rate, rel=1e-4)
        error = np.sqrt(rate / len(each.labels))
        assert abs(each.labels.mean() - rate) < 4 * error
        found = roc_auc_score(each.labels, each.probability)
        expected = expected_auc(each.probability)
        assert abs(found - expected) < 3 * 0.3 / np.sqrt(each.labels.sum())
    assert 0.68 < expected_auc(truth["click"].probability) < 0.80
    assert (truth["conversion"].labels <= truth["click"].labels).all()
    lines = (tmp_path / "es_item_train.csv").read_text().splitlines()
    assert len(lines) == 40_000 and {line.count(",") for line in lines} == {48}
    assert any("000000000" in line for line in lines)  # artefacts of binary fractions
    users = (tmp_path / "es_user_train.csv").read_text().splitlines()
    pages = [int(line.split(",", 1)[0]) for line in users]
    assert pages != sorted(pages) and len(set(pages)) == len(pages)


def test_conflict_turns_what_is_bought(tmp_path):
    found = {}
    for conflict in (0.0, 0.5, 1.0):
        truth = make_aliexpress(
            tmp_path, 8_000, seed=2, test_rows=10, rates=(0.3, 0.1), task_conflict=conflict
        )["train"]
        clicked = truth["click"].labels == 1
        bought = truth["conversion"].probability / truth["click"].probability
        found[conflict] = np.corrcoef(truth["click"].probability[clicked], bought[clicked])[0, 1]
    assert found[0.0] > 0.8 and abs(found[0.5]) < 0.3 and found[1.0] < -0.8


def test_what_cannot_be_generated_is_refused(tmp_path):
    with pytest.raises(ValueError, match="country"):
        make_aliexpress(tmp_path, 10, 1, country="XX")
    with pytest.raises(ValueError, match="form"):
        make_aliexpress(tmp_path, 10, 1, form="parquet")
