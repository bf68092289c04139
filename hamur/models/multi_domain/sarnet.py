"""sarnet: experts of all domains and of the own one on features scaled by domain (CIKM 2021,
arXiv 2110.06475)."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers import TowerDense
from hamur.layers.adapter import tower_norm
from hamur.layers.experts import DenseGate
from hamur.layers.norm import DomainBatchNorm
from hamur.layers.parameters import spared
from hamur.layers.primitives import matmul
from hamur.layers.routing import DOMAIN, KIND, combine, dispatch, make_layout
from hamur.models.ranking import Baseline

SHARED, OWN = 8, 2  # experts of the authors' benchmark, shared and of each domain


class DomainAffine(nn.Cell):
    """e * w_d + b_d, w starting at 1 and b at 0.

    Inputs:  e (B, P) float32, domain (B,) int32.   Outputs: (B, P).
    """

    def __init__(self, width, num_domains):
        super().__init__()
        ones = np.ones((num_domains, width), np.float32)
        self.weight = Parameter(Tensor(ones), name="weight")
        self.bias = spared(0.0 * ones, "bias")
        self.last = num_domains - 1

    def construct(self, e, domain):
        # An id outside 0..D-1 gives NaN in the end, but must not read outside the rows.
        domain = ops.maximum(ops.minimum(domain, self.last), 0)
        return e * ops.gather(self.weight, domain, 0) + ops.gather(self.bias, domain, 0)


class NormedExperts(TowerDense):
    """Dense(norm_k(x)) of X experts a tower, side by side: for x of mean 0 and variance 1, to which
    expert k's norm adds its scale and shift,

        y_k = (x * gamma_k + beta_k) W_k + b_k = x (gamma_k' * W_k) + (beta_k W_k + b_k)

    Outputs: tuple of (rows, X * width).
    """

    def __init__(self, rng, in_dim, width, num_experts, num_towers=1):
        super().__init__(rng, in_dim, num_experts * width, num_towers)
        ones = np.ones((num_towers, in_dim, num_experts), np.float32)
        self.gamma, self.beta = spared(ones, "gamma"), spared(0.0 * ones, "beta")
        self.across = Tensor(np.ones((1, width), np.float32))

    def matrices(self):
        scale, shift = self.written_out(self.gamma), self.written_out(self.beta)
        return scale * self.weight, (shift * self.weight).sum(1) + self.bias

    def written_out(self, numbers):
        """(T, in, X) -> (T, in, X * width)."""
        return matmul(numbers.reshape(-1, 1), self.across).reshape(self.weight.shape)


class Mix(nn.Cell):
    """sum_k g_k f_k, with products that write a gate out over its expert's columns and add the
    experts up: a fraction of the time of a product per row, and of its gradient.

    Inputs:  outputs tuple of (B, X_i * width), gates (B, X).   Outputs: (B, width).
    """

    def __init__(self, experts, width):
        super().__init__()
        ends, every = np.cumsum(experts), np.eye(sum(experts), dtype=np.float32)
        ones, same = np.ones((1, width), np.float32), np.eye(width, dtype=np.float32)
        parts = np.split(every, ends[:-1], axis=1)
        self.out = tuple([Tensor(np.kron(part, ones)) for part in parts])
        self.sums = tuple([Tensor(np.tile(same, (number, 1))) for number in experts])

    def construct(self, outputs, gates):
        mixed = 0.0
        for columns, out, sums in zip(outputs, self.out, self.sums):
            mixed = matmul(columns * matmul(gates, out), sums) + mixed
        return mixed


class SARNet(Baseline):
    """x = e * w_d + b_d;  f_k = Dense(norm_k(x)), 8 of all rows and 2 of the domain's;
    logit = Dense(blocks(sum_k softmax(G x)_k f_k), 1).

    The norms of experts on the same rows have the same statistics, so that one norm is enough.
    """

    def add_layers(self, rng):
        width, domains = self.instance_width, self.num_domains
        (size,) = self.sizes.expert_dims
        self.affine = DomainAffine(width, domains)
        pooled, own = (tower_norm(self.config, each, domains) for each in (False, True))
        self.shared_norm = DomainBatchNorm(width, affine_towers=0, **pooled)
        self.shared_experts = NormedExperts(rng, width, size, SHARED)
        self.own_norm = DomainBatchNorm(width, domains, affine_towers=0, **own)
        self.own_experts = NormedExperts(rng, width, size, OWN, domains)
        self.gate = DenseGate(rng, width, SHARED + OWN)
        self.mix = Mix((SHARED, OWN), size)
        self.add_deep(rng, size)

    def network(self, embeddings, dense, layout, context):
        _, weight, quotas, _, plain = context
        domain, sorted_rows = plain[DOMAIN], plain[KIND] == "sorted"
        x = self.affine(self.join(embeddings, dense), domain)
        shared = self.shared_experts(self.shared_norm((x,), plain), plain)[0]
        routed = make_layout(domain, weight, quotas, self.num_domains, "own", sorted_rows)
        own = self.own_experts(self.own_norm(dispatch(x, routed), routed), routed)
        mixed = self.mix((shared, combine(own, routed)), self.gate(x))
        return self.head(mixed, layout, context)
