"""The order of an epoch over a table of many rows: windows of blocks, the same from disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamur.data.arrays import write_array
from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.data.table import Table


@pytest.fixture(scope="module", autouse=True)
def small_windows():
    """Tables of more than 40 rows count as large: windows of 16 rows, blocks of 4."""
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in (("SMALL", 40), ("WINDOW", 16), ("BLOCK", 4)):
            patch.setattr(f"hamur.data.batches.{name}", rows)
        yield


def numbered(domain) -> Table:
    domain = np.asarray(domain, np.int8)
    rows = np.arange(len(domain))
    return Table(
        sparse=np.stack([rows, domain], axis=1).astype(np.int32),
        dense=rows[:, None].astype(np.float32),
        labels=(rows % 2)[:, None].astype(np.int8),
        domain=domain,
    )


def order(batches, number=0) -> list[list[int]]:
    return [batch.row_id.tolist() for batch in batches.epoch(number)]


@given(
    domain=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    sort=st.booleans(),
    batch_size=st.integers(1, 60),
    shuffle=st.booleans(),
)
@pytest.mark.parametrize("kind", [DomainBatches, ShuffledBatches])
def test_every_row_once_in_its_domains_place(kind, domain, sort, batch_size, shuffle):
    table = numbered(sorted(domain) if sort else domain)
    batches = kind(table, batch_size, seed=1, shuffle=shuffle)
    seen = []
    for batch in batches.epoch(0):
        assert len(batch) == batches.batch_rows
        np.testing.assert_array_equal(batch.sparse[:, 1], batch.domain)  # fillers too
        np.testing.assert_array_equal(batch.weight == 1, batch.row_id >= 0)
        np.testing.assert_array_equal(batch.sparse[:, 0][batch.weight == 1],
                                      batch.row_id[batch.weight == 1])  # fmt: skip
        seen.append(batch.row_id[batch.row_id >= 0])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(table)))


@pytest.mark.parametrize("rows", [40, 41, 200])
@pytest.mark.parametrize("kind", [DomainBatches, ShuffledBatches])
def test_memory_mapped_rows_come_in_the_same_order(kind, rows, tmp_path):
    table = numbered(np.arange(rows) % 3)
    for name, column in table.columns().items():
        write_array(tmp_path / f"{name}.npy", column.dtype, column.shape, [column])
    mapped = Table(**{n: np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in table.columns()})
    for number in (0, 1):
        for one, other in zip(kind(table, 8, 5).epoch(number), kind(mapped, 8, 5).epoch(number)):
            assert one.columns().keys() == other.columns().keys()
            for name, column in one.columns().items():
                np.testing.assert_array_equal(column, other.columns()[name])
    assert order(kind(table, 8, 5)) != order(kind(table, 8, 6))
    assert order(kind(table, 8, 5), 0) != order(kind(table, 8, 5), 1)


def test_a_large_table_is_read_block_by_block():
    """At any time the rows in use are those of a few blocks, and all of them are left before the
    next window begins: four steps of 4 rows read the 4 blocks of a window and no other."""
    steps = np.array(order(ShuffledBatches(numbered([0] * 96), 4, seed=3)))
    for window in steps.reshape(6, 16):
        blocks, counts = np.unique(window // 4, return_counts=True)
        assert len(blocks) == 4 and (counts == 4).all()
        assert window.tolist() != sorted(window.tolist())
    assert (np.diff(steps.reshape(6, 16).min(axis=1)) < 0).any()  # windows are no file order


def test_a_small_table_is_permuted_as_a_whole():
    rows = np.concatenate(order(ShuffledBatches(numbered([0] * 40), 4, seed=3)))
    expected = np.random.Generator(np.random.PCG64([3, 0])).permutation(40)
    assert rows.tolist() == expected.tolist()


def test_domains_that_lie_apart_in_the_file_wait_for_each_other():
    """Sorted by domain, a step still holds its quota of each."""
    table = numbered(np.repeat([0, 1, 2], [100, 60, 40]))
    batches = DomainBatches(table, 20, seed=0)
    assert batches.quotas == (10, 6, 4)
    for batch in batches.epoch(0):
        assert (batch.weight == 1).all()
