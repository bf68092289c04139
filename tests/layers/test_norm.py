"""DomainBatchNorm: numbers checked by hand, every rule against the oracle and between layouts."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers import DomainBatchNorm
from hamur.layers.routing import KIND, combine, dispatch
from tests.support.networks import layout_of
from tests.support.oracle import NormRule, norm_statistics

COLUMN = np.array([[1.0], [2.0], [6.0]], np.float32)  # mean 3, variance 14/3 biased, 7 unbiased


def run(norm, x, layout, training=True):
    norm.set_train(training)
    return combine(norm(dispatch(Tensor(x), layout), layout), layout).asnumpy()


def statistics(norm):
    return norm.mean.asnumpy().copy(), norm.variance.asnumpy().copy()


def test_enough_rows_use_the_batch():
    norm = DomainBatchNorm(1, min_rows=3)
    out = run(norm, COLUMN, layout_of([0, 0, 0]))
    np.testing.assert_allclose(out[:, 0], [-0.925819, -0.462909, 1.388728], atol=2e-6)
    np.testing.assert_allclose(norm.mean.asnumpy(), [[0.3]], rtol=1e-6)
    np.testing.assert_allclose(norm.variance.asnumpy(), [[0.9 + 0.7]], rtol=1e-6)


def test_too_few_rows_use_the_running_statistics_as_they_stood():
    norm = DomainBatchNorm(1, min_rows=4)
    out = run(norm, COLUMN, layout_of([0, 0, 0]))
    np.testing.assert_allclose(out, COLUMN / np.sqrt(1.00001), rtol=1e-6)
    np.testing.assert_allclose(norm.mean.asnumpy(), [[0.3]], rtol=1e-6)
    expected = 0.9 + 0.1 * 14 / 3 + 0.09 * 9
    np.testing.assert_allclose(norm.variance.asnumpy(), [[expected]], rtol=1e-6)


def test_unbiased_variance_normalises_with_seven():
    out = run(DomainBatchNorm(1, variance="unbiased"), COLUMN, layout_of([0, 0, 0]))
    np.testing.assert_allclose(out[:, 0], [-0.755928, -0.377964, 1.133893], atol=2e-6)


@pytest.mark.parametrize("quotas", [None, (2, 1)])
def test_domains_are_apart_and_pooled_statistics_are_not(quotas):
    layout = layout_of([0, 0, 1], quotas=quotas, num_domains=2)
    apart = run(DomainBatchNorm(1, 2, min_rows=0), COLUMN, layout)
    np.testing.assert_allclose(apart[:, 0], [-0.99998, 0.99998, 0.0], atol=1e-6)
    pooled = run(DomainBatchNorm(1, 2, group="pooled"), COLUMN, layout)
    np.testing.assert_allclose(pooled[:, 0], [-0.925819, -0.462909, 1.388728], atol=2e-6)


def test_three_repeats_move_the_running_statistics_by_0_271():
    norm = DomainBatchNorm(1, repeat=3)
    run(norm, COLUMN, layout_of([0, 0, 0]))
    np.testing.assert_allclose(norm.mean.asnumpy(), [[0.271 * 3]], rtol=1e-6)
    np.testing.assert_allclose(norm.variance.asnumpy(), [[0.729 + 0.271 * 7]], rtol=1e-6)


def test_one_row_is_finite_and_moves_the_statistics():
    norm = DomainBatchNorm(1, min_rows=8)
    out = run(norm, COLUMN[2:], layout_of([0]))
    np.testing.assert_allclose(out, [[6 / np.sqrt(1.00001)]], rtol=1e-6)
    np.testing.assert_allclose(norm.mean.asnumpy(), [[0.6]], rtol=1e-6)
    np.testing.assert_allclose(norm.variance.asnumpy(), [[0.9 + 0.09 * 36]], rtol=1e-6)


def test_a_domain_without_real_rows_keeps_its_statistics():
    norm = DomainBatchNorm(1, 2, min_rows=2)
    layout = layout_of([0, 0, 1], weight=[1, 1, 0], quotas=(2, 1), num_domains=2)
    out = run(norm, COLUMN, layout)
    assert np.isfinite(out).all()
    assert (norm.mean.asnumpy()[1], norm.variance.asnumpy()[1]) == (0.0, 1.0)


def test_evaluation_never_updates():
    norm = DomainBatchNorm(1)
    before = statistics(norm)
    out = run(norm, COLUMN, layout_of([0, 0, 0]), training=False)
    np.testing.assert_allclose(out, COLUMN / np.sqrt(1.00001), rtol=1e-6)
    np.testing.assert_array_equal(before, statistics(norm))


def random_norm(width, seed=0, **rule):
    random = np.random.default_rng(seed)
    norm = DomainBatchNorm(width, **rule)
    for parameter in (norm.gamma, norm.beta, norm.mean, norm.variance):
        values = random.uniform(0.5, 1.5, parameter.shape)
        parameter.set_data(Tensor(values.astype(np.float32)))
    return norm


RULES = {
    "own rows": {},
    "pooled": {"group": "pooled"},
    "unbiased": {"variance": "unbiased"},
    "few rows": {"min_rows": 6},
    "batch at inference": {"inference": "batch"},
    "centred": {"centred": True},
    "repeated": {"repeat": 3},
}
DOMAIN = np.repeat([0, 1, 2], (7, 2, 5)).astype(np.int32)
WEIGHT = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1], np.float32)


def oracle_of(norm, x, rule, training):
    """(out, mean, variance) of three domains from the oracle, each domain apart or all pooled."""
    gamma, beta, mean, variance = (
        p.asnumpy().astype(np.float64) for p in (norm.gamma, norm.beta, norm.mean, norm.variance)
    )
    known = {"min_rows", "variance", "inference", "repeat"}
    norm_rule = NormRule(**({"min_rows": 2} | {k: v for k, v in rule.items() if k in known}))
    out, means, variances = np.zeros_like(x), [], []
    for d in range(3):
        group = DOMAIN >= 0 if rule.get("group") == "pooled" else d == DOMAIN
        rows = x[group & (WEIGHT > 0)]
        now = norm_statistics(
            rows, mean[d % len(mean)], variance[d % len(mean)], norm_rule, training
        )
        mine = d == DOMAIN
        out[mine] = gamma[d] * (x[mine] - now[0]) / np.sqrt(now[1] + 1e-5) + beta[d]
        means.append(now[2])
        variances.append(now[3])
    return out, np.array(means)[: len(mean)], np.array(variances)[: len(mean)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_equals_the_oracle(name, training):
    x = np.random.default_rng(3).normal(1.0, 2.0, (len(DOMAIN), 4)).astype(np.float32)
    for quotas in ((7, 2, 5), None):
        norm = random_norm(4, num_towers=3, **RULES[name])
        expected = oracle_of(norm, x.astype(np.float64), RULES[name], training)
        layout = layout_of(DOMAIN, WEIGHT, quotas, num_domains=3)
        out = run(norm, x, layout, training)
        np.testing.assert_allclose(out, expected[0], atol=1e-5)
        np.testing.assert_allclose(norm.mean.asnumpy(), expected[1], atol=1e-5)
        np.testing.assert_allclose(norm.variance.asnumpy(), expected[2], atol=1e-5)


def test_a_preceding_bias_matters_only_where_running_statistics_are_used():
    """The bias of the product in front is given to the norm instead of being added."""
    x = np.random.default_rng(3).normal(1.0, 2.0, (5, 4)).astype(np.float32)
    bias = np.array([[0.5, -1.0, 2.0, 0.0]], np.float32)
    layout = layout_of([0] * 5)
    for training, min_rows in ((True, 2), (True, 9), (False, 2)):
        added, given = (random_norm(4, min_rows=min_rows) for _ in range(2))
        expected = run(added, x + bias, layout, training)
        given.set_train(training)
        out = given((Tensor(x),), layout, Tensor(bias))[0].asnumpy()
        np.testing.assert_allclose(out, expected, atol=1e-5)
        np.testing.assert_allclose(statistics(given), statistics(added), atol=1e-6)


def test_large_means_do_not_cost_the_variance_its_digits():
    """Cells of ones give outputs with means far above their spread; two passes keep the digits."""
    x = (np.random.default_rng(4).normal(0.0, 1.0, (50, 2)) + 2000.0).astype(np.float32)
    out = run(DomainBatchNorm(2, centred=True), x, layout_of([0] * 50))
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    np.testing.assert_allclose(out, exact, atol=1e-3)


def test_statistics_of_the_own_rows_serve_all_rows_a_tower_sees():
    norm = DomainBatchNorm(1, 2, own_rows=True, min_rows=0)
    layout = layout_of([0, 0, 1, 1], num_domains=2, tower_rows="all")
    x = Tensor(np.array([[1.0], [3.0], [10.0], [30.0]], np.float32))
    norm.set_train()
    first, second = (out.asnumpy()[:, 0] for out in norm((x, x), layout))
    np.testing.assert_allclose(first, [-1, 1, 8, 28], rtol=1e-4)
    np.testing.assert_allclose(second, [-1.9, -1.7, -1, 1], rtol=1e-4)


def test_gradient_passes_through_batch_statistics_and_not_through_running_ones():
    def total(x, norm):
        return (norm((x,), layout)[0] * Tensor([[1.0], [0.0], [0.0]])).sum()

    layout = layout_of([0, 0, 0])
    for min_rows, expected in ((2, None), (8, [1 / np.sqrt(1.00001), 0.0, 0.0])):
        norm = DomainBatchNorm(1, min_rows=min_rows)
        norm.set_train()

        def first_row(x, norm=norm):
            return total(x, norm)

        gradient = ms.grad(first_row)(Tensor(COLUMN)).asnumpy()[:, 0]
        if expected is None:  # centred and uncorrelated with the normalised column
            assert abs(gradient.sum()) < 1e-6
            assert abs(gradient @ COLUMN[:, 0]) < 1e-4
            assert np.abs(gradient).min() > 0
        else:
            np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_grouped_chunks_equal_slices():
    """Ten domains take the batched form; its statistics and outputs are those of the domains."""
    quotas = (9, 1, 4, 7, 2, 30, 3, 3, 5, 6)
    domain = np.repeat(np.arange(10), quotas).astype(np.int32)
    x = np.random.default_rng(5).normal(1.0, 2.0, (len(domain), 3)).astype(np.float32)
    weight = (np.random.default_rng(6).random(len(domain)) < 0.8).astype(np.float32)
    results = []
    for chosen in (quotas, None):
        norm = random_norm(3, num_towers=10, min_rows=3)
        layout = layout_of(domain, weight, chosen, num_domains=10)
        assert layout[KIND] == ("grouped" if chosen else "masked")
        results.append((run(norm, x, layout), *statistics(norm)))
    for grouped, masked in zip(*results, strict=True):
        np.testing.assert_allclose(grouped, masked, atol=1e-5)
