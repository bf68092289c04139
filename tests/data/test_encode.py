"""Vocabularies, scalers and splits."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from hamur.data import splits
from hamur.data.encode import (
    Scaler,
    factorise,
    fit_scaler,
    fit_vocabulary,
    grow_vocabulary,
    identity_vocabulary,
)
from hamur.errors import DataValueError, EmptySplitError

columns = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@settings(deadline=None)
@given(values=columns, data=st.data(), order=st.sampled_from(["value", "first"]))
def test_ids_come_from_the_training_rows_only(values, data, order):
    values = np.array(values)
    train = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, unique=True)))
    train.sort()
    column = factorise(values)
    vocabulary = fit_vocabulary(column, train, order)
    ids = vocabulary.encode(column)
    known = set(values[train].tolist())
    assert vocabulary.size == len(known) + 1
    assert set(ids[train].tolist()) == set(range(1, vocabulary.size))
    for value, code in zip(values.tolist(), ids.tolist()):
        assert (code > 0) == (value in known)
        if code:
            assert vocabulary.values[code - 1] == value
    in_order = sorted(known) if order == "value" else list(dict.fromkeys(values[train].tolist()))
    assert vocabulary.values.tolist() == in_order


def test_rare_values_are_unknown():
    column = factorise(np.array([7, 7, 7, 9, 9, 5]))
    vocabulary = fit_vocabulary(column, np.arange(6), min_count=2)
    assert vocabulary.encode(column).tolist() == [1, 1, 1, 2, 2, 0]
    assert (
        fit_vocabulary(column, np.arange(4), min_count=2).encode(column).tolist()
        == [1] * 3 + [0] * 3
    )


def test_text_is_ordered_by_code_point_and_empty_is_unknown():
    column = factorise(pd.Categorical(["98107-2117", "", "02138", "9", "Z", "02138"]))
    assert column.values.tolist() == ["02138", "9", "98107-2117", "Z"]
    assert column.codes.tolist() == [2, -1, 0, 1, 3, 0]
    assert fit_vocabulary(column, np.arange(3)).encode(column).tolist() == [2, 0, 1, 0, 0, 1]


def test_missing_numbers():
    assert factorise(np.array([3, -1, 0, 3])).codes.tolist() == [1, -1, 0, 1]
    assert factorise(np.array([3, -1, 0, 5]), missing=0).codes.tolist() == [0, -1, -1, 1]


def test_fit_on_all_has_no_unknown():
    column = factorise(np.array([4, 2, 8]))
    vocabulary = fit_vocabulary(column, np.array([0]), fit_on="all")
    assert (vocabulary.size, vocabulary.encode(column).tolist()) == (3, [1, 0, 2])
    with_gap = factorise(np.array([4, -1, 8]))
    vocabulary = fit_vocabulary(with_gap, np.array([0]), fit_on="all")
    assert (vocabulary.size, vocabulary.encode(with_gap).tolist()) == (3, [1, 0, 2])
    with pytest.raises(ValueError, match="`fit_on` is 'test'"):
        fit_vocabulary(column, np.array([0]), fit_on="test")


def test_identity_keeps_ids_up_to_the_training_maximum():
    column = factorise(np.array([0, 3, 1, 9]), missing=0)
    vocabulary = identity_vocabulary(column, np.array([0, 1, 2]))
    assert (vocabulary.size, vocabulary.encode(column).tolist()) == (4, [0, 3, 1, 0])
    with pytest.raises(DataValueError, match=r"too large for an id, got 2147483648.*Remedy"):
        identity_vocabulary(factorise(np.array([2**31])), np.array([0]))
    nothing = factorise(np.array([0, 0]), missing=0)
    assert identity_vocabulary(nothing, np.array([0])).encode(nothing).tolist() == [0, 0]


def test_scaler_uses_training_rows_and_clips_the_others():
    column = np.array([1.0, 3.0, 5.0, -1.0])
    scaler = fit_scaler(column, np.array([0, 1]))
    assert scaler == Scaler(1.0, 3.0)
    assert scaler.scale(column).tolist() == [0.0, 1.0, 1.0, 0.0]
    assert scaler.scale(column).dtype == np.float32
    assert fit_scaler(column, np.array([0, 1]), fit_on="all") == Scaler(-1.0, 5.0)
    assert fit_scaler(column, np.array([0])).scale(column).tolist() == [0.0] * 4
    assert fit_scaler(np.array([0.2, 0.5]), np.array([0, 1]), keep_unit=True) == Scaler(0.0, 1.0)
    assert fit_scaler(np.array([0.2, 1.5]), np.array([0, 1]), keep_unit=True) == Scaler(0.2, 1.5)


@given(num_rows=st.integers(1, 500), seed=st.integers(0, 5))
def test_random_split_is_a_partition_of_the_stated_sizes(num_rows, seed):
    parts = splits.random_split(num_rows, seed)
    train, valid = int(0.8 * num_rows), int(0.1 * num_rows)
    assert [len(part) for part in parts] == [train, valid, num_rows - train - valid]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(num_rows))
    again = splits.random_split(num_rows, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again))


def test_fingerprint_ignores_the_order():
    rows, other = (splits.random_split(1000, seed)[2] for seed in (1, 2))
    assert splits.fingerprint(rows) == splits.fingerprint(rows[::-1]) != splits.fingerprint(other)


def test_temporal_split_divides_no_moment():
    time = np.array([5, 1, 2, 3, 4, 6, 7, 8, 8, 9])  # the cuts at 8 and 9 move: 8 stays together
    train, valid, test = splits.temporal_split(time)
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert (valid.tolist(), test.tolist()) == ([], [9])


@given(time=st.lists(st.integers(0, 30), min_size=1, max_size=80))
def test_temporal_split_is_ordered(time):
    time = np.array(time)
    parts = splits.temporal_split(time)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(time)))
    filled = [time[part] for part in parts if len(part)]
    for earlier, later in pairwise(filled):
        assert earlier.max() < later.min()


def test_user_temporal_split_by_hand():
    """User 1 has 3 rows: one each. User 2 has 21: the last two for test, two before for valid."""
    user = np.array([1, 1, 1] + [2] * 21)
    time = np.array([30, 10, 20] + list(range(21)))
    train, valid, test = splits.user_temporal_split(user, time)
    assert test.tolist() == [0, 22, 23]
    assert valid.tolist() == [2, 20, 21]
    assert train.tolist() == [1, *range(3, 20)]


@pytest.mark.parametrize("num_rows", [10, 10_001])
def test_halves_equal_the_public_split(num_rows):
    valid, test = splits.halves(num_rows)
    rows = np.arange(num_rows)
    expected = train_test_split(rows, test_size=0.5, random_state=2022)
    assert set(valid) == set(expected[0]) and set(test) == set(expected[1])


def test_empty_split_is_named():
    with pytest.raises(EmptySplitError, match=r"split 'valid' has no row.*Remedy"):
        splits.check_parts({"train": 3, "valid": 0, "test": 1}, "random")


def test_constant_columns_and_clipped_cells_are_reported():
    from hamur.data.build_tables import Encoding, RawColumns, build

    rows = np.arange(6)
    raw = RawColumns(
        sparse={"item": factorise(rows % 3)},
        dense={"price": np.array([1.0, 2, 3, 9, 0, 2]), "flat": np.full(6, 4.0)},
        labels={"click": rows % 2},
        domain=rows % 2,
        domain_names=("a", "b"),
        row_id=rows,
        group_name="item",
    )
    parts = (rows[:3], rows[3:5], rows[5:])
    tables, schema = build(raw, parts, Encoding(), "toy", {"rule": "hand"})
    assert schema.split["constant"] == ("flat",)
    assert dict(schema.split["clipped"]) == {"price": (0, 2, 0), "flat": (0, 0, 0)}
    assert tables.valid.dense.tolist() == [[1.0, 0.0], [0.0, 0.0]]


@settings(deadline=None)
@given(
    known=st.lists(st.integers(0, 12), unique=True),
    values=columns,
    text=st.booleans(),
    least=st.integers(1, 3),
)
def test_a_continued_vocabulary_keeps_its_ids_and_adds_the_frequent_new_values(
    known, values, text, least
):
    """known in any order: that of an earlier table's ids, which may have grown before."""
    if text:
        known, values = [f"v{n}" for n in known], [f"v{n}" for n in values]
    column = factorise(pd.Categorical(values) if text else np.array(values))
    grown = grow_vocabulary(column, np.arange(len(values)), np.array(known, object), least)
    counts = Counter(values)
    new = sorted(value for value in counts if value not in known and counts[value] >= least)
    assert grown.values.tolist() == known + new and grown.size == len(grown.values) + 1
    place = {value: number for number, value in enumerate(known + new, start=1)}
    assert grown.encode(column).tolist() == [place.get(value, 0) for value in values]
