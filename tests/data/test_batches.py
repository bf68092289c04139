"""Batches: every row once an epoch, fixed shapes, fillers of weight 0, and a tidy thread."""

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamur.data.arrays import write_array
from hamur.data.batches import DomainBatches, ShuffledBatches, prefetch
from hamur.data.table import Table


def numbered(domain) -> Table:
    """A table whose every cell tells its row."""
    domain = np.asarray(domain, np.int32)
    rows = np.arange(len(domain))
    return Table(
        sparse=np.stack([rows, domain], axis=1).astype(np.int32),
        dense=rows[:, None].astype(np.float32),
        labels=(rows % 2)[:, None].astype(np.int8),
        domain=domain,
        group=rows.astype(np.int64),
    )


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hamur-prefetch"]


domains = st.lists(st.integers(0, 4), min_size=1, max_size=120)


@settings(deadline=None)
@given(domain=domains, batch_size=st.integers(1, 50), seed=st.integers(0, 9), shuffle=st.booleans())
def test_every_row_exactly_once_and_constant_shapes(domain, batch_size, seed, shuffle):
    table = numbered(domain)
    batches = DomainBatches(table, batch_size, seed, shuffle=shuffle)
    counts = np.bincount(domain)
    assert batches.steps == -(-len(table) // batch_size)
    assert batches.quotas == tuple(int(-(-n // batches.steps)) for n in counts)
    assert batches.batch_rows == sum(batches.quotas)
    seen = []
    epoch = list(batches.epoch(0))
    assert len(epoch) == batches.steps
    for batch in epoch:
        real = batch.weight == 1
        assert len(batch) == batches.batch_rows
        np.testing.assert_array_equal(batch.domain, np.repeat(range(len(counts)), batches.quotas))
        np.testing.assert_array_equal(batch.sparse[:, 1], batch.domain)  # fillers too
        np.testing.assert_array_equal(batch.row_id >= 0, real)
        np.testing.assert_array_equal(batch.sparse[real, 0], batch.row_id[real])
        assert set(np.unique(batch.weight)) <= {0.0, 1.0}
        # A domain has at most one filler a step, so no step is mostly repetition.
        assert np.bincount(batch.domain[~real], minlength=1).max() <= 1
        seen.append(batch.row_id[real])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(table)))
    assert np.ptp([len(rows) for rows in seen]) <= 1  # no step is short of real rows


@settings(deadline=None)
@given(domain=domains, batch_size=st.integers(1, 50), shuffle=st.booleans())
def test_shuffled_batches_use_every_row_once(domain, batch_size, shuffle):
    table = numbered(domain)
    batches = ShuffledBatches(table, batch_size, seed=3, shuffle=shuffle)
    epoch = list(batches.epoch(0))
    assert batches.quotas is None and len(epoch) == batches.steps
    assert {len(batch) for batch in epoch} == {batches.batch_rows}
    rows = np.concatenate([batch.row_id for batch in epoch])
    weight = np.concatenate([batch.weight for batch in epoch])
    np.testing.assert_array_equal(weight == 1, rows >= 0)
    assert (weight[: len(table)] == 1).all()  # fillers come last
    if not shuffle:
        np.testing.assert_array_equal(rows[: len(table)], np.arange(len(table)))
    np.testing.assert_array_equal(np.sort(rows[rows >= 0]), np.arange(len(table)))
    for batch in epoch:
        np.testing.assert_array_equal(batch.sparse[:, 1], batch.domain)


def test_hand_numbers():
    """10, 5 and 1 rows in batches of 4: S = 4 steps, quotas 3, 2, 1, so 6 rows a step."""
    batches = DomainBatches(numbered([0] * 10 + [1] * 5 + [2]), 4, seed=0, shuffle=False)
    assert (batches.steps, batches.quotas, batches.batch_rows) == (4, (3, 2, 1), 6)
    first, second, third, fourth = (batch.row_id.tolist() for batch in batches.epoch(0))
    assert first == [0, 1, 2, 10, -1, -1]
    assert second == [3, 4, 5, 11, -1, -1]
    assert third == [6, 7, -1, 12, 13, -1]
    assert fourth == [8, 9, -1, 14, -1, 15]


def test_types_and_columns():
    batch = next(DomainBatches(numbered([0, 1, 1]), 2, seed=0).epoch(0))
    types = {name: column.dtype.name for name, column in batch.columns().items()}
    assert types == {
        "sparse": "int32",
        "dense": "float32",
        "labels": "float32",
        "domain": "int32",
        "row_id": "int64",
        "weight": "float32",
    }
    assert all(column.flags.c_contiguous for column in batch.columns().values())


@pytest.mark.parametrize("kind", [DomainBatches, ShuffledBatches])
def test_order_follows_seed_and_epoch_only(kind):
    def rows(seed, number):
        table = numbered(np.arange(90) % 3)
        return np.stack([b.row_id for b in kind(table, 20, seed).epoch(number)]).tolist()

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1)
    assert rows(1, 0) != rows(2, 0)


def test_given_quotas_hold_for_another_table():
    train = DomainBatches(numbered([0] * 8 + [1] * 4 + [2] * 4), 8, seed=0)
    assert train.quotas == (4, 2, 2)
    other = DomainBatches(numbered([1] * 7 + [0]), 8, seed=0, quotas=train.quotas)
    assert (other.steps, other.quotas) == (4, (4, 2, 2))
    rows = np.concatenate([batch.row_id for batch in other.epoch(0)])
    np.testing.assert_array_equal(np.sort(rows[rows >= 0]), np.arange(8))


def test_quotas_without_room_are_refused():
    with pytest.raises(ValueError, match="leave no room"):
        DomainBatches(numbered([0, 1]), 2, seed=0, quotas=(2, 0))
    with pytest.raises(ValueError, match="leave no room"):
        DomainBatches(numbered([0, 2]), 2, seed=0, quotas=(2, 2))
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        DomainBatches(numbered([0]), 0, seed=0)
    with pytest.raises(ValueError, match="0 rows"):
        ShuffledBatches(numbered([0]).take(np.arange(0)), 4, seed=0)


def test_weights_of_the_table_are_kept():
    table = numbered([0, 0, 0])
    table = Table(**{**table.columns(), "weight": np.array([0.5, 2.0, 3.0], np.float32)})
    batches = list(DomainBatches(table, 2, seed=0, shuffle=False).epoch(0))
    assert [batch.weight.tolist() for batch in batches] == [[0.5, 2.0], [3.0, 0.0]]


def test_thread_ends_with_the_last_batch():
    list(DomainBatches(numbered([0] * 50), 4, seed=0).epoch(0))
    assert not prefetch_threads()


@pytest.mark.parametrize("taken", [1, 3])
def test_early_stop_leaves_no_thread(taken):
    batches = DomainBatches(numbered([0] * 100), 4, seed=0).epoch(0)
    for _ in range(taken):
        next(batches)
    assert prefetch_threads()
    batches.close()
    assert not prefetch_threads()


def test_break_and_exception_in_the_consumer_leave_no_thread():
    batches = DomainBatches(numbered([0] * 100), 4, seed=0)
    for _ in batches.epoch(0):
        break
    with pytest.raises(KeyError):
        for _ in batches.epoch(1):
            raise KeyError("the consumer's own")
    gc.collect()
    assert not prefetch_threads()


def test_exception_of_the_producer_reaches_the_consumer():
    def items():
        yield 1
        raise OSError("disk gone")

    received = prefetch(items())
    assert next(received) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(received)
    assert not prefetch_threads()


def test_at_most_depth_items_are_prepared_ahead():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    received = prefetch(items(), depth=2)
    next(received)
    time.sleep(0.2)
    assert len(made) <= 5  # taken, two ready, one waiting for room, one begun
    received.close()


def order(batches, number=0) -> list[list[int]]:
    return [batch.row_id.tolist() for batch in batches.epoch(number)]


class TestLargeTables:
    """The order of an epoch over many rows: windows of blocks, the same from disk."""

    @pytest.fixture(scope="class", autouse=True)
    def small_windows(self):
        """Tables of more than 40 rows count as large: windows of 16 rows, blocks of 4."""
        with pytest.MonkeyPatch.context() as patch:
            for name, rows in (("SMALL", 40), ("WINDOW", 16), ("BLOCK", 4)):
                patch.setattr(f"hamur.data.batches.{name}", rows)
            yield

    @given(
        domain=st.lists(st.integers(0, 3), min_size=1, max_size=200),
        sort=st.booleans(),
        batch_size=st.integers(1, 60),
        shuffle=st.booleans(),
    )
    @pytest.mark.parametrize("kind", [DomainBatches, ShuffledBatches])
    def test_every_row_once_in_its_domains_place(self, kind, domain, sort, batch_size, shuffle):
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
    def test_memory_mapped_rows_come_in_the_same_order(self, kind, rows, tmp_path):
        table = numbered(np.arange(rows) % 3)
        for name, column in table.columns().items():
            write_array(tmp_path / f"{name}.npy", column.dtype, column.shape, [column])
        mapped = Table(
            **{n: np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in table.columns()}
        )
        for number in (0, 1):
            for one, other in zip(
                kind(table, 8, 5).epoch(number), kind(mapped, 8, 5).epoch(number)
            ):
                assert one.columns().keys() == other.columns().keys()
                for name, column in one.columns().items():
                    np.testing.assert_array_equal(column, other.columns()[name])
        assert order(kind(table, 8, 5)) != order(kind(table, 8, 6))
        assert order(kind(table, 8, 5), 0) != order(kind(table, 8, 5), 1)

    def test_a_large_table_is_read_block_by_block(self):
        """At any time the rows in use are those of a few blocks, and all of them are left before
        the next window begins: 4 steps of 4 rows read the 4 blocks of a window and no other."""
        steps = np.array(order(ShuffledBatches(numbered([0] * 96), 4, seed=3)))
        for window in steps.reshape(6, 16):
            blocks, counts = np.unique(window // 4, return_counts=True)
            assert len(blocks) == 4 and (counts == 4).all()
            assert window.tolist() != sorted(window.tolist())
        assert (np.diff(steps.reshape(6, 16).min(axis=1)) < 0).any()  # windows are no file order

    def test_a_small_table_is_permuted_as_a_whole(self):
        rows = np.concatenate(order(ShuffledBatches(numbered([0] * 40), 4, seed=3)))
        expected = np.random.Generator(np.random.PCG64([3, 0])).permutation(40)
        assert rows.tolist() == expected.tolist()

    def test_domains_that_lie_apart_in_the_file_wait_for_each_other(self):
        """Sorted by domain, a step still holds its quota of each."""
        table = numbered(np.repeat([0, 1, 2], [100, 60, 40]))
        batches = DomainBatches(table, 20, seed=0)
        assert batches.quotas == (10, 6, 4)
        for batch in batches.epoch(0):
            assert (batch.weight == 1).all()


def test_the_thread_ends_though_an_item_and_the_end_wait_for_room():
    """Closing takes the item that is ready; behind it come the one in hand and the end."""
    items = prefetch(iter((1, 2, 3)), depth=1)
    assert next(items) == 1
    time.sleep(0.2)  # 2 is ready, 3 in hand
    closing = threading.Thread(target=items.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
