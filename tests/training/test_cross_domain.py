"""Both levels together: what must be equal bit for bit, and the published order of operations."""

import json

import numpy as np
import pytest
from mindspore import Tensor

from hamur.training import bilevel
from hamur.training.bilevel_check import numpy_gradient
from hamur.training.bilevel_head import head_rate
from hamur.training.bilevel_rows import stream
from hamur.training.checkpoint import snapshot
from hamur.training.cross_domain import CollapseError, CrossDomainSession
from hamur.training.cross_domain_state import resume
from tests import cross_domain_oracle as oracle
from tests.training.cross_domain_pairs import options, random_pair


@pytest.fixture(scope="module")
def pair():
    return random_pair(2, users=24)


def session_of(pair, **changes):
    return CrossDomainSession(pair, options(**changes), say=str)


def weights_after(session, steps=12):
    rate, done = Tensor(np.float32(session.config.lr)), 0
    for epoch in range(99):
        for batch in session.rows.lower_batches(epoch, 8, session.config.learns):
            loss = session.lower_step(rate, batch)
            session.result.lower_steps += 1
            if session.upper and session.result.lower_steps % session.config.interval == 0:
                session.upper_update(epoch, float(loss.asnumpy()))
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
    other = weights_after(session_of(pair, model_name="conet", interval=100), steps=40)
    for name, value in other.items():
        np.testing.assert_array_equal(value, plain[name], err_msg=name)


def test_several_steps_in_one_call_are_the_same_steps(pair):
    """An upper update after every third: a pair and a single step between, or one by one."""
    found = []
    for steps_per_call in (1, 2):
        session = session_of(pair, steps_per_call=steps_per_call, interval=3)
        losses = session.lower_epoch(0)
        found.append((losses, session.upper.updates, snapshot(session.model)))
    assert found[0][:2] == found[1][:2] and found[0][1] >= 2
    for name, value in found[0][2].items():
        np.testing.assert_array_equal(value, found[1][2][name], err_msg=name)


