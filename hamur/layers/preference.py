"""The hyper-network's trunk, which reads the preference, the layers it generates, and the gates.

A preference r (T,) is non-negative and sums to 1; a larger r_k means that task k matters more.  R
of them enter together as (R, T).  Generated layers have no row axis, so their cost does not depend
on the batch.
"""

import itertools

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers.parameters import bias, kernel, spared
from hamur.layers.primitives import matmul, matmul_tb

TRUNK_WIDTHS = (64, 256, 64)
FEATURES = TRUNK_WIDTHS[-1]
NORM_EPSILON = 1e-5
GENERATED_SPREAD = 0.1  # relative spread of generated layers over preferences at the start
MASKED = -1e9


class PlainDense(nn.Cell):
    """y = x W + b;  x (., in) -> (., out)."""

    def __init__(self, rng, in_dim, out_dim):
        super().__init__()
        self.weight = kernel(rng, (in_dim, out_dim), in_dim)
        self.bias = bias(rng, out_dim, in_dim)

    def construct(self, x):
        return ops.bias_add(matmul(x, self.weight), self.bias)


class LayerNorm(nn.Cell):
    """(x - mean) / sqrt(var + 1e-5) over the last axis, then gamma, beta.  x (B, H)."""

    def __init__(self, width):
        super().__init__()
        self.gamma = spared(np.ones(width, np.float32), "gamma")
        self.beta = spared(np.zeros(width, np.float32), "beta")
        self.norm = ops.LayerNorm(1, 1, NORM_EPSILON)

    def construct(self, x):
        return self.norm(x, self.gamma, self.beta)[0]


class PreferenceTrunk(nn.Cell):
    """v = norm(Dense(relu(Dense(relu(Dense(r)))))):  r (R, T) -> (R, 64).

    norm: LayerNorm, or nothing at all as in the public code.
    """

    def __init__(self, rng, num_tasks, norm=True):
        super().__init__()
        widths = (num_tasks, *TRUNK_WIDTHS)
        self.layers = nn.CellList([PlainDense(rng, i, o) for i, o in itertools.pairwise(widths)])
        self.norm = LayerNorm(FEATURES) if norm else None

    def construct(self, preferences):
        v = ops.relu(self.layers[0](preferences))
        v = ops.relu(self.layers[1](v))
        v = self.layers[2](v)
        return v if self.norm is None else self.norm(v)


class Generated(nn.Cell):
    """A layer's parameters as a linear function of v: (R, 64) -> (R, size).

    The bias is an ordinary initialisation of the generated layer and the weight is small,
    N(0, 0.1^2 / (64 fan_in)): at the start all preferences have nearly the same ordinary layer.
    """

    def __init__(self, rng, size, fan_in):
        super().__init__()
        spread = GENERATED_SPREAD / np.sqrt(FEATURES * fan_in)
        weight = (rng.standard_normal((FEATURES, size)) * spread).astype(np.float32)
        self.weight = Parameter(Tensor(weight), name="weight")
        self.bias = bias(rng, size, fan_in)

    def construct(self, v):
        return ops.bias_add(matmul(v, self.weight), self.bias)


def by_gate(generated, gates, out_dim, width):
    """(R, G out width) -> (G, R, out, width)."""
    return generated.reshape(generated.shape[0], gates, out_dim, width).swapaxes(0, 1)


