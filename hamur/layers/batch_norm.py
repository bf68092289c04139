"""A batch norm that may be differentiated twice.

`GroupNorm` holds its own backward pass, which treats the statistics as given: right for a gradient,
wrong for the gradient of a gradient.  Here everything is left to automatic differentiation.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers.matmul import product
from hamur.layers.norm import EPSILON, MOMENTUM
from hamur.layers.parameters import spared


class BatchNorm(nn.Cell):
    """relu(gamma (x - mean) / sqrt(var + 1e-5) + beta) over the rows of weight 1.

    Inputs:  xs tuple of one (B, H), layout of kind "single", bias (1, H) of the preceding product.
    Outputs: tuple of one (B, H).
    """

    def __init__(self, width):
        super().__init__()
        zeros = np.zeros((1, width), np.float32)
        self.gamma = spared(zeros + 1, "gamma")
        self.beta = spared(zeros, "beta")
        self.mean = Parameter(Tensor(zeros), name="mean", requires_grad=False)
        self.variance = Parameter(Tensor(zeros + 1), name="variance", requires_grad=False)

    def construct(self, xs, layout, bias):
        x, weight = xs[0] + bias, layout[1][0]
        if self.training:
            total = weight.sum()
            share = weight / total  # (1, B)
            mean = product(share, x)
            centred = x - product(ops.ones_like(weight).reshape(-1, 1), mean)
            variance = product(share, centred * centred)
            self.move(mean, variance * (total / ops.maximum(total - 1.0, Tensor(1.0, ms.float32))))
        else:
            mean, variance = self.mean, self.variance
            centred = x - mean
        scale = self.gamma * ops.rsqrt(variance + EPSILON)
        return (ops.relu(centred * scale + self.beta),)

    def move(self, mean, variance):
        ops.assign_add(self.mean, ops.stop_gradient(MOMENTUM * (mean - self.mean)))
        ops.assign_add(self.variance, ops.stop_gradient(MOMENTUM * (variance - self.variance)))
