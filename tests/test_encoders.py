"""Laws of encoders: what a table holds is what raw rows give again, whatever form they have."""

import collections
import dataclasses
import datetime
import decimal
import math
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hamur import model_folder
from hamur.data import load_ali_ccp, load_aliexpress, load_amazon, load_amazon_pair, load_movielens
from hamur.data.ali_ccp.columns import SAMPLE as ALI
from hamur.data.table import drop_fields
from hamur.errors import DataError
from tests.support.faults import assert_ours

SEED = 5
LOADERS = {
    "movielens": lambda: load_movielens(),
    "genres": lambda: load_movielens(genres="multi"),
    "all rows": lambda: load_movielens(fit_on="all"),
    "ali-ccp": lambda: load_ali_ccp(),
    "identity": lambda: load_ali_ccp(encoding="identity"),
    "raw lists": lambda: load_ali_ccp(ALI.with_name("ali-ccp-raw-sample"), multi="mean"),
    "countries": lambda: load_aliexpress(),
    "one country": lambda: load_aliexpress(countries=("US",)),
    "both categories": lambda: load_amazon(),
    "all reviews": lambda: load_amazon(vocabulary="all"),
}


def decoded(schema, table, rng) -> pd.DataFrame:
    """Raw rows of a table, from the values that its encoders know."""
    encoders, columns, frame = schema.encoders, schema.encoders.columns, {}
    if columns.domain is not None:
        groups = list(columns.domain.groups.values())
        frame[columns.domain.column] = [
            groups[d][rng.integers(len(groups[d]))] for d in table.domain
        ]
    first = {spec.name: spec.column for spec in columns.multi if spec.first_only}
    for f, name in enumerate(schema.sparse_names):
        if name == schema.domain_field or name in frame:
            continue
        known = encoders.vocabularies[name]
        values = [*[None] * known.first_id, *known.values.tolist()]
        cells = [values[i] for i in np.asarray(table.sparse[:, f])]
        if name in encoders.by_domain:
            cells = [cell and cell.partition(" ")[2] for cell in cells]
        frame[first.get(name, name)] = pd.Series(cells, dtype=object)
    for spec, lists in zip(schema.multi, table.multi_valued):
        known = encoders.vocabularies[spec.name]
        values = ["", *known.values.tolist()]
        lists = lists.take(np.arange(len(table)))
        ends = zip(lists.offsets[:-1], lists.offsets[1:])
        frame[spec.name] = ["|".join(str(values[i]) for i in lists.ids[a:b]) for a, b in ends]
    for c, name in enumerate(schema.dense_names):
        low, high = encoders.scalers[name].low, encoders.scalers[name].high
        frame[name] = low + np.asarray(table.dense[:, c], float) * (high - low)
        if columns.kinds[name] == "int":
            frame[name] = np.rint(frame[name]).astype(int)
    return pd.DataFrame(frame)


def same(table, other, rows=slice(None)):
    for name in ("sparse", "domain"):
        np.testing.assert_array_equal(getattr(table, name), np.asarray(getattr(other, name))[rows])
    np.testing.assert_allclose(table.dense, np.asarray(other.dense)[rows], atol=1e-6)


