"""The kernels called directly, against NumPy in float64: any sizes, also none."""

import ctypes
import itertools

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor

from hamur import kernels
from hamur.kernels.cells import Dense, Product
from tests.support.networks import eager  # noqa: F401

pytestmark = pytest.mark.skipif(not kernels.enabled(), reason="the kernels cannot be built here")
SIZE = st.integers(1, 70)


def call(name, *inputs, outputs):
    """Run a function on arrays; returns its outputs, of these shapes, which start as NaN."""
    made = [np.full(shape, np.nan, np.float32) for shape in outputs]
    arrays = [np.ascontiguousarray(array) for array in inputs] + made
    data = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    ranks = (ctypes.c_int * len(arrays))(*(array.ndim for array in arrays))
    sizes = [(ctypes.c_int64 * max(1, array.ndim))(*array.shape) for array in arrays]
    shapes = (ctypes.c_void_p * len(arrays))(*map(ctypes.addressof, sizes))
    function = getattr(ctypes.CDLL(str(kernels.library())), name)
    assert function(len(arrays), data, ranks, shapes, None, None, None) == 0
    return made


@st.composite
def towers(draw):
    """Bounds of up to four towers, some without rows."""
    rows = draw(st.lists(st.integers(0, 90), min_size=1, max_size=4))
    return np.cumsum([0, *rows]).astype(np.int32)


def draws(seed):
    random = np.random.default_rng(seed)
    return lambda *shape: random.standard_normal(shape).astype(np.float32)


def pieces(bounds, shared):
    """(tower's entry of a parameter, its rows) of each tower."""
    ends = itertools.pairwise(bounds)
    return [(0 if shared else t, slice(*end)) for t, end in enumerate(ends)]


def close(found, expected, scale=1.0):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * scale)


@settings(max_examples=60, deadline=None)
@given(towers(), SIZE, SIZE, st.booleans(), st.integers(0, 99))
def test_product(bounds, width, out, shared, seed):
    draw, number = draws(seed), 1 if shared else len(bounds) - 1
    x, weight = draw(bounds[-1], width), draw(number, width, out)
    bias, dy = draw(len(bounds) - 1, out), draw(bounds[-1], out)
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(weight.shape)
    db = np.zeros(bias.shape)
    for (entry, rows), t in zip(pieces(bounds, shared), range(len(bias)), strict=True):
        y[rows] = x[rows].astype(float) @ weight[entry] + bias[t]
        dx[rows] = dy[rows].astype(float) @ weight[entry].T
        dw[entry] += x[rows].astype(float).T @ dy[rows]
        db[t] = dy[rows].sum(0, dtype=float)
    close(call("product_forward", x, weight, bias, bounds, outputs=[y.shape])[0], y, 10)
    shapes = [x.shape, weight.shape, bias.shape]
    found = call("dense_backward", x, weight, dy, bounds, outputs=shapes)
    for value, expected in zip(found, (dx, dw, db), strict=True):
        close(value, expected, 10)


@pytest.mark.parametrize("biased_first", [True, False])
def test_products_of_equal_shapes_with_and_without_bias_do_not_meet(biased_first):
    """In eager mode, which once took the one's gradient for the other's."""
    rows, width, out = (22, 11, 7) if biased_first else (23, 12, 8)
    draw = draws(0)
    x, weight, bias = (Tensor(draw(*s)) for s in ((rows, width), (1, width, out), (1, out)))
    bounds = Tensor(np.array([0, rows], np.int32))
    dense, product = Dense(), Product()
    functions = {
        3: lambda: ms.grad(lambda x, w, b: dense(x, w, b, bounds).sum(), (0, 1, 2))(
            x, weight, bias
        ),
        2: lambda: ms.grad(lambda x, w: product(x, w, bounds).sum(), (0, 1))(x, weight),
    }
    for number in sorted(functions, reverse=biased_first):
        gradients = functions[number]()
        assert len(gradients) == number
        close(gradients[0].asnumpy(), np.tile(weight.asnumpy()[0].sum(1), (rows, 1)), 10)


def test_a_long_product_is_summed_in_parts():
    """More terms than one pass keeps, and more columns than one panel, on all threads."""
    draw = draws(0)
    x, weight, bounds = draw(400, 1000), draw(1, 1000, 130), np.array([0, 400], np.int32)
    (found,) = call("product_forward", x, weight, bounds, outputs=[(400, 130)])
    close(found, x.astype(float) @ weight[0], 100)
    again = call("product_forward", x, weight, bounds, outputs=[(400, 130)])[0]
    assert np.array_equal(found, again)  # whichever thread takes a part