class LinearGate(nn.Cell):
    """Logits W_k(r) e + b_k(r) with W_k (X, in) generated.

    Inputs of all gates: embedding FactoredFieldEmbedding, instance, outputs (B, X, H), v (R, 64),
    None or FactoredFieldEmbedding.embedded_weight of `instance_weight`, the weight (in, .) that
    multiplies the instance whatever the preference (None: there is none).
    Outputs: logits (G * R, X, B), gate after gate.
    per_row: of a preference per row, v (B, 64), or of one for all, (1, 64): logits (B, G, X).
    """

    instance_weight = None

    def __init__(self, rng, in_dim, num_experts, num_gates, output_dim):
        super().__init__()
        size = num_gates * num_experts
        self.weight = Generated(rng, size * in_dim, in_dim)
        self.bias = Generated(rng, size, in_dim)
        self.num_gates, self.num_experts, self.in_dim = num_gates, num_experts, in_dim

    def construct(self, embedding, instance, outputs, v, embedded=None):
        gates, experts = self.num_gates, self.num_experts
        weight = by_gate(self.weight(v), gates, experts, self.in_dim).reshape(-1, self.in_dim)
        logits = embedding.project(instance, weight.T)  # (B, G R X)
        logits = logits + by_gate(self.bias(v), gates, experts, 1).reshape(1, -1)
        return logits.T.reshape(gates * v.shape[0], experts, -1)

    def per_row(self, embedding, instance, outputs, v, embedded=None):
        e = embedding.embedded(instance).expand_dims(2)
        weight = self.weight(v).reshape(-1, self.num_gates * self.num_experts, self.in_dim)
        logits = ops.matmul(weight, e).squeeze(2) + self.bias(v)
        return logits.reshape(-1, self.num_gates, self.num_experts)


class DeepGate(nn.Cell):
    """u = relu(LayerNorm(Dense(in -> 128)(e))), once; logits W2_k(r) relu(W1_k(r) u + b1_k(r)) +
    b2_k(r) with W1 (32, 128) and W2 (X, 32) generated."""

    def __init__(self, rng, in_dim, num_experts, num_gates, output_dim, width=128, hidden=32):
        super().__init__()
        self.reduce = kernel(rng, (in_dim, width), in_dim, "reduce")
        self.reduce_bias = bias(rng, width, in_dim, "reduce_bias")
        self.norm = LayerNorm(width)
        self.first = Generated(rng, num_gates * hidden * width, width)
        self.first_bias = Generated(rng, num_gates * hidden, width)
        self.second = Generated(rng, num_gates * num_experts * hidden, hidden)
        self.second_bias = Generated(rng, num_gates * num_experts, hidden)
        self.num_gates, self.num_experts = num_gates, num_experts
        self.width, self.hidden = width, hidden

    def construct(self, embedding, instance, outputs, v, embedded=None):
        gates, hidden, experts = self.num_gates, self.hidden, self.num_experts
        u = self.reduced(embedding, instance, embedded)
        # The row axis stays last, so that nothing large is transposed; a column of ones carries
        # the bias, whose broadcast would have a slow gradient.
        first = by_gate(self.first(v), gates, hidden, self.width)
        first = ops.concat((first, by_gate(self.first_bias(v), gates, hidden, 1)), -1)
        u = ops.concat((u, ops.ones_like(u[:, 0:1])), 1)
        inner = ops.relu(matmul_tb(first.reshape(-1, self.width + 1), u))  # (G R hidden, B)
        second = by_gate(self.second(v), gates, experts, hidden).reshape(-1, experts, hidden)
        logits = ops.bmm(second, inner.reshape(gates * v.shape[0], hidden, -1))
        return logits + by_gate(self.second_bias(v), gates, experts, 1).reshape(-1, experts, 1)

    def per_row(self, embedding, instance, outputs, v, embedded=None):
        gates, hidden, experts = self.num_gates, self.hidden, self.num_experts
        u = self.reduced(embedding, instance, embedded).expand_dims(2)
        first = self.first(v).reshape(-1, gates * hidden, self.width)
        inner = ops.relu(ops.matmul(first, u).squeeze(2) + self.first_bias(v))
        second = self.second(v).reshape(-1, gates, experts, hidden)
        logits = ops.matmul(second, inner.reshape(-1, gates, hidden, 1)).squeeze(3)
        return logits + self.second_bias(v).reshape(-1, gates, experts)

    def reduced(self, embedding, instance, embedded):
        """u (B, 128)."""
        u = ops.bias_add(embedding.project(instance, self.reduce, embedded), self.reduce_bias)
        return ops.relu(self.norm(u))

    @property
    def instance_weight(self):
        return self.reduce


