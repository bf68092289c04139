"""adasparse: factors that remove, per domain, what a layer does not need (arXiv 2206.13108)."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur import kernels
from hamur.kernels.cells import Product
from hamur.layers.mlp import tower_product
from hamur.layers.parameters import kernel
from hamur.layers.routing import bounds, dispatch, fused
from hamur.models.multi_domain.gates import domain_place
from hamur.models.ranking import Baseline

LARGEST, LEAST = 2.0, 0.01  # of a factor; below the least it is 0
GROWTH = 1e-4  # of the steepness in a training step


class Pruner(nn.Cell):
    """v = 2 sigmoid(alpha x W), but 0 where v <= 0.01: factors for the columns of a layer.

    kept: None, or the place and number of further columns of the output, whose factor is 1.
    Inputs:  xs tuple of (rows, in), alpha (1,), layout.   Outputs: tuple of (rows, out).
    """

    def __init__(self, rng, in_dim, out_dim, num_towers=1, kept=None):
        super().__init__()
        self.weight = kernel(rng, (num_towers, in_dim, out_dim), in_dim)
        self.fused = Product() if kernels.enabled() else None
        self.place = None
        if kept:
            self.place, number = kept
            self.zeros = Tensor(np.zeros((num_towers, in_dim, number), np.float32))

    def construct(self, xs, alpha, layout):
        weight = self.weight * alpha  # far fewer numbers than the product has
        if self.place is not None:  # 2 sigmoid(0) = 1
            parts = self.zeros, weight[..., self.place :]
            if self.place > 0:  # a slice of no columns has no gradient uncompiled
                parts = weight[..., : self.place], *parts
            weight = ops.concat(parts, -1)
        if fused(self, layout):
            xs = (self.fused(xs[0], weight, bounds(layout)),)
        else:
            xs = tower_product(xs, weight, layout)
        factors = ()
        for x in xs:
            factor = LARGEST * ops.sigmoid(x)
            factors = factors + (factor * (factor > LEAST).astype(ms.float32),)
        return factors


class AdaSparse(Baseline):
    """x_0 = [c | a v_0], x_l = v_l block_l(x_{l-1}), logit = Dense(x_L, 1), in the fusion form.

    c is the domain's embedding, a the rest of e, and v_l a pruner's factors of [c | what they
    multiply]; x_0 has its columns in the order of e.  alpha starts at 1, has grown by GROWTH in
    every training step, and is saved with the model.

    Raises:  ValueError: the domain is no feature.
    """

    def add_layers(self, rng):
        size, width = self.sizes.embed_dim, self.instance_width
        self.begin = domain_place(self.schema, "adasparse") * size
        self.end = self.begin + size
        self.add_deep(rng, width)
        towers, dims = self.num_towers, self.sizes.hidden_dims
        first = Pruner(rng, width, width - size, towers, kept=(self.begin, size))
        self.pruners = nn.CellList([first, *(Pruner(rng, size + w, w, towers) for w in dims)])
        self.alpha = Parameter(Tensor(np.ones(1, np.float32)), name="alpha", requires_grad=False)
        self.growth = Tensor(np.full(1, GROWTH, np.float32))

    def network(self, embeddings, dense, layout, context):
        alpha = ops.assign_add(self.alpha, self.growth) if self.training else self.alpha
        e = self.join(embeddings, dense)
        own, xs = dispatch(e[:, self.begin : self.end], layout), dispatch(e, layout)
        factors = self.pruners[0](xs, alpha, layout)
        xs = tuple([x * factor for x, factor in zip(xs, factors)])
        return self.output(self.deep(xs, layout, context, (own, alpha)), layout)

    def gated(self, number, xs, gates, layout):
        own, alpha = gates
        inputs = tuple([ops.concat(pair, -1) for pair in zip(own, xs)])
        factors = self.pruners[number + 1](inputs, alpha, layout)
        return tuple([x * factor for x, factor in zip(xs, factors)])
