"""The hyper-network that turns an embedded instance into the K x K instance matrix of the adapter
cells."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur import kernels
from hamur.kernels.cells import Dense
from hamur.layers.mlp import TowerMLP
from hamur.layers.norm import EPSILON, ONE, ZERO, DomainBatchNorm
from hamur.layers.parameters import spared, uniform_init
from hamur.layers.primitives import matmul, matmul_ta
from hamur.layers.routing import bounds, fused, single_layout


class HyperNetwork(nn.Cell):
    """g = Dense(hidden blocks(e));  I = scale * reshape(g, (K, K)), row-major (HAMUR, arXiv
    2309.06217).

    head "linear":  a plain Dense, started with N(0, 2/in), bias 0 ("scaled").
    head "bn_relu": ReLU(BN(Dense)), as in the public code; I is then non-negative and about half
    zeros.

    One network for all domains, computed once per row and shared by all cells.  ``norm`` holds the
    DomainBatchNorm arguments of its batch norms, which are ordinary ones over all real rows.

    Inputs:  embedded (B, P) float32, weight (B,) float32.   Outputs: (B, K, K).
    """

    def __init__(self, rng, in_dim, hidden_dims, rank, head, scale, scaled_init, norm):
        super().__init__()
        width = hidden_dims[-1] if hidden_dims else in_dim
        self.tower = TowerMLP(rng, in_dim, hidden_dims, norm=norm)
        shape = (width, rank * rank)
        if scaled_init:
            weight = Tensor((rng.standard_normal(shape) * np.sqrt(2.0 / width)).astype(np.float32))
            bias = Tensor(np.zeros(rank * rank, np.float32))
        else:
            weight = uniform_init(rng, shape, width)
            bias = uniform_init(rng, shape[1], width)
        self.weight = Parameter(weight.reshape(1, *shape), name="weight")
        self.bias = spared(bias.reshape(1, -1), "bias")
        self.norm = FoldedNormDense(rank * rank, **norm) if head == "bn_relu" else None
        self.fused = Dense() if kernels.enabled() else None
        self.rank = rank
        self.scale = float(scale)

    def construct(self, embedded, weight):
        layout = single_layout(None, weight)
        hidden = self.tower((embedded,), layout)[0]
        # The (B, K*K) output is the largest tensor of a step: the scale moves to the small
        # weights, and the bias into the product or to a column of ones, so that nothing but the
        # product passes over it.
        matrix = self.weight.reshape(self.weight.shape[1:])
        if self.norm is None and fused(self, layout):
            scaled = self.weight * self.scale, self.bias * self.scale
            out = self.fused(hidden, *scaled, bounds(layout))
        elif self.norm is None:
            rows = ops.concat((hidden, ops.ones_like(weight).reshape(-1, 1)), 1)
            out = matmul(rows, ops.concat((matrix, self.bias), 0) * self.scale)
        else:
            out = self.norm(hidden, matrix, self.bias, weight)
            out = out * self.scale if self.scale != 1.0 else out
        return out.reshape(-1, self.rank, self.rank)


class FoldedNormDense(DomainBatchNorm):
    """relu(BN(x W + b)) whose norm never passes over the (B, out) product.

    For y = x W + b the batch mean of y is mean(x) W + b and its variance diag(W' Cov(x) W), so the
    norm is a scaling of W's columns and a row of offsets; a column of ones appended to x adds the
    offsets inside the product.  Exact algebra; wins where out >> in, as in the last layer of the
    hyper-network.

    Inputs:  x (B, in), weight (in, out), bias (1, out), row_weight (B,).   Outputs: (B, out).
    """

    def __init__(self, width, repeat=1):
        super().__init__(width, repeat=repeat, relu=True)

    def construct(self, x, weight, bias, row_weight):
        ones = ops.ones_like(row_weight).reshape(-1, 1)
        rows = ops.concat((x, ones), 1)  # (B, in + 1)
        if self.training:
            center, variance, total = self.statistics(rows, weight, row_weight.reshape(-1, 1))
            self.move(center + bias - self.mean, variance, ops.stop_gradient(total))
        else:
            center, variance = self.mean - bias, self.variance
        gain = self.gamma * ops.rsqrt(variance + EPSILON)
        folded = ops.concat((weight * gain, self.beta - center * gain), 0)  # (in + 1, out)
        return ops.relu(matmul(rows, folded))

    def statistics(self, rows, weight, row_weight):
        """Mean and biased variance of x W over the real rows, (1, out) each, and their number
        (1, 1)."""
        moments = self.all_sum(matmul_ta(rows, rows * row_weight))
        total = moments[-1:, -1:]
        moments = moments / ops.maximum(total, ONE)
        mean = moments[-1:, :-1]  # (1, in)
        covariance = moments[:-1, :-1] - matmul_ta(mean, mean)
        variance = (matmul(covariance, weight) * weight).sum(0, keepdims=True)
        return matmul(mean, weight), ops.maximum(variance, ZERO), total
