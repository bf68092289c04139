"""Columns collected block by block are those of one piece, in memory and in files."""

import numpy as np
import pandas as pd
import pytest

from hamur.data import arrays, build_tables, collect
from hamur.data.build_tables import Encoding, RawColumns
from hamur.data.collect import Collector, value_order
from hamur.data.encode import Codes

ROWS = 5000


def columns(seed=0):
    rng = np.random.default_rng(seed)
    names = np.array(["", "007", "7", "10", "9", "é", "B", "a b", "-5", str(2**63), str(2**70)])
    return {
        "item": pd.Categorical(names[rng.integers(0, len(names), ROWS)]),
        "kind": pd.Categorical(rng.integers(0, 3, ROWS).astype(str)),
        "price": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS)),
        "size": rng.random(ROWS),
        "time": rng.integers(10**9, 2 * 10**9, ROWS),
        "click": rng.integers(0, 2, ROWS).astype(np.int8),
    }


def collected(folder, cuts):
    collector, whole = Collector(), columns()
    if folder is not None:
        collector.move_to(folder)
    for start, stop in zip((0, *cuts), (*cuts, ROWS)):
        part = {name: column[start:stop] for name, column in whole.items()}
        part["time"] = part["time"].astype(np.int32 if start else np.int64)
        collector.add(part | {"": np.arange(start, stop)})
    return collector.finish()


def test_whole_numbers_come_first_in_their_order_then_text():
    texts = np.array(["é", "10", "-5", "9", "007", "B", "0", str(2**63 - 1), str(2**63)], object)
    ordered = ["0", "9", "10", str(2**63 - 1), "-5", "007", str(2**63), "B", "é"]
    assert texts[value_order(texts)].tolist() == ordered
    assert value_order(np.array([], object)).tolist() == []


@pytest.mark.parametrize("cuts", [(), (1, 2), (1700, 1700, 4000)])
@pytest.mark.parametrize("on_disk", [False, True])
def test_blocks_are_one_table(cuts, on_disk, tmp_path):
    found, whole = collected(tmp_path if on_disk else None, cuts), columns()
    for name, column in whole.items():
        cells = found[name]
        if isinstance(column, pd.Categorical):
            assert isinstance(cells, Codes) and cells.codes.dtype == np.int32
            assert "" not in cells.values
            cells = np.append(cells.values, "")[cells.codes]
        else:
            assert cells.dtype == column.dtype
        np.testing.assert_array_equal(cells, np.asarray(column))
    assert found[""].tolist() == list(range(ROWS))
    assert isinstance(found["price"], np.memmap) == on_disk


def built(folder, tables_in):
    cells = collected(folder, (1700, 4000))
    raw = RawColumns(
        sparse={name: cells[name] for name in ("item", "kind")},
        dense={name: cells[name] for name in ("price", "size")},
        labels={"like": cells["click"]},
        domain=np.arange(ROWS) % 3,
        domain_names=("a", "b", "c"),
        row_id=cells[""],
        group=cells["item"].codes.astype(np.int64),
        group_name="item",
        time=cells["time"],
    )
    part = np.random.default_rng(1).integers(0, 3, ROWS)
    index = tuple(np.flatnonzero(part == number) for number in range(3))
    rules = Encoding(transforms={"size": "standard"})
    return build_tables.build(raw, index, rules, "t", {"rule": "random"}, folder=tables_in)


def test_tables_in_files_are_those_in_memory(tmp_path, monkeypatch):
    """Whatever the blocks; memory-mapped columns are read and written where they were released."""
    tables, schema = built(None, None)
    for module in (arrays, build_tables, collect):
        monkeypatch.setattr(module, "BLOCK_ROWS", 97)
    (tmp_path / "cells").mkdir()
    (tmp_path / "tables").mkdir()
    others, same = built(tmp_path / "cells", tmp_path / "tables")
    assert isinstance(others.train.sparse, np.memmap)
    assert tables.train.dense.shape[1] == 3  # with the one that says where a price is missing
    for one, other in zip(tables, others, strict=True):
        for name, column in one.columns().items():
            np.testing.assert_array_equal(column, other.columns()[name], name)
            assert column.dtype == other.columns()[name].dtype
    assert same.split == schema.split
    scalers = same.encoders.scalers
    for name, scaler in schema.encoders.scalers.items():
        assert (scaler.low, scaler.high) == (scalers[name].low, scalers[name].high)
        assert scalers[name].fill == pytest.approx(scaler.fill, abs=1e-12)
