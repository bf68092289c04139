"""Dense and batch norm in one, for layers that widen: the norm is folded through the input's
covariance."""

from mindspore import ops

from hamur.layers.matmul import product, product_ta
from hamur.layers.norm import EPSILON, ONE, ZERO, GroupNorm


class FoldedNormDense(GroupNorm):
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
            center, variance = self.statistics(rows, weight, row_weight.reshape(-1, 1))
            self.move(center + bias - self.mean, variance, row_weight.sum())
        else:
            center, variance = self.mean - bias, self.variance
        gain = self.gamma * ops.rsqrt(variance + EPSILON)
        folded = ops.concat((weight * gain, self.beta - center * gain), 0)  # (in + 1, out)
        return ops.relu(product(rows, folded))

    def statistics(self, rows, weight, row_weight):
        """Mean and biased variance of x W over the real rows, (1, out) each."""
        moments = product_ta(rows, rows * row_weight)
        moments = moments / ops.maximum(moments[-1:, -1:], ONE)
        mean = moments[-1:, :-1]  # (1, in)
        covariance = moments[:-1, :-1] - product_ta(mean, mean)
        variance = (product(covariance, weight) * weight).sum(0, keepdims=True)
        return product(mean, weight), ops.maximum(variance, ZERO)
