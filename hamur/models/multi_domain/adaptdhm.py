"""adaptdhm: a network per cluster of rows, which training finds (arXiv 2211.12105)."""

from itertools import pairwise

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers.collectives import AllSum
from hamur.layers.primitives import matmul, matmul_ta, matmul_tb
from hamur.layers.routing import combine, dispatch, make_layout
from hamur.models.multi_domain.star import StarDense
from hamur.models.ranking import ALL_ROWS, Baseline

NUM_CLUSTERS, ROUNDS = 3, 3
KEPT = 0.9  # of a centre in a round
LEAST = 1e-12
TIE = 1e-5  # between cosines; far above what rounding by the size of a batch makes


def unit(rows):
    """Each row of (n, P) at length 1."""
    return rows * ops.rsqrt(ops.maximum((rows * rows).sum(1, keepdims=True), LEAST))


class Clusters(nn.Cell):
    """The cluster of a row, argmax_k cos(e, centre_k), by the centres as they stood before the
    batch; in training they then move ROUNDS times, with w the row weights and r = softmax of the
    cosines over k:

        centre_k <- unit(0.9 centre_k + 0.1 sum_b w_b r_bk unit(e_b) / sum_b w_b r_bk)

    Shares of cosines are nearly even, so that a round shrinks the difference of two centres, by a
    factor of 0.9 + 0.1 v with v < 1 the variance of unit(e) along it: on MovieLens's sizes all
    have met after 80 steps.  Cosines as good as equal choose the first cluster, so that rounding
    decides nothing.

    Inputs:  e (B, P) float32, weight (B, 1) float32.   Outputs: (B,) int32.
    """

    def __init__(self, rng, width, number):
        super().__init__()
        start = rng.standard_normal((number, width)).astype(np.float32)
        start /= np.linalg.norm(start, axis=1, keepdims=True)
        self.centres = Parameter(Tensor(start), name="centres", requires_grad=False)
        self.all_sum = AllSum()
        self.across = Tensor(np.ones((1, number), np.float32))
        self.down = Tensor(np.ones((width, 1), np.float32))

    def construct(self, e, weight):
        # e itself, the largest tensor, is never scaled: the columns of clusters are.
        length = ops.rsqrt(ops.maximum(matmul(e * e, self.down), LEAST))
        length = matmul(length, self.across)  # (B, number)
        cosines = matmul_tb(e, unit(self.centres)) * length
        near = cosines >= ops.max(cosines, 1, keepdims=True)[0] - TIE
        cluster = ops.max(near.astype(ms.float32), 1)[1].astype(ms.int32)
        if self.training:
            weight, centres = matmul(weight, self.across), self.centres
            for _ in range(ROUNDS):
                shares = ops.softmax(matmul_tb(e, unit(centres)) * length, -1) * weight
                total = ops.maximum(self.all_sum(shares.sum(0)).reshape(-1, 1), LEAST)
                means = self.all_sum(matmul_ta(shares * length, e)) / total
                centres = unit(KEPT * centres + (1.0 - KEPT) * means)
            cluster = ops.depend(cluster, ops.assign(self.centres, centres))
        return cluster


class ClusterLayer(StarDense):
    """relu(x (W * W_k) + b + b_k) of cluster k; the hidden block of this model."""

    def construct(self, xs, layout, keep=None):
        return tuple([ops.relu(x) for x in super().construct(xs, layout)])


class ClusterLayers(nn.Cell):
    """The layers of all clusters, for `RankingModel.deep`."""

    def __init__(self, rng, widths, number):
        super().__init__()
        pairs = pairwise(widths)
        self.blocks = nn.CellList([ClusterLayer(rng, *pair, number) for pair in pairs])


class AdaptDHM(Baseline):
    """All rows through the layers of all clusters, each row with the logit of its own; no norms.

    The domain is known through e alone, but to adapter cells, whose domain is the row's.
    """

    def add_layers(self, rng):
        self.per_domain, self.num_towers = False, NUM_CLUSTERS
        widths = (self.instance_width, *self.sizes.hidden_dims)
        self.clusters = Clusters(rng, self.instance_width, NUM_CLUSTERS)
        self.tower = ClusterLayers(rng, widths, NUM_CLUSTERS)
        self.output = StarDense(rng, widths[-1], 1, NUM_CLUSTERS)

    def network(self, embeddings, dense, layout, context):
        e, weight = self.join(embeddings, dense), context[1]
        cluster = self.clusters(ops.stop_gradient(e), weight.reshape(-1, 1))
        routed = make_layout(cluster, weight, None, NUM_CLUSTERS, "own")
        xs = self.deep(dispatch(e, routed), routed, context)
        return dispatch(combine(self.output(xs, routed), routed), layout)

    def apply_cell(self, adapter_cell, xs, instance, layout, context):
        own, plain = (combine(xs, layout),), context[ALL_ROWS]
        (changed,) = super().apply_cell(adapter_cell, own, instance, plain, context)
        return dispatch(changed, layout)
