"""The cross-connected towers of CoNet (arXiv 1804.06769) as pure functions of their weights.

Two towers of equal widths run side by side; every layer also reads the other tower's input through
one matrix H, the same in both directions:

    x_s' = act(x_s W_s + x_t H)        x_t' = act(x_t W_t + x_s H)

The towers are one tensor (2, B, width), source first.  Functions, not a cell with parameters
inside, because bi-level training differentiates twice with respect to weights that it passes in.
"""

from mindspore import ops

from hamur.layers.primitives import matmul

SOURCE, TARGET = 0, 1


def leaky(z, slope):
    """relu(z) - slope relu(-z), written with relu alone, whose second derivative is right."""
    if slope == 0.0:
        return ops.relu(z)
    return ops.relu(z) * (1.0 - slope) + z * slope


def cross_unit(x, private, shared, slope):
    """One layer.  x (2, B, in); private (2, in, out) = W_s, W_t; shared (in, out) = H."""
    rows, width = x.shape[1], private.shape[2]
    crossed = matmul(x.reshape(2 * rows, -1), shared).reshape(2, rows, width)
    source, target = ops.unstack(crossed)  # an index copies number by number
    return leaky(ops.bmm(x, private) + ops.stack((target, source)), slope)


def cross_towers(x, weights, slope):
    """All layers.  x (2, B, 3E); weights: private, shared of every layer in turn -> (2, B, H)."""
    for layer in range(len(weights) // 2):
        x = cross_unit(x, weights[2 * layer], weights[2 * layer + 1], slope)
    return x


def single_tower(x, weights, slope):
    """CoNet-S: x' = act(x W).  x (B, 2E); weights: one (in, out) per layer -> (B, H)."""
    for weight in weights:
        x = leaky(matmul(x, weight), slope)
    return x
