"""The embedded instance and dropout.

e = [E_1(sparse_1) | ... | E_F(sparse_F) | dense]        width P = F*E + C
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers.routing import enter

INT32_MAX = 2**31 - 1


class InstanceEmbedding(nn.Cell):
    """All fields in one joined table with an offset a field: one gather, one optimiser kernel.

    Inputs:  sparse (B, F) int32, ids of field f in 0..vocab_sizes[f]-1; keep: None or a dropout
        mask (B, F*E).
    Outputs: (B, F*E) float32, sparse fields in schema order.
    Raises:  ValueError: a vocabulary size < 1, or more rows than int32 can number.
    """

    def __init__(self, rng, vocab_sizes, embed_dim, std, dropout=0.0):
        super().__init__()
        if min(vocab_sizes) < 1:
            raise ValueError(f"vocab_sizes must be at least 1 each, got {tuple(vocab_sizes)}.")
        rows = int(sum(vocab_sizes))
        if rows > INT32_MAX:
            raise ValueError(
                f"the joined embedding table would have {rows} rows; ids are int32, so at most "
                f"{INT32_MAX}. Raise min_count to shorten the vocabularies."
            )
        table = rng.standard_normal((rows, embed_dim), np.float32) * np.float32(std)
        self.table = Parameter(Tensor(table), name="table")
        self.offsets = Tensor(np.cumsum((0, *vocab_sizes[:-1])).astype(np.int32).reshape(1, -1))
        self.width = len(vocab_sizes) * embed_dim
        self.dropout = Dropout(dropout)

    def construct(self, sparse, layout, keep=None):
        embedded = ops.gather(self.table, sparse + self.offsets, 0).reshape(-1, self.width)
        return self.dropout((embedded,), layout, keep)[0]


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
