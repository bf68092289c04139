"""Mixtures of experts: X equal networks side by side, computed as a few wide products, and gates.

The experts' columns are side by side, (B, X * width), so that the first layer of all experts is one
product and their batch norm one norm; row b of the reshaped (B, X, width) result holds the outputs
that a gate mixes.
"""

from functools import partial

from mindspore import nn, ops

from hamur.layers.embedding import Dropout
from hamur.layers.norm import DomainBatchNorm
from hamur.layers.parameters import bias, kernel
from hamur.layers.primitives import matmul


class ExpertLayer(nn.Cell):
    """Dense -> batch norm -> ReLU -> Dropout of X experts.

    shared:  all experts read one input: weight (in, X * out), expert i in columns [i out, (i+1)
        out). Otherwise expert i reads its own: weight (X, in, out).
    Inputs:  for ``shared`` the product of the input with ``weight`` (B, X * out), so that the
        caller chooses how to compute it; else a tuple of X tensors (B, in).  layout of kind
        "single", keep None or a (B, X * out) dropout mask.
    Outputs: (B, X * out).
    """

    def __init__(self, rng, in_dim, out_dim, num_experts, dropout, shared, norm=None):
        super().__init__()
        shape = (in_dim, num_experts * out_dim) if shared else (num_experts, in_dim, out_dim)
        self.weight = kernel(rng, shape, in_dim)
        self.bias = bias(rng, (1, num_experts * out_dim), in_dim)
        self.norm = (norm or partial(DomainBatchNorm, relu=True))(num_experts * out_dim)
        self.dropout = Dropout(dropout)
        self.num_experts, self.out_dim, self.shared = num_experts, out_dim, shared

    def construct(self, xs, layout, keep=None):
        out = xs if self.shared else self.products(xs)
        return self.dropout(self.norm((out,), layout, self.bias), layout, keep)[0]

    def products(self, xs):
        """Each expert's own input times its own matrix, side by side."""
        matrices = ops.unstack(self.weight)
        out = tuple([matmul(x, matrix) for x, matrix in zip(xs, matrices)])
        return out[0] if len(out) == 1 else ops.concat(out, 1)


class ExpertStack(nn.Cell):
    """X experts MLP(in, dims, dropout) that all read one input.

    Inputs:  first (B, X * dims[0]), the input's product with ``layers[0].weight``; layout of kind
        "single"; keep () or a mask per layer.
    Outputs: (B, X * dims[-1]), expert by expert.
    """

    def __init__(self, rng, in_dim, dims, num_experts, dropout, norm=None):
        super().__init__()
        widths = (in_dim, *dims)
        self.layers = nn.CellList(
            [
                ExpertLayer(rng, widths[i], widths[i + 1], num_experts, dropout, i == 0, norm)
                for i in range(len(dims))
            ]
        )
        self.num_experts, self.out_dim = num_experts, dims[-1]
        self.widths = tuple(num_experts * width for width in dims)

    def construct(self, first, layout, keep=()):
        out = self.layers[0](first, layout, keep[0] if keep else None)
        for number in range(1, len(self.layers)):
            mask = keep[number] if keep else None
            out = self.layers[number](columns(out, self.num_experts), layout, mask)
        return out

    def on_instance(self, embedding, instance, layout, keep=(), embedded=None):
        """The experts' outputs (B, X * dims[-1]) for an instance of a FactoredFieldEmbedding;
        embedded: of the first weights, see FactoredFieldEmbedding.project."""
        first = embedding.project(instance, self.layers[0].weight, embedded)
        return self.construct(first, layout, keep)

    def apart(self, wide):
        """(B, X * H) -> (B, X, H)."""
        return wide.reshape(-1, self.num_experts, self.out_dim)

    def masks(self, keep):
        """A model's masks -> (those of the experts, the others)."""
        number = len(self.widths)
        return (keep[:number], keep[number:]) if keep else ((), ())


def columns(wide, parts):
    """(B, parts * width) -> tuple of (B, width)."""
    return (wide,) if parts == 1 else ops.split(wide, wide.shape[1] // parts, 1)


def mix(gates, outputs):
    """sum_i g_i F_i: gates (B, R, X), outputs (B, X, H) -> (B, R, H)."""
    return ops.bmm(gates, outputs)


class InstanceGates(nn.Cell):
    """G gates g = softmax(Dense(in -> X)(e)) over one instance.

    Inputs:  embedding FactoredFieldEmbedding, instance.
    Outputs: (B, G, X), each (b, g) sums to 1.
    """

    def __init__(self, rng, in_dim, num_experts, num_gates):
        super().__init__()
        shape = (in_dim, num_gates * num_experts)
        self.weight = kernel(rng, shape, in_dim)
        self.bias = bias(rng, shape[1], in_dim)
        self.shape = (-1, num_gates, num_experts)

    def construct(self, embedding, instance):
        logits = ops.bias_add(embedding.project(instance, self.weight), self.bias)
        return ops.softmax(logits.reshape(self.shape), -1)


class DenseGate(nn.Cell):
    """softmax(Dense(in -> X)(x)):  x (B, in) -> (B, X)."""

    def __init__(self, rng, in_dim, num_experts):
        super().__init__()
        self.weight = kernel(rng, (in_dim, num_experts), in_dim)
        self.bias = bias(rng, num_experts, in_dim)

    def construct(self, x):
        return ops.softmax(ops.bias_add(matmul(x, self.weight), self.bias), -1)
