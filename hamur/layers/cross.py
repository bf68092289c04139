"""The cross network of DCN."""

import numpy as np
from mindspore import nn, ops

from hamur import kernels
from hamur.kernels.cells import Cross
from hamur.layers.parameters import kernel, spared
from hamur.layers.primitives import matmul_tb
from hamur.layers.routing import KIND, TABLE, bounds, fused


class CrossNetwork(nn.Cell):
    """Explicit feature crossing of bounded degree (DCN, arXiv 1708.05123, eq. 3), T networks side
    by side.

        x_{l+1} = x_0 (x_l . w_l) + b_l + x_l

    Computed without a (rows, P) tensor per layer: x_l = c_l x_0 + u_l with a scalar c_l per row and
    a vector u_l = b_0 + ... + b_{l-1} common to all rows, hence

        c_{l+1} = c_l + c_l (x_0 . w_l) + u_l . w_l,      c_0 = 1

    so that all products x_0 . w_l are one matrix product.

    Inputs:  xs tuple of (rows, P).   Outputs: tuple like xs.
    Raises:  ValueError: num_layers < 1.
    """

    def __init__(self, rng, width, num_layers, num_towers=1):
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"a cross network needs num_layers >= 1, got {num_layers}.")
        shape = (num_towers, num_layers, width)
        self.weight = kernel(rng, shape, width)
        self.bias = spared(np.zeros(shape, np.float32), "bias")
        self.num_layers = num_layers
        self.fused = Cross() if kernels.enabled() else None

    def construct(self, xs, layout):
        if fused(self, layout):
            return (self.fused(xs[0], self.weight, self.bias, bounds(layout))[0],)
        if layout[KIND] == "grouped":
            return (self.cross_chunks(xs[0], layout[TABLE]),)
        return tuple([self.cross(x, self.weight[t], self.bias[t]) for t, x in enumerate(xs)])

    def cross(self, x, weight, bias):
        """x (rows, P), weight and bias (L, P): the layers' result is x times a factor per row plus
        an offset, so that x is passed over once."""
        dots = matmul_tb(x, weight)  # (rows, L)
        factor = ops.ones_like(dots[:, 0:1])
        offset = ops.zeros_like(bias[0])
        for layer in range(self.num_layers):
            constant = (offset * weight[layer]).sum()
            factor = factor + factor * dots[:, layer : layer + 1] + constant
            offset = offset + bias[layer]
        return ops.bias_add(x * factor, offset)

    def cross_chunks(self, x, table):
        """x (n, s, P): the same with the parameters of each chunk's tower."""
        weight = ops.gather(self.weight, table, 0)  # (n, L, P)
        bias = ops.gather(self.bias, table, 0)
        dots = ops.bmm(x, weight.swapaxes(1, 2))  # (n, s, L)
        factor = ops.ones_like(dots[:, :, 0:1])
        offset = ops.zeros_like(bias[:, 0])
        for layer in range(self.num_layers):
            constant = (offset * weight[:, layer]).sum(-1).reshape(-1, 1, 1)
            factor = factor + factor * dots[:, :, layer : layer + 1] + constant
            offset = offset + bias[:, layer]
        return x * factor + offset.expand_dims(1)
