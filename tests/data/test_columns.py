"""The description of a table and its reader: permuted columns, Parquet, domains, label rules."""

import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamur.data.build_tables import Encoding
from hamur.data.columns import Columns, Domain, MultiColumn
from hamur.data.label_rules import label
from hamur.data.loading import load_tables
from hamur.data.splits import Split
from hamur.data.table_rows import read_file
from hamur.data.table_source import TableSource, read_tables
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.errors import DataFormatError, DataValueError, UnknownDomainError
from tests.support.caches import assert_same

COLUMNS = Columns(
    kinds={
        "user": "int", "item": "category", "shop": "code", "tags": "text", "age": "int",
        "price": "float", "stars": "int", "bought": "int", "when": "int",
    },
    ignore=("note",),
    labels={"like": "stars > 3", "bought": "bought"},
    values={"stars": range(1, 6)},
    key=("user", "when"),
    sparse=("user", "item", "shop"),
    multi=(MultiColumn("tag", "tags", first_only=True), MultiColumn("tags", "tags", max_len=3)),
    dense=("price",),
    domain=Domain("age", {"young": (1, 18), "old": (35,)}),
    group="user",
    time="when",
    split=Split("random", 1),
)  # fmt: skip


def frame(rows=300, seed=0):
    """Rows as text: missing categories, codes as whole and decimal numbers, several tags."""
    rng = random.Random(seed)
    cells = [
        {
            "user": n % 40, "item": rng.choice(["", 3, 5, 7, "11.0"]),
            "shop": rng.choice(["a", "2", "2.0", ""]), "tags": rng.choice(["x|y", "y", "z|x|y|w"]),
            "age": rng.choice([1, 18, 35]), "price": rng.random(), "stars": rng.randint(1, 5),
            "bought": rng.randint(0, 1), "when": 100 + n, "note": 'a, "b"',
        }
        for n in range(rows)
    ]  # fmt: skip
    return pd.DataFrame(cells).astype(str)


def tables(path, columns=COLUMNS, **options):
    source = TableSource("toy", path, (path,), columns, **options)
    return read_tables(source, {})[:2]


@settings(max_examples=15)
@given(order=st.permutations(sorted(COLUMNS.names)), described=st.permutations([*COLUMNS.kinds]))
def test_permuted_columns_give_the_same_table(tmp_path_factory, order, described):
    """Of the file, and of the description's kinds; the order of `sparse` is that of the model.

    Nor do CRLF, a byte order mark, a missing last line end and whole numbers like 3.0 matter.
    """
    folder = tmp_path_factory.mktemp("permuted")
    frame().to_csv(folder / "a.csv", index=False)
    changed = frame()[list(order)]
    changed["item"] = changed["item"].replace({"3": "3.0", "5": "5.00"})
    text = changed.to_csv(index=False, lineterminator="\r\n").removesuffix("\r\n")
    (folder / "b.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    permuted = dataclasses.replace(COLUMNS, kinds={name: COLUMNS.kinds[name] for name in described})
    one, schema = tables(folder / "a.csv")
    other, again = tables(folder / "b.csv", permuted)
    assert schema.fields == again.fields and schema.labels == again.labels
    assert_same(one, other)


def test_parquet_gives_the_same_table(tmp_path):
    text = frame()
    text.to_csv(tmp_path / "a.csv", index=False)
    numbers = dict.fromkeys(("user", "age", "price", "stars", "bought", "when"), float)
    typed = text.astype(numbers)
    typed["item"] = pd.to_numeric(typed["item"])  # missing cells become NaN
    typed["shop"] = typed["shop"].where(typed["shop"] != "", None)
    typed.to_parquet(tmp_path / "a.parquet")
    one, schema = tables(tmp_path / "a.csv")
    other, again = tables(tmp_path / "a.parquet", first_row_id=(-1,))
    assert schema.fields == again.fields
    assert_same(one, other)


def test_bad_cells_of_parquet_are_named_and_counted(tmp_path):
    typed = frame().astype({"price": float, "stars": float})
    typed.loc[4, "price"], typed.loc[9, "stars"], typed.loc[12, "age"] = np.inf, 1.5, "30"
    typed.to_parquet(tmp_path / "a.parquet")
    bad_rows = BadRows(tmp_path / "a.parquet", Policy())
    with pytest.raises(DataValueError, match=r"a\.parquet:5: column 6 'price': not a usable value"):
        read_file(bad_rows, COLUMNS)
    skipped = BadRows(tmp_path / "a.parquet", Policy("skip"))
    rows = read_file(skipped, COLUMNS)
    assert sorted(set(range(1, 301)) - set(rows.lines)) == [5, 10, 13]
    assert dict(skipped.dropped) == {
        "bad value in price": 1, "bad value in stars": 1, "no domain in age": 1
    }  # fmt: skip
    (tmp_path / "b.parquet").write_text("user,item\n1,2\n")
    with pytest.raises(DataFormatError, match="no Parquet file"):
        read_file(BadRows(tmp_path / "b.parquet", Policy()), COLUMNS)


def test_rows_of_no_domain_are_bad_or_left_out_by_definition(tmp_path):
    text = frame()
    text.loc[7, "age"] = "30"
    text.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UnknownDomainError, match=r"a\.csv:9: column 'age'.*one of 1, 18, 35"):
        tables(tmp_path / "a.csv")
    domain = dataclasses.replace(COLUMNS.domain, drop_others=True)
    splits, schema = tables(tmp_path / "a.csv", dataclasses.replace(COLUMNS, domain=domain))
    assert schema.domain_names == ("young", "old") and sum(map(len, splits)) == 299
    assert schema.split["files"]["a.csv"]["dropped"] == {"other age": 1}


