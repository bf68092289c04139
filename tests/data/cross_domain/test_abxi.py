"""ABXI's sequence files: a pair equal to that of tables, and what is not one."""

import json

import numpy as np
import pandas as pd
import pytest

from hamur.data import load_pair
from hamur.data.cross_domain import TableFormat
from hamur.data.cross_domain.implicit import load_abxi_pair
from hamur.data.errors import DataError, DataFileNotFoundError, DataFormatError, DataValueError

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
    for a, b in zip((found.source, *found.target), (expected.source, *expected.target)):
        for name, values in a.columns().items():
            if name != "row_id":  # the position in one file, and in two
                np.testing.assert_array_equal(values, b.columns()[name], err_msg=name)
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
    with pytest.raises(ValueError, match="source_domain is 2"):
        load_abxi_pair(folder, 2)
