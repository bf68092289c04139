"""Columns of lists: how they are cut, padded, checked, dropped; the schema that describes them."""

import dataclasses

import numpy as np
import pytest

from hamur.data import leakage
from hamur.data.batches import DomainBatches
from hamur.data.multi_valued import MultiValued, cut, padded, pooled_by
from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Splits, drop_fields
from hamur.errors import DataValueError, LeakageError
from tests.conftest import tiny_table

TAGS, WORDS = FieldSpec("tags", "multi", 6, 3), FieldSpec("words", "multi", 4, 2)


@pytest.fixture(scope="module")
def schema(tiny_schema) -> Schema:
    fields = (*tiny_schema.fields[:3], TAGS, WORDS, *tiny_schema.fields[3:])
    return dataclasses.replace(tiny_schema, fields=fields)


def random_lists(rng, spec: FieldSpec, count: int, rows=None) -> MultiValued:
    offsets = np.concatenate(([0], np.cumsum(rng.integers(1, spec.max_len + 1, count))))
    ids = rng.integers(0, spec.vocab_size, offsets[-1]).astype(np.int32)
    values = rng.random(len(ids)).astype(np.float32)
    return MultiValued(ids, values, offsets, spec.max_len, rows)


@pytest.fixture(scope="module")
def table(tiny_schema):
    """70 rows; every row has its own tags, words are shared by many."""
    rng, rows = np.random.default_rng(4), 70
    words = random_lists(rng, WORDS, 9, rng.integers(0, 9, rows).astype(np.int32))
    lists = (random_lists(rng, TAGS, rows), words)
    return dataclasses.replace(tiny_table(tiny_schema, rows, 1), multi_valued=lists)


def naive_list(column: MultiValued, row: int) -> list[tuple[int, float]]:
    at = row if column.rows is None else column.rows[row]
    own = slice(column.offsets[at], column.offsets[at + 1])
    return list(zip(column.ids[own].tolist(), column.values[own].tolist()))


@pytest.mark.parametrize(
    ("entries", "max_len", "kept"),
    [
        ([(3, 1.0), (5, 2.0), (4, 1.5)], 2, [(5, 2.0), (4, 1.5)]),
        ([(3, 1.0), (5, 1.0), (4, 1.0)], 2, [(5, 1.0), (4, 1.0)]),  # ties: the later stay
        ([(4, 2.0), (3, 1.0), (5, 2.0), (2, 1.0)], 3, [(4, 2.0), (5, 2.0), (2, 1.0)]),
        ([(0, 9.0), (3, 0.5), (0, 8.0)], 2, [(3, 0.5)]),  # unknown ones go first
        ([(0, 9.0), (0, 8.0)], 2, [(0, 1.0)]),
        ([], 2, [(0, 1.0)]),
    ],
)
def test_list_is_cut_to_its_largest_known_entries(entries, max_len, kept):
    ids, values = np.array([e[0] for e in entries], int), np.array([e[1] for e in entries])
    # Between two other lists, so that a place counted from the beginning cannot pass.
    ids, values = np.r_[7, 7, ids, 8], np.r_[1.0, 3.0, values, 2.0]
    found = cut(ids, values, np.array([0, 2, 2 + len(entries), 3 + len(entries)]), max_len)
    assert found[2].tolist() == np.cumsum([0, 2, len(kept), 1]).tolist()
    assert found[0].tolist() == [7, 7, *(number for number, _ in kept), 8]
    np.testing.assert_array_equal(found[1], np.array([1, 3, *(v for _, v in kept), 2], np.float32))
    assert [array.dtype for array in found] == [np.int32, np.float32, np.int64]


def test_without_unknown_id_0_is_as_good_as_any():
    found = cut(np.array([0, 2, 0]), np.ones(3), np.array([0, 2, 3]), 5, unknown=None)
    assert found[0].tolist() == [0, 2, 0] and found[2].tolist() == [0, 2, 3]


@pytest.mark.parametrize("pool_weight", ["uniform", "value"])
def test_batches_hold_padded_lists_of_their_rows(table, schema, pool_weight):
    splits, _ = pooled_by(Splits(table, table, table), schema, pool_weight)
    seen = 0
    for batch in DomainBatches(splits.train, 16, seed=1).epoch(0):
        ids, weights = batch.padded
        assert ids.shape == weights.shape == (len(batch), 5)
        assert (ids.dtype, weights.dtype) == (np.int32, np.float32)
        for row, source in enumerate(batch.row_id.tolist()):
            if source < 0:
                continue
            seen, begin = seen + 1, 0
            for column in table.multi_valued:
                own = slice(begin, begin + column.max_len)
                begin += column.max_len
                entries = naive_list(column, source)
                rest = [0] * (column.max_len - len(entries))
                assert ids[row, own].tolist() == [number for number, _ in entries] + rest
                counts = [v if pool_weight == "value" else 1.0 for _, v in entries]
                assert weights[row, own].tolist() == counts + rest
    assert seen == len(table)


def test_taken_rows_have_their_lists(table, schema):
    index = np.array([40, 3, 3, 69])
    part = table.take(index).validate(schema)
    for whole, column in zip(table.multi_valued, part.multi_valued):
        assert len(column) == 4 and column.rows is None
        lists = [naive_list(column, row) for row in range(4)]
        assert lists == [naive_list(whole, row) for row in index.tolist()]