@pytest.mark.parametrize(
    "rule, expected",
    [("s", [1, 4, 5]), ("s > 4", [0, 0, 1]), ("s >= 4", [0, 1, 1]), ("s < 4", [1, 0, 0]),
     ("s <= 4", [1, 1, 0]), ("s == 4", [0, 1, 0]), ("s != 4", [1, 0, 1]), ("s > 4.5", [0, 0, 1])],
)  # fmt: skip
def test_label_rules(rule, expected):
    assert label(rule, {"s": np.array([1, 4, 5])}).astype(int).tolist() == expected
    with pytest.raises(ValueError, match="label rule is 's is 4'"):
        label("s is 4", {})


def test_groups_of_files_with_domains_of_their_own_stay_apart(tmp_path):
    frame(30).to_csv(tmp_path / "a.csv", index=False)
    columns = dataclasses.replace(COLUMNS, domain=None, key=())
    (tmp_path / "b.csv").write_bytes((tmp_path / "a.csv").read_bytes())

    def load(*names):
        files, places = tuple(tmp_path / name for name in names), (0, 1 << 50)[: len(names)]
        about = dict(first_row_id=places, file_domains=("NL", "US")[: len(names)])
        source = TableSource("toy", tmp_path, files, columns, **about)
        return read_tables(source, {})[:2]

    splits, schema = load("a.csv", "b.csv")
    row_id, domain, group = (
        np.concatenate([getattr(table, name) for table in splits])
        for name in ("row_id", "domain", "group")
    )
    assert sorted(row_id) == [*range(2, 32), *((1 << 50) + n for n in range(2, 32))]
    assert (domain == (row_id > 1 << 50)).all() and schema.domain_names == ("NL", "US")
    assert not set(group[domain == 0]) & set(group[domain == 1])
    assert schema.domain_field and not load("a.csv")[1].domain_field


def test_the_cache_depends_on_all_that_the_tables_depend_on(tmp_path):
    frame().to_csv(tmp_path / "a.csv", index=False)

    def load(columns=COLUMNS, seed=1, **options):
        path = tmp_path / "a.csv"
        divided = dataclasses.replace(columns, split=Split("random", seed))
        source = TableSource("toy", path, (path,), divided, **options)
        load_tables(source, tmp_path / "c")
        return len(list((tmp_path / "c").iterdir()))

    assert load() == load() == 1
    assert load(seed=2) == 2
    assert load(dataclasses.replace(COLUMNS, dense=())) == 3
    assert load(policy=Policy("skip")) == 4
    assert load(encoding=Encoding(min_count=2)) == 5


def test_one_domain_and_a_user_who_is_no_feature(tmp_path):
    frame().to_csv(tmp_path / "a.csv", index=False)
    kinds = COLUMNS.kinds | {"user": "text"}
    columns = dataclasses.replace(COLUMNS, kinds=kinds, domain=None, key=(), sparse=("item",))
    splits, schema = tables(tmp_path / "a.csv", columns)
    assert schema.num_domains == 1 and schema.domain_field is None and schema.group == "user"
    users = sorted(map(str, range(40)))
    for table in splits:
        assert [users[group - 1] for group in table.group] == [str(n % 40) for n in table.row_id]
    _, schema = tables(tmp_path / "a.csv", dataclasses.replace(columns, group=None))
    assert schema.group is None
