"""Schema and the error messages."""

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamur.data.schema import FieldSpec, FrozenDict, Schema
from hamur.errors import DataError, DataFileNotFoundError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    sizes=st.lists(st.integers(1, 10**6), max_size=4),
    num_dense=st.integers(0, 3),
    names=st.lists(st.text(), min_size=1, max_size=4),
    split=st.dictionaries(st.text(), json_values, max_size=3),
)
def test_json_round_trip_is_exact(sizes, num_dense, names, split):
    fields = [FieldSpec(f"s{i}", "sparse", size) for i, size in enumerate(sizes)]
    fields += [FieldSpec(f"d{i}", "dense") for i in range(num_dense)]
    schema = Schema("any", fields, ("click", "buy"), names, None, "user", split)
    again = Schema.from_json(schema.to_json())
    assert again == schema and hash(again) == hash(schema)
    assert again.to_json() == schema.to_json()


def test_sizes_come_from_the_fields(tiny_schema):
    assert tiny_schema.sparse_names == ("user", "item", "domain")
    assert tiny_schema.vocab_sizes == (11, 7, 3)
    assert tiny_schema.dense_names == ("age", "price")
    assert (tiny_schema.num_sparse, tiny_schema.num_dense, tiny_schema.num_domains) == (3, 2, 3)


@pytest.mark.parametrize("place", ["schema", "field"])
def test_unknown_and_missing_json_keys_are_errors(tiny_schema, place):
    values = json.loads(tiny_schema.to_json())
    target = values if place == "schema" else values["fields"][0]
    with pytest.raises(ValueError, match=r"unknown keys \['colour'\]"):
        target["colour"] = 1
        Schema.from_json(json.dumps(values))
    del target["colour"], target["name"]
    with pytest.raises(ValueError, match=r"lacks \['name'\]"):
        Schema.from_json(json.dumps(values))


def test_schema_and_its_split_cannot_change(tiny_schema):
    schema = dataclasses.replace(tiny_schema, split={"rows": {"train": 3}, "ids": [1, 2]})
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.name = "other"
    with pytest.raises(TypeError):
        schema.split["rows"]["train"] = 4
    assert schema.split["ids"] == (1, 2)
    assert copy.deepcopy(schema) == schema
    assert "FrozenDict" in repr(FrozenDict({}))


def test_wrong_fields_are_refused():
    sparse, dense = FieldSpec("a", "sparse", 3), FieldSpec("b", "dense")
    with pytest.raises(ValueError, match="sparse fields come before multi ones"):
        Schema("x", (dense, sparse))
    with pytest.raises(ValueError, match="same name"):
        Schema("x", (sparse, sparse))
    with pytest.raises(ValueError, match="none of the sparse fields"):
        Schema("x", (sparse,), domain_field="b")
    with pytest.raises(ValueError, match="3 ids for 2 domains"):
        Schema("x", (sparse,), domain_names=("0", "1"), domain_field="a")
    with pytest.raises(ValueError, match="at least one label"):
        Schema("x", (sparse,), labels=())
    with pytest.raises(ValueError, match="use one of \\('sparse', 'multi', 'dense'\\)"):
        FieldSpec("c", "text", 3)
    with pytest.raises(ValueError, match="at least 1 id"):
        FieldSpec("c", "sparse")


def test_error_says_place_value_expectation_and_remedy():
    error = DataError(
        "not an age",
        file="users.dat",
        line=7,
        column="age",
        column_number=3,
        value="x" * 200,
        expected="1 or 18",
        remedy="correct it",
    )
    assert str(error).startswith("users.dat:7: column 3 'age': not an age, got 'xxx")
    assert str(error).endswith("...; expected 1 or 18. Remedy: correct it")
    assert len(str(error)) < 170
    assert (error.file, error.line, error.column, error.remedy) == (
        "users.dat",
        7,
        "age",
        "correct it",
    )
    assert isinstance(error, ValueError)


def test_missing_file_is_also_a_file_not_found_error():
    with pytest.raises(FileNotFoundError, match="Remedy: fetch it"):
        raise DataFileNotFoundError("no such file", file="a.csv", remedy="fetch it")
