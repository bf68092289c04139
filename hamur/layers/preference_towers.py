"""Towers that know the preference: layer norms whose scale and shift depend on it."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.operations._grad_ops import ReluGrad

from hamur.layers.experts import mix
from hamur.layers.mlp import uniform_init
from hamur.layers.norm import GroupNorm
from hamur.layers.preference import FEATURES, NORM_EPSILON
from hamur.layers.products import product, product_ta
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
        return ops.relu(ops.bias_add(x * scale, shift.reshape(-1)))

    def bprop(self, x, scale, shift, out, dout):
        d = self.relu_grad(dout, out)
        ones = ops.ones((x.shape[0], 1), ms.float32)
        return d * scale, product_ta(ones, d * x), product_ta(ones, d)


class PreferenceNorm(nn.Cell):
    """relu(norm(x)) for hidden units x (B, R, H) of R preferences.

    "conditional": layer norm with scale 1 + Dense(v) and shift Dense(v), both zero at the start;
    "layer": layer norm with one scale and shift; "batch": batch norm over the rows of all
    preferences, so that running statistics do not depend on the order of preferences.
    Inputs:  x, v (R, 64), weight (B,).   Outputs: (B, R, H).
    """

    def __init__(self, width, kind):
        super().__init__()
        if kind not in TOWER_NORMS:
            raise ValueError(f"tower_norm is {kind!r}; known are {', '.join(TOWER_NORMS)}.")
        self.kind, self.width = kind, width
        if kind == "batch":
            self.batch = GroupNorm(width, relu=True)
            return
        self.norm = ops.LayerNorm(2, 2, NORM_EPSILON)
        self.ones = Tensor(np.ones(width, np.float32))
        self.zeros = Tensor(np.zeros(width, np.float32))
        self.affine = AffineRelu()
        inputs = FEATURES if kind == "conditional" else 0
        # The last row is the part that all preferences share.
        empty = np.zeros((inputs + 1, 2 * width), np.float32)
        self.heads = Parameter(Tensor(empty), name="heads")

    def construct(self, x, v, weight):
        number = x.shape[1]
        if self.kind == "batch":
            each = ops.tile(weight.reshape(-1, 1), (1, number)).reshape(-1)
            flat = self.batch((x.reshape(-1, self.width),), single_layout(None, each))[0]
            return flat.reshape(-1, number, self.width)
        heads = ops.ones((number, 1), ms.float32)
        if self.kind == "conditional":
            heads = ops.concat((v, heads), 1)
        heads = product(heads, self.heads)  # (R, 2 H)
        scale = 1.0 + heads[:, : self.width].reshape(1, -1)
        shift = heads[:, self.width :].reshape(1, -1)
        normed = self.norm(x, self.ones, self.zeros)[0].reshape(-1, number * self.width)
        return self.affine(normed, scale, shift).reshape(-1, number, self.width)


class PreferenceTower(nn.Cell):
    """z = Dense(h_L),  h_l = dropout(relu(norm(Dense(h_{l-1})))),  h_0 = sum_i g_i F_i.

    The mixture and the first Dense commute; with more preferences than experts the Dense is applied
    to the experts' outputs, once for all preferences.  One dropout mask serves all preferences.

    Inputs:  gates (B, R, X), outputs (B, X, H), v (R, 64), weight (B,), keep () or (B, width)
    masks. Outputs: logits (B, R).
    """

    def __init__(self, rng, in_dim, dims, dropout, norm):
        super().__init__()
        widths = (in_dim, *dims)
        weights, biases = [], []
        for number, (i, o) in enumerate(zip(widths, (*dims, 1))):
            weights.append(Parameter(uniform_init(rng, (i, o), i), name=f"{number}.weight"))
            biases.append(Parameter(uniform_init(rng, (1, 1, o), i), name=f"{number}.bias"))
        self.weights, self.biases = ms.ParameterTuple(weights), ms.ParameterTuple(biases)
        self.norms = nn.CellList([PreferenceNorm(width, norm) for width in dims])
        self.scale = float(1.0 / (1.0 - dropout))

    def construct(self, gates, outputs, v, weight, keep=()):
        number, experts = gates.shape[1], outputs.shape[1]
        if number > experts:
            x = mix(gates, apply(outputs, self.weights[0]))
        else:
            x = apply(mix(gates, outputs), self.weights[0])
        for layer in range(len(self.norms)):
            x = self.norms[layer](x + self.biases[layer], v, weight)
            if self.training and keep:
                x = x * (keep[layer].astype(ms.float32) * self.scale).expand_dims(1)
            x = apply(x, self.weights[layer + 1])
        return (x + self.biases[-1]).squeeze(-1)


def apply(x, weight):
    """x (B, R, in) @ weight (in, out)."""
    flat = product(x.reshape(-1, x.shape[-1]), weight)
    return flat.reshape(-1, x.shape[1], weight.shape[1])
