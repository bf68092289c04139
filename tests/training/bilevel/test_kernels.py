"""The compiled kernels of BIAO against the plain forms, which other tests hold to restatements."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from hamur import kernels
from hamur.data.cross_domain.collate import stream
from hamur.kernels.behaviours import RaggedAttention, conet_gradient
from hamur.layers.importance import AT, initial_phi, pooled_attention
from hamur.layers.primitives import cross_entropies
from hamur.models.conet import conet_logits, embed
from hamur.training.bilevel.graphs import BehaviourPerceptron, Features
from tests.support.pairs import Levels, random_pair, random_phi

pytestmark = pytest.mark.skipif(not kernels.enabled(), reason="the kernels cannot be built here")
LONGEST = 37


def attention_inputs(rows, dim, rng):
    """Histories of 0 to LONGEST positions, the same as spans and padded."""
    table = rng.standard_normal((50, dim))
    positions = rng.integers(0, 50, (200, 2)).astype(np.int32)
    lengths = rng.integers(0, LONGEST + 1, (2, rows))
    lengths[:, :4] = [[0, 1, 16, LONGEST], [17, 0, LONGEST, 1]]
    begin = rng.integers(0, 200 - LONGEST, (2, rows))
    spans = np.stack((begin, lengths), -1).astype(np.int32)
    real = np.arange(LONGEST) < lengths[..., None]
    padded = positions[begin[..., None] + np.arange(LONGEST)]
    pooling = real / np.maximum(lengths, 1)[..., None]
    weights = [t(value) for value in list(initial_phi(rng, dim, 3).values())[:3]]
    candidate = t(rng.standard_normal((rows, 2 * dim)))
    ragged = (t(table), Tensor(positions), Tensor(spans), candidate, *weights)
    return ragged, (t(table), Tensor(padded), t(real), t(pooling), candidate, *weights)


def t(array):
    return Tensor(np.asarray(array, np.float32))


class Ragged(nn.Cell):
    def __init__(self):
        super().__init__()
        self.attention = RaggedAttention()

    def construct(self, by, *inputs):
        m = self.attention(*inputs)
        return (m * by).sum(), m


class Padded(nn.Cell):
    def construct(self, by, table, history, real, pooling, candidate, *weights):
        embedded = ops.gather(table, history, 0).reshape(*real.shape, -1)
        m = pooled_attention(candidate, embedded, real, pooling, *weights)
        return (m * by).sum(), m


class Gradients(nn.Cell):
    def __init__(self, form, positions):
        super().__init__()
        self.gradients = ops.value_and_grad(form, positions, has_aux=True)

    def construct(self, *arguments):
        return self.gradients(*arguments)


@pytest.mark.parametrize("rows, dim", [(5, 4), (130, 10), (6, 20)])
def test_ragged_attention_and_its_gradient_are_those_of_padded_histories(rows, dim):
    rng = np.random.default_rng(rows)
    ragged, padded = attention_inputs(rows, dim, rng)
    by = t(rng.standard_normal((rows, 8 * dim)))
    (_, m), found = Gradients(Ragged(), (5, 6, 7))(by, *ragged)
    (_, expected_m), expected = Gradients(Padded(), (6, 7, 8))(by, *padded)
    assert not m.asnumpy()[0, : 4 * dim].any() and m.asnumpy()[0, 4 * dim :].any()
    for one, other in zip((m, *found), (expected_m, *expected)):
        one, other = one.asnumpy(), other.asnumpy()
        assert np.abs(other).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(other).max())


@pytest.mark.parametrize(
    "changes",
    [
        dict(embed_dim=10),
        dict(combine="product", category_bias=False, prior_mode="learned", prior_weight=0.5),
        dict(prior_mode="relu", pad_row="random"),
    ],
)
def test_fused_weights_are_the_plain_ones(changes):
    levels = Levels(random_pair(2, users=24), s_hislen=20, **changes)
    random_phi(levels.model)
    levels.phi[AT.prior].set_data(Tensor(np.array([0.7], np.float32)))
    fused = levels.upper.perceptron
    plain = BehaviourPerceptron(levels.model, fused.prior_weight, attached=True)
    assert fused.fused is not None and plain.fused is None and plain.ragged is None
    rows = levels.rows
    batch = rows.collate(rows.train, rows.draw(rows.train, stream(1)), len(rows.train) + 3)
    expected = plain(*plain.columns(batch))
    assert np.ptp(expected[1].asnumpy()[0]) > 0.001
    for one, other in zip(fused(*fused.columns(batch)), expected, strict=True):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [dict(), dict(act="relu", pad_row="random")])
def test_fused_features_are_the_plain_ones(changes):
    levels = Levels(random_pair(2, users=24), model_name="conet", **changes)
    rows, model = levels.rows, levels.model
    batch = rows.collate(rows.train, rows.draw(rows.train, stream(1)))
    assert len(rows.train) % 64
    ids, mask = Tensor(batch.ids), t(batch.id_mask)
    fused = Features(model)
    found = fused(ids, mask).asnumpy()
    plain = Features(model)
    plain.fused = None
    expected = plain(ids, mask).asnumpy()
    assert fused.fused is not None and np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class Loss(nn.Cell):
    """With a copy of the embeddings for every row, so that their gradients stay apart."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def construct(self, copies, mask, labels, weights, head_weight, head_bias, *cross):
        ids = ops.arange(copies.shape[0]).astype(ms.int32).reshape(mask.shape[:3])
        x = embed(copies, ids, mask, True)
        losses = cross_entropies(conet_logits(x, cross, head_weight, head_bias, self.slope), labels)
        losses = losses * weights
        return losses.sum(), losses[1].sum()


class Fused(nn.Cell):
    def __init__(self, layers):
        super().__init__()
        self.gradient = conet_gradient(layers)

    def construct(self, *inputs):
        return self.gradient(*inputs)


@pytest.mark.parametrize("rows, dim, hidden", [(7, 4, (9, 5)), (131, 10, (64, 32, 16, 8))])
@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_the_fused_loss_of_conet_and_its_gradient_are_the_derived_ones(rows, dim, hidden, slope):
    rng = np.random.default_rng(rows)
    table = rng.standard_normal((40, dim)).astype(np.float32)
    ids = rng.integers(0, 40, (2, rows, 3)).astype(np.int32)
    mask, labels = rng.integers(0, 2, (2, rows, 3, 1)), rng.integers(0, 2, (2, rows))
    columns = [t(mask), t(labels), t(rng.random((2, rows)) / rows)]
    head = [t(rng.standard_normal(shape)) for shape in ((2, hidden[-1], 1), (2, 1, 1))]
    cross, before = [], 3 * dim
    for width in hidden:
        cross += [t(rng.standard_normal((2, before, width)) / before**0.5)]
        cross += [t(rng.standard_normal((before, width)) / before**0.5)]
        before = width
    found = Fused(len(hidden))(t(table), Tensor(ids), *columns, t([slope]), *head, *cross)
    positions = (0, *range(4, 6 + len(cross)))
    copies = t(table[ids.reshape(-1)])
    (whole, target), expected = Gradients(Loss(slope), positions)(copies, *columns, *head, *cross)
    assert whole.asnumpy() > target.asnumpy() > 0.1
    for one, other in zip(found, (whole, target, *expected), strict=True):
        one, other = one.asnumpy(), other.asnumpy()
        limit = 2e-6 * np.abs(other).max()
        np.testing.assert_allclose(one.reshape(other.shape), other, rtol=1e-5, atol=limit)
