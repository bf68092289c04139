"""Batch normalisation over groups of rows: statistics, running statistics and groups.

    out = gamma (x + bias - mean) / sqrt(var + 1e-5) + beta        (then ReLU, if relu)

The passes over the (rows, H) tensors, forward and backward, are in ``normalise``; here are the
statistics, a row of H numbers per tower.  Every operation on them is a kernel, whose launch costs
more than the operation, so the formulas use as few as possible.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur import kernels, workers
from hamur.kernels.cells import Norm
from hamur.layers.collectives import AllSum
from hamur.layers.normalise import Normalise
from hamur.layers.parameters import spared
from hamur.layers.primitives import matmul, matmul_ta
from hamur.layers.routing import (
    KIND,
    OWN_WEIGHTS,
    WEIGHTS,
    bounds,
    fused,
    merge_rows,
    split_rows,
)

EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the newest batch in the running statistics
ZERO, ONE = Tensor(0.0, ms.float32), Tensor(1.0, ms.float32)


class DomainBatchNorm(nn.Cell):
    """Normalise each column over the rows of a group; a group per domain is HAMUR's domain
    norm.

    affine_towers:  sets of scale and shift, T or 1; 0: they are the constants gamma_init and 0.
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
    Statistics are those of the rows of all workers (`hamur.workers`).

    Inputs:  xs tuple of (rows, width), layout; bias None or the (T, width) bias of the preceding
        product, which costs nothing here.
    Outputs: tuple like xs.
    """

    def __init__(
        self, width, num_towers=1, group="tower", affine_towers=None, gamma_init=1.0, min_rows=2,
        variance="biased", inference="running", repeat=1, own_rows=False, centred=False, relu=False,
    ):  # fmt: skip
        super().__init__()
        affine_towers = num_towers if affine_towers is None else affine_towers
        zeros = np.zeros((affine_towers or 1, width), np.float32)
        ones = zeros + np.float32(gamma_init)
        if affine_towers:
            self.gamma, self.beta = spared(ones, "gamma"), spared(zeros, "beta")
        else:
            self.gamma, self.beta = Tensor(ones), Tensor(zeros)
        statistics = np.zeros((1 if group == "pooled" else num_towers, width), np.float32)
        self.mean = Parameter(Tensor(statistics), name="mean", requires_grad=False)
        self.variance = Parameter(Tensor(statistics + 1), name="variance", requires_grad=False)
        self.num_towers, self.own_rows = num_towers, own_rows
        self.pooled = group == "pooled" and num_towers > 1
        self.min_rows = float(min_rows)
        self.unbiased = variance == "unbiased"
        self.batch_inference = inference == "batch"
        self.step = float(1.0 - (1.0 - MOMENTUM) ** repeat)
        self.centred, self.relu = centred, relu
        self.all_sum = AllSum()
        self.fused = None
        if kernels.enabled() and workers.count() == 1:
            self.fused = Norm()
            self.in_training = self.kernel_options(self.min_rows, self.step)
            # At evaluation nothing moves, and no batch has enough rows for statistics of its own.
            least = self.min_rows if self.batch_inference else np.inf
            self.in_evaluation = self.kernel_options(least, 0.0)
        self.normalise = Normalise(1, relu, self.pooled)
        self.normalise_apart = Normalise(num_towers, relu, self.pooled)

    def affine(self):
        """Scale and shift, (T or 1, width) each; a subclass may generate them."""
        return self.gamma, self.beta

    def construct(self, xs, layout, bias=None):
        gamma, beta = self.affine()
        zeros = ops.zeros((self.num_towers, xs[0].shape[-1]), ms.float32)
        if bias is None:
            bias = zeros
        if not self.training and self.batch_inference and xs[0].shape[0] < 2:
            raise ValueError(
                "norm_inference='batch' needs at least two rows in a batch, got 1; use "
                "norm_inference='running'."
            )
        if fused(self, layout):
            parts = (layout[WEIGHTS][0].reshape(-1), gamma, beta, bias)
            statistics = self.mean, self.variance
            return self.fused(xs[0], *parts, *statistics, self.options(), bounds(layout))[:1]
        if bias.shape != zeros.shape:
            bias = bias + zeros  # shared by the towers
        weights = layout[OWN_WEIGHTS] if self.own_rows else layout[WEIGHTS]
        # One block of rows for all towers, or one per tower: towers that share no statistics stay
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
            out = self.by_batch(blocks, members, row_weights, bias, gamma, beta)
        else:
            gain = gamma * ops.rsqrt(self.variance + EPSILON) + zeros
            shift = beta + (bias - self.mean) * gain
            out = ()
            pieces = zip(blocks, members, _split(gain, len(blocks)), _split(shift, len(blocks)))
            for block, member, scale, offset in pieces:
                result = block * matmul(member, scale)
                if self.num_towers == 1:
                    result = ops.bias_add(result, offset.reshape(-1))
                else:
                    result = result + matmul(member, offset)
                out = out + (ops.relu(result) if self.relu else result,)
        if len(blocks) == len(xs):
            return out if layout[KIND] != "grouped" else (out[0].reshape(xs[0].shape),)
        return split_rows(out[0], xs)

    def kernel_options(self, min_rows, step):
        options = [min_rows, step, self.relu, self.unbiased, self.pooled]
        return Tensor(np.array(options, np.float32))

    def options(self):
        return self.in_training if self.training else self.in_evaluation

    def by_batch(self, blocks, members, row_weights, bias, gamma, beta):
        """Normalise with the statistics of the batch, and move the running ones towards them."""
        weighted, counts = (), ()
        for member, weight in zip(members, row_weights):
            weighted = weighted + (member * weight,)
            counts = counts + (matmul_ta(member, weight),)
        own_counts = ops.stop_gradient(_join(counts))  # (T, 1)
        if self.centred:
            first, counts = self.of_workers((self.sums(blocks, weighted), own_counts))
            first = first / ops.maximum(counts, ONE)
            pieces = zip(blocks, members, _split(first, len(blocks)))
            blocks = tuple([block - matmul(member, row) for block, member, row in pieces])
            bias = bias + first
        own_sums = self.sums(blocks, weighted)  # (T, H)
        squares = tuple([block * block for block in blocks])
        squares = self.sums(squares, weighted)
        counts, sums, squares = self.of_workers((own_counts, own_sums, squares))
        total = self.over_group(counts)
        enough, few = self.enough_rows(total)
        mean, variance = self.moments(counts, total, sums, squares, ops.stop_gradient(bias))
        # A tower's own statistics cancel its bias, so the bias has a gradient only through the
        # running ones.  Centers and means are those of x, without the bias, except where pooled.
        running = self.mean if self.pooled else self.mean - bias
        center = few * running + enough * mean
        if self.pooled:
            center = center - bias  # (T, H)
        used = variance * _unbiased(total) if self.unbiased else variance
        spread = few * self.variance + enough * used
        rstd = ops.stop_gradient(ops.rsqrt(spread + EPSILON))
        gain = gamma * rstd
        if gain.shape != sums.shape:
            gain = gain + ops.zeros_like(sums)
        shift = beta - center * gain
        less = total - 1.0 if self.unbiased else total
        by_spread = rstd * rstd * (-enough / ops.maximum(less, ONE))
        by_mean = -enough / ops.maximum(total, ONE)
        if not self.pooled:
            by_spread, by_mean = by_spread * gain, by_mean * gain
        center, by_spread = ops.stop_gradient(center), ops.stop_gradient(by_spread)
        by_mean = ops.stop_gradient(by_mean)
        fixed = center, by_spread, by_mean
        inputs = (gain, shift, *fixed, bias, own_sums, own_counts, blocks, members, weighted)
        if len(blocks) == 1:
            out = (self.normalise(*inputs),)
        else:
            out = self.normalise_apart(*inputs)
        if self.training:
            self.move(ops.stop_gradient(mean - running), variance, total)
        return out

    def sums(self, blocks, weighted):
        """Weighted sums over the rows of each tower, (T, H), without gradient."""
        return _join(tuple([matmul_ta(w, ops.stop_gradient(x)) for x, w in zip(blocks, weighted)]))

    def of_workers(self, rows):
        """The sums over the workers, which train on shares of one batch but score rows apart."""
        return self.all_sum.joined(rows) if self.training else rows

    def moments(self, counts, total, sums, squares, bias):
        """Mean and biased variance by statistics group, (T or 1, H): of x, or of x + bias if
        pooled."""
        share = 1.0 / ops.maximum(total, ONE)
        if self.pooled:
            mean = self.over_group(sums + counts * bias) * share
            shift = bias - mean
            squares = self.over_group(squares + shift * (2.0 * sums + counts * shift))
            return mean, ops.maximum(squares * share, ZERO)
        mean = sums * share
        return mean, ops.maximum(squares * share - mean * mean, ZERO)

    def over_group(self, rows):
        return rows.sum(0, keepdims=True) if self.pooled else rows

    def enough_rows(self, total):
        """1 where a group has min_rows real rows, else 0; and the opposite, (T or 1, 1) each."""
        enough = (total >= self.min_rows).astype(ms.float32)
        return enough, 1.0 - enough

    def move(self, drift, variance, total):
        """Move the running statistics; a group without real rows keeps its own.

        drift: distance of the group's mean from the running one.  Below min_rows it is variance
        too.
        """
        enough, few = self.enough_rows(total)
        target = variance * (enough * _unbiased(total) + few)
        target = target + (few * (1.0 - self.step)) * drift * drift
        step = self.step * (total > 0.0).astype(ms.float32)
        change = step * (target - self.variance)
        ops.assign_add(self.mean, ops.stop_gradient(step * drift))
        ops.assign_add(self.variance, ops.stop_gradient(change))


def _unbiased(total):
    """n / (n - 1), from the biased to the unbiased variance; 1 for one row."""
    return total / ops.maximum(total - 1.0, ONE)


def _split(rows, number):
    """(T, H) -> one (T / number, H) per block."""
    return (rows,) if number == 1 else ops.split(rows, 1, 0)


def _join(pieces):
    return pieces[0] if len(pieces) == 1 else ops.concat(pieces, 0)
