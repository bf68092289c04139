"""Table: equal lengths, rows by position, and the checks against a schema."""

import dataclasses

import numpy as np
import pytest

from hamur.data.table import Table, drop_fields
from hamur.errors import DataValueError


@pytest.fixture
def table(tiny_splits) -> Table:
    return tiny_splits.valid


def test_take_gives_contiguous_rows_of_every_column(table):
    index = np.array([5, 1, 1, 140])
    part = table.take(index)
    assert len(part) == 4
    for name, column in part.columns().items():
        assert column.flags.c_contiguous
        np.testing.assert_array_equal(column, getattr(table, name)[index])
    assert part.weight is None and part.time is None


def test_columns_of_different_length_are_refused(table):
    with pytest.raises(ValueError, match="column 'dense' has shape"):
        dataclasses.replace(table, dense=table.dense[1:])
    with pytest.raises(ValueError, match="needs 2 axes"):
        dataclasses.replace(table, labels=table.labels[:, 0])


def test_valid_table_is_returned(table, tiny_schema):
    assert table.validate(tiny_schema) is table


@pytest.mark.parametrize(
    "column, where, value, text",
    [
        ("domain", 3, 3, "row 3, column 'domain' cannot be used, got 3; expected an id 0..2"),
        ("domain", 3, -1, "row 3, column 'domain'"),
        ("sparse", (4, 1), 7, "row 4, column 'item' cannot be used, got 7; expected an id 0..6"),
        ("sparse", (4, 1), -1, "row 4, column 'item'"),
        ("dense", (5, 0), np.nan, "row 5, column 'age' cannot be used, got nan"),
        ("dense", (5, 1), np.inf, "row 5, column 'price'"),
        ("labels", (6, 0), 2, "row 6, column 'like' cannot be used, got 2.0; expected 0 or 1"),
        ("labels", (6, 0), np.nan, "row 6, column 'like'"),
    ],
)
def test_bad_cell_is_named(table, tiny_schema, column, where, value, text):
    cells = getattr(table, column).copy()
    cells[where] = value
    with pytest.raises(DataValueError) as caught:
        dataclasses.replace(table, **{column: cells}).validate(tiny_schema)
    assert text in str(caught.value) and "Remedy" in str(caught.value)


def test_domain_field_must_repeat_the_domain(table, tiny_schema):
    sparse = table.sparse.copy()
    sparse[2, 2] = (sparse[2, 2] + 1) % 3
    with pytest.raises(DataValueError, match=r"row 2, column 'domain'.*the row's domain id"):
        dataclasses.replace(table, sparse=sparse).validate(tiny_schema)


def test_wrong_number_of_columns_is_named(table, tiny_schema):
    with pytest.raises(DataValueError, match="dense has 1 columns; expected 2: age, price"):
        dataclasses.replace(table, dense=table.dense[:, :1]).validate(tiny_schema)


def test_dropped_fields_are_gone_and_nothing_else_changes(tiny_splits, tiny_schema):
    tables, schema = drop_fields(tiny_splits, tiny_schema, ["user", "age"])
    assert schema.sparse_names == ("item", "domain") and schema.dense_names == ("price",)
    rows = np.array([5, 0, 3])
    for table, whole in zip(tables, tiny_splits):
        table.validate(schema)
        np.testing.assert_array_equal(table.take(rows).sparse, whole.sparse[rows][:, 1:])
        np.testing.assert_array_equal(table.dense[rows, 0], whole.dense[rows, 1])
        np.testing.assert_array_equal(np.asarray(table.sparse), whole.sparse[:, 1:])
    _, blind = drop_fields(tiny_splits, tiny_schema, ["domain"])
    assert blind.domain_field is None and blind.num_domains == 3


@pytest.mark.parametrize("names", [["rating"], ["user", "item", "domain"]])
def test_dropping_an_unknown_or_the_last_sparse_field_is_refused(tiny_splits, tiny_schema, names):
    with pytest.raises(ValueError, match="`drop`"):
        drop_fields(tiny_splits, tiny_schema, names)
