"""The passes of batch normalisation over (rows, H) tensors, with their own gradient.

MindSpore's CPU kernels for reductions over rows and for broadcasts of a row are slow, matrix
products are not.  With the membership matrix P (rows, T) of a block of rows, P[b, t] = 1 where row
b belongs to tower t, sums over the rows of each tower are P' x and the broadcast of a row per tower
is P r.  Automatic differentiation of that would pass over the (rows, H) tensors about twice as
often as the closed form of the gradient below.
"""

from mindspore import nn, ops
from mindspore.ops.operations._grad_ops import ReluGrad

from hamur.layers.collectives import AllSum
from hamur.layers.primitives import matmul, matmul_ta


class Normalise(nn.Cell):
    """relu(x gain + shift) by tower, differentiated through the statistics behind gain and shift.

    The T towers' rows are one block, or one block per tower (``blocks`` = T).  The output is a
    tensor for one block, else a tuple.

    Inputs, rows of numbers: gain, shift, center (T, H): scale over standard deviation, offset, and
    mean of x; by_spread (T, H): -rstd^2 / n (n - 1 if unbiased); by_mean: -1 / n; both 0 where
    running statistics are used, and both times gain unless pooled; bias, sums (T, H), counts
    (T, 1): pooled only, see below, and of this worker's rows alone.  Tuples with one tensor per
    block: xs (R, H); members (R, T / blocks) 0 or 1; weighted, members times row weight.

    With d = dL/d(x gain + shift), u = x - center, and sums over the rows of a statistics group,

        dL/dx = gain d - w / n (sum(gain d) + rstd^2 u sum(gain d u)).

    Pooled statistics also depend on the biases of the towers that x leaves out; their gradient is
    the sum of the second term over the tower's rows, and ``bias`` is an input to receive it.
    """

    def __init__(self, blocks, relu, pooled):
        super().__init__()
        self.blocks, self.relu, self.pooled = blocks, relu, pooled
        self.relu_grad = ReluGrad()
        self.all_sum = AllSum()
        self.split = ops.Split(0, blocks)  # the function ops.split fails inside a bprop

    def by_block(self, rows):
        return (rows,) if self.blocks == 1 else self.split(rows)

    def construct(
        self, gain, shift, center, by_spread, by_mean, bias, sums, counts, xs, members, weighted
    ):
        gains, shifts = self.by_block(gain), self.by_block(shift)
        out = ()
        for i in range(self.blocks):
            x = xs[i] * matmul(members[i], gains[i]) + matmul(members[i], shifts[i])
            out = out + (ops.relu(x) if self.relu else x,)
        return out if self.blocks > 1 else out[0]

    def bprop(
        self, gain, shift, center, by_spread, by_mean, bias, sums, counts, xs, members, weighted,
        out, dout,
    ):  # fmt: skip
        if self.blocks == 1:
            out, dout = (out,), (dout,)
        ds, sums_d, sums_dx = (), (), ()
        for i in range(self.blocks):
            d = self.relu_grad(dout[i], out[i]) if self.relu else dout[i]
            ds = ds + (d,)
            sums_d = sums_d + (matmul_ta(members[i], d),)
            sums_dx = sums_dx + (matmul_ta(members[i], d * xs[i]),)
        sum_d = ops.concat(sums_d, 0) if self.blocks > 1 else sums_d[0]  # (T, H)
        sum_dx = ops.concat(sums_dx, 0) if self.blocks > 1 else sums_dx[0]
        # The statistics are those of all workers; scale and shift get their gradients from each.
        all_d, all_dx = self.all_sum.joined((sum_d, sum_dx))
        sum_du = all_dx - center * all_d
        if self.pooled:
            slope = by_spread * (gain * sum_du).sum(0, keepdims=True) + ops.zeros_like(gain)
            offset = by_mean * (gain * all_d).sum(0, keepdims=True) - center * slope
            dbias = counts * offset + sums * slope
        else:
            slope = by_spread * sum_du
            offset = by_mean * all_d - center * slope
            dbias = ops.zeros_like(bias)
        gains, slopes, offsets = self.by_block(gain), self.by_block(slope), self.by_block(offset)
        dxs = ()
        for i in range(self.blocks):
            own = ds[i] * matmul(members[i], gains[i])
            through = xs[i] * matmul(weighted[i], slopes[i])
            dxs = dxs + (ops.addn((own, through, matmul(weighted[i], offsets[i]))),)
        fixed = (ops.zeros_like(center), ops.zeros_like(by_spread), ops.zeros_like(by_mean))
        rest = (ops.zeros_like(sums), ops.zeros_like(counts))
        # Memberships and weights need no gradient; tuples of the right form stand in for it.  (The
        # first gradient must not be a tuple: outside compiled code that has another meaning.)
        return (sum_dx, sum_d, *fixed, dbias, *rest, dxs, members, weighted)