class AttentionGate(nn.Cell):
    """query q = Dense(v) + Z_k + Dense(e), keys Dense(F_i); logits q . key_i / sqrt(A)."""

    def __init__(self, rng, in_dim, num_experts, num_gates, output_dim, width=32):
        super().__init__()
        self.of_preference = PlainDense(rng, FEATURES, width)
        self.of_instance = kernel(rng, (in_dim, width), in_dim, "instance")
        self.keys = PlainDense(rng, output_dim, width)
        tasks = (rng.standard_normal((num_gates, width)) * 0.02).astype(np.float32)
        self.of_task = Parameter(Tensor(tasks), name="task")
        self.width, self.num_experts = width, num_experts
        self.root = float(np.sqrt(width))

    def construct(self, embedding, instance, outputs, v, embedded=None):
        keys = self.keys(outputs.reshape(-1, outputs.shape[-1]))
        keys = keys.reshape(-1, self.num_experts, self.width)
        by_row = embedding.project(instance, self.of_instance, embedded)  # (B, A), for all r
        base = ops.bmm(keys, by_row.expand_dims(2))  # (B, X, 1)
        query = self.of_task.expand_dims(1) + self.of_preference(v).expand_dims(0)  # (G, R, A)
        query = query.reshape(-1, self.width)
        logits = matmul_tb(query, keys.reshape(-1, self.width))  # (G R, B X)
        shape = (self.of_task.shape[0] * v.shape[0], -1, self.num_experts)
        logits = logits.reshape(shape) + base.swapaxes(0, 2).swapaxes(1, 2)
        return logits.swapaxes(1, 2) / self.root

    def per_row(self, embedding, instance, outputs, v, embedded=None):
        keys = self.keys(outputs.reshape(-1, outputs.shape[-1]))
        keys = keys.reshape(-1, self.num_experts, self.width)
        query = embedding.project(instance, self.of_instance, embedded) + self.of_preference(v)
        query = query.expand_dims(1) + self.of_task.expand_dims(0)
        return ops.bmm(query, keys.swapaxes(1, 2)) / self.root

    @property
    def instance_weight(self):
        return self.of_instance


GATES = {"linear": LinearGate, "deep": DeepGate, "attention": AttentionGate}


class OfficialGate(nn.Cell):
    """The public code's gate g = relu(W2 (W1 e + b1) + b2), all four generated: one gate for all
    tasks, no softmax, no activation between the two maps.

    Dropout acts on the generated tensors: keep None or a (1, X in + X X + 2 X) mask of the batch.
    Inputs:  embedding, instance, v (R, 64), keep.   Outputs: (B, R, X).
    """

    def __init__(self, rng, in_dim, num_experts, dropout):
        super().__init__()
        self.sizes = (num_experts * in_dim, num_experts**2, num_experts, num_experts)
        self.heads = nn.CellList([PlainDense(rng, FEATURES, size) for size in self.sizes])
        self.in_dim, self.num_experts = in_dim, num_experts
        self.scale = float(1.0 / (1.0 - dropout))

    def construct(self, embedding, instance, v, keep=None):
        first, second, first_bias, second_bias = self.generate(v, keep)
        rows, experts = instance.shape[0], self.num_experts
        inner = embedding.project(instance, first.reshape(-1, self.in_dim).T)  # (B, R X)
        inner = inner + first_bias.reshape(1, -1)
        inner = inner.reshape(rows, -1, experts).swapaxes(0, 1)  # (R, B, X)
        outer = ops.bmm(inner, second.reshape(-1, experts, experts).swapaxes(1, 2))
        return ops.relu(outer + second_bias.expand_dims(1)).swapaxes(0, 1)

    def generate(self, v, keep):
        """W1 (R, X in), W2 (R, X X), b1 and b2 (R, X)."""
        generated, start = (), 0
        for head, size in zip(self.heads, self.sizes):
            part = head(v)
            if keep is not None and self.training:
                mask = keep[:, start : start + size].astype(ms.float32)
                part = part * (mask * self.scale)
            generated = generated + (part,)
            start += size
        return generated
