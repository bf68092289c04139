"""Ali-CCP's processed files: encoding, domains, labels, tolerance of what the public files hold."""

import csv

import numpy as np
import pytest

from hamur.data import load_ali_ccp
from hamur.data.ali_ccp.columns import CSV_COLUMNS, DENSE_COLUMNS, SPARSE_COLUMNS
from hamur.errors import (
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    EmptySplitError,
    MissingDomainWarning,
    SingleClassWarning,
)


def read(path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def write(path, columns: dict[str, np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))


def parts(folder) -> list:
    return [folder / f"ali_ccp_{part}.csv" for part in ("train", "val", "test")]


def test_every_cell_follows_from_the_files(ali_folder, tmp_path):
    """Reference with dictionaries: ids by first appearance in train, 0 and new ids unknown."""
    splits, schema = load_ali_ccp(ali_folder, cache_dir=tmp_path)
    files = [read(path) for path in parts(ali_folder)]
    assert schema.sparse_names == (*SPARSE_COLUMNS, "domain_indicator")
    assert schema.dense_names == DENSE_COLUMNS and schema.labels == ("click",)
    assert (schema.num_sparse, schema.num_dense, schema.num_domains) == (24, 8, 3)
    for f, name in enumerate(SPARSE_COLUMNS):
        ids = {}
        for value in files[0][name]:
            if value != "0":
                ids.setdefault(value, len(ids) + 1)
        assert schema.vocab_sizes[f] == len(ids) + 1
        for table, file in zip(splits, files):
            expected = [ids.get(value, 0) for value in file[name]]
            np.testing.assert_array_equal(table.sparse[:, f], expected, err_msg=name)
    for table, file in zip(splits, files):
        table.validate(schema)
        np.testing.assert_array_equal(table.domain, file["301"].astype(int) - 1)
        np.testing.assert_array_equal(table.labels[:, 0], file["click"].astype(int))
        np.testing.assert_array_equal(table.group, file["101"].astype(int))
        dense = np.stack([file[name].astype(np.float32) for name in DENSE_COLUMNS], axis=1)
        np.testing.assert_array_equal(table.dense, dense)  # scaled already: left as it is


def test_dense_columns_outside_the_unit_interval_are_scaled_by_train(ali_copy, tmp_path):
    train, _, test = parts(ali_copy)
    columns = read(train)
    columns["D508"] = (columns["D508"].astype(float) * 4 + 1).round(5)
    write(train, columns)
    columns = read(test)
    columns["D508"] = np.full(len(columns["D508"]), 9.0)
    write(test, columns)
    splits, schema = load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    c = DENSE_COLUMNS.index("D508")
    assert schema.split["clipped"]["D508"][::2] == (0, 400) and not schema.split["constant"]
    assert (splits.train.dense[:, c].min(), splits.train.dense[:, c].max()) == (0.0, 1.0)
    assert (splits.test.dense[:, c] == 1.0).all()  # clipped


def test_purchase_is_a_second_label_and_never_a_feature(ali_folder, tmp_path):
    splits, schema = load_ali_ccp(ali_folder, labels=("click", "purchase"), cache_dir=tmp_path)
    assert schema.labels == ("click", "purchase")
    assert not {"click", "purchase"} & {*schema.sparse_names, *schema.dense_names}
    bought = read(parts(ali_folder)[0])["purchase"].astype(int)
    np.testing.assert_array_equal(splits.train.labels[:, 1], bought)
    with pytest.raises(ValueError, match="`labels` is"):
        load_ali_ccp(ali_folder, labels=("purchase",))


def test_purchase_without_click_is_left_out_and_counted(ali_copy, set_cell, tmp_path):
    train = parts(ali_copy)[0]
    set_cell(train, 5, "click", "0")
    set_cell(train, 5, "purchase", "1")
    splits, schema = load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    counts = schema.split["files"]["ali_ccp_train.csv"]
    assert counts["dropped"] == {"dropped_click0_conversion1": 1}
    assert (counts["rows_read"], counts["rows_kept"], len(splits.train)) == (1200, 1199, 1199)
    assert 3 not in splits.train.row_id


def test_domain_without_training_rows_is_a_warning(ali_copy, tmp_path):
    """As in the public sample, whose rows all belong to one domain."""
    for path in parts(ali_copy):
        columns = read(path)
        columns["301"] = np.full(len(columns["301"]), "1")
        write(path, columns)
    with pytest.warns(MissingDomainWarning, match=r"training rows per domain are \[1200, 0, 0\]"):
        splits, schema = load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    assert schema.num_domains == 3 and (splits.train.domain == 0).all()
    with pytest.warns(MissingDomainWarning):  # a cached load warns as well
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    with pytest.raises(EmptySplitError, match="leave out `require_all_domains`"):
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c", require_all_domains=True)


def test_single_class_of_a_domain_is_a_warning_and_of_training_an_error(ali_copy, tmp_path):
    test = parts(ali_copy)[2]
    columns = read(test)
    columns["click"][columns["301"] == "2"] = "0"
    columns["purchase"][columns["301"] == "2"] = "0"
    write(test, columns)
    with pytest.warns(SingleClassWarning, match=r"domain 1 \(301=2\) has one class only in test"):
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    columns = read(parts(ali_copy)[0])
    for name in ("click", "purchase"):
        columns[name][:] = "0"
    write(parts(ali_copy)[0], columns)
    with pytest.raises(DataValueError, match="all 1200 training rows have the same label"):
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")


def test_domain_map(ali_folder, tmp_path):
    splits, schema = load_ali_ccp(
        ali_folder, domain_map={1: 0, 2: 1, 3: 1}, cache_dir=tmp_path / "c"
    )
    assert schema.domain_names == ("301=1", "301=2|3")
    code = read(parts(ali_folder)[1])["301"].astype(int)
    np.testing.assert_array_equal(splits.valid.domain, np.minimum(code - 1, 1))
    with pytest.raises(ValueError, match=r"domains must be 0\.\.D-1"):
        load_ali_ccp(ali_folder, domain_map={1: 0, 2: 2})


def test_identity_encoding_keeps_the_ids(ali_folder, tmp_path):
    splits, schema = load_ali_ccp(ali_folder, encoding="identity", cache_dir=tmp_path)
    train = read(parts(ali_folder)[0])["205"].astype(int)
    f = SPARSE_COLUMNS.index("205")
    np.testing.assert_array_equal(splits.train.sparse[:, f], train)
    assert schema.vocab_sizes[f] == train.max() + 1
    with pytest.raises(ValueError, match="use 'train' or 'identity'"):
        load_ali_ccp(ali_folder, encoding="hash")


def test_halves_divide_the_held_out_rows_by_the_split_seed(ali_copy, tmp_path):
    splits, schema = load_ali_ccp(ali_copy, split="halves", cache_dir=tmp_path / "c")
    assert schema.split["seed"] == 2022
    assert list(map(len, splits)) == [1200, 400, 400]
    other, _ = load_ali_ccp(ali_copy, split="halves", split_seed=1, cache_dir=tmp_path / "c")
    assert set(other.test.row_id) != set(splits.test.row_id)
    rows = np.concatenate([splits.valid.row_id, splits.test.row_id])
    assert len(set(rows)) == 800
    parts(ali_copy)[1].unlink()
    without, _ = load_ali_ccp(ali_copy, split="halves", cache_dir=tmp_path / "c")
    assert list(map(len, without)) == [1200, 200, 200]
    with pytest.raises(DataFileNotFoundError, match=r"ali_ccp_val\.csv.*split='halves'"):
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    with pytest.raises(ValueError, match="`split` is 'random'"):
        load_ali_ccp(ali_copy, split="random")


def test_sample_names_are_found_and_two_sets_are_ambiguous(ali_copy, tmp_path):
    for path in parts(ali_copy):
        path.with_name(f"{path.stem}_sample.csv").write_bytes(path.read_bytes())
    with pytest.raises(DataFormatError, match="ambiguous"):
        load_ali_ccp(ali_copy)
    for path in parts(ali_copy):
        path.unlink()
    _, schema = load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    assert "ali_ccp_val_sample.csv" in schema.split["files"]


def test_nothing_found(tmp_path):
    with pytest.raises(DataFileNotFoundError, match=r"no such file or folder.*tianchi"):
        load_ali_ccp(tmp_path / "absent")
    with pytest.raises(DataFormatError, match="not recognised"):
        load_ali_ccp(tmp_path)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda names: names[:-1], "missing column 'D853'"),
        (lambda names: [*names, "price"], "surplus column 'price'"),
        (lambda names: [*names[:-1], "D702"], "missing column 'D853'; doubled column 'D702'"),
    ],
)
def test_header_differences_are_named(ali_copy, change, text, tmp_path):
    path = parts(ali_copy)[1]
    lines = path.read_text().split("\n")
    lines[0] = ",".join(change(list(CSV_COLUMNS)))
    path.write_text("\n".join(lines))
    with pytest.raises(DataFormatError) as caught:
        load_ali_ccp(ali_copy, cache_dir=tmp_path / "c")
    assert text in str(caught.value) and "Remedy" in str(caught.value)
    assert (caught.value.line, caught.value.file) == (1, path)
