"""The instance of the multi-task models: a token a sparse field and one for all numeric columns.

    e = [E_1(sparse_1) | ... | E_F(sparse_F) | Dense(dense)]        width (F + 1) E

e is linear in x = [one-hot of every field | dense | 1], so a linear layer on e is a product with x:

    e W = x (A W),     A = blockdiag(E_1, ..., E_F, [W_n; b_n])

With vocabularies of a few hundred values x is ten times narrower than e, and so is the product;
`TokenEmbedding` takes the cheaper form.  Both compute the same sums in another order.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers.embedding import INT32_MAX
from hamur.layers.matmul import product
from hamur.layers.parameters import bias, kernel, table


class TokenEmbedding(nn.Cell):
    """One joined table and a Dense over all numeric columns; tokens (B, F + 1, E).

    Rows start Xavier-uniform over the whole table: U(+-sqrt(6 / (rows + E))).

    form:  "auto", "plain" (e is built) or "factored" (x is built); see above.
    Inputs:  sparse (B, F) int32, dense (B, C) float32.
    Outputs: the instance, to be handed to `project`, `mean_token` and `embedded` only.
    Raises:  ValueError: a vocabulary size < 1, no dense column, more rows than int32 can number.
    """

    def __init__(self, rng, vocab_sizes, num_dense, embed_dim, form="auto"):
        super().__init__()
        if min(vocab_sizes) < 1 or num_dense < 1:
            raise ValueError(
                f"vocab_sizes must be at least 1 each and num_dense at least 1, got "
                f"{tuple(vocab_sizes)} and {num_dense}."
            )
        rows = int(sum(vocab_sizes))
        if rows > INT32_MAX:
            raise ValueError(f"the joined table would have {rows} rows; int32 ids allow fewer.")
        bound = np.sqrt(6.0 / (rows + embed_dim))
        self.table = table(rng.uniform(-bound, bound, (rows, embed_dim)).astype(np.float32))
        self.numeric_weight = kernel(rng, (num_dense, embed_dim), num_dense, "numeric_weight")
        self.numeric_bias = bias(rng, (embed_dim,), num_dense, "numeric_bias")
        self.offsets = Tensor(np.cumsum((0, *vocab_sizes[:-1])).astype(np.int32).reshape(1, -1))
        self.vocab_sizes, self.rows = tuple(vocab_sizes), rows
        self.num_tokens, self.embed_dim = len(vocab_sizes) + 1, embed_dim
        self.width = self.num_tokens * embed_dim
        self.columns = rows + num_dense + 1  # of x
        # Building x costs as much as a narrow product; where it saves less than half, e is built.
        self.factored = form == "factored" or (form == "auto" and 2 * rows < self.width)
        self.one_hot = ops.OneHot()
        self.one, self.zero = Tensor(np.float32(1.0)), Tensor(np.float32(0.0))

    def construct(self, sparse, dense):
        if not self.factored:
            fields = ops.gather(self.table, sparse + self.offsets, 0)
            fields = fields.reshape(-1, self.width - self.embed_dim)
            numeric = ops.bias_add(product(dense, self.numeric_weight), self.numeric_bias)
            return ops.concat((fields, numeric), 1)
        ones = ops.ones((dense.shape[0], 1), ms.float32)
        return ops.concat((*self.one_hots(sparse), dense, ones), 1)

    def one_hots(self, sparse):
        """A tuple of (B, V_f) float32, one a field."""
        hot = ()
        for size, ids in zip(self.vocab_sizes, ops.split(sparse, 1, 1)):
            hot = hot + (self.one_hot(ids.reshape(-1), size, self.one, self.zero),)
        return hot

    def project(self, instance, weight, embedded=None):
        """e W for weight (width, out) -> (B, out).  embedded: A W of `embedded_weight`, where it is
        kept for many batches."""
        if not self.factored:
            return product(instance, weight)
        if embedded is not None:
            return product(instance, embedded)
        blocks = ops.split(weight, self.embed_dim, 0)
        tables = ops.split(self.table, self.vocab_sizes, 0)
        rows = ()
        for field in range(self.num_tokens - 1):
            rows = rows + (product(tables[field], blocks[field]),)
        rows = rows + (product(self.numeric_weight, blocks[-1]),)
        rows = rows + (product(self.numeric_bias.reshape(1, -1), blocks[-1]),)
        return product(instance, ops.concat(rows, 0))

    def embedded_weight(self, weight):
        """A W (columns of x, out) float32 of the present values, outside of any graph.

        It costs as much as the product with a few hundred rows, and a graph room for a copy of W.
        """
        ends = np.cumsum(self.vocab_sizes)[:-1]
        *blocks, numeric = np.split(weight.asnumpy(), self.num_tokens)
        tables = np.split(self.table.asnumpy(), ends)
        rows = [table @ block for table, block in zip(tables, blocks, strict=True)]
        rows.append(self.numeric_weight.asnumpy() @ numeric)
        rows.append(self.numeric_bias.asnumpy().reshape(1, -1) @ numeric)
        return np.concatenate(rows)

    def embedded(self, instance):
        """e itself, (B, width)."""
        if not self.factored:
            return instance
        hot, dense = instance[:, : self.rows], instance[:, self.rows : -1]
        tables = ops.split(self.table, self.vocab_sizes, 0)
        parts = ops.split(hot, self.vocab_sizes, 1)
        tokens = ()
        for field in range(self.num_tokens - 1):
            tokens = tokens + (product(parts[field], tables[field]),)
        tokens = tokens + (ops.bias_add(product(dense, self.numeric_weight), self.numeric_bias),)
        return ops.concat(tokens, 1)

    def mean_token(self, instance):
        """Mean over the tokens, (B, E)."""
        if not self.factored:
            return instance.reshape(-1, self.num_tokens, self.embed_dim).mean(1)
        rows = (self.table, self.numeric_weight, self.numeric_bias.reshape(1, -1))
        return product(instance, ops.concat(rows, 0)) / self.num_tokens
