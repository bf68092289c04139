"""The embedded instance and dropout.

e = [E_1(sparse_1) | ... | E_F(sparse_F) | pool_1 | ... | pool_M | dense]     P = (F+M)*E + C

pool_m is the mean of the embeddings of a list, see InstanceEmbedding.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers.matmul import product
from hamur.layers.parameters import table
from hamur.layers.routing import enter

INT32_MAX = 2**31 - 1
LEAST_WEIGHT = 1e-9  # of a list: an empty one becomes 0, not NaN


class InstanceEmbedding(nn.Cell):
    """All fields in one joined table with an offset a field: one gather, one optimiser kernel.

    A field of lists becomes the weighted mean of its entries,

        pool = sum_j w_j e_j / max(sum_j w_j, 1e-9)

    with w_j from the batch: 0 fills a list up to its fixed length, 1 or the entry's value counts.

    multi: (vocab_size, max_len) of each field of lists.
    lazy: set it before the first step, and the table's gradient is a RowTensor of the rows that a
    training batch reads, (ids (B*(F+S),), values (B*(F+S), E)), in place of a dense one.  It pays
    for tables of millions of rows, see `hamur.training.optimizer.Adam`.

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
                f"{INT32_MAX}. Raise min_count to shorten the vocabularies."
            )
        self.table = table(rng.standard_normal((rows, embed_dim), np.float32) * np.float32(std))
        offsets = np.cumsum((0, *vocab_sizes[:-1])).astype(np.int32).reshape(1, -1)
        self.offsets = Tensor(np.repeat(offsets, (1,) * num_sparse + lengths, axis=1))
        self.sections = (num_sparse, sum(lengths)) if lengths else ()
        self.membership = Tensor(np.repeat(np.eye(len(lengths), dtype=np.float32), lengths, axis=0))
        self.width = len(vocab_sizes) * embed_dim
        self.dropout = Dropout(dropout)
        self.lazy = False
        self.lookup = ops.EmbeddingLookup().set_device("CPU")  # the form with a sparse gradient

    def construct(self, sparse, layout, keep=None, multi_ids=None, multi_weight=None):
        ids = ops.concat((sparse, multi_ids), 1) if self.sections else sparse
        ids = ids + self.offsets
        if self.lazy and self.training:
            embedded = self.lookup(self.table, ids, 0)
        else:
            embedded = ops.gather(self.table, ids, 0)  # (B, F+S, E)
        if self.sections:
            embedded = self.pool(embedded, multi_weight)
        return self.dropout((embedded.reshape(-1, self.width),), layout, keep)[0]

    def pool(self, embedded, multi_weight):
        """(B, F+S, E) -> (B, (F+M)*E): all lists in one batched product.

        Forward and backward on the Ali-CCP shape (F 18, M 6, S 218, B 4096, uniform draws from a
        million ids, 2 cores): this 222 ms, a product a list 318 ms, a segment sum 312 ms, a gather
        a list 267 ms; without the lists 24 ms.
        """
        single, entries = ops.split(embedded, self.sections, 1)
        total = ops.maximum(product(multi_weight, self.membership), LEAST_WEIGHT)  # (B, M)
        weight = multi_weight.expand_dims(1) * self.membership.T / total.expand_dims(2)  # (B, M, S)
        pooled = ops.bmm(weight, entries)  # (B, M, E)
        return ops.concat((single, pooled), 1)


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
            dropped = ()
            for x in xs:
                dropped = dropped + (self.kernel(x),)
            return dropped
        masks = (keep,) if len(xs) == 1 and xs[0].ndim == 2 else enter(keep, layout)
        out = ()
        for x, mask in zip(xs, masks):
            out = out + (x * (mask.astype(ms.float32) * self.scale),)
        return out
