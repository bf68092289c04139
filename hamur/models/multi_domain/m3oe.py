"""m3oe: shared experts and those of all domains, with weights of their own for the fusion
(M3oE, SIGIR 2024, arXiv 2404.18465)."""

from itertools import pairwise

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers import TowerDense
from hamur.layers.experts import mix
from hamur.layers.parameters import spared
from hamur.layers.preference_towers import AffineRelu, UnitVariance
from hamur.layers.primitives import matmul
from hamur.layers.routing import DOMAIN, combine, dispatch, members
from hamur.models.multi_domain.star import StarDense
from hamur.models.ranking import ALL_ROWS, Baseline

SHARED_EXPERTS = 4  # of the authors' benchmark


class XavierStarDense(StarDense):
    """y = x (W * W_t) + b + b_t; both matrices start Xavier-uniform, both biases at 0."""

    def __init__(self, rng, in_dim, out_dim, num_towers=1):
        super().__init__(rng, in_dim, out_dim, num_towers)
        bound = np.sqrt(6.0 / (in_dim + out_dim))
        for matrix in (self.weight, self.domain_weight):
            start = rng.uniform(-bound, bound, matrix.shape).astype(np.float32)
            matrix.set_data(Tensor(start))


class CentredDense(TowerDense):
    """y = x W_t + b_t, less the mean over each of the ``number`` groups of columns of y; the mean
    is taken from W_t and b_t, which are smaller than y."""

    def __init__(self, rng, in_dim, out_dim, num_towers=1, number=1):
        super().__init__(rng, in_dim, number * out_dim, num_towers)
        self.centring = Tensor((np.eye(out_dim) - 1.0 / out_dim).astype(np.float32))

    def matrices(self):
        return self.centred(self.weight), self.centred(self.bias)

    def centred(self, values):
        width = self.centring.shape[0]
        return matmul(values.reshape(-1, width), self.centring).reshape(values.shape)


class LayerNormBlock(nn.Cell):
    """relu(LayerNorm(x W_t + b_t)) of T towers, ``number`` networks of one input side by side.

    The norm is written as its steps: MindSpore's kernel, with gradient, takes three times as long.

    Inputs:  xs tuple of (rows, in), layout, keep: None, as there is no dropout.
    Outputs: tuple of (rows, number * out).
    """

    def __init__(self, rng, in_dim, out_dim, num_towers=1, number=1):
        super().__init__()
        self.dense = CentredDense(rng, in_dim, out_dim, num_towers, number)
        ones = np.ones((num_towers, number * out_dim), np.float32)
        self.gamma, self.beta = spared(ones, "gamma"), spared(0.0 * ones, "beta")
        self.unit_variance, self.affine = UnitVariance(out_dim), AffineRelu()
        self.out_dim, self.num_towers = out_dim, num_towers

    def construct(self, xs, layout, keep=None):
        x = combine(self.dense(xs, layout), layout)
        x = self.unit_variance(x.reshape(-1, self.out_dim))[0].reshape(-1, self.gamma.shape[1])
        if self.num_towers == 1:
            return dispatch(self.affine(x, self.gamma, self.beta), layout)
        own = members(layout[DOMAIN], self.num_towers)
        x = ops.relu(x * matmul(own, self.gamma) + matmul(own, self.beta))
        return dispatch(x, layout)


class MultiDomainMixtureOfExperts(Baseline):
    """A mixture of four shared experts f and the D domains' experts f_1 .. f_D, before Tower_d.

        s   = e (W * W_d) + b + b_d;      x = Block(s) + Block'(e),  Block = relu(LayerNorm(Dense))
        own = w f_d + (1 - w) / (D - 1) sum_{j != d} f_j,            w = sigmoid(theta_1)
        mix = sum softmax(G_d stop_grad(x)) f + sigmoid(theta_2) own
        logit = Tower_d(mix),  Tower = Dense(Block(.), 1)

    With one domain own = f_1.  A row needs the experts of all domains.  bottom_dims are the widths
    of s, Block and Block'.
    Raises:  ValueError: the widths of the two blocks differ.
    """

    towers_per_domain = True

    def add_layers(self, rng):
        sizes, width, towers = self.sizes, self.instance_width, self.num_towers
        star_dim, *block_dims = sizes.bottom_dims
        if len(block_dims) != 2 or block_dims[0] != block_dims[1]:
            raise ValueError(
                f"m3oe adds two blocks of bottom_dims[1] and bottom_dims[2] columns, which must be "
                f"equal; got bottom_dims={sizes.bottom_dims}."
            )
        block_dim, (expert_dim,) = block_dims[0], sizes.expert_dims
        self.star = XavierStarDense(rng, width, star_dim, towers)
        self.star_block = LayerNormBlock(rng, star_dim, block_dim)
        self.block = LayerNormBlock(rng, width, block_dim)
        domains = self.num_domains
        self.num_experts = SHARED_EXPERTS + domains
        self.experts = LayerNormBlock(rng, block_dim, expert_dim, number=self.num_experts)
        self.gates = TowerDense(rng, block_dim, SHARED_EXPERTS, towers)
        self.theta = Parameter(Tensor(np.ones((2, 1), np.float32)), name="theta")
        own = np.eye(domains, dtype=np.float32)
        self.own = Tensor(own)
        self.others = Tensor((1.0 - own) / (domains - 1) if domains > 1 else own)
        dims = (expert_dim, *sizes.hidden_dims)
        blocks = [LayerNormBlock(rng, i, o, towers) for i, o in pairwise(dims)]
        tower = nn.Cell()
        tower.blocks = nn.CellList(blocks)
        self.tower = tower  # after its blocks, whose parameters are named by it
        self.output = TowerDense(rng, dims[-1], 1, towers)

    def network(self, embeddings, dense, layout, context):
        instance, plain = self.join(embeddings, dense), context[ALL_ROWS]
        star = combine(self.star(dispatch(instance, layout), layout), layout)
        x = self.star_block((star,), plain)[0] + self.block((instance,), plain)[0]
        experts = self.experts((x,), plain)[0].reshape(x.shape[0], self.num_experts, -1)
        gates = self.gates(dispatch(ops.stop_gradient(x), layout), layout)
        gates = ops.softmax(combine(gates, layout), -1)
        gates = ops.concat((gates, self.domain_weights(layout[DOMAIN])), 1)
        mixed = mix(gates.expand_dims(1), experts).squeeze(1)
        return self.head(mixed, layout, context)

    def domain_weights(self, domain):
        """(B, D): what each domain's expert counts in a row's mixture."""
        balance, scale = ops.split(ops.sigmoid(self.theta), 1, 0)  # (1, 1)
        weights = scale * (balance * self.own + (1.0 - balance) * self.others)
        return matmul(members(domain, self.num_domains), weights)
