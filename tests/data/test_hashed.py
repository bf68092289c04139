"""Fields whose values share ids by a hash: the same ids wherever the rows come from."""

import json

import numpy as np
import pandas as pd
import pytest

from hamur import model_folder
from hamur.commands.own_table import RankingTable, load_own
from hamur.data import load_table
from hamur.data.encode import buckets
from hamur.data.multi_valued import padded

SIZE = 20


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    rows = 600
    tags = [[f"t{tag}" for tag in rng.integers(0, 90, n)] for n in rng.integers(0, 4, rows)]
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in rng.integers(0, 200, rows)],
            "item_id": rng.integers(0, 150, rows),
            "device": rng.choice(["phone", "web"], rows),
            "tags": ["|".join(each) for each in tags],
            "click": rng.integers(0, 2, rows),
        }
    )


def load(source, **options):
    options = dict(label="click", multi=["tags"], hash_size=SIZE) | options
    return load_table(source, **options)


def test_the_buckets_of_a_value_never_change():
    texts = np.array(["u1", "u2", "7", ""], object)
    assert buckets(texts, 1000).tolist() == [869, 421, 352, 774]
    assert buckets(np.array([7]), 1000) == buckets(np.array(["7"]), 1000)  # by its text


def test_fields_of_many_values_have_few_ids_and_others_keep_theirs(frame):
    splits, schema = load(frame)
    assert schema.encoders.columns.hashed == ("user_id", "item_id", "tags")
    plain, exact = load(frame, hash_size=None)
    sizes, full = (dict(zip(s.sparse_names, s.vocab_sizes)) for s in (schema, exact))
    assert sizes["device"] == full["device"] == 3
    assert max(sizes["user_id"], sizes["item_id"], schema.multi[0].vocab_size) <= SIZE + 1
    user, device = (schema.sparse_names.index(name) for name in ("user_id", "device"))
    np.testing.assert_array_equal(splits.test.sparse[:, device], plain.test.sparse[:, device])
    # Equal values have equal ids.
    pairs = {tuple(pair) for pair in zip(plain.train.sparse[:, user], splits.train.sparse[:, user])}
    assert len(pairs) == len(np.unique(plain.train.sparse[:, user]))


def test_every_way_of_reading_gives_the_same_ids(frame, tmp_path):
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    expected, schema = load(frame)
    for options in (dict(), dict(in_memory_rows=10)):
        splits, again = load(path, cache_dir=tmp_path / f"cache{len(options)}", **options)
        assert again.encoders.columns.hashed == schema.encoders.columns.hashed
        for table, other in zip(splits, expected):
            np.testing.assert_array_equal(table.sparse, other.sparse)


@pytest.mark.parametrize("rows", [3, 300])  # few are looked up one by one
def test_raw_rows_are_encoded_as_the_table_was(frame, rows, tmp_path):
    splits, schema = load(frame)
    model_folder.write(tmp_path, schema)
    _, schema = model_folder.read(tmp_path)
    encoders = schema.encoders
    order = splits.train.row_id[:rows]
    raw = encoders.rows(frame.iloc[order])
    table, report = encoders.encode(raw, schema)
    np.testing.assert_array_equal(table.sparse, splits.train.sparse[:rows])
    lists = (padded(each.multi_valued, np.arange(rows)) for each in (table, splits.train))
    np.testing.assert_array_equal(*(each["multi_ids"] for each in lists))
    assert not report.unknown.get("user_id")


def test_a_new_value_has_the_id_of_its_bucket_and_a_missing_one_is_unknown(frame):
    _, schema = load(frame)
    encoders, place = schema.encoders, schema.sparse_names.index("user_id")
    known = set(encoders.vocabularies["user_id"].values.tolist())
    new = next(f"n{i}" for i in range(999) if buckets(np.array([f"n{i}"]), SIZE)[0] in known)
    twin = next(u for u in frame.user_id if buckets(np.array([u, new]), SIZE).ptp() == 0)
    rows = frame.iloc[[0, 0, 0]].assign(user_id=[new, twin, None])
    ids = encoders.encode(encoders.rows(rows), schema)[0].sparse[:, place]
    assert ids[0] == ids[1] > 0 == ids[2]


def test_a_description_says_the_size_as_the_flag_does(frame, tmp_path, capsys):
    path, said = tmp_path / "rows.csv", tmp_path / "columns.json"
    frame.drop(columns="tags").to_csv(path, index=False)
    said.write_text(json.dumps({"labels": ["click"], "hash_size": SIZE}))
    load_own(RankingTable(dataset_path=str(path), columns=str(said)), str(path))
    assert f"hashed, so that values share {SIZE} ids: user_id, item_id" in capsys.readouterr().out


def test_a_table_that_continues_hashes_the_same_fields(frame):
    _, schema = load(frame)
    few = frame[frame.user_id.isin(frame.user_id.unique()[:15])]  # below the size
    splits, again = load_table(few, earlier=schema)
    assert again.encoders.columns.hashed == schema.encoders.columns.hashed
    order = splits.train.row_id
    table, _ = schema.encoders.encode(schema.encoders.rows(few.iloc[order]), schema)
    np.testing.assert_array_equal(table.sparse, splits.train.sparse)
