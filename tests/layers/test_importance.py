"""The importance perceptron against a restatement that walks row by row and head by head."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers.importance import Importance, initial_phi, phi_shapes
from tests.support import cross_domain_oracle as oracle

E, B, L, CATEGORIES = 4, 5, 50, 3
LENGTHS = np.array([[0, 1, 50, 3, 6], [2, 0, 50, 1, 37]])


def t(array):
    return Tensor(np.asarray(array, np.float32))


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    phi = initial_phi(rng, E, CATEGORIES)
    phi = {name: value * 2 for name, value in phi.items()}
    phi["category_bias"] = rng.standard_normal(CATEGORIES + 1).astype(np.float32)
    return dict(
        phi=phi,
        candidate=rng.standard_normal((B, 2 * E)),
        category=np.array([1, 3, 0, 2, 1], np.int32),
        history=rng.standard_normal((2, B, L, 2 * E)),
        lengths=LENGTHS,
    )


def score(importance, inputs, **changes):
    inputs = {**inputs, **changes}
    real = (np.arange(L) < inputs["lengths"][..., None]).astype(np.float32)
    phi = [t(value) for value in inputs["phi"].values()]
    candidate = t(inputs["candidate"])
    arguments = (candidate, candidate, Tensor(inputs["category"]), t(inputs["history"]), t(real))
    return importance.score(phi, *arguments).asnumpy()


PUBLISHED = dict(gated=False, category_bias=False, attn_mask=False, pool_len=False)


@pytest.mark.parametrize("published", [True, False])
def test_scores_equal_the_restatement(inputs, published):
    found = score(Importance(**PUBLISHED) if published else Importance(), inputs)
    np.testing.assert_allclose(
        found, oracle.perceptron_scores(**inputs, published=published), rtol=1e-5, atol=1e-5
    )


def test_phi_has_15959_parameters_at_the_published_width():
    arrays = initial_phi(np.random.default_rng(0), 10, 12)
    assert {name: a.shape for name, a in arrays.items()} == phi_shapes(10, 12)._asdict()
    assert sum(a.size for a in arrays.values()) - arrays["category_bias"].size == 15_959


def test_a_gate_that_starts_at_zero_scores_as_the_items_alone(inputs):
    zero = initial_phi(np.random.default_rng(0), E, CATEGORIES, gate_start="zero")
    random = initial_phi(np.random.default_rng(0), E, CATEGORIES)
    assert [name for name in zero if (zero[name] != random[name]).any()] == [
        "gate_weight_2",
        "gate_bias_2",
    ]
    alone, gated = (
        score(Importance(use_users=users), inputs | {"phi": zero}) for users in (False, True)
    )
    np.testing.assert_array_equal(alone, gated)
    assert (alone != score(Importance(), inputs | {"phi": random})).any()


def test_padding_changes_nothing_and_an_empty_history_is_finite(inputs):
    importance = Importance()
    padded = np.arange(L) >= inputs["lengths"][..., None]
    other = np.where(padded[..., None], 9.0, inputs["history"])
    np.testing.assert_array_equal(
        score(importance, inputs), score(importance, inputs, history=other)
    )
    empty = np.zeros_like(LENGTHS)
    assert np.isfinite(score(importance, inputs, lengths=empty)).all()


def test_a_weight_does_not_depend_on_the_other_rows(inputs):
    importance = Importance()
    candidate = inputs["candidate"].copy()
    candidate[1:] = 3.0
    g = score(importance, inputs), score(importance, inputs, candidate=candidate)
    assert abs(g[0][0] - g[1][0]) <= 1e-7 and (np.abs(g[0][1:] - g[1][1:]) > 1e-3).all()
    effect, share = np.array([1, 0, 1, 1, 1.0]), np.full(B, 1 / B)
    w, other = (
        importance.weights([None] * 13, t(each), t(effect), t(share)).asnumpy() for each in g
    )
    assert abs(w[0] - other[0]) <= 1e-7
    np.testing.assert_allclose(w, oracle.corrected_weights(g[0], effect, np.ones(B)), rtol=1e-5)
    assert w[1] == 0 and (w <= 2 / B).all()


def test_score_zero_weighs_exactly_as_uniform():
    share, effect = np.full(B, np.float32(1 / B)), np.ones(B, np.float32)
    w = Importance().weights([None] * 13, t(np.zeros(B)), t(effect), t(share)).asnumpy()
    np.testing.assert_array_equal(w, effect * share)


@pytest.mark.parametrize("mass", [True, False])
def test_softmax_weights_sum_to_the_prior(mass):
    g, effect = np.array([0.3, -2.0, 1.0, 0.0, 100.0]), np.array([1, 0, 1, 1, 1])
    importance = Importance(sigmoid=False, prior="relu", mass_without_source=mass)
    phi = [None] * 12 + [t([1.5])]
    w = importance.weights(phi, t(g), t(effect), t(np.full(B, 1 / B))).asnumpy()
    assert w.sum() == pytest.approx(1.5, rel=1e-6)
    assert (w[1] > 0) == (mass and g.max() - g[1] < 80)
    expected = oracle.published_weights(g if mass else np.where(effect > 0, g, -1e9), 1.5)
    np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-12)


def test_a_learned_prior_is_a_softplus():
    importance, value = Importance(prior="learned", use_items=False), np.log1p(np.exp(0.7))
    phi = [None] * 12 + [t([0.7])]
    w = importance.weights(phi, t(np.zeros(B)), t(np.ones(B)), t(np.full(B, 1 / B))).asnumpy()
    np.testing.assert_allclose(w, value / np.log(2) / B, rtol=1e-6)


def test_compiled_scores_equal_uncompiled_ones(inputs):
    importance = Importance()
    real = (np.arange(L) < LENGTHS[..., None]).astype(np.float32)
    phi = [t(value) for value in inputs["phi"].values()]

    class Compiled(ms.nn.Cell):
        def construct(self, candidate, category, history, real, *phi):
            return importance.score(phi, candidate, candidate, category, history, real)

    found = Compiled()(
        t(inputs["candidate"]), Tensor(inputs["category"]), t(inputs["history"]), t(real), *phi
    ).asnumpy()
    np.testing.assert_allclose(found, score(importance, inputs), rtol=1e-5, atol=1e-6)
