"""The leakage guard: copied labels are found, honest columns pass."""

import dataclasses
import warnings
from functools import partial

import numpy as np
import pytest

from hamur.data import leakage
from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Splits, Table
from hamur.errors import LeakageError


def with_dense(table: Table, schema: Schema, name: str, column) -> tuple[Table, Schema]:
    dense = np.column_stack([table.dense, column]).astype(np.float32)
    fields = (*schema.fields, FieldSpec(name, "dense"))
    return dataclasses.replace(table, dense=dense), dataclasses.replace(schema, fields=fields)


def test_honest_table_passes(tiny_splits, tiny_schema):
    leakage.check_features(tiny_splits.train, tiny_schema)
    leakage.check_splits(tiny_splits)


@pytest.mark.parametrize("sign", [1, -1])
def test_copied_label_as_dense_column(tiny_splits, tiny_schema, sign):
    copied = sign * tiny_splits.train.labels[:, 0] + sign
    table, schema = with_dense(tiny_splits.train, tiny_schema, "price_today", copied)
    with pytest.raises(LeakageError, match=r"column 'price_today'.*AUC of 1.0000 on 600.*Remedy"):
        leakage.check_features(table, schema)
    leakage.check_features(table, schema, allow=("price_today",))


def test_a_label_of_few_positives_is_not_judged(tiny_splits, tiny_schema):
    """Of 120 columns some order two positives among 600 rows by chance."""
    rng, train = np.random.default_rng(1), tiny_splits.train
    for positives, fails in ((2, False), (10, True)):
        labels = np.zeros_like(train.labels)
        labels[:positives] = 1
        table, schema = dataclasses.replace(train, labels=labels), tiny_schema
        for n in range(120):
            table, schema = with_dense(table, schema, f"noise_{n}", rng.random(len(train)))
        leakage.check_features(table, schema)
        table, schema = with_dense(table, schema, "copied", labels[:, 0])
        if fails:
            with pytest.raises(LeakageError, match="column 'copied'"):
                leakage.check_features(table, schema)
        else:
            leakage.check_features(table, schema)


def test_copied_label_as_sparse_column(tiny_splits, tiny_schema):
    table = tiny_splits.train
    sparse = table.sparse.copy()
    sparse[:, 1] = 1 + table.labels[:, 0] * 3
    with pytest.raises(LeakageError, match=r"column 'item'.*AUC of 1.0000"):
        leakage.check_features(dataclasses.replace(table, sparse=sparse), tiny_schema)


def test_id_of_its_own_for_every_row_is_no_leak(tiny_splits, tiny_schema):
    """The mean label comes from the other half of the rows, so a unique id knows nothing."""
    table = tiny_splits.train
    sparse = table.sparse.copy()
    sparse[:, 0] = np.arange(len(table))
    fields = (FieldSpec("user", "sparse", len(table)), *tiny_schema.fields[1:])
    leakage.check_features(
        dataclasses.replace(table, sparse=sparse), dataclasses.replace(tiny_schema, fields=fields)
    )


def test_true_probability_passes(movielens_folder, tmp_path):
    from hamur.data import load_movielens, synthetic

    truth = synthetic.make_movielens(tmp_path / "again", rows=2_000, seed=1)
    splits, schema = load_movielens(movielens_folder, cache_dir=tmp_path)
    probability = truth.probability[splits.train.row_id]
    leakage.check_features(*with_dense(splits.train, schema, "oracle", probability))


@pytest.mark.parametrize("side", [0, 1])
def test_a_value_that_settles_the_label_is_told(tiny_splits, tiny_schema, side):
    table = tiny_splits.train
    label, draws = table.labels[:, 0] == side, np.random.default_rng(0).random(len(table))
    sparse = table.sparse.copy()
    fields = (FieldSpec("bought", "sparse", 3), *tiny_schema.fields[1:])
    schema = dataclasses.replace(tiny_schema, fields=fields)
    check = partial(leakage.check_features, equal=True)
    sparse[:, 0] = np.where(label & (draws < 0.4), 2, 1)
    with pytest.warns(UserWarning, match=rf"is {side} in all \d+ rows of one value of 'bought'"):
        check(dataclasses.replace(table, sparse=sparse), schema)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(dataclasses.replace(table, sparse=sparse), schema, allow=("bought",))
        sparse[np.argmin(label), 0] = 2  # one row of the other label
        check(dataclasses.replace(table, sparse=sparse), schema)


@pytest.mark.parametrize("name", ["purchase", "rating", "play_time_ms"])
def test_outcomes_are_refused_by_name(tiny_splits, tiny_schema, name):
    noise = np.random.default_rng(0).random(600)
    table, schema = with_dense(tiny_splits.train, tiny_schema, name, noise)
    with pytest.raises(LeakageError, match=f"column '{name}': an outcome cannot be a feature"):
        leakage.check_features(table, schema)
    leakage.check_features(table, schema, allow=(name,))


def test_row_in_two_splits(tiny_splits):
    test = dataclasses.replace(tiny_splits.test, row_id=tiny_splits.valid.row_id)
    with pytest.raises(LeakageError, match="150 rows are in both valid and test"):
        leakage.check_splits(Splits(tiny_splits.train, tiny_splits.valid, test))
