"""star: a network of the domain as the shared one times the domain's own (CIKM 2021,
doi 10.1145/3459637.3481941)."""

import numpy as np
from mindspore import Parameter, Tensor

from hamur.layers import TowerDense, TowerMLP
from hamur.layers.adapter import tower_norm
from hamur.layers.norm import DomainBatchNorm
from hamur.layers.parameters import spared
from hamur.layers.primitives import matmul
from hamur.layers.routing import combine, dispatch
from hamur.models.ranking import ALL_ROWS, Baseline


class StarDense(TowerDense):
    """y = x (W * W_t) + b + b_t of tower t, * elementwise; W starts as any, W_t at 1, both biases
    at 0."""

    def __init__(self, rng, in_dim, out_dim, num_towers=1):
        super().__init__(rng, in_dim, out_dim)
        self.bias = spared(np.zeros((1, out_dim), np.float32), "bias")
        own = np.ones((num_towers, in_dim, out_dim), np.float32)
        self.domain_weight = Parameter(Tensor(own), name="domain_weight")
        self.domain_bias = spared(np.zeros((num_towers, out_dim), np.float32), "domain_bias")
        self.ones = Tensor(np.ones((num_towers, 1), np.float32))

    def matrices(self):
        # The shared numbers are written out by a product with ones, see `hamur.layers.primitives`.
        weight = matmul(self.ones, self.weight.reshape(1, -1))
        weight = weight.reshape(self.domain_weight.shape) * self.domain_weight
        return weight, matmul(self.ones, self.bias) + self.domain_bias


class PartitionedNorm(DomainBatchNorm):
    """(g g_d) (x - m_d) / sqrt(v_d + 1e-5) + s + s_d, whose statistics are always the domain's."""

    def __init__(self, width, num_towers, min_rows):
        super().__init__(width, num_towers, affine_towers=1, min_rows=min_rows, own_rows=True)
        own = np.ones((num_towers, width), np.float32)
        self.domain_gamma = spared(own, "domain_gamma")
        self.domain_beta = spared(0.0 * own, "domain_beta")

    def affine(self):
        return self.gamma * self.domain_gamma, self.beta + self.domain_beta


class Star(Baseline):
    """logit = star(norm(e)) + aux(e): layers of W * W_d with domain norms, and a small network of
    all rows, which sees the domain as a field of e."""

    towers_per_domain = True

    def add_layers(self, rng):
        width, config, aux_dims = self.instance_width, self.config, self.sizes.aux_dims
        self.partition = PartitionedNorm(width, self.num_towers, config.min_domain_rows)
        self.add_deep(rng, width, dense=StarDense)
        norm = tower_norm(config, False, self.num_domains)
        self.aux = TowerMLP(rng, width, aux_dims, norm=norm)
        self.aux_output = TowerDense(rng, aux_dims[-1], 1)

    def network(self, embeddings, dense, layout, context):
        instance = self.join(embeddings, dense)
        xs = self.partition(dispatch(instance, layout), layout)
        logits = self.output(self.deep(xs, layout, context), layout)
        plain = context[ALL_ROWS]
        aux = self.aux_output(self.aux((instance,), plain), plain)[0]
        # Added to the logits of each tower, it is missing in a compiled graph of all towers.
        return dispatch(combine(logits, layout) + aux, layout)
