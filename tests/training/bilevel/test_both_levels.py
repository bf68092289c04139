"""Both levels together: what must be equal bit for bit, and the published order of operations."""

import numpy as np
import pytest
from mindspore import Tensor

from hamur.training.bilevel import estimators
from hamur.training.bilevel.head import head_rate
from hamur.training.bilevel.rows import stream
from hamur.training.bilevel.session import CollapseError, CrossDomainSession
from hamur.training.checkpoint import snapshot
from tests.training.bilevel.pairs import options, random_pair
from tests.training.bilevel.published_steps import Published


@pytest.fixture(scope="module")
def pair():
    return random_pair(2, users=24)


def session_of(pair, **changes):
    return CrossDomainSession(pair, options(**changes), say=str)


def weights_after(session, steps=12):
    rate, done = Tensor(np.float32(session.config.lr)), 0
    for epoch in range(99):
        size = session.config.t_batchsize
        for batch in session.rows.lower_batches(epoch, size, session.config.learns):
            loss = session.lower_step(rate, batch)
            session.result.lower_steps += 1
            if session.upper and session.result.lower_steps % session.config.interval == 0:
                session.upper_update(epoch, float(loss.asnumpy()[1]))
            done += 1
            if done == steps:
                return {p.name: p.asnumpy().copy() for p in session.model.trainable_params()}


def test_frozen_uniform_weights_are_plain_conet_bit_for_bit(pair):
    plain = weights_after(session_of(pair, model_name="conet"), steps=40)
    frozen = session_of(pair, hplr=0.0, interval=13)
    frozen.perceptron.set_uniform()
    for name, value in weights_after(frozen, steps=40).items():
        np.testing.assert_array_equal(value, plain[name], err_msg=name)
    assert frozen.upper.updates == 3 and frozen.rows.steps(8) < 40  # short last batches as well


def test_the_learned_common_factor_leaves_its_start(pair):
    """It starts where the usual way to write a softplus has no gradient."""
    session = session_of(pair, arm="scalar")
    weights_after(session, steps=6)
    assert session.upper.updates == 2
    assert abs(session.upper.prior() - 1.0) > 1e-4