@settings(max_examples=30, deadline=None)
@given(towers(), SIZE, st.integers(1, 9), st.integers(0, 99))
def test_cross_network(bounds, width, layers, seed):
    """Forward against the recursion; the gradient against a difference quotient of it."""
    draw, count = draws(seed), len(bounds) - 1
    x, dy = draw(bounds[-1], width), draw(bounds[-1], width)
    weight, bias = draw(count, layers, width) * 0.1, draw(count, layers, width)

    def forward(x, weight, bias):
        y = x.astype(float)
        for t, rows in pieces(bounds, shared=False):
            for w, b in zip(weight[t], bias[t], strict=True):
                y[rows] = x[rows] * (y[rows] @ w)[:, None] + b + y[rows]
        return y

    saved = (len(x), 2 * layers + 1)
    y, rows = call("cross_forward", x, weight, bias, bounds, outputs=[x.shape, saved])
    scale = 10 * max(1.0, np.abs(y).max(initial=0))
    close(y, forward(x, weight, bias), scale)
    shapes = [x.shape, weight.shape, bias.shape]
    found = call("cross_backward", x, weight, bias, bounds, rows, dy, outputs=shapes)
    exact = [array.astype(float) for array in (x, weight, bias)]
    for number, gradient in enumerate(found):
        way = draws(seed + 1 + number)(*gradient.shape).astype(float)
        ends = [list(exact), list(exact)]
        for end, step in zip(ends, (1e-6, -1e-6), strict=True):
            end[number] = exact[number] + step * way
        quotient = ((forward(*ends[0]) - forward(*ends[1])) * dy).sum() / 2e-6
        size = np.abs(gradient * way).sum() + 1
        assert abs((gradient * way).sum() - quotient) < 2e-4 * size


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.integers(1, 4), st.integers(1, 20), st.integers(0, 99))
def test_embedding(rows, fields, width, seed):
    """Ids repeat, so that gradients of a row add up; one beyond the table reads zeros."""
    random = np.random.default_rng(seed)
    table = draws(seed)(7 * fields, width)
    ids = random.integers(0, 7, (rows, fields)).astype(np.int32)
    offsets = (7 * np.arange(fields, dtype=np.int32))[None]
    gradient = draws(seed + 1)(rows, fields, width)
    shape = [(rows, fields, width)]
    (found,) = call("embed_forward", table, ids, offsets, outputs=shape)
    assert np.array_equal(found, table[ids + offsets])
    expected = np.zeros(table.shape)
    np.add.at(expected, ids + offsets, gradient.astype(float))
    (found,) = call("embed_backward", table, ids, offsets, gradient, outputs=[table.shape])
    close(found, expected, 10)
    outside = np.full_like(ids, 10**6)
    assert not call("embed_forward", table, outside, offsets, outputs=shape)[0].any()


def test_cross_entropy_of_large_logits():
    logits = np.array([-200, -30, -1, 0, 2, 30, 200], np.float32)
    labels = np.array([1, 0, 1, 0, 1, 0, 0], np.float32)
    weight = np.array([1, 2, 1, 1, 0, 1, 1], np.float32)
    shapes = [(), logits.shape]
    loss, gradient = call("cross_entropy", logits, labels, weight, outputs=shapes)
    z = logits.astype(float)
    each = np.logaddexp(0, z) - z * labels
    close(loss, (weight * each).sum() / weight.sum())
    close(gradient, weight * (1 / (1 + np.exp(-z)) - labels) / weight.sum())


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(decoupled):
    """Three updates of parameters of several sizes, one longer than a thread's part."""
    draw, rate = draws(3), np.float32(0.01)
    decays = np.array([0.1, 0.0, 0.02], np.float32)
    sizes = [(3, 5), (), (20000,)]
    state = [[draw(*s), np.zeros(s, np.float32), np.zeros(s, np.float32)] for s in sizes]
    expected = [[part.astype(float) for part in parts] for parts in state]
    powers = [np.ones((), np.float32), np.ones((), np.float32)]
    constants = np.array([0.9, 0.999, 1e-8, decoupled], np.float32)
    for step in range(1, 4):
        gradients = [draw(*s) for s in sizes]
        inputs = [a for parts, g in zip(state, gradients, strict=True) for a in (*parts, g)]
        call("adam", constants, rate, decays, *powers, *inputs, outputs=[()])
        for parts, gradient, decay in zip(expected, gradients, decays, strict=True):
            w, m, v = parts
            g = gradient + (0 if decoupled else decay * w)
            m[...] = 0.9 * m + 0.1 * g
            v[...] = 0.999 * v + 0.001 * g * g
            if decoupled:
                w *= 1 - rate * decay
            change = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
            w -= rate * change
    for found, parts in zip(state, expected, strict=True):
        for value, right in zip(found, parts, strict=True):
            close(value, right, 0.1)


def test_numbers_below_the_normal_ones_are_zero_on_every_thread():
    """Threads differ in what they make of them, so which one does a part would decide a bit."""
    size = (40000,)
    first, gradient = np.zeros(size, np.float32), np.full(size, 2e-38, np.float32)
    weights, second = np.ones(size, np.float32), np.zeros(size, np.float32)
    powers = [np.ones((), np.float32), np.ones((), np.float32)]
    constants, rate = np.array([0.9, 0.999, 1e-8, 0], np.float32), np.float32(0.01)
    state = weights, first, second, gradient
    call("adam", constants, rate, np.zeros(1, np.float32), *powers, *state, outputs=[()])
    assert not first.any()
