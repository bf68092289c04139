"""Implicit feedback: ABXI's sequence files, and unobserved items as negative rows."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hamur.data import load_pair
from hamur.data.cross_domain import TableFormat, join_pair
from hamur.data.cross_domain.collate import CrossDomainRows
from hamur.data.cross_domain.dataset import ITEM, USER
from hamur.data.cross_domain.implicit import load_abxi_pair, observed, with_negatives
from hamur.errors import DataError, DataFileNotFoundError, DataFormatError, DataValueError
from tests.support.caches import assert_same
from tests.support.pairs import interactions, random_pair

BEGIN = 1_400_000_000
COLUMNS = "user=user,item=item,rating=none,timestamp=timestamp"


@pytest.fixture
def folder(tmp_path):
    """Eight users with eight behaviours, items 1 to 5 of domain 0 and 6 to 9 of domain 1."""
    random = np.random.default_rng(0)
    lines, rows = [], []
    for user in range(8):
        days = random.permutation(40)[:8]
        items = np.concatenate([random.integers(1, 6, 4), random.integers(6, 10, 4)])
        order = np.argsort(days)
        times = BEGIN + 86_400 * days[order]
        lines.append(f"{user} " + " ".join(f"{i}|{t}" for i, t in zip(items[order], times)))
        rows += [(f"R{user}", f"P{i}", t, i > 5) for i, t in zip(items[order], times)]
    (tmp_path / "afk_50_preprocessed.txt").write_text("\n".join(lines) + "\n")
    item_map = {f"P{n}": [n, int(n > 5)] for n in range(1, 10)}
    (tmp_path / "map_item_50.txt").write_text(json.dumps(item_map))
    (tmp_path / "map_user_50.txt").write_text(json.dumps({f"R{u}": u for u in range(8)}))
    table = pd.DataFrame(rows, columns=["user", "item", "timestamp", "second"])
    for name, second in (("afk0", False), ("afk1", True)):
        table[table.second == second].to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("source", [0, 1])
def test_the_pair_is_that_of_the_same_rows_in_tables(folder, source):
    found = load_abxi_pair(folder, source)
    paths = [folder / f"afk{number}.csv" for number in (source, 1 - source)]
    expected = load_pair(*paths, TableFormat(COLUMNS))
    sides = (found.source, *found.target), (expected.source, *expected.target)
    assert_same(*sides, without=("row_id",))  # the position in one file, and in two
    for name, values in found.names.items():
        np.testing.assert_array_equal(values, expected.names[name])
    assert found.target_schema.domain_names == (f"afk{source}", f"afk{1 - source}")


def test_users_keep_their_numbers_without_a_map(folder):
    (folder / "map_user_50.txt").unlink()
    assert set(load_abxi_pair(folder).names["user"]) == {"", *map(str, range(8))}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9 1|1400000000 12|1400000001", ["12|1400000001", "item|unixtime"]),
        ("9 1|1400000000 1|soon", ["1|soon"]),
        ("9 1|1400000000 2", ["'2'"]),
        ("9 1|1400000000000", ["milliseconds"]),
        ("9 1|1400000000 1|1400000000", ["repeats line 9"]),
    ],
)
def test_a_bad_behaviour_is_named_or_left_out(folder, text, words):
    path = folder / "afk_50_preprocessed.txt"
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(DataError) as caught:
        load_abxi_pair(folder)
    assert isinstance(caught.value, DataValueError) or "repeats" in words[0]
    for word in (*words, f"{path.name}:9"):
        assert word in str(caught.value)
    kept = load_abxi_pair(folder, on_bad_rows="skip").target_schema.split["files"][path.name]
    assert sum(kept["dropped"].values()) == 1 and kept["rows_kept"] >= 64


def test_files_that_are_no_pair_are_refused(folder):
    items = folder / "map_item_50.txt"
    for content, words in (
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
        ('{"P1": [1, 2]}', "P1"),
        ('{"P1": [1, 0], "P2": [1, 1]}', "P2"),
    ):
        items.write_text(content)
        with pytest.raises(DataFormatError, match=words):
            load_abxi_pair(folder)
    items.unlink()
    with pytest.raises(DataFileNotFoundError, match="0 files map_item"):
        load_abxi_pair(folder)
    with pytest.raises(ValueError, match="`source_domain` is 2"):
        load_abxi_pair(folder, 2)


NUMBER = 3


@pytest.fixture(scope="module", params=["ratings", "implicit"])
def pairs(request):
    pair = random_pair(5, users=30)
    if request.param == "implicit":

        def liked(table):
            return replace(table, labels=np.ones_like(table.labels))

        target = pair.target._replace(**{k: liked(t) for k, t in pair.target._asdict().items()})
        pair = replace(pair, source=liked(pair.source), target=target)
    return request.param, pair, with_negatives(pair, NUMBER, seed=4)


def tables(pair):
    return {"source": pair.source, **pair.target._asdict()}


def test_the_rows_of_the_data_stay_as_they_are(pairs):
    _, before, after = pairs
    for name, table in tables(after).items():
        own = table.take(np.flatnonzero(observed(table)))
        for column, values in tables(before)[name].columns().items():
            np.testing.assert_array_equal(own.columns()[column], values, err_msg=name)


def test_negatives_follow_their_positives_and_are_new_to_the_user(pairs):
    kind, before, after = pairs
    extended = {"source", "train"} if kind == "ratings" else {"source", "train", "valid", "test"}
    for name, table in tables(after).items():
        domain = [before.source] if name == "source" else list(before.target)
        categories = after.source_categories if name == "source" else after.target_categories
        added = ~observed(table)
        positives = int(tables(before)[name].labels.sum())
        assert added.sum() == (NUMBER * positives if name in extended else 0)
        taken = {(u, i) for part in domain for u, i in part.sparse[:, [USER, ITEM]]}
        behind = np.maximum.accumulate(np.where(added, 0, np.arange(len(table))))
        assert (table.labels[added] == 0).all() and (table.labels[behind[added]] == 1).all()
        np.testing.assert_array_equal(table.time, table.time[behind])
        np.testing.assert_array_equal(table.sparse[:, USER], table.sparse[behind, USER])
        for user, item, category in table.sparse[added]:
            assert (user, item) not in taken and 0 < item < len(categories)
            assert category == categories[item]
        order = np.lexsort((table.time, table.sparse[:, USER]))
        np.testing.assert_array_equal(order, np.arange(len(table)))


def test_the_draw_depends_on_the_seed_alone(pairs):
    _, before, after = pairs
    again, other = (with_negatives(before, NUMBER, seed).source.sparse for seed in (4, 5))
    np.testing.assert_array_equal(again, after.source.sparse)
    assert (other != again).any()
    assert after.source_schema.split["negatives"]["a_positive"] == NUMBER


def test_a_row_is_held_out_together_with_its_negatives(pairs):
    _, before, after = pairs
    plain, rows = CrossDomainRows(before), CrossDomainRows(after)
    assert set(rows.dev.row_id) == set(plain.dev.row_id)
    assert not set(rows.dev.row_id) & set(rows.train.row_id)
    assert len(rows.dev) + len(rows.train) == len(after.target.train)


def test_ranking_negatives_are_items_without_a_row(pairs):
    """Sampled training negatives are not known to the user; a number above that of the items is
    all of them."""
    _, before, after = pairs
    found = []
    for pair in (before, after):
        own = pair.target.test.take(np.flatnonzero(observed(pair.target.test)))
        found.append(CrossDomainRows(pair).negative_items(own, 10**6, seed=2022)[0])
    np.testing.assert_array_equal(*found)
    known = np.unique(CrossDomainRows(before).train.sparse[:, ITEM])
    assert found[0].shape[1] == (known > 0).sum()


def test_a_user_of_everything_gets_no_negatives():
    user, item = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    user, item = np.append(user, [4, 4, 4]), np.append(item, [0, 1, 2])
    columns = (user, item, item % 2, np.full(27, 5), 10**9 + np.arange(27))
    pair = join_pair(interactions("Source", *columns), interactions("Target", *columns))
    source = with_negatives(pair, 2, seed=0).source
    assert set(source.sparse[~observed(source), USER]) == {5}
    with pytest.raises(ValueError, match="no user lacks an item"):
        some = pair.source.take(np.flatnonzero(pair.source.sparse[:, USER] < 5))
        with_negatives(replace(pair, source=some), 2, seed=0)


def test_a_number_below_one_is_refused(pairs):
    with pytest.raises(ValueError, match="at least 1"):
        with_negatives(pairs[1], 0, seed=0)
