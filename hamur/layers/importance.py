"""The behavioural importance perceptron (Chen et al., WWW 2023): how far a source behaviour of a
user is worth learning from.

    c = [item | category] of the candidate j                                      (2E)
    X_h = [item | category | c] of every position of history h, source or target   (4E)
    m_h = pool over positions of MultiHead_h(X_h)          4 heads, no bias, no residual
    gamma_2 = MLP([m_S | m_T])     importance for this user
    gamma_1 = Linear(c) + b_category     importance of the item for everybody
    g = gamma_1 gamma_2  ("product", official)   or   gamma_1 2 sigmoid(gamma_2)  ("gated")

A pure function of its parameters phi, as bi-level training needs it.  Two algebraic facts keep it
small: X W = h W_above + c W_below, so the candidate is not repeated along the history; and the mean
over positions is taken over the attention weights, before they meet the values.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur import kernels
from hamur.kernels.behaviours import RaggedAttention, behaviour_weights
from hamur.layers.primitives import matmul, softplus

NUM_HEADS = 4
GATE_WIDTHS = (32, 16, 1)
TINY = 1e-30
PRIORS = ("fixed", "learned", "relu")

batch_matmul_tb = ops.BatchMatMul(transpose_b=True)  # a @ b' of every matrix


class Phi(NamedTuple):
    """The tensors of phi in the order in which the functions take them; see ``phi_shapes``."""

    query: Tensor
    key_value: Tensor
    output: Tensor
    gate_weight_0: Tensor
    gate_bias_0: Tensor
    gate_weight_1: Tensor
    gate_bias_1: Tensor
    gate_weight_2: Tensor
    gate_bias_2: Tensor
    item_weight: Tensor
    item_bias: Tensor
    category_bias: Tensor
    prior: Tensor


AT = Phi(*range(len(Phi._fields)))  # the position of each, for compiled code, which takes a tuple
OF_GATE = Phi._fields[:9]  # what gamma_2 is made of
UNDECAYED = ("category_bias", "prior")  # no product with a weight, so no decay


def phi_shapes(embed_dim, num_categories):
    """Shape of every tensor of phi.

    query (2, 4E, 4E), key_value (2, 4E, 8E), output (2, 4E, 4E): source and target attention;
    gate_*: the MLP 8E -> 32 -> 16 -> 1; item_*: Linear(2E -> 1); category_bias (categories + 1,);
    prior (1,).  At E = 10 these are 15,959 numbers without the category bias.
    """
    e = embed_dim
    widths = (8 * e, *GATE_WIDTHS)
    gate = []
    for inputs, outputs in pairwise(widths):
        gate += [(inputs, outputs), (outputs,)]
    return Phi(
        (2, 4 * e, 4 * e), (2, 4 * e, 8 * e), (2, 4 * e, 4 * e), *gate,
        (2 * e, 1), (1,), (num_categories + 1,), (1,),
    )  # fmt: skip


def initial_phi(rng, embed_dim, num_categories, prior=1.0, gate_start="random"):
    """{name: float32 array}: linear maps uniform in +-1/sqrt(fan_in), category bias 0.

    prior: initial value of the parameter ``prior`` (official 1; 0 where it is a softplus).
    gate_start: "random", official; "zero": the last layer of gamma_2 is 0, so that all users'
    gates are the same, 2 sigmoid(0) = 1, until it has learned otherwise.
    """
    shapes = phi_shapes(embed_dim, num_categories)._asdict()
    arrays, fan_in = {}, 1
    for name, shape in shapes.items():
        if len(shape) > 1:  # a bias has the fan-in of the weight before it
            fan_in = shape[-2]
        bound = 1.0 / math.sqrt(fan_in)
        arrays[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    if gate_start == "zero":
        for name in ("gate_weight_2", "gate_bias_2"):
            arrays[name] = np.zeros_like(arrays[name])
    arrays["category_bias"] = np.zeros(shapes["category_bias"], np.float32)
    arrays["prior"] = np.full((1,), prior, np.float32)
    return arrays


def pooled_attention(candidate, history, key_mask, pooling, query, key_value, output):
    """m_S and m_T together.

    candidate (B, 2E); history (2, B, L, 2E) of source and target; key_mask (2, B, L) 1 = attended;
    pooling (2, B, L) weight of each query position in the mean; -> (B, 8E).

    Keys need no part of the candidate: it adds the same to every logit of a row.  Masking divides
    the softmax over all keys by the share of the unmasked ones, which touches no (L, L) matrix.
    """
    _, rows, length, width = history.shape
    dim, batch = width // 2, 2 * rows * NUM_HEADS
    history = history * key_mask.expand_dims(-1)  # what is not attended cannot leak by rounding
    joined = ops.cat((query, key_value), 2)  # (2, 4E, 12E)
    projected = ops.bmm(history.reshape(2, rows * length, width), joined[:, :width])
    heads = projected.reshape(2 * rows, length, 3 * NUM_HEADS, dim).transpose(2, 0, 1, 3)
    q, k, v = ops.split(heads.reshape(3 * batch, length, dim), batch)  # heads first, then rows
    ours = ops.bmm(ops.stack((candidate, candidate)), joined[:, width:])  # (2, B, 12E)
    ours = ours.reshape(2 * rows, 3 * NUM_HEADS, dim).transpose(1, 0, 2)
    candidate_q, _, candidate_v = ops.split(ours.reshape(3 * batch, 1, dim), batch)
    logits = batch_matmul_tb(q + candidate_q, k)
    weights = ops.Softmax(-1)(logits * (1.0 / math.sqrt(dim)))  # (batch, L, L)
    key_mask, pooling = per_head(key_mask), per_head(pooling)  # (batch, 1, L)
    share = batch_matmul_tb(weights, key_mask)  # (batch, L, 1)
    over_queries = pooling / ops.maximum(share.reshape(batch, 1, length), TINY)
    pooled = ops.bmm(over_queries, weights) * key_mask  # (batch, 1, L)
    values = ops.bmm(pooled, v) + pooling.sum(-1, keepdims=True) * candidate_v  # (batch, 1, E)
    values = values.reshape(NUM_HEADS, 2 * rows, dim).transpose(1, 0, 2)
    attended = ops.bmm(values.reshape(2, rows, NUM_HEADS * dim), output)
    return attended.transpose(1, 0, 2).reshape(rows, 2 * NUM_HEADS * dim)


def per_head(mask):
    """(2, B, L) -> (heads * 2B, 1, L)."""
    rows, length = 2 * mask.shape[1], mask.shape[2]
    return ops.tile(mask.reshape(rows, 1, length), (NUM_HEADS, 1, 1))


def gate_logit(attended, phi):
    """gamma_2: MLP of [m_S | m_T] (B, 8E) with ReLU between -> (B,)."""
    x = ops.relu(matmul(attended, phi[AT.gate_weight_0]) + phi[AT.gate_bias_0])
    x = ops.relu(matmul(x, phi[AT.gate_weight_1]) + phi[AT.gate_bias_1])
    return (matmul(x, phi[AT.gate_weight_2]) + phi[AT.gate_bias_2]).reshape(-1)


class Importance(nn.Cell):
    """Weights w (B,) of the source behaviours of a batch, as a function of phi alone.

    ``score`` gives g, ``weights`` makes weights of it:

        "sigmoid"         w_j = prior 2 sigmoid(g_j) e_j m_j / n      within (0, 2 prior / n)
        "softmax_batch"   w = prior softmax over the rows that count (g)

    use_items, use_users: gamma_1 and gamma_2 take part (both off: g = 0); category_bias;
    gated: g = gamma_1 2 sigmoid(gamma_2), else gamma_1 gamma_2; attn_mask: padded keys are masked;
    pool_len: mean over the real positions, else over all; prior: "fixed" 1, "learned"
    softplus(prior) / ln 2, "relu" (official); mass_without_source: rows with e = 0 take part in
    the softmax (official).

    Inputs, phi: the tensors of ``Phi`` in order.
    """

    def __init__(
        self, use_items=True, use_users=True, category_bias=True, gated=True, attn_mask=True,
        pool_len=True, sigmoid=True, prior="fixed", mass_without_source=False,
    ):  # fmt: skip
        super().__init__()
        self.use_items, self.use_users, self.category_bias = use_items, use_users, category_bias
        self.gated, self.attn_mask, self.pool_len = gated, attn_mask, pool_len
        self.sigmoid, self.prior = sigmoid, prior
        self.mass_without_source = mass_without_source

    def score(self, phi, item_candidate, candidate, category, history, real):
        """g (B,).

        candidate (B, 2E), item_candidate the same but perhaps not detached; category (B,) int32;
        history (2, B, L, 2E); real (2, B, L) float32, 1 = a position of the history.
        """
        attended = None
        if self.use_users:
            length = real.shape[2]
            keys = real if self.attn_mask else ops.ones_like(real)
            count = ops.maximum(real.sum(-1, keepdims=True), 1.0) if self.pool_len else length
            attention = phi[AT.query], phi[AT.key_value], phi[AT.output]
            attended = pooled_attention(candidate, history, keys, real / count, *attention)
        return self.product(phi, item_candidate, category, attended)

    def product(self, phi, item_candidate, category, attended):
        """g (B,) of [m_S | m_T] (B, 8E), which is not read without use_users."""
        if not self.use_items:
            return ops.zeros_like(item_candidate[:, 0])
        g = matmul(item_candidate, phi[AT.item_weight]).reshape(-1) + phi[AT.item_bias]
        if self.category_bias:
            g = g + ops.gather(phi[AT.category_bias], category, 0)
        if self.use_users:
            gate = gate_logit(attended, phi)
            g = g * (2.0 * ops.sigmoid(gate) if self.gated else gate)
        return g

    def kernels(self):
        """(kernel for [m_S | m_T], kernel for all), None where there is none for this form."""
        form = self.use_items and self.use_users and self.attn_mask and self.pool_len
        if not (form and kernels.enabled()):
            return None, None
        return RaggedAttention(), behaviour_weights() if self.sigmoid else None

    def form(self, prior_weight):
        """(4,) float32: what `behaviour_weights` reads besides phi."""
        values = (self.gated, self.category_bias, PRIORS.index(self.prior), prior_weight)
        return Tensor(values, ms.float32)

    def weights(self, phi, g, effect, mask):
        """w (B,) of scores g; effect e and mask m (B,) float32, m already divided by n."""
        if self.prior == "fixed":
            prior = 1.0
        elif self.prior == "learned":
            prior = softplus(phi[AT.prior]) * (1.0 / math.log(2.0))
        else:
            prior = ops.relu(phi[AT.prior])
        if self.sigmoid:
            return prior * (2.0 * ops.sigmoid(g) * (effect * mask))
        takes_part = mask if self.mass_without_source else mask * effect
        takes_part = (takes_part > 0).astype(ms.float32)
        # Any shift cancels, so the maximum needs no gradient.
        shifted = ops.exp(g - ops.stop_gradient(g).max()) * takes_part
        return prior * shifted / ops.maximum(shifted.sum(), TINY)
