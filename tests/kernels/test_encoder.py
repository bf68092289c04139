"""The kernel of an encoder layer, called directly, against NumPy in float64 and its differences."""

import numpy as np
import pytest

from hamur import kernels
from tests.kernels.test_fused import call, close, draws
from tests.support.baselines.m2m import encoder

pytestmark = pytest.mark.skipif(not kernels.enabled(), reason="the kernels cannot be built here")


def shapes_of(width, wide):
    """Of the parameters in the kernel's order, by the names of the layer."""
    norm, shapes = {"gamma": (width,), "beta": (width,)}, {}
    for part, *dims in (
        ("project", width, 3 * width), ("join", width, width), ("first_norm",),
        ("widen", width, wide), ("narrow", wide, width), ("second_norm",),
    ):  # fmt: skip
        parts = {"weight": tuple(dims), "bias": tuple(dims[1:])} if dims else norm
        shapes |= {f"layer.{part}.{name}": shape for name, shape in parts.items()}
    return shapes


def layer(values, tokens):
    """values: x (B, T * E) and the parameters by name -> (B, T * E)."""
    rows = values["x"].reshape(len(values["x"]), tokens, -1)
    return np.array([encoder(values, "layer", row).reshape(-1) for row in rows])


def inputs(rows, tokens, width, wide, seed):
    draw = draws(seed)
    shapes = {"x": (rows, tokens * width)} | shapes_of(width, wide)
    values = {name: draw(*shape) * 0.5 for name, shape in shapes.items()}
    return values, draw(rows, tokens * width)


def forward(values):
    return call("encoder_forward", *values.values(), outputs=[values["x"].shape])[0]


def backward(values, dy):
    outputs = [value.shape for value in values.values()]
    return call("encoder_backward", *values.values(), dy, outputs=outputs)


@pytest.mark.parametrize(
    ("rows", "tokens", "width", "wide"), [(1, 1, 4, 1), (37, 5, 8, 3), (20, 9, 20, 18)]
)
def test_layer_and_its_gradient(rows, tokens, width, wide):
    values, dy = inputs(rows, tokens, width, wide, seed=rows)
    close(forward(values), layer(values, tokens), 3)
    exact = {name: value.astype(float) for name, value in values.items()}
    random = np.random.default_rng(1)
    for name, gradient in zip(values, backward(values, dy), strict=True):
        way = random.standard_normal(gradient.shape)
        sides = [layer(exact | {name: exact[name] + h * way}, tokens) for h in (1e-6, -1e-6)]
        expected = ((sides[0] - sides[1]) * dy).sum() / 2e-6
        scale = np.sqrt((gradient.astype(float) ** 2).sum()) + 1e-3
        assert abs((gradient * way).sum(dtype=float) - expected) < 1e-4 * scale, name


def test_a_row_is_computed_alone_and_sums_are_the_same_whichever_thread_takes_a_part():
    values, dy = inputs(600, 3, 8, 5, seed=2)
    whole, gradients = forward(values), backward(values, dy)
    for row in (0, 17, 599):
        alone = forward(values | {"x": values["x"][row : row + 1]})
        np.testing.assert_array_equal(alone[0], whole[row])
    for again, gradient in zip(backward(values, dy), gradients, strict=True):
        np.testing.assert_array_equal(again, gradient)
    halves = [
        backward(values | {"x": values["x"][part]}, dy[part]) for part in np.split(np.r_[:600], 2)
    ]
    for first, second, gradient in list(zip(*halves, gradients, strict=True))[1:]:
        close(first + second, gradient, 30)


def test_no_rows():
    values, dy = inputs(0, 3, 8, 5, seed=0)
    assert forward(values).shape == (0, 24)
    assert not any(gradient.any() for gradient in backward(values, dy))
