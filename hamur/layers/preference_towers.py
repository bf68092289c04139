"""Towers that know the preference: layer norms whose scale and shift depend on it.

Rows times preferences are the longest axis there is in a mixture, and MindSpore's LayerNorm is the
slowest kernel on it, so the norm's three steps are done where they are cheap: the mean is taken
from the columns of the weights before (all of it is linear), the variance is a product with ones
or, of a mixture of a few experts' outputs, a quadratic form of the gates, and the scale and shift
are one pass over (B, R H).  Factors are written out by products with ones, see `primitives`.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.operations._grad_ops import ReluGrad

from hamur.layers.experts import mix
from hamur.layers.norm import DomainBatchNorm
from hamur.layers.parameters import bias, kernel
from hamur.layers.preference import FEATURES, NORM_EPSILON
from hamur.layers.primitives import matmul, matmul_ta
from hamur.layers.routing import single_layout

TOWER_NORMS = ("conditional", "layer", "batch")


class AffineRelu(nn.Cell):
    """relu(x scale + shift) for x (B, H), scale and shift (1, H).

    Differentiated here because the gradient of a broadcast is a slow reduction over rows.
    """

    def __init__(self):
        super().__init__()
        self.relu_grad = ReluGrad()

    def construct(self, x, scale, shift):
        ones = ops.ones_like(x[:, 0:1])
        return ops.relu(ops.bias_add(x * matmul(ones, scale), shift.reshape(-1)))

    def bprop(self, x, scale, shift, out, dout):
        d = self.relu_grad(dout, out)
        ones = ops.ones((x.shape[0], 1), ms.float32)
        return d * matmul(ones, scale), matmul_ta(ones, d * x), matmul_ta(ones, d)


class UnitVariance(nn.Cell):
    """x / sqrt(mean(x^2) + 1e-5) over the last axis, a layer norm of rows whose mean is 0.

    Inputs:  x (N, H).   Outputs: the same shape, and the factors (N, 1), for the derivative only.
    """

    def __init__(self, width):
        super().__init__()
        self.mean = Tensor(np.full((width, 1), 1.0 / width, np.float32))
        self.means = Tensor(np.full((width, width), 1.0 / width, np.float32))
        self.ones = Tensor(np.ones((1, width), np.float32))

    def construct(self, x):
        factor = ops.rsqrt(matmul(x * x, self.mean) + NORM_EPSILON)
        return x * matmul(factor, self.ones), factor

    def bprop(self, x, out, dout):
        normed, factor = out
        d = dout[0]
        return ((d - normed * matmul(d * normed, self.means)) * matmul(factor, self.ones),)


class PreferenceNorm(nn.Cell):
    """relu(norm(x)) for hidden units of R preferences, and what the linear layer before it needs.

    "conditional": layer norm with scale 1 + Dense(v) and shift Dense(v), both zero at the start;
    "layer": layer norm with one scale and shift; "batch": batch norm over the rows of all
    preferences, so that running statistics do not depend on the order of preferences.

    centred: weight (in, H) or bias (1, H) of the layer before -> with which its outputs have the
        mean 0 over H, as the two layer norms expect them.
    Inputs:  x (B, R, H), centred, v (R, 64), weight (B,), and whether x has variance 1 already.
    Outputs: (B, R, H).
    """

    def __init__(self, width, kind):
        super().__init__()
        if kind not in TOWER_NORMS:
            raise ValueError(f"`tower_norm` is {kind!r}; known are {', '.join(TOWER_NORMS)}.")
        self.kind, self.width = kind, width
        self.by_row = kind != "batch"
        if not self.by_row:
            self.batch = DomainBatchNorm(width, relu=True)
            return
        self.centring = Tensor((np.eye(width) - 1.0 / width).astype(np.float32))
        self.unit_variance = UnitVariance(width)
        self.affine = AffineRelu()
        inputs = FEATURES if kind == "conditional" else 0
        # The last row is the part that all preferences share.
        empty = np.zeros((inputs + 1, 2 * width), np.float32)
        self.heads = Parameter(Tensor(empty), name="heads")

    def centred(self, weight):
        return matmul(weight, self.centring) if self.by_row else weight

    def construct(self, x, v, weight, normed=False):
        number = x.shape[1]
        if not self.by_row:
            weights = ops.tile(weight.reshape(-1, 1), (1, number)).reshape(-1)
            flat = self.batch((x.reshape(-1, self.width),), single_layout(None, weights))[0]
            return flat.reshape(-1, number, self.width)
        heads = ops.ones((number, 1), ms.float32)
        if self.kind == "conditional":
            heads = ops.concat((v, heads), 1)
        heads = matmul(heads, self.heads)  # (R, 2 H)
        scale = 1.0 + heads[:, : self.width].reshape(1, -1)
        shift = heads[:, self.width :].reshape(1, -1)
        if not normed:
            x = self.unit_variance(x.reshape(-1, self.width))[0]
        x = self.affine(x.reshape(-1, number * self.width), scale, shift)
        return x.reshape(-1, number, self.width)

    def per_row(self, x, v):
        """The same for x (B, H), centred, with the preference of each row or one for all."""
        if not self.by_row:
            return self.batch((x,), single_layout(None, ops.ones_like(x[:, 0])))[0]
        heads = ops.ones_like(v[:, :1])
        if self.kind == "conditional":
            heads = ops.concat((v, heads), 1)
        heads = matmul(heads, self.heads)
        x = self.unit_variance(x)[0] * (1.0 + heads[:, : self.width])
        return ops.relu(x + heads[:, self.width :])


class PreferenceTower(nn.Cell):
    """z = Dense(h_L),  h_l = dropout(relu(norm(Dense(h_{l-1})))),  h_0 = sum_i g_i F_i.

    The mixture and the first Dense commute; with more preferences than experts the Dense is applied
    to the experts' outputs, once for all preferences, and so is its layer norm: what Dense makes of
    F_i is P_i, centred, and the variance of sum_i g_i P_i is g' (P P' / H) g, by which the gates
    are divided in place of the hidden units.  One dropout mask serves all preferences.

    Inputs:  gates (B, R, X), each summing to 1, outputs (B, X, H), v (R, 64), weight (B,), keep ()
    or (B, width) masks.   Outputs: logits (B, R).
    """

    def __init__(self, rng, in_dim, dims, dropout, norm):
        super().__init__()
        widths = (in_dim, *dims)
        weights, biases = [], []
        for number, (i, o) in enumerate(zip(widths, (*dims, 1))):
            weights.append(kernel(rng, (i, o), i, f"{number}.weight"))
            biases.append(bias(rng, (1, 1, o), i, f"{number}.bias"))
        self.weights, self.biases = ms.ParameterTuple(weights), ms.ParameterTuple(biases)
        self.norms = nn.CellList([PreferenceNorm(width, norm) for width in dims])
        self.scale = float(1.0 / (1.0 - dropout))

    def construct(self, gates, outputs, v, weight, keep=()):
        x, normed = self.first(gates, outputs)
        for layer in range(len(self.norms)):
            x = self.norms[layer](x, v, weight, normed and layer == 0)
            if self.training and keep:
                mask = keep[layer].astype(ms.float32) * self.scale
                flat = x.reshape(x.shape[0], -1) * ops.tile(mask, (1, x.shape[1]))
                x = flat.reshape(x.shape)
            if layer + 1 < len(self.norms):
                x = self.dense(x, layer + 1)
        return apply(x, self.weights[-1], self.biases[-1]).squeeze(-1)

    def per_row(self, gates, outputs, v):
        """The same for gates (B, X), v (B, 64) or (1, 64), at inference: logits (B, 1)."""
        x = mix(gates.expand_dims(1), outputs)
        for layer in range(len(self.norms)):
            x = self.norms[layer].per_row(self.dense(x, layer).squeeze(1), v).expand_dims(1)
        return apply(x, self.weights[-1], self.biases[-1]).squeeze(-1)

    def first(self, gates, outputs):
        """Dense(h_0) (B, R, H), centred for its norm, and whether its variance is 1 already; of a
        tower without hidden layers h_0."""
        if len(self.norms) == 0:  # the last Dense is the first
            return mix(gates, outputs), False
        if gates.shape[1] <= outputs.shape[1]:
            return self.dense(mix(gates, outputs), 0), False
        hidden = self.dense(outputs, 0)  # (B, X, H); the gates sum to 1, so the bias may come here
        if not self.norms[0].by_row:
            return mix(gates, hidden), False
        return mix(unit_variance_gates(gates, hidden), hidden), True

    def dense(self, x, layer):
        """(B, R, in) -> (B, R, H), centred for the norm that follows."""
        norm, bias = self.norms[layer], self.biases[layer].reshape(1, -1)
        return apply(x, norm.centred(self.weights[layer]), norm.centred(bias))


def unit_variance_gates(gates, centred):
    """g / sqrt(var(sum_i g_i P_i) + 1e-5): gates (B, R, X), centred P (B, X, H) -> (B, R, X)."""
    covariance = ops.bmm(centred, centred.swapaxes(1, 2)) * (1.0 / centred.shape[2])
    experts = gates.shape[2]
    squares = (ops.bmm(gates, covariance) * gates).reshape(-1, experts)
    variance = matmul(squares, ops.ones((experts, experts), ms.float32))  # the sum, X times
    factor = ops.rsqrt(ops.relu(variance) + NORM_EPSILON)  # rounding may leave it below 0
    return gates * factor.reshape(-1, gates.shape[1], experts)


def apply(x, weight, bias):
    """x (B, R, in) @ weight (in, out) + bias, of any shape of size out."""
    flat = ops.bias_add(matmul(x.reshape(-1, x.shape[-1]), weight), bias.reshape(-1))
    return flat.reshape(-1, x.shape[1], weight.shape[1])
