"""Batch normalisation over groups of rows, written with matrix products and its own backward pass.

    out = gamma (x + bias - mean) / sqrt(var + 1e-5) + beta        (then ReLU, where asked for)

MindSpore's CPU kernels for reductions over rows are slow, matrix products are not.  With the
membership matrix P (rows, T) of a tensor, P[b, t] = 1 where row b belongs to tower t, sums over
the rows of each tower are P' x and the broadcast of a row a tower is P r.  Automatic
differentiation of that would pass over the (rows, H) tensors about twice as often as the closed
form of the gradient, which ``Normalise`` holds.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.operations._grad_ops import ReluGrad

from hamur.layers.products import product, product_ta
from hamur.layers.routing import KIND, OWN_WEIGHTS, WEIGHTS, merge_rows, split_rows

EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the newest batch in the running statistics


class Normalise(nn.Cell):
    """relu(x gain + shift) by tower, differentiated through the statistics behind gain and shift.

    Inputs, T towers in one tensor: x (R, H); member (R, T) 0 or 1; weighted (R, T), member times
    row weight; gain, shift, center (T, H): scale over standard deviation, offset, and mean of x;
    by_spread (T, H): rstd^2 / n (n - 1 if unbiased); by_mean (T, 1): 1 / n; both 0 where running
    statistics are used; bias, sums (T, H), counts (T, 1): pooled only, see below.

    With d = dL/d(x gain + shift), u = x - center, and sums over the rows of a statistics group,

        dL/dx = gain d - w (by_mean sum(gain d) + by_spread u sum(gain d u)).

    Pooled statistics also depend on the biases of the towers that x leaves out; their gradient is
    the sum of the second term over the tower's rows, and ``bias`` is an input to receive it.
    """

    def __init__(self, relu, pooled):
        super().__init__()
        self.relu = relu
        self.pooled = pooled
        self.relu_grad = ReluGrad()

    def construct(
        self, x, member, weighted, gain, shift, center, by_spread, by_mean, bias, sums, counts
    ):
        out = x * product(member, gain)
        if gain.shape[0] == 1:  # the fast kernel, whose slow gradient is not used here
            out = ops.bias_add(out, shift.reshape(-1))
        else:
            out = out + product(member, shift)
        return ops.relu(out) if self.relu else out

    def bprop(
        self,
        x,
        member,
        weighted,
        gain,
        shift,
        center,
        by_spread,
        by_mean,
        bias,
        sums,
        counts,
        out,
        dout,
    ):
        d = self.relu_grad(dout, out) if self.relu else dout
        sum_d = product_ta(member, d)  # (T, H)
        sum_dx = product_ta(member, d * x)
        by_group, by_group_u = gain * sum_d, gain * (sum_dx - center * sum_d)
        if self.pooled:
            by_group = by_group.sum(0, keepdims=True)
            by_group_u = by_group_u.sum(0, keepdims=True)
        slope = by_spread * by_group_u
        offset = by_mean * by_group - center * slope
        dx = d * product(member, gain) - (product(weighted, offset) + x * product(weighted, slope))
        dbias = -(counts * offset + sums * slope) if self.pooled else ops.zeros_like(bias)
        masks = (ops.zeros_like(member), ops.zeros_like(weighted))
        fixed = (ops.zeros_like(center), ops.zeros_like(by_spread), ops.zeros_like(by_mean))
        return (
            dx,
            *masks,
            sum_dx,
            sum_d,
            *fixed,
            dbias,
            ops.zeros_like(sums),
            ops.zeros_like(counts),
        )


class GroupNorm(nn.Cell):
    """Normalise each column over the rows of a group; with one group a domain this is HAMUR's
    domain norm.

    group:  "tower" takes statistics over the rows of each tower, "pooled" one set over the rows of
        all towers.
    own_rows:  statistics from the rows of the tower's own domain only, also where it sees others.
    min_rows:  a group with fewer real rows is normalised with the running statistics as they stood
        before the batch, without gradient through them; its rows still move them (specification of
        the domain norm).
    variance:  "biased" or "unbiased" estimate in the normalisation; the running variance is always
        unbiased.
    inference:  "running" statistics, or those of the "batch" (as the public code; scores then
        depend on the other rows of the batch).
    repeat:  the running statistics move as if the layer had been called that often on the batch.
    centred:  two passes for the variance, for inputs whose mean is far above their spread.
    relu:  apply ReLU to the result.

    Inputs:  xs tuple of (rows, width), layout; bias None or the (T, width) bias of the preceding
        product, which costs nothing here.
    Outputs: tuple like xs.
    """

    def __init__(
        self,
        width,
        num_towers=1,
        group="tower",
        affine_towers=None,
        gamma_init=1.0,
        min_rows=2,
        variance="biased",
        inference="running",
        repeat=1,
        own_rows=False,
        centred=False,
        relu=False,
    ):
        super().__init__()
        affine_towers = num_towers if affine_towers is None else affine_towers
        zeros = np.zeros((affine_towers, width), np.float32)
        self.gamma = Parameter(Tensor(zeros + np.float32(gamma_init)), name="gamma")
        self.beta = Parameter(Tensor(zeros), name="beta")
        statistics = np.zeros((1 if group == "pooled" else num_towers, width), np.float32)
        self.mean = Parameter(Tensor(statistics), name="mean", requires_grad=False)
        self.variance = Parameter(Tensor(statistics + 1), name="variance", requires_grad=False)
        self.num_towers = num_towers
        self.pooled = group == "pooled" and num_towers > 1
        self.own_rows = own_rows
        self.min_rows = float(min_rows)
        self.unbiased = variance == "unbiased"
        self.batch_inference = inference == "batch"
        self.step = float(1.0 - (1.0 - MOMENTUM) ** repeat)
        self.centred = centred
        self.relu = relu
        self.normalise = Normalise(relu, self.pooled)

    def construct(self, xs, layout, bias=None):
        zeros = ops.zeros((self.num_towers, xs[0].shape[-1]), ms.float32)
        bias = zeros if bias is None else bias + zeros  # (T, H), also where it is shared
        weights = layout[OWN_WEIGHTS] if self.own_rows else layout[WEIGHTS]
        # One block of rows for all towers, or one a tower: towers that share no statistics stay
        # apart, so that their tensors are neither joined nor cut and fit the cache.
        blocks, members, row_weights = xs, (), ()
        by_batch = self.training or self.batch_inference
        if layout[KIND] == "grouped" or (self.pooled and by_batch) or len(xs) == 1:
            block, member, weight = merge_rows(xs, weights, layout)
            blocks, members, row_weights = (block,), (member,), (weight,)
        else:
            for weight in weights:
                column = weight.reshape(-1, 1)
                members = members + (ops.ones_like(column),)
                row_weights = row_weights + (column,)
        if by_batch:
            out = self.by_batch(blocks, members, row_weights, bias)
        else:
            gain = self.gamma * ops.rsqrt(self.variance + EPSILON) + zeros
            shift = self.beta + (bias - self.mean) * gain
            out = ()
            pieces = zip(blocks, members, _split(gain, len(blocks)), _split(shift, len(blocks)))
            for block, member, scale, offset in pieces:
                result = block * product(member, scale) + product(member, offset)
                out = out + (ops.relu(result) if self.relu else result,)
        if len(blocks) == len(xs):
            return out if layout[KIND] != "grouped" else (out[0].reshape(xs[0].shape),)
        return split_rows(out[0], xs)

    def by_batch(self, blocks, members, row_weights, bias):
        """Normalise with the statistics of the batch, and move the running ones towards them."""
        if not self.training and row_weights[0].shape[0] < 2:
            raise ValueError(
                "norm_inference='batch' needs at least two rows in a batch, got 1; use "
                "norm_inference='running'."
            )
        weighted, counts = (), ()
        for member, weight in zip(members, row_weights):
            weighted = weighted + (member * weight,)
            counts = counts + (product_ta(member, weight),)
        counts = ops.stop_gradient(_join(counts))  # (T, 1)
        fixed_bias = ops.stop_gradient(bias)
        if self.centred:
            first = self.sums(blocks, weighted) / ops.maximum(counts, Tensor(1.0, ms.float32))
            centred = ()
            for block, member, row in zip(blocks, members, _split(first, len(blocks))):
                centred = centred + (block - product(member, row),)
            blocks = centred
            bias, fixed_bias = bias + first, fixed_bias + first
        sums = self.sums(blocks, weighted)  # (T, H)
        squares = ()
        for block in blocks:
            squares = squares + (block * block,)
        squares = self.sums(squares, weighted)
        total, mean, variance, unbiased = self.moments(counts, sums, squares, fixed_bias)
        enough = (total >= self.min_rows).astype(ms.float32)  # (T or 1, 1)
        used = unbiased if self.unbiased else variance
        less = total - 1.0 if self.unbiased else total
        like = ops.zeros_like(sums)
        center = ops.stop_gradient(enough * mean + (1.0 - enough) * self.mean + like)
        spread = enough * used + (1.0 - enough) * self.variance
        rstd = ops.stop_gradient(ops.rsqrt(spread + EPSILON) + like)
        by_mean = enough / ops.maximum(total, Tensor(1.0, ms.float32))
        by_spread = rstd * rstd * (enough / ops.maximum(less, Tensor(1.0, ms.float32)))
        # A tower's own statistics cancel its bias: there it has no gradient.
        live = bias if self.pooled else enough * fixed_bias + (1.0 - enough) * bias
        gain = self.gamma * rstd
        shift = self.beta + (live - center) * gain
        number = len(blocks)
        by_tower = (
            _split(gain, number),
            _split(shift, number),
            _split(ops.stop_gradient(center - fixed_bias), number),
            _split(by_spread, number),
            _split(by_mean + ops.zeros_like(counts), number),
        )
        out = ()
        for index in range(number):
            result = self.normalise(
                blocks[index],
                members[index],
                weighted[index],
                by_tower[0][index],
                by_tower[1][index],
                by_tower[2][index],
                by_tower[3][index],
                by_tower[4][index],
                bias,
                sums,
                counts,
            )
            out = out + (result,)
        if self.training:
            self.move(mean, variance, unbiased, total, enough)
        return out

    def sums(self, blocks, weighted):
        """Weighted sums over the rows of each tower, (T, H), without gradient."""
        sums = ()
        for block, weight in zip(blocks, weighted):
            sums = sums + (product_ta(weight, ops.stop_gradient(block)),)
        return _join(sums)

    def moments(self, counts, sums, squares, bias):
        """Rows, mean, biased and unbiased variance of x + bias by statistics group, (T or 1, .)."""
        total = self.over_group(counts)
        safe = ops.maximum(total, Tensor(1.0, ms.float32))
        mean = self.over_group(sums + counts * bias) / safe
        shift = bias - mean
        variance = self.over_group(squares + shift * (2.0 * sums + counts * shift)) / safe
        variance = ops.maximum(variance, Tensor(0.0, ms.float32))
        unbiased = variance * (safe / ops.maximum(safe - 1.0, Tensor(1.0, ms.float32)))
        return total, mean, variance, unbiased

    def over_group(self, rows):
        return rows.sum(0, keepdims=True) if self.pooled else rows

    def move(self, mean, variance, unbiased, total, enough):
        """Move the running statistics; a group without real rows keeps its own."""
        drift = mean - self.mean
        # Below min_rows the distance of the group's mean from the running one is variance too.
        few = variance + (1.0 - self.step) * drift * drift
        target = enough * unbiased + (1.0 - enough) * few
        step = self.step * (total > 0.0).astype(ms.float32)
        change = step * (target - self.variance)
        ops.assign_add(self.mean, ops.stop_gradient(step * drift))
        ops.assign_add(self.variance, ops.stop_gradient(change))


def _split(rows, number):
    """(T, H) -> one (T / number, H) a block."""
    return (rows,) if number == 1 else ops.split(rows, 1, 0)


def _join(pieces):
    return pieces[0] if len(pieces) == 1 else ops.concat(pieces, 0)