@pytest.mark.parametrize("name", LOADERS)
def test_encoding_what_was_decoded_is_the_identity(name, tmp_path):
    splits, schema = LOADERS[name]()
    table = splits.test.take(np.arange(0, len(splits.test), 1 + len(splits.test) // 150))
    frame = decoded(schema, table, np.random.default_rng(SEED))
    model_folder.write(tmp_path, schema)
    about, stored = model_folder.read(tmp_path)
    assert (stored, about["schema"]["name"]) == (schema, schema.name)
    for encoders in (schema.encoders, stored.encoders):
        found, report = encoders.encode(encoders.rows(frame), schema)
        same(found, table)
        for lists, expected in zip(found.multi_valued, table.multi_valued):
            every, expected = np.arange(len(table)), expected.take(np.arange(len(table)))
            np.testing.assert_array_equal(lists.take(every).ids, expected.ids)
            np.testing.assert_array_equal(lists.take(every).offsets, expected.offsets)
        assert report.rows == len(table) and report.other_domain == 0
        unknown = {
            field: int((table.sparse[:, f] == 0).sum())
            for f, field in enumerate(schema.sparse_names)
            if field in encoders.vocabularies and encoders.vocabularies[field].first_id
        }
        expected = {field: count for field, count in unknown.items() if count}
        assert {n: c for n, c in report.unknown.items() if n in schema.sparse_names} == expected


def test_every_form_of_rows_is_one_table():
    splits, schema = load_movielens()
    frame = decoded(schema, splits.test.take(np.arange(70)), np.random.default_rng(SEED))
    encoders = schema.encoders
    expected, _ = encoders.encode(encoders.rows(frame), schema)
    plain = frame.astype({"user_id": int, "movie_id": int})
    forms = {
        "other types": plain.astype({"user_id": np.int32, "movie_id": float, "zip": "category"}),
        "text": frame.astype(str),
        "permuted columns": plain[list(plain)[::-1]],
        "Arrow": pa.Table.from_pandas(plain),
        "a batch": pa.Table.from_pandas(plain).to_batches()[0],
        "dictionaries": plain.to_dict("records"),
        "few dictionaries": plain.head(9).to_dict("records"),
        "lists": {name: column.tolist() for name, column in plain.items()},
        "one dictionary": plain.iloc[0].to_dict(),
    }
    for name, form in forms.items():
        table, _ = encoders.encode(encoders.rows(form), schema)
        assert len(table) == {"few dictionaries": 9, "one dictionary": 1}.get(name, 70), name
        same(table, expected, slice(len(table)))


@pytest.mark.parametrize("rows", [3, 90])
def test_columns_called_by_numbers_or_twice(rows):
    splits, schema = load_ali_ccp()
    frame = decoded(schema, splits.test.take(np.arange(rows)), np.random.default_rng(SEED))
    numbered = frame.rename(columns=lambda name: int(name) if name.isdigit() else name)
    tables = [schema.encoders.encode(schema.encoders.rows(f), schema)[0] for f in (frame, numbered)]
    same(*tables)
    with pytest.raises(DataError, match="two columns of one name"):
        schema.encoders.rows(pd.concat([frame, frame[["101"]]], axis=1))


CELLS = (None, "", "1", "1.0", "01", "x", " ", "NaN", "é", "\0", "\ud800", "0", 0, 1, -1, 2**63)
CELLS += (1.0, 1.5, math.nan, math.inf, -0.0, True, False, 1e300, 2**70, "a|b", [1], {}, "1e3")
CELLS += ("true", "FALSE", -5, np.int32(1), np.float32(3.7), np.str_("x"), pd.NA, b"x")

ODD_CELLS = (datetime.date(2020, 1, 1), decimal.Decimal("1.5"), (1, 2), 1j, "9" * 400, "1_0")
ODD_CELLS += (object(), [["x"]], [None], ["a"], pd.NaT, np.datetime64("2020-01-01"), "a" * 70000)


@pytest.mark.parametrize("kind", ["int", "category", "float", "number", "text", "code", "id"])
def test_a_few_dictionaries_are_read_as_many_are(kind, monkeypatch):
    from hamur.data import raw_rows
    from hamur.data.text.lines import FileFormat

    def cells_of(rows):
        try:
            column = raw_rows.read(rows, FileFormat({"a": kind})).columns["a"]
        except DataError as error:
            assert_ours(error, rows)
            return str(error)
        return np.asarray(column, object).tolist()

    for cell in CELLS:
        found = cells_of([{"a": cell}])
        with monkeypatch.context() as patch:
            patch.setattr(raw_rows, "FEW", -1)
            expected = cells_of([{"a": cell}])
        np.testing.assert_equal(found, expected, err_msg=repr(cell))


@pytest.mark.parametrize("times", [40, pytest.param(2500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["genres", "raw lists"])
def test_odd_cells_are_refused_in_one_line_and_change_no_other_row(name, times):
    splits, schema = LOADERS[name]()
    table = splits.test.take(np.arange(66))
    frame = decoded(schema, table, np.random.default_rng(SEED))
    rows, encoders, found = frame.to_dict("records"), schema.encoders, collections.Counter()
    rng = random.Random(f"{SEED} {name}")
    for number in range(times):
        count, column = rng.choice((1, 3, 66)), rng.choice(encoders.needed)
        some, odd = [dict(row) for row in rows[:count]], rng.randrange(count)
        some[odd][column] = cell = rng.choice((*CELLS, *ODD_CELLS))
        form = (
            list if isinstance(cell, str) and "\ud800" in cell else rng.choice((list, pd.DataFrame))
        )
        place = f"{form.__name__} of {count}, {column} = {cell!r}, number {number} of seed {SEED}"
        try:
            encoded, _ = encoders.encode(encoders.rows(form(some)), schema, schema.domain_names[0])
        except Exception as error:
            assert_ours(error, place)
            found["refused"] += 1
            continue
        others = np.delete(np.arange(count), odd)
        same(encoded.validate(schema).take(others), table, others)
        found["taken"] += 1
    print(f"\n{name}, seed {SEED}: {dict(found)}")
    assert min(found.values()) > times / 20 and len(found) == 2


def test_unknown_values_missing_cells_and_numbers_outside_are_counted():
    splits, schema = load_movielens()
    frame = decoded(schema, splits.test.take(np.arange(6)), np.random.default_rng(SEED))
    known, _ = schema.encoders.encode(schema.encoders.rows(frame), schema)
    frame = frame.assign(user_id=[10**9, None, *frame["user_id"][2:]], zip=["", *frame["zip"][1:]])
    table, report = schema.encoders.encode(schema.encoders.rows(frame), schema)
    user, zip_code = map(schema.sparse_names.index, ("user_id", "zip"))
    assert table.sparse[:2, user].tolist() == [0, 0] and table.sparse[0, zip_code] == 0
    np.testing.assert_array_equal(table.sparse[2:], known.sparse[2:])
    assert report.unknown == {"user_id": 2, "zip": 1}
    splits, schema = load_ali_ccp()
    frame = decoded(schema, splits.test.take(np.arange(5)), np.random.default_rng(SEED))
    name = schema.dense_names[2]
    frame[name] = [1e9, -5.0, *frame[name][2:]]
    table, report = schema.encoders.encode(schema.encoders.rows(frame), schema)
    assert table.dense[:2, 2].tolist() == [1, 0] and report.clipped == {name: 2}


def test_dropped_features_are_not_asked_for(tmp_path):
    splits, schema = drop_fields(*load_movielens(), ["zip", "cate_id", "age"])
    model_folder.write(tmp_path, schema)
    _, stored = model_folder.read(tmp_path)
    assert set(stored.encoders.needed) == {"user_id", "movie_id", "gender", "occupation", "age"}
    table = splits.test.take(np.arange(5))
    frame = decoded(schema, table, np.random.default_rng(SEED))
    found, _ = stored.encoders.encode(stored.encoders.rows(frame), schema)
    same(found, table)


def test_the_schema_of_a_pair_knows_users_items_and_categories(tmp_path):
    pair = load_amazon_pair()
    model_folder.write(tmp_path, pair.schema)
    _, stored = model_folder.read(tmp_path)
    for schema in (pair.schema, stored):
        for name, known in schema.encoders.vocabularies.items():
            np.testing.assert_array_equal(known.values, pair.names[name][1:])
        items = schema.encoders.vocabularies["source_item"]
        np.testing.assert_array_equal(items.category, pair.source_categories)


def test_a_folder_is_written_anew_and_holds_no_path_of_the_machine(tmp_path):
    _, schema = load_movielens()
    model_folder.write(tmp_path, schema)
    smaller = dataclasses.replace(schema, fields=schema.fields[1:])
    model_folder.write(tmp_path, smaller)
    names = {path.stem for path in (tmp_path / "encoders").glob("*.parquet")}
    assert "user_id" not in names and model_folder.read(tmp_path)[1] == smaller
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert str(ALI.parent).encode() not in path.read_bytes(), path
    model_folder.write(tmp_path, dataclasses.replace(schema, encoders=None))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_encoders_need_neither_mindspore_nor_scikit_learn():
    code = (
        "import sys; sys.modules |= dict.fromkeys(('mindspore', 'sklearn', 'matplotlib'))\n"
        "import hamur.encoders, hamur.model_folder, hamur.trained_model"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