@pytest.mark.slow
def test_300_steps_of_64_rows_with_frozen_uniform_weights_are_plain_conet():
    """Three upper updates, and short last batches; the interval of an arm that learns nothing
    changes nothing.  P keeps w in the differentiated graph."""
    pair = random_pair(2, users=150)
    for preset in ("corrected", "published"):
        found = []
        for arm, interval in (("uniform", 10), ("uniform", 100), ("perceptron", 100)):
            model = "conet" if arm == "uniform" else "conet_biao"
            session = session_of(
                pair, preset=preset, model_name=model, interval=interval, hplr=0.0, t_batchsize=64,
                meta_batchsize=64, upper_batchsize=64,
            )  # fmt: skip
            if session.perceptron:
                session.perceptron.set_uniform()
            found.append(weights_after(session, steps=300))
        assert session.upper.updates == 3
        assert len(session.rows.train) % 64 and session.rows.steps(64) < 10
        for name, value in found[0].items():
            np.testing.assert_array_equal(value, found[1][name], err_msg=name)
            if preset == "corrected":
                np.testing.assert_array_equal(value, found[2][name], err_msg=name)
            else:
                np.testing.assert_allclose(found[2][name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("model", ["conet", pytest.param("conet_biao", marks=pytest.mark.slow)])
def test_several_steps_in_one_call_are_the_same_steps(pair, model):
    """An upper update after every third: a pair and a single step between, or one by one.  Plain
    CoNet has no upper level, so that its interval changes nothing either."""
    found = []
    for steps_per_call, interval in ((1, 3), (2, 3 if model == "conet_biao" else 100)):
        session = session_of(
            pair, model_name=model, steps_per_call=steps_per_call, interval=interval
        )  # fmt: skip
        losses = session.lower_epoch(0)
        updates = session.upper.updates if session.upper else None
        found.append((losses, updates, snapshot(session.model)))
    assert found[0][:2] == found[1][:2] and found[0][1] != 0
    for name, value in found[0][2].items():
        np.testing.assert_array_equal(value, found[1][2][name], err_msg=name)


@pytest.fixture(scope="module")
def published(pair):
    """(session, restatement, what the upper level saw) after three lower steps and an upper one."""
    session = session_of(
        pair, preset="published", embed_dim=4, meta_batchsize=6, descent_step=4, upper_batchsize=5
    )
    restated = Published(session)
    rate = Tensor(np.float32(session.config.lr))
    for step, batch in enumerate(session.rows.lower_batches(0, 8, True)):
        if step == 3:
            break
        session.lower_step(rate, batch)
        restated.lower(batch)
    seen = {"theta": snapshot(session.model)}
    upper, original = session.upper, estimators.hypergradient

    def spy(problem, *arguments, **options):
        seen["problem"], seen["result"] = problem, original(problem, *arguments, **options)
        return seen["result"]

    def features_of(rows, source_row):
        seen["head_rows"] = session.rows.assemble(rows, source_row, histories=False)
        return type(upper).features_of(upper, rows, source_row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimators, "hypergradient", spy)
        patch.setattr(upper, "features_of", features_of)
        seen["row"] = upper.update(0.5)
    return session, restated, seen


def test_published_lower_steps_equal_the_restatement(published):
    _, restated, seen = published
    for name, value in restated.theta.items():
        np.testing.assert_allclose(seen["theta"][name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_published_upper_step_equals_the_restatement(published):
    session, restated, seen = published
    config, rows = session.config, session.rows
    problem, result = seen["problem"], seen["result"]
    head_rows = seen["head_rows"].target_row
    np.testing.assert_array_equal(head_rows, np.arange(4 * 6))  # always the first rows, in order
    np.testing.assert_array_equal(problem.dev.ids[1, :, 0], rows.train.sparse[:6, 0])
    restated.fit_head(seen["head_rows"], 6, 4, config.lr)  # the first fit: the whole step size
    np.testing.assert_allclose(session.upper.head, restated.head, rtol=1e-4, atol=1e-5)
    p = restated.neumann(problem.dev, problem.lower, 3)
    names = [name for name in p if name != "table"]
    padded = np.zeros((problem.places, 4))
    padded[: len(problem.unique)] = p["table"][problem.unique]
    flat = np.concatenate([padded.ravel(), *(p[name].ravel() for name in names)])
    assert np.linalg.norm(result.p - flat) <= 1e-4 * np.linalg.norm(flat)
    rng = np.random.default_rng(0)
    entries = [("prior", (0,)), ("item_bias", (0,))]
    for name in ("query", "key_value", "output", "gate_weight_0", "gate_bias_1", "item_weight"):
        shape = restated.phi[name].shape
        entries += [(name, tuple(rng.integers(0, size) for size in shape)) for _ in range(5)]
    expected = restated.phi_gradient(p, problem.lower, entries)
    found = np.array([result.gradient[f"phi.{name}"][index] for name, index in entries])
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)
    assert np.count_nonzero(np.abs(found) > 1e-9) >= 5
    factor = min(1.0, 10.0 / (seen["row"]["norm_gradient"] + 1e-6))
    assert seen["row"]["clip"] == pytest.approx(factor)
    after = {each.name: each.asnumpy() for each in session.perceptron.phi}
    for (name, index), gradient in zip(entries, expected):
        before = restated.phi[name][index]
        moved = before - config.hplr * (factor * gradient + 2.0 * before)
        assert after[f"phi.{name}"][index] == pytest.approx(moved, rel=1e-4, abs=1e-6)


def test_published_decay_reaches_the_prior_and_ours_does_not(pair):
    for preset, expected in (("published", 0.98**100), ("corrected", 0.0)):
        upper = session_of(pair, preset=preset, aux_decay=2.0).upper
        nothing = {each.name: np.zeros(each.shape, np.float32) for each in upper.perceptron.phi}
        first = upper.perceptron.phi[0].asnumpy().copy()
        for _ in range(100):
            upper.move(nothing)
        assert float(upper.perceptron.phi[-1].asnumpy()[0]) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(upper.perceptron.phi[0].asnumpy(), first * 0.98**100, rtol=1e-4)


def test_the_published_step_of_the_head_falls_along_a_cosine():
    assert [head_rate(0.01, k) for k in (0, 500, 1000)] == pytest.approx([0.01, 0.005, 0.0])
    assert head_rate(0.01, 1) == pytest.approx(0.005 * (1 + np.cos(np.pi / 1000)))


def test_the_annealed_arm_follows_the_published_decay_alone(pair):
    session = session_of(pair, arm="annealed", model_name="conet", interval=3)
    batch = next(session.rows.lower_batches(0, 8, False))
    session.result.lower_steps = 7
    share = batch.effect * batch.share
    np.testing.assert_allclose(session.fixed_weights(batch)[0], share * 0.98**2, rtol=1e-6)


def test_development_rows_rotate_through_the_whole_set(pair):
    upper = session_of(pair, meta_batchsize=2, upper_batchsize=2, head_rows=3).upper
    seen = set()
    size = len(upper.dev_order)
    for _ in range(20):
        chosen = upper.cyclic(upper.dev_order, 3)
        assert len(set(chosen)) == min(3, size)
        seen |= set(chosen)
        upper.updates += 1
    assert seen == set(range(size)) and size <= 19 * 2 + 3
    users = upper.dev_table.sparse[upper.cyclic(upper.dev_order, 2), 0]
    batch = upper.lower_batch(upper.dev_table.take(upper.cyclic(upper.dev_order, 2)), stream(0))
    np.testing.assert_array_equal(batch.ids[1, :, 0], users)  # aligned, user by user


def test_a_constant_model_is_noticed(pair):
    session = session_of(pair, model_name="conet_s")
    session.result.epochs = 1
    session.guard(0.693, 0.5, 0.2)
    assert session.result.collapsed
    session.guard(0.5, 0.7, 0.2)
    assert not session.result.collapsed
    session = session_of(pair, model_name="conet_s", on_collapse="error")
    with pytest.raises(CollapseError, match="constant"):
        session.guard(0.5, 0.7, 1e-5)
    session = session_of(pair, model_name="conet_s", on_collapse="restart")
    before = session.model.table.asnumpy().copy()
    session.guard(0.693, 0.5, 0.0)
    assert session.result.restarts == 1 and (session.model.table.asnumpy() != before).any()


def test_the_oracle_arm_needs_the_truth(pair):
    with pytest.raises(ValueError, match="--truth"):
        session_of(pair, arm="oracle", model_name="conet")
    harmful = np.arange(len(pair.source)) % 2 == 0
    config = options(arm="oracle", model_name="conet")
    session = CrossDomainSession(pair, config, harmful, say=str)
    batch = next(session.rows.lower_batches(0, 8, False))
    weights = session.fixed_weights(batch)[0]
    assert not weights[harmful[batch.source_row] & (batch.effect > 0)].any()
    np.testing.assert_array_equal(
        weights > 0, ~harmful[batch.source_row] & (batch.effect * batch.mask > 0)
    )
