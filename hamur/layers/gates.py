"""Gates: how much of each expert a row takes."""

from mindspore import nn, ops

from hamur.layers.matmul import product
from hamur.layers.parameters import bias, kernel


class InstanceGates(nn.Cell):
    """G gates g = softmax(Dense(in -> X)(e)) over one instance.

    Inputs:  embedding TokenEmbedding, instance.   Outputs: (B, G, X), each (b, g) sums to 1.
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
        return ops.softmax(ops.bias_add(product(x, self.weight), self.bias), -1)