@pytest.mark.slow
def test_published_uniform_weights_are_plain_conet_to_rounding(pair):
    """P keeps w in the differentiated graph; B = n, so that its softmax is 1/n."""
    count = len(session_of(pair, preset="published").rows.train) // 8 * 8
    plain = session_of(pair, preset="published", use_meta=0)
    frozen = session_of(pair, preset="published", hplr=0.0)
    frozen.perceptron.set_uniform()
    a, b = (weights_after(each, steps=count // 8) for each in (plain, frozen))
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=1e-5, atol=2e-6, err_msg=name)


class Published:
    """The published updates in float64, from the weights of a session; gradients by hand."""

    def __init__(self, session):
        config, model = session.config, session.model
        self.theta = {p.name: p.asnumpy().astype(np.float64) for p in model.trainable_params()}
        self.phi = {
            p.name.removeprefix("phi."): p.asnumpy().astype(np.float64)
            for p in session.perceptron.phi
        }
        self.adam = oracle.Adam(config.lr)
        self.head = session.upper.head.copy()
        self.head_adam = oracle.Adam(config.lr)

    def scores(self, theta, phi, batch, seen):
        """g and d g / d candidate; the attention reads `seen`, whose gradient is cut."""
        dim = seen.shape[1]
        candidate = seen[batch.ids[0, :, 1:]].reshape(len(batch.mask), 2 * dim)
        history = seen[batch.history].reshape(*batch.history.shape[:3], 2 * dim)
        neutral = {"item_weight": np.zeros_like(phi["item_weight"]), "item_bias": np.ones(1)}
        gate = oracle.perceptron_scores(
            {**phi, **neutral}, candidate, None, history, batch.real.sum(-1).astype(int), True
        )
        moving = theta["table"][batch.ids[0, :, 1:]].reshape(candidate.shape)
        gamma = moving @ phi["item_weight"][:, 0] + phi["item_bias"][0]
        return gamma * gate, gate[:, None] * phi["item_weight"][:, 0]

    def gradient(self, batch, theta, phi, seen, weights=None, head=None):
        """Gradient of L_low, or of a loss with given weights and head."""
        cross = [theta[name] for name in theta if name.startswith("cross")]
        w, b = head or (theta["head.weight"], theta["head.bias"])
        real = batch.mask > 0
        inside = weights is None
        if inside:
            g, slope = self.scores(theta, phi, batch, seen)
            share = np.zeros(len(real))
            share[real] = oracle.softmax(g[real])
            prior = max(float(phi["prior"][0]), 0.0)
            weights = np.stack([prior * share * batch.effect, batch.share])
        arguments = (theta["table"], cross, weights, batch.ids, batch.labels, w, b, 0.0)
        (rows, *layers), losses = numpy_gradient(*arguments)
        if inside:  # the way of theta into the weights: d w_k / d g_j = w_k (1[k = j] - share_j)
            of_g = weights[0] * losses[0] - share * (weights[0] * losses[0]).sum()
            along = (of_g[:, None] * slope).reshape(-1, rows.shape[1])
            np.add.at(rows, batch.ids[0, :, 1:].reshape(-1), along)
        named = dict(zip([name for name in theta if name.startswith("cross")], layers))
        return {"table": rows, **named}

    def heads_gradient(self, batch, theta, phi):
        """Gradient of L_low with respect to both heads, by differences."""

        def value(moved):
            g, _ = self.scores(theta, phi, batch, theta["table"])
            real = batch.mask > 0
            w = np.zeros(len(real))
            w[real] = oracle.published_weights(g[real], float(phi["prior"][0]))
            weights = np.stack([w * batch.effect, batch.share])
            cross = [theta[name] for name in theta if name.startswith("cross")]
            w, b = moved["head.weight"], moved["head.bias"]
            arguments = (theta["table"], cross, weights, batch.ids, batch.labels, w, b, 0.0)
            return (numpy_gradient(*arguments)[1] * weights).sum()

        found = {}
        heads = {name: theta[name] for name in ("head.weight", "head.bias")}
        for name, array in heads.items():
            entries = [(name, index) for index in np.ndindex(array.shape)]
            numbers = oracle.numerical_gradient(value, heads, entries)
            found[name] = numbers.reshape(array.shape)
        return found

    def lower(self, batch):
        gradient = self.gradient(batch, self.theta, self.phi, self.theta["table"])
        gradient |= self.heads_gradient(batch, self.theta, self.phi)
        self.theta = self.adam(self.theta, gradient)

    def features(self, batch):
        theta, x = self.theta, self.theta["table"][batch.ids].reshape(2, len(batch.mask), -1)
        for layer in range(4):
            private, h = (theta[f"cross.{layer}.{name}"] for name in ("private", "shared"))
            x = np.maximum(np.matmul(x, private) + np.matmul(x[::-1], h), 0)
        return x[1][batch.mask > 0]

    def fit_head(self, batch, size, steps, rate):
        x, y = self.features(batch), batch.labels[1][batch.mask > 0]
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        self.head_adam.rate = rate
        for step in range(min(steps, -(-len(x) // size))):
            rows = slice(step * size, (step + 1) * size)
            error = oracle.sigmoid(x[rows] @ self.head) - y[rows]
            gradient = {"head": x[rows].T @ error / len(error)}
            self.head = self.head_adam({"head": self.head}, gradient)["head"]

    def neumann(self, dev, lower, terms):
        """v_0 + ... + v_K with a = 1, dense; products with H by differences of the gradient."""
        seen = self.theta["table"]
        head = np.zeros((2, 8, 1)), np.zeros((2, 1, 1))
        head[0][1, :, 0], head[1][1] = self.head[:-1], self.head[-1]
        weights = np.stack([np.zeros(len(dev.mask)), dev.share])
        v = self.gradient(dev, self.theta, self.phi, seen, weights, head)
        total = dict(v)
        for _ in range(terms):
            sides = []
            for step in (1e-6, -1e-6):
                moved = {name: value.copy() for name, value in self.theta.items()}
                for name in v:
                    moved[name] += step * v[name]
                sides.append(self.gradient(lower, moved, self.phi, seen))
            v = {n: v[n] - (sides[0][n] - sides[1][n]) / 2e-6 for n in v}
            total = {n: total[n] + v[n] for n in v}
        return total

    def phi_gradient(self, p, lower, entries):
        """- d / d phi < gradient of L_low, p > at the entries (name, index)."""
        seen = self.theta["table"]

        def inner(phi):
            gradient = self.gradient(lower, self.theta, phi, seen)
            return sum((gradient[name] * p[name]).sum() for name in p)

        return -oracle.numerical_gradient(inner, self.phi, entries, 1e-5)


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
    upper, original = session.upper, bilevel.hypergradient

    def spy(problem, *arguments, **options):
        seen["problem"], seen["result"] = problem, original(problem, *arguments, **options)
        return seen["result"]

    def features_of(rows, source_row):
        seen["head_rows"] = session.rows.assemble(rows, source_row, histories=False)
        return type(upper).features_of(upper, rows, source_row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bilevel, "hypergradient", spy)
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


@pytest.mark.parametrize("arm", [pytest.param("conet", marks=pytest.mark.slow), "conet_biao"])
def test_a_resumed_run_equals_an_uninterrupted_one(pair, tmp_path, arm):
    def session(**changes):
        config = options(model_name=arm, epochs=3, patience=0, **changes)
        return CrossDomainSession(pair, config, None, tmp_path / "log", tmp_path / "state", str)

    def outcome(trained):
        timing = ("seconds", "rows_per_second")
        rows = [
            {name: value for name, value in row.items() if not name.endswith(timing)}
            for row in trained.result.history
        ]
        return json.dumps(rows), trained.result.best_epoch, trained.weights()

    whole = session()
    whole.epoch()
    killed = session(resume=True)
    resume(killed)  # from what the first epoch left
    for trained in (whole, killed):
        while not trained.finished():
            trained.epoch()
        trained.restore_best()
    a, b = outcome(whole), outcome(killed)
    assert a[:2] == b[:2]
    for name, value in a[2].items():
        np.testing.assert_array_equal(value, b[2][name], err_msg=name)


def test_resuming_with_other_options_is_refused(pair, tmp_path):
    folders = tmp_path / "log", tmp_path / "checkpoint"
    CrossDomainSession(pair, options(model_name="conet_s", epochs=1), None, *folders, str).fit()
    other = options(model_name="conet_s", epochs=2, lr=0.1, resume=True)
    with pytest.raises(ValueError, match="--lr"):
        CrossDomainSession(pair, other, None, *folders, str).fit()


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
