"""The start-up check of second derivatives: MindSpore outside of compiled code gives zeros without
an error, and a wrong product with the Hessian would train on in silence."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from mindspore import Tensor

from hamur.training.bilevel import graphs

ROWS, TABLE, EMBED, WIDTHS = 8, 20, 4, (12, 8, 4)
SLOPE, STEP, LIMIT = 0.05, 1e-6, 1e-4
MESSAGE = (
    "second-order gradients are wrong in this MindSpore build or mode ({what}: relative error "
    "{error:.1e}). Use graph mode and the MindSpore version that requirements.txt names."
)


def numpy_gradient(rows, cross, weights, ids, labels, head_weight, head_bias, slope):
    """(gradient of the rows, of each cross matrix, losses (2, B)) of TowerLoss in float64, by
    hand."""
    states, slopes = [rows[ids].reshape(2, ids.shape[1], -1)], []
    for private, shared in zip(cross[::2], cross[1::2]):
        x = states[-1]
        z = np.matmul(x, private) + np.matmul(x[::-1], shared)
        slopes.append(np.where(z > 0, 1.0, slope))
        states.append(z * slopes[-1])
    z = (np.matmul(states[-1], head_weight) + head_bias)[..., 0]
    losses = np.maximum(z, 0) - z * labels + np.log1p(np.exp(-np.abs(z)))
    error = weights * (1 / (1 + np.exp(-z)) - labels)
    flow = error[..., None] * head_weight[:, None, :, 0]
    gradients = []
    for layer in reversed(range(len(slopes))):
        private, shared, x = cross[2 * layer], cross[2 * layer + 1], states[layer]
        flow = flow * slopes[layer]
        of_private = np.matmul(x.transpose(0, 2, 1), flow)
        of_shared = np.matmul(x[::-1].transpose(0, 2, 1), flow).sum(0)
        gradients[:0] = [of_private, of_shared]
        flow = np.matmul(flow, private.transpose(0, 2, 1)) + np.matmul(flow[::-1], shared.T)
    of_rows = np.zeros_like(rows)
    np.add.at(of_rows, ids.reshape(-1), flow.reshape(-1, rows.shape[1]))
    return [of_rows, *gradients], losses


def self_test(make: Callable = graphs.second_order) -> None:
    """Compare H v and the influence of a tiny CoNet with central differences in float64.

    make: builds the second-order function, see `graphs.second_order`.
    Raises:  RuntimeError: an error above 1e-4, or zeros.
    """
    rng = np.random.Generator(np.random.PCG64(7))
    rows = rng.standard_normal((TABLE, EMBED))
    cross = []
    for inputs, outputs in pairwise(WIDTHS):
        cross += [rng.standard_normal(shape) for shape in ((2, inputs, outputs), (inputs, outputs))]
    constants = dict(
        ids=rng.integers(0, TABLE, (2, ROWS, 3)).astype(np.int32),
        labels=rng.integers(0, 2, (2, ROWS)).astype(np.float64),
        head_weight=rng.standard_normal((2, WIDTHS[-1], 1)),
        head_bias=rng.standard_normal((2, 1, 1)),
    )
    weights = rng.random((2, ROWS)) / ROWS
    v = [rng.standard_normal(part.shape) for part in (rows, *cross)]

    def gradient(step=0.0, weights=weights):
        moved = [value + step * along for value, along in zip((rows, *cross), v)]
        parts, _ = numpy_gradient(moved[0], moved[1:], weights, slope=SLOPE, **constants)
        return parts

    hvp = [(a - b) / (2 * STEP) for a, b in zip(gradient(STEP), gradient(-STEP))]
    influence = np.empty(2 * ROWS)
    for number in range(2 * ROWS):  # the gradient is linear in the weights
        unit = np.zeros(2 * ROWS)
        unit[number] = 1.0
        parts = gradient(weights=unit.reshape(2, ROWS))
        influence[number] = sum(float((a * b).sum()) for a, b in zip(parts, v))

    loss = graphs.TowerLoss(SLOPE)
    system = (0, *range(loss.first_cross, loss.first_cross + len(cross)))
    floats = (np.ones((2, ROWS, 3, 1)), *list(constants.values())[1:])
    arguments = [
        *map(graphs.tensor, (*v, rows, weights)), Tensor(constants["ids"]),
        *map(graphs.tensor, (*floats, *cross)),
    ]  # fmt: skip
    _, product = make(loss, system, system)(*arguments)
    _check("product with the Hessian", [part.asnumpy() for part in product], hvp)
    _, by_weight = make(loss, system, (1,))(*arguments)
    by_weight = by_weight[0] if isinstance(by_weight, tuple) else by_weight
    _check("influence", [by_weight.asnumpy()], [influence.reshape(2, ROWS)])


def _check(what: str, values: list[np.ndarray], expected: list[np.ndarray]) -> None:
    values, expected = (np.concatenate([x.ravel() for x in part]) for part in (values, expected))
    error = np.linalg.norm(values - expected) / np.linalg.norm(expected)
    if not error <= LIMIT:
        raise RuntimeError(MESSAGE.format(what=what, error=error))
