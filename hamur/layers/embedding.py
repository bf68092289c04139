"""The embedded instance of the ranking and of the multi-task models, and dropout.

e = [E_1(sparse_1) | ... | E_F(sparse_F) | pool_1 | ... | pool_M | dense]     P = (F+M)*E + C

pool_m is the mean of the embeddings of a list, see InstanceEmbedding.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur import kernels
from hamur.kernels.cells import Embed
from hamur.layers.collectives import GatheredRows
from hamur.layers.parameters import bias, kernel, table
from hamur.layers.primitives import matmul
from hamur.layers.routing import dispatch, fused

INT32_MAX = 2**31 - 1
MIN_WEIGHT = 1e-9  # of a list: an empty one becomes 0, not NaN


class InstanceEmbedding(nn.Cell):
    """All fields in one joined table with an offset per field: one gather, one optimiser kernel.

    A field of lists becomes the weighted mean of its entries,

        pool = sum_j w_j e_j / max(sum_j w_j, 1e-9)

    with w_j from the batch: 0 fills a list up to its fixed length, 1 or the entry's value counts.

    multi: (vocab_size, max_len) of each field of lists.
    lazy: set it before the first step, and the table's gradient is a RowTensor of the rows that a
    training batch reads, (ids (B*(F+S),), values (B*(F+S), E)), in place of a dense one.  It pays
    for tables of millions of rows, see `hamur.training.optimizer.Adam`.

    exchange_rows: set it before the first step of several workers, see `GatheredRows`.

    Inputs:  sparse (B, F) int32, ids of field f in 0..vocab_sizes[f]-1; keep: None or a dropout
        mask (B, (F+M)*E); multi_ids (B, S) int32 and multi_weight (B, S) float32, the M lists side
        by side, S the sum of their max_len.
    Outputs: (B, (F+M)*E) float32, sparse fields and then lists in schema order.
    Raises:  ValueError: a vocabulary size < 1, or more rows than int32 can number.
    """

    def __init__(self, rng, vocab_sizes, embed_dim, std, dropout=0.0, multi=()):
        super().__init__()
        num_sparse, lengths = len(vocab_sizes), tuple(length for _, length in multi)
        vocab_sizes = (*vocab_sizes, *(size for size, _ in multi))
        if min(vocab_sizes) < 1:
            raise ValueError(f"vocab_sizes must be at least 1 each, got {tuple(vocab_sizes)}.")
        rows = int(sum(vocab_sizes))
        if rows > INT32_MAX:
            raise ValueError(
                f"the joined embedding table would have {rows} rows; ids are int32, so at most "
                f"{INT32_MAX}. Prepare the data with shorter vocabularies, or raise `min_count`."
            )
        self.table = table(rng.standard_normal((rows, embed_dim), np.float32) * np.float32(std))
        offsets = np.cumsum((0, *vocab_sizes[:-1])).astype(np.int32).reshape(1, -1)
        self.offsets = Tensor(np.repeat(offsets, (1,) * num_sparse + lengths, axis=1))
        self.sections = (num_sparse, sum(lengths)) if lengths else ()
        self.membership = Tensor(np.repeat(np.eye(len(lengths), dtype=np.float32), lengths, axis=0))
        self.width = len(vocab_sizes) * embed_dim
        self.dropout = Dropout(dropout)
        self.lazy = self.exchange_rows = False
        self.gathered = GatheredRows()
        self.fused = Embed() if kernels.enabled() else None
        self.lookup = ops.EmbeddingLookup().set_device("CPU")  # the form with a sparse gradient

    def construct(self, sparse, layout, keep=None, multi_ids=None, multi_weight=None):
        ids = ops.concat((sparse, multi_ids), 1) if self.sections else sparse
        if self.lazy and self.training:
            embedded = self.lookup(self.table, ids + self.offsets, 0)
        elif self.exchange_rows and self.training:
            embedded = self.gathered(self.table, ids + self.offsets)
        elif fused(self, layout):
            embedded = self.fused(self.table, ids, self.offsets)
        else:
            embedded = ops.gather(self.table, ids + self.offsets, 0)  # (B, F+S, E)
        if self.sections:
            embedded = self.pool(embedded, multi_weight)
        return self.dropout((embedded.reshape(-1, self.width),), layout, keep)[0]

    def pool(self, embedded, multi_weight):
        """(B, F+S, E) -> (B, (F+M)*E): all lists in one batched product.

        Forward and backward on the Ali-CCP shape (F 18, M 6, S 218, B 4096, uniform draws from a
        million ids, 2 cores): this 222 ms, a product per list 318 ms, a segment sum 312 ms, a
        gather per list 267 ms; without the lists 24 ms.
        """
        single, entries = ops.split(embedded, self.sections, 1)
        total = ops.maximum(matmul(multi_weight, self.membership), MIN_WEIGHT)  # (B, M)
        weight = multi_weight.expand_dims(1) * self.membership.T / total.expand_dims(2)  # (B, M, S)
        pooled = ops.bmm(weight, entries)  # (B, M, E)
        return ops.concat((single, pooled), 1)


class FactoredFieldEmbedding(nn.Cell):
    """The instance of the multi-task models: a token per sparse field, one for all dense columns.

        e = [E_1(sparse_1) | ... | E_F(sparse_F) | Dense(dense)]        width (F + 1) E

    e is linear in x = [one-hot of every field | dense | 1], so a linear layer on e is a product
    with x, whose matrix is computed once per category:

        e W = x (A W),     A = blockdiag(E_1, ..., E_F, [W_n; b_n])

    With vocabularies of a few hundred values x is ten times narrower than e, and so is the product.
    Both forms compute the same sums in another order.  Rows of the joined table start
    Xavier-uniform over the whole table: U(+-sqrt(6 / (rows + E))).

    form:  "plain" (e is built), "factored" (x is built) or "auto", the cheaper one.
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
            numeric = ops.bias_add(matmul(dense, self.numeric_weight), self.numeric_bias)
            return ops.concat((fields, numeric), 1)
        ones = ops.ones((dense.shape[0], 1), ms.float32)
        return ops.concat((*self.one_hots(sparse), dense, ones), 1)

    def one_hots(self, sparse):
        """A tuple of (B, V_f) float32, one per field."""
        hot = ()
        for size, ids in zip(self.vocab_sizes, ops.split(sparse, 1, 1)):
            hot = hot + (self.one_hot(ids.reshape(-1), size, self.one, self.zero),)
        return hot

    def project(self, instance, weight, embedded=None):
        """e W for weight (width, out) -> (B, out).  embedded: A W of `embedded_weight`, where many
        batches reuse it."""
        if not self.factored:
            return matmul(instance, weight)
        if embedded is not None:
            return matmul(instance, embedded)
        blocks = ops.split(weight, self.embed_dim, 0)
        tables = ops.split(self.table, self.vocab_sizes, 0)
        rows = tuple([matmul(tables[field], blocks[field]) for field in range(self.num_tokens - 1)])
        rows = rows + (matmul(self.numeric_weight, blocks[-1]),)
        rows = rows + (matmul(self.numeric_bias.reshape(1, -1), blocks[-1]),)
        return matmul(instance, ops.concat(rows, 0))

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
        parts, tokens = ops.split(hot, self.vocab_sizes, 1), ()
        for field in range(self.num_tokens - 1):
            tokens = tokens + (matmul(parts[field], tables[field]),)
        tokens = tokens + (ops.bias_add(matmul(dense, self.numeric_weight), self.numeric_bias),)
        return ops.concat(tokens, 1)

    def mean_token(self, instance):
        """Mean over the tokens, (B, E)."""
        if not self.factored:
            return instance.reshape(-1, self.num_tokens, self.embed_dim).mean(1)
        rows = (self.table, self.numeric_weight, self.numeric_bias.reshape(1, -1))
        return matmul(instance, ops.concat(rows, 0)) / self.num_tokens


class Dropout(nn.Cell):
    """Inverted dropout whose masks come from outside, so that a resumed run draws the same ones.

    ``keep`` is a (B, H) uint8 tensor in row order, 1 with probability 1 - rate, drawn from the
    shuffling seed by the training step; without it (a step of the user's own) MindSpore's kernel
    draws the mask. Does nothing in evaluation or at rate 0.
    """

    def __init__(self, rate):
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"a dropout rate must lie in [0, 1), got {rate}.")
        self.rate = rate
        self.scale = float(1.0 / (1.0 - rate))
        self.kernel = nn.Dropout(p=rate) if rate else None

    def construct(self, xs, layout, keep=None):
        if not self.training or self.rate == 0.0:
            return xs
        if keep is None:
            return tuple([self.kernel(x) for x in xs])
        masks = (keep,) if len(xs) == 1 and xs[0].ndim == 2 else dispatch(keep, layout)
        return tuple([x * (mask.astype(ms.float32) * self.scale) for x, mask in zip(xs, masks)])
