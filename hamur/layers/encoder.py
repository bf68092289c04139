"""The encoder layer of the transformer over the few tokens of each row."""

import math

from mindspore import nn, ops

from hamur import kernels
from hamur.kernels.cells import Encoder
from hamur.layers.preference import LayerNorm, PlainDense
from hamur.layers.routing import fused

NUM_HEADS = 4

batch_matmul_tb = ops.BatchMatMul(transpose_b=True)  # a @ b' of every matrix


class EncoderLayer(nn.Cell):
    """Post-norm encoder layer (arXiv 1706.03762, section 3.1) over the T tokens of a row, without
    dropout; no row sees another one:

        x' = norm(x + heads(x)),  y = norm(x' + Dense(ReLU(Dense(x'))))

    Columns of the first product: queries, keys and values, each head by head.

    Inputs:  x (B, T * E), layout of kind "single" or "sorted".   Outputs: (B, T * E).
    Raises:  ValueError: E is no multiple of the four heads.
    """

    def __init__(self, rng, num_tokens, embed_dim, feed_forward_dim):
        super().__init__()
        if embed_dim % NUM_HEADS:
            raise ValueError(
                f"embeddings of width {embed_dim} cannot be cut into the {NUM_HEADS} heads of the "
                "attention; give a multiple."
            )
        self.project = PlainDense(rng, embed_dim, 3 * embed_dim)
        self.join = PlainDense(rng, embed_dim, embed_dim)
        self.first_norm = LayerNorm(embed_dim)
        self.widen = PlainDense(rng, embed_dim, feed_forward_dim)
        self.narrow = PlainDense(rng, feed_forward_dim, embed_dim)
        self.second_norm = LayerNorm(embed_dim)
        self.num_tokens, self.embed_dim = num_tokens, embed_dim
        self.fused = Encoder() if kernels.enabled() else None

    def construct(self, x, layout):
        if fused(self, layout):
            return self.fused(x, self.parameters())
        rows = x.reshape(-1, self.embed_dim)  # (B * T, E)
        rows = self.first_norm(rows + self.join(self.attended(self.project(rows))))
        rows = self.second_norm(rows + self.narrow(ops.relu(self.widen(rows))))
        return rows.reshape(-1, self.num_tokens * self.embed_dim)

    def parameters(self):
        """In the kernel's order."""
        dense = self.project, self.join, self.widen, self.narrow
        parts = [(layer.weight, layer.bias) for layer in dense]
        norms = [(norm.gamma, norm.beta) for norm in (self.first_norm, self.second_norm)]
        return (*parts[0], *parts[1], *norms[0], *parts[2], *parts[3], *norms[1])

    def attended(self, projected):
        """Queries, keys and values (B * T, 3 E) -> the heads' mixtures of values (B * T, E)."""
        tokens, size = self.num_tokens, self.embed_dim // NUM_HEADS
        heads = projected.reshape(-1, tokens, 3 * NUM_HEADS, size).transpose(2, 0, 1, 3)
        parts = [part.reshape(-1, tokens, size) for part in ops.split(heads, NUM_HEADS, 0)]
        logits = batch_matmul_tb(parts[0], parts[1])  # (heads * B, T, T)
        weights = ops.softmax(logits * (1.0 / math.sqrt(size)), -1)
        values = ops.bmm(weights, parts[2]).reshape(NUM_HEADS, -1, tokens, size)
        return values.transpose(1, 2, 0, 3).reshape(-1, self.embed_dim)
