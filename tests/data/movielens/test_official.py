"""The published counts of MovieLens-1M, where a user has the official files.

HAMUR_DATA names the folder that holds ml-1m/; without it these tests are skipped.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from hamur.data import DomainBatches, load_movielens
from hamur.data.descriptions import CSV_COLUMNS
from tests.support.caches import assert_same

pytestmark = pytest.mark.skipif(
    "HAMUR_DATA" not in os.environ,
    reason="HAMUR_DATA is not set: no official MovieLens-1M to compare with",
)

# train, valid, test: rows per domain, rows with rating > 3.
TEMPORAL = [
    ((155_949, 318_599, 325_620), 463_021),
    ((27_111, 35_522, 37_386), 57_807),
    ((27_687, 41_435, 30_900), 54_453),
]
USER_TEMPORAL = [
    ((169_761, 318_272, 317_410), 473_846),
    ((20_493, 38_642, 38_248), 51_542),
    ((20_493, 38_642, 38_248), 49_893),
]
AGES = {
    1: (27_211, 15_610),
    18: (183_536, 100_799),
    25: (395_556, 222_554),
    35: (199_003, 116_693),
    45: (83_633, 49_476),
    50: (72_490, 45_084),
    56: (38_780, 25_065),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["HAMUR_DATA"]) / "ml-1m"


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("official")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def counts(splits):
    return [
        (tuple(np.bincount(table.domain).tolist()), int(table.labels[:, 0].sum(dtype=int)))
        for table in splits
    ]


def test_random_split_and_times(folder, cache_dir, capsys):
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        splits, schema = load_movielens(folder, cache_dir=cache_dir)
        seconds.append(time.perf_counter() - start)
    with capsys.disabled():
        print(f"\nml-1m: raw to cached table {seconds[0]:.2f} s, second load {seconds[1]:.3f} s")
    assert list(map(len, splits)) == [800_167, 100_020, 100_022]
    total = np.sum([rows for rows, _ in counts(splits)], axis=0)
    assert total.tolist() == [210_747, 395_556, 393_906]
    assert sum(positives for _, positives in counts(splits)) == 575_281
    for table in splits:
        table.validate(schema)
    assert len(np.unique(np.concatenate([table.row_id for table in splits]))) == 1_000_209


def test_temporal_split(folder, cache_dir):
    splits, _ = load_movielens(folder, split="temporal", cache_dir=cache_dir)
    assert list(map(len, splits)) == [800_168, 100_019, 100_022]
    assert counts(splits) == TEMPORAL
    assert len(np.unique(splits.train.group)) == 5_400
    new_users = [int((~np.isin(t.group, splits.train.group)).sum()) for t in splits[1:]]
    new_items = [int((table.sparse[:, 1] == 0).sum()) for table in splits[1:]]
    assert (new_users, new_items) == ([76_175, 19_327], [17, 98])
    assert len(np.unique(splits.train.sparse[:, 1])) == 3_662
    assert splits.train.time.max() < splits.valid.time.min()
    assert splits.valid.time.max() < splits.test.time.min()


def test_user_temporal_split(folder, cache_dir):
    splits, _ = load_movielens(folder, split="user_temporal", cache_dir=cache_dir)
    assert list(map(len, splits)) == [805_443, 97_383, 97_383]
    assert counts(splits) == USER_TEMPORAL
    assert [int((table.sparse[:, 1] == 0).sum()) for table in splits] == [0, 20, 34]
    assert all((table.sparse[:, 0] > 0).all() for table in splits)


def test_public_vocabularies_and_rows_by_age(folder, cache_dir):
    splits, schema = load_movielens(folder, fit_on="all", cache_dir=cache_dir)
    assert schema.vocab_sizes == (6040, 3706, 2, 21, 3439, 18, 3)
    age = np.concatenate([table.dense[:, 0] for table in splits]) * 55 + 1
    liked = np.concatenate([table.labels[:, 0] for table in splits])
    for value, expected in AGES.items():
        rows = np.abs(age - value) < 0.5
        assert (int(rows.sum()), int(liked[rows].sum())) == expected


def test_joined_files_in_any_order_are_the_same_data(folder, cache_dir, tmp_path, joined):
    raw, schema = load_movielens(folder, fit_on="all", cache_dir=cache_dir)
    file = joined(folder, tmp_path / "ml-1m.csv", sorted(CSV_COLUMNS))
    csv, csv_schema = load_movielens(file, fit_on="all", cache_dir=cache_dir)
    assert schema.fields == csv_schema.fields
    assert_same(raw, csv)


def test_joined_file_in_the_public_order(folder, cache_dir, tmp_path, joined):
    """Rows by first appearance of the movie, then, stable, by first appearance of the user."""
    raw, _ = load_movielens(folder, fit_on="all", cache_dir=cache_dir)
    file = joined(folder, tmp_path / "ml-1m.csv")
    assert md5(file) == "8b8c4e88a1c2f0be4dfe213fd42318e5"
    lines = np.array(file.read_text(encoding="utf-8").split("\n")[1:-1], dtype=object)
    keys = np.array([line.split(",", 2)[:2] for line in lines], dtype=int)
    for column in (1, 0):
        _, first, inverse = np.unique(keys[:, column], return_index=True, return_inverse=True)
        order = np.argsort(first[inverse], kind="stable")
        keys, lines = keys[order], lines[order]
    content = "\n".join([",".join(CSV_COLUMNS), *lines, ""])
    file.write_text(content, encoding="utf-8")
    assert md5(file) == "472efbe95b122197b73db0836537e8b8"
    csv, _ = load_movielens(file, fit_on="all", cache_dir=cache_dir)

    def sorted_rows(splits) -> np.ndarray:
        rows = np.concatenate(
            [np.column_stack([t.group, t.sparse, t.domain, t.labels, t.time]) for t in splits]
        )
        return rows[np.lexsort((rows[:, 2], rows[:, 0]))]

    np.testing.assert_array_equal(sorted_rows(raw), sorted_rows(csv))


def test_feeding_rate(folder, cache_dir, capsys):
    splits, _ = load_movielens(folder, cache_dir=cache_dir)
    batches = DomainBatches(splits.train, 4096, seed=1)
    start, used = time.perf_counter(), time.process_time()
    rows = sum(int(batch.weight.sum()) for batch in batches.epoch(0))
    elapsed, used = time.perf_counter() - start, time.process_time() - used
    assert rows == len(splits.train)
    with capsys.disabled():
        print(f"\nml-1m: {rows / elapsed:,.0f} rows/s fed, {rows / used:,.0f} a processor second")
