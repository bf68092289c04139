"""Routing: the plan of chunks, and ways in and out that lose no row."""

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from hamur.layers.routing import KIND, chunk_plan, chunk_rows_for, combine, dispatch, make_layout


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=20).filter(any), st.integers(1, 40))
def test_chunks_hold_every_row_once_with_its_own_tower(quotas, rows):
    table, order, real, inverse = chunk_plan(tuple(quotas), rows)
    domain = np.repeat(np.arange(len(quotas)), quotas)
    assert len(order) == len(real) == len(table) * rows
    np.testing.assert_array_equal(order[inverse], np.arange(len(domain)))
    assert real[inverse].all()
    assert real.sum() == len(domain)
    np.testing.assert_array_equal(table[inverse // rows], domain)
    assert len(table) <= -(-len(domain) // rows) + len(quotas)


@given(st.lists(st.integers(1, 5000), min_size=9, max_size=60))
def test_padding_is_bounded(quotas):
    """At most half a mean quota is added a domain, up to the rounding to 8 rows."""
    rows = chunk_rows_for(quotas)
    table, *_ = chunk_plan(tuple(quotas), rows)
    assert len(table) * rows <= sum(quotas) + len(quotas) * rows
    assert rows <= max(8, sum(quotas) / len(quotas) / 2)


@pytest.mark.parametrize(
    ("quotas", "kind"),
    [
        ((4,), "slices"),
        ((3, 1, 2), "slices"),
        ((3, 1, 2, 5, 1, 1, 1, 4, 2, 2), "grouped"),
        (None, "masked"),
    ],
)
def test_a_row_leaves_as_it_entered(quotas, kind):
    counts = quotas or (3, 1, 2)
    domain = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    if quotas is None:
        domain = np.random.default_rng(0).permutation(domain)
    x = np.random.default_rng(1).random((len(domain), 4)).astype(np.float32)
    weight = Tensor(np.ones(len(domain), np.float32))
    layout = make_layout(Tensor(domain), weight, quotas, len(counts), "own")
    assert layout[KIND] == kind
    np.testing.assert_array_equal(combine(dispatch(Tensor(x), layout), layout).asnumpy(), x)

    def through(x):
        return combine(dispatch(x, layout), layout).sum()

    np.testing.assert_array_equal(ms.grad(through)(Tensor(x)).asnumpy(), np.ones_like(x))