def test_tables_without_lists_have_no_such_columns(tiny_splits):
    batch = next(iter(DomainBatches(tiny_splits.train, 16, seed=1).epoch(0)))
    assert batch.padded == () and padded((), np.arange(3)) == {}
    with pytest.raises(ValueError, match="no field holds lists"):
        pooled_by(tiny_splits, Schema("x", (FieldSpec("a", "sparse", 2),)), "value")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ids": 6}, "row 0, list 'tags' cannot be used, got 6; expected an id 0..5"),
        ({"ids": -1}, "row 0, list 'tags' cannot be used, got -1"),
        ({"values": np.nan}, "row 0, list 'tags' cannot be used, got nan"),
        ({"values": -0.5}, "row 0, list 'tags' cannot be used, got -0.5"),
    ],
)
def test_bad_entry_is_named(table, schema, change, text):
    ((name, value),) = change.items()
    tags = table.multi_valued[0]
    entries = getattr(tags, name).copy()
    entries[tags.offsets[1] - 1] = value
    bad = dataclasses.replace(tags, **{name: entries})
    with pytest.raises(DataValueError) as caught:
        dataclasses.replace(table, multi_valued=(bad, table.multi_valued[1])).validate(schema)
    assert text in str(caught.value) and "Remedy" in str(caught.value)


def test_bad_entry_of_a_shared_list_is_named_by_its_first_row(table, schema):
    words = table.multi_valued[1]
    ids = words.ids.copy()
    ids[words.offsets[5]] = 4
    bad = dataclasses.replace(
        table, multi_valued=(table.multi_valued[0], dataclasses.replace(words, ids=ids))
    )
    with pytest.raises(DataValueError, match=f"row {words.rows.tolist().index(5)}, list 'words'"):
        bad.validate(schema)


def test_list_that_is_too_long_or_missing_is_named(table, schema):
    short = dataclasses.replace(schema.fields[3], max_len=1)
    changed = dataclasses.replace(schema, fields=(*schema.fields[:3], short, *schema.fields[4:]))
    with pytest.raises(DataValueError, match=r"list 'tags'.*expected a list of up to 1 ids"):
        table.validate(changed)
    with pytest.raises(DataValueError, match="multi_valued has 1 columns; expected 2: tags, words"):
        dataclasses.replace(table, multi_valued=table.multi_valued[:1]).validate(schema)
    pointing = dataclasses.replace(table.multi_valued[1], rows=table.multi_valued[1].rows + 5)
    with pytest.raises(ValueError, match="'words': a row points outside the 9 lists"):
        dataclasses.replace(table, multi_valued=(table.multi_valued[0], pointing)).validate(schema)
    with pytest.raises(ValueError, match=r"ids, .* values, end"):
        dataclasses.replace(table.multi_valued[1], ids=table.multi_valued[1].ids[:-1])
    with pytest.raises(ValueError, match="3 lists for 70 rows"):
        dataclasses.replace(table, multi_valued=(table.multi_valued[0].take(np.arange(3)),))


def test_dropped_lists_are_gone(table, schema):
    splits, smaller = drop_fields(Splits(table, table, table), schema, ["tags", "age"])
    assert [spec.name for spec in smaller.multi] == ["words"]
    assert splits.test.multi_valued == table.multi_valued[1:]
    splits.test.validate(smaller)


def test_list_that_knows_the_label_is_a_leak(tiny_schema, schema):
    train = tiny_table(tiny_schema, 400, 2)
    rng = np.random.default_rng(1)
    words = random_lists(rng, WORDS, 400)
    telling = MultiValued(
        np.repeat(train.labels[:, 0].astype(np.int32) + 2, 2), np.ones(800, np.float32),
        np.arange(0, 801, 2), 3,
    )  # fmt: skip
    honest = random_lists(rng, TAGS, 400)
    leakage.check_features(dataclasses.replace(train, multi_valued=(honest, words)), schema)
    leaking = dataclasses.replace(train, multi_valued=(telling, words))
    with pytest.raises(LeakageError, match="'like' with an AUC of"):
        leakage.check_features(leaking, schema)
    leakage.check_features(leaking, schema, allow=("tags",))


def test_schema_with_lists_survives_json_and_knows_its_rules(schema):
    values = dataclasses.replace(WORDS, pool_weight="value")
    fields = (*schema.fields[:4], values, *schema.fields[5:])
    changed = dataclasses.replace(schema, fields=fields)
    assert Schema.from_json(changed.to_json()) == changed != schema
    for spec, text in [
        (("a", "multi", 3), "max_len is 0"),
        (("a", "sparse", 3, 2), "max_len is 2"),
        (("a", "multi", 0, 2), "vocab_size is 0"),
        (("a", "multi", 3, 2, "sum"), "pool_weight is 'sum'"),
        (("a", "many", 3, 2), "kind is 'many'"),
    ]:
        with pytest.raises(ValueError, match=text):
            FieldSpec(*spec)
    with pytest.raises(ValueError, match="come before"):
        dataclasses.replace(schema, fields=(TAGS, *schema.fields[:3]))
