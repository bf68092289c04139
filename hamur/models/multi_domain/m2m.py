"""m2m: attention over the features, and a head whose matrices the domain generates (WSDM 2022)."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur import kernels
from hamur.kernels.cells import Dense, bounds_of
from hamur.layers import TowerDense
from hamur.layers.encoder import EncoderLayer
from hamur.layers.mlp import add_rows, tower_product
from hamur.layers.parameters import bias, kernel
from hamur.layers.preference import PlainDense
from hamur.layers.primitives import matmul
from hamur.layers.routing import (
    DOMAIN,
    bounds,
    combine,
    dispatch,
    fused,
    make_layout,
    members,
)
from hamur.models.multi_domain.gates import domain_place
from hamur.models.ranking import ALL_ROWS, Baseline

NUM_EXPERTS, ENCODER_LAYERS = 4, 2
SLOPE = 0.1  # of LeakyReLU below 0


def leaky(x):
    return SLOPE * x + (1.0 - SLOPE) * ops.relu(x)


class M2M(Baseline):
    """Meta units on a transformer encoder ("Leaving No One Behind", WSDM 2022), one task, width W:

        x_k = leaky(Dense_k(encoder(tokens))),  s_d = leaky(Dense(c_d)),  k = 1..4
        score_k = v . leaky([x_k | q] W_d + b_d),  r = sum_k softmax(score)_k x_k
        logit = Dense(blocks(leaky(r A_d + a_d + r)), 1)

    with leaky of slope 0.1, one token per field, list and dense column, and each of W_d (2W, 2W),
    b_d, A_d (W, W), a_d = leaky(Dense(s_d)), once per domain.  The public version attends over the
    rows of the batch.

    Raises:  ValueError: the domain is no feature; embed_dim is no multiple of four.
    """

    def add_layers(self, rng):
        size, width = self.sizes.embed_dim, self.sizes.expert_dims[-1]
        place = domain_place(self.schema, "m2m")
        self.domain_columns = place * size, (place + 1) * size
        first = sum(self.schema.vocab_sizes[:place])
        self.domain_rows = Tensor(first + np.arange(self.num_domains, dtype=np.int32))
        if self.num_dense:
            self.dense_tokens = DenseTokens(rng, self.num_dense, size)
        inner = self.embedding.width + self.num_dense * size
        layers = [EncoderLayer(rng, inner // size, size, width) for _ in range(ENCODER_LAYERS)]
        self.encoder = nn.CellList(layers)
        self.experts = TowerDense(rng, inner, NUM_EXPERTS * width)
        self.scenario = PlainDense(rng, size, width)
        self.attention = MetaAttention(rng, width)
        self.meta = GeneratedDense(rng, width, width, width)
        self.add_deep(rng, width)

    def network(self, embeddings, dense, layout, context):
        weight, quotas, rows = context[1], context[2], context[ALL_ROWS]
        by_domain = layout
        if not self.per_domain:
            count, sort = self.num_domains, self.fused and quotas is not None
            by_domain = make_layout(rows[DOMAIN], weight, quotas, count, "own", sort)
        tokens = embeddings
        if self.num_dense:
            tokens = ops.concat((embeddings, self.dense_tokens(dense)), 1)  # (B, T * E)
        for layer in self.encoder:
            tokens = layer(tokens, rows)
        experts = leaky(self.experts((tokens,), rows)[0])  # (B, 4 W)
        scenarios = leaky(self.scenario(self.domains(embeddings, rows[DOMAIN], quotas)))  # (D, W)
        mixed = self.attention(experts, scenarios, by_domain)  # (B, W)
        change = combine(self.meta(dispatch(mixed, by_domain), scenarios, by_domain), by_domain)
        return self.head(leaky(change + mixed), layout, context)

    def domains(self, embeddings, domain, quotas):
        """The domains' embeddings c (D, E).  In training from a row of each that has one: a
        gradient of the whole table would be as large as the table."""
        if not self.training:
            return ops.gather(self.embedding.table, self.domain_rows, 0)
        if quotas is not None:
            rows = ops.minimum(bounds_of(quotas)[:-1], domain.shape[0] - 1)
        else:
            rows = ops.argmax(members(domain, self.num_domains), 0)
        begin, end = self.domain_columns
        return ops.gather(embeddings, rows, 0)[:, begin:end]


class DenseTokens(nn.Cell):
    """A token per dense column, its value times a vector and a bias:  (B, C) -> (B, C * E)."""

    def __init__(self, rng, num_dense, embed_dim):
        super().__init__()
        self.weight = kernel(rng, (num_dense, embed_dim), 1)
        self.bias = bias(rng, (num_dense, embed_dim), 1)
        self.own = Tensor(np.eye(num_dense, dtype=np.float32)[:, :, None])

    def construct(self, dense):
        matrix = (self.own * self.weight).reshape(self.weight.shape[0], -1)  # (C, C * E)
        return ops.bias_add(matmul(dense, matrix), self.bias.reshape(-1))


class GeneratedDense(nn.Cell):
    """x A_d + a_d with a matrix and a bias that are leaky(Dense(s_d)), (D, in, out) and (D, out).

    Inputs:  xs tuple of (rows, in), scenarios (D, W), layout by domain; times: the rows of xs per
        row of the layout; constant: None or (1, C), the last columns of every input, which xs then
        lacks.
    Outputs: tuple of (rows, out).
    """

    def __init__(self, rng, scenario_dim, in_dim, out_dim):
        super().__init__()
        self.matrix = PlainDense(rng, scenario_dim, in_dim * out_dim)
        self.shift = PlainDense(rng, scenario_dim, out_dim)
        self.fused = Dense() if kernels.enabled() else None
        self.shape = (-1, in_dim, out_dim)

    def construct(self, xs, scenarios, layout, times=1, constant=None):
        matrix = leaky(self.matrix(scenarios)).reshape(self.shape)
        shift = leaky(self.shift(scenarios))
        if constant is not None:
            known = self.shape[1] - constant.shape[1]
            shift = shift + (matrix[:, known:] * constant.expand_dims(2)).sum(1)
            matrix = matrix[:, :known]
        if fused(self, layout):
            return (self.fused(xs[0], matrix, shift, times * bounds(layout)),)
        return add_rows(tower_product(xs, matrix, layout), shift, layout)


class MetaAttention(nn.Cell):
    """The mixture of a row's experts: (B, 4 W), scenarios (D, W), layout by domain -> (B, W)."""

    def __init__(self, rng, width):
        super().__init__()
        self.task = kernel(rng, (1, width), width, "task")
        self.meta = GeneratedDense(rng, width, 2 * width, 2 * width)
        self.score = Parameter(Tensor(np.ones((2 * width, 1), np.float32)), name="score")
        eye, ones = np.eye(NUM_EXPERTS, dtype=np.float32), np.ones((1, width), np.float32)
        self.repeat = Tensor(np.kron(eye, ones))  # (4, 4 W)
        self.sum = Tensor(
            np.kron(ones[:, :1].repeat(NUM_EXPERTS, 0), np.eye(width, dtype=np.float32))
        )
        self.width = width

    def construct(self, experts, scenarios, layout):
        xs = each_row(dispatch(experts, layout), self.width)
        hidden = self.meta(xs, scenarios, layout, NUM_EXPERTS, self.task)
        hidden = combine(each_row(hidden, NUM_EXPERTS * 2 * self.width), layout)  # (B, 8 W)
        scores = matmul(leaky(hidden).reshape(-1, 2 * self.width), self.score)
        shares = ops.softmax(scores.reshape(-1, NUM_EXPERTS), -1)
        return matmul(experts * matmul(shares, self.repeat), self.sum)


def each_row(xs, width):
    """The towers' numbers in rows of this width: more rows of a domain, or fewer, still side by
    side."""
    return tuple([x.reshape(*x.shape[: x.ndim - 2], -1, width) for x in xs])
