"""Both levels together: what must be equal bit for bit, and the published order of operations."""

import dataclasses
import logging

import numpy as np
import pytest
from mindspore import Tensor

from hamur.commands.cross_domain import row_rules
from hamur.data.cross_domain.collate import NONE, CrossDomainRows, stream
from hamur.training.bilevel import hypergradient
from hamur.training.bilevel.dev_head import head_rate
from hamur.training.bilevel.graphs import tensor
from hamur.training.bilevel.upper import UNDECAYED
from hamur.training.checkpoint import restore, snapshot
from hamur.training.divergence import DivergenceError
from tests.support.pairs import Levels, random_pair, random_phi, set_uniform, with_flipped_label
from tests.support.published_steps import Published


@pytest.fixture(scope="module")
def pair():
    return random_pair(2, users=24)


@pytest.fixture(scope="module")
def both(pair):
    """Plain CoNet, and one with a perceptron that does not learn."""
    return Levels(pair, model_name="conet"), Levels(pair, hplr=0.0, interval=13)


def test_frozen_uniform_weights_are_plain_conet_bit_for_bit(both):
    plain, frozen = both
    set_uniform(frozen.model)
    expected = plain.train(40)
    for name, value in frozen.train(40).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert frozen.upper.updates == 3 and frozen.batches.steps < 40  # short last batches as well


def test_the_decay_of_embeddings_shrinks_the_table_and_nothing_else(pair):
    """By its share of an epoch in every step, rows outside the batch too; the gradient is that of
    the weights before."""
    plain, decayed = (
        Levels(pair, model_name="conet", embedding_decay=decay) for decay in (0.0, 0.5)
    )
    before = snapshot(plain.model)["table"]
    expected, found = plain.train(1), decayed.train(1)
    shrunk = expected.pop("table") - np.float32(0.5 / plain.batches.steps) * before
    assert np.abs(shrunk - before).max() > 0.03
    np.testing.assert_allclose(found.pop("table"), shrunk, rtol=0, atol=1e-6)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_the_learned_common_factor_leaves_its_start(pair):
    """It starts where the usual way to write a softplus has no gradient."""
    levels = Levels(pair, arm="scalar")
    levels.train(6)
    assert levels.upper.updates == 2
    assert abs(levels.upper.prior() - 1.0) > 1e-4


def test_a_hypergradient_that_is_not_finite_moves_nothing(pair, monkeypatch):
    levels = Levels(pair, arm="scalar")
    upper, before = levels.upper, snapshot(levels.phi)
    clipped = hypergradient.clipped
    monkeypatch.setattr(
        hypergradient,
        "clipped",
        lambda gradient, limit: clipped({n: g * np.nan for n, g in gradient.items()}, limit),
    )
    assert upper.update(0.5, 0.01)["diverged"] == 1
    for name, value in snapshot(levels.phi).items():
        np.testing.assert_array_equal(value, before[name])
    assert upper.optimizer.steps == 0


def test_an_upper_level_that_left_the_finite_numbers_is_told_by_its_place(pair, monkeypatch):
    levels = Levels(pair, arm="scalar")
    upper = levels.upper
    with pytest.raises(DivergenceError, match=r"the lower loss is not finite in upper update 1$"):
        upper.update(np.inf, 0.01)
    monkeypatch.setattr(upper, "fit_head", lambda *_: setattr(upper, "head", np.full(9, np.nan)))
    with pytest.raises(DivergenceError, match="the development head is not finite"):
        upper.update(0.5, 0.01)
    monkeypatch.undo()
    table = levels.model.table
    table.set_data(Tensor(np.full(table.shape, np.nan, np.float32)))
    with pytest.raises(DivergenceError, match="the features of the development head are not"):
        upper.update(0.5, 0.01)


def test_phi_waits_until_the_upper_head_explains_its_share(pair):
    """Once begun, it goes on, whatever a later head explains, also after resuming."""
    levels = Levels(pair, tuning=dict(start_gain=0.9))
    upper, before = levels.upper, snapshot(levels.phi)
    levels.train(levels.batches.steps)
    assert upper.updates > 0 and not upper.begun
    assert all(row["moved"] == 0 for row in levels.step.records())
    for name, value in snapshot(levels.phi).items():
        np.testing.assert_array_equal(value, before[name])
    upper.dev_entropy *= 100  # a head that explains nearly everything
    assert upper.update(0.5, 0.01)["moved"] == 1
    upper.dev_entropy /= 100
    arrays = upper.arrays()
    upper.begun = False
    upper.load(arrays)
    assert upper.update(0.5, 0.01)["moved"] == 1


def test_theta_sees_learned_weights_as_constants(both):
    """A step with the perceptron in its graph is the step with the same weights given."""
    plain, learned = both
    random_phi(learned.model)
    batch = learned.batch(6)
    weights = learned.upper.importance_weights(batch)[1]
    assert np.ptp(weights[0] / batch.row_weight) > 0.5
    restore(plain.model, {name: snapshot(learned.model)[name] for name in snapshot(plain.model)})
    restore(plain.optimizer.state(), snapshot(learned.optimizer.state()))
    learned.step(batch, 0.01, 0)
    columns = map(tensor, (batch.ids, batch.id_mask, batch.labels, weights))
    plain.step.cell(Tensor(np.float32(0.01)), *columns)
    found = snapshot(learned.model)
    for name, value in snapshot(plain.model).items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)


def own_weight_changes(levels, size):
    """(of a flipped target label, of a flipped source label): how far each row's own weight moves,
    the same candidates beside the rows."""
    rows = levels.rows
    pair, rules = rows.pair, row_rules(levels.config)
    drawn = rows.draw(rows.train, stream(11))
    places = np.flatnonzero(np.isin(pair.target.train.row_id, rows.train.row_id))

    def weight(of, row):
        block = np.arange(row - row % size, min(row - row % size + size, len(rows.train)))
        batch = of.collate(of.train.take(block), drawn[block], size)
        assert of.length == rows.length  # one compiled shape
        return levels.upper.importance_weights(batch)[1][0][row % size]

    changes = [], []
    for row in np.flatnonzero(drawn != NONE):
        before = weight(rows, row)
        for side, (name, place) in enumerate((("train", places[row]), ("source", drawn[row]))):
            flipped = CrossDomainRows(with_flipped_label(pair, name, place), rules)
            np.testing.assert_array_equal(flipped.train.row_id, rows.train.row_id)
            changes[side].append(abs(weight(flipped, row) - before))
    return changes


def test_a_rows_own_labels_do_not_reach_its_weight(both):
    random_phi(both[1].model)
    of_target, of_source = own_weight_changes(both[1], 8)
    assert len(of_target) > 20 and not any(of_target) and not any(of_source)


@pytest.mark.slow
def test_300_steps_of_64_rows_with_frozen_uniform_weights_are_plain_conet():
    """Three upper updates, and short last batches; the interval of an arm that learns nothing
    changes nothing.  P keeps w in the differentiated graph."""
    pair = random_pair(2, users=150)
    for preset in ("corrected", "official"):
        found = []
        for arm, interval in (("uniform", 10), ("uniform", 100), ("perceptron", 100)):
            model = "conet" if arm == "uniform" else "conet_biao"
            levels = Levels(
                pair, preset=preset, model_name=model, interval=interval, hplr=0.0, batch_size=64,
                meta_batchsize=64, upper_batchsize=64,
            )  # fmt: skip
            if levels.upper:
                set_uniform(levels.model)
            found.append(levels.train(300))
        assert levels.upper.updates == 3
        assert len(levels.rows) % 64 and levels.batches.steps < 10
        for name, value in found[0].items():
            np.testing.assert_array_equal(value, found[1][name], err_msg=name)
            if preset == "corrected":
                np.testing.assert_array_equal(value, found[2][name], err_msg=name)
            else:
                np.testing.assert_allclose(found[2][name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def published(pair):
    """(levels, restatement, what the upper level saw) after three lower steps and two upper ones,
    the gradient of the second blown up."""
    levels = Levels(
        pair, preset="official", meta_batchsize=6, descent_step=4, upper_batchsize=5, interval=99
    )
    restated, seen = Published(levels), {"steps": []}
    rate = levels.config.learning_rate
    for step, batch in zip(range(3), levels.batches.epoch(1)):
        levels.step(batch, rate, step)
        restated.lower(batch)
        seen["steps"].append((snapshot(levels.model), restated.theta))
    upper, original = levels.upper, hypergradient.hypergradient
    seen |= {name: [] for name in ("problem", "result", "head_rows", "row", "head", "phi")}
    seen["phi"].append(snapshot(levels.phi))

    def spy(problem, *arguments, **options):
        result = original(problem, *arguments, **options)
        if seen["result"]:
            blown_up = {name: g * np.float32(1e4) for name, g in result.gradient.items()}
            result = dataclasses.replace(result, gradient=blown_up)
        seen["problem"].append(problem)
        seen["result"].append(result)
        return result

    def features_of(rows, source_row):
        seen["head_rows"].append(levels.rows.collate(rows, source_row, histories=False))
        return type(upper).features_of(upper, rows, source_row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypergradient, "hypergradient", spy)
        patch.setattr(upper, "features_of", features_of)
        for _ in range(2):
            seen["row"].append(upper.update(0.5, rate))
            seen["head"].append(upper.head.copy())
            seen["phi"].append(snapshot(levels.phi))
    return levels, restated, seen


def test_published_lower_steps_equal_the_restatement(published):
    _, _, seen = published
    for number, (found, expected) in enumerate(seen["steps"]):
        # Adam divides by |g| at first, which blows the rounding of a tiny g up: hence the norm.
        gap = sum(((found[name] - value) ** 2).sum() for name, value in expected.items())
        size = sum((value**2).sum() for value in expected.values())
        assert np.sqrt(gap / size) <= (1e-4 if number else 1e-5)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_published_upper_step_equals_the_restatement(published):
    levels, restated, seen = published
    config, rows = levels.config, levels.rows
    problem, result = seen["problem"][0], seen["result"][0]
    for number in range(2):
        head_rows = seen["head_rows"][number]
        # Always the first rows, in order; development rows go on.
        np.testing.assert_array_equal(head_rows.target_row, np.arange(4 * 6))
        users = rows.train.sparse[6 * number :, 0][:6]
        np.testing.assert_array_equal(seen["problem"][number].dev.ids[1, :, 0], users)
        restated.fit_head(
            head_rows, 6, 4, head_rate(config.learning_rate, number)
        )  # moments persist
        np.testing.assert_allclose(seen["head"][number], restated.head, rtol=1e-4, atol=1e-5)
    restated.head = seen["head"][0]
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
    moved = np.array([restated.phi[name][index] for name, index in entries])
    moved -= config.hplr * (expected + 2.0 * moved)  # the norm is below the limit of 10
    after = np.array([seen["phi"][1][f"phi.{name}"][index] for name, index in entries])
    assert seen["row"][0]["clip"] == 1.0
    assert np.linalg.norm(after - moved) <= 1e-4 * np.linalg.norm(moved)


def test_the_published_upper_step_clips_before_it_decays(published):
    levels, _, seen = published
    gradient, before, after = seen["result"][1].gradient, *seen["phi"][1:]
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient.values()))
    assert norm > 10 and seen["row"][1]["norm_gradient"] == pytest.approx(norm)
    assert seen["row"][1]["clip"] == pytest.approx(10 / norm)
    for name, g in gradient.items():
        moved = before[name] - levels.config.hplr * (g * (10 / norm) + 2.0 * before[name])
        np.testing.assert_allclose(after[name], moved, rtol=1e-5, atol=1e-6, err_msg=name)
    assert after["phi.prior"] < before["phi.prior"]


def test_published_weights_tell_the_labels_of_their_rows(published):
    """Which is why ours must not: the histories hold the row, or the candidate, if it is 1."""
    of_target, of_source = own_weight_changes(published[0], 5)
    assert max(of_target) > 1e-4 and max(of_source) > 1e-4


def test_published_decay_reaches_the_prior_and_ours_does_not(pair):
    for preset, arm, undecayed in (
        ("official", "perceptron", ()),
        ("corrected", "perceptron", UNDECAYED),
        ("corrected", "scalar", UNDECAYED),  # whose one number is the prior
    ):
        upper = Levels(pair, preset=preset, arm=arm, aux_decay=2.0).upper
        phi = {each.name: each for each in upper.perceptron.phi}
        for name in UNDECAYED:
            phi[name].set_data(Tensor(np.full(phi[name].shape, 0.75, np.float32)))
        before = snapshot(list(upper.perceptron.phi))
        prior = upper.prior()
        nothing = {name: np.zeros(each.shape, np.float32) for name, each in phi.items()}
        for _ in range(100):
            upper.move(nothing)
        for name, value in snapshot(list(upper.perceptron.phi)).items():
            if name in undecayed:
                np.testing.assert_array_equal(value, before[name])
            else:
                np.testing.assert_allclose(value, before[name] * 0.98**100, rtol=1e-5, atol=1e-12)
        factor = 1.0 if undecayed else 0.98**100
        assert prior > 0 and upper.prior() == pytest.approx(factor * prior, rel=1e-5)


def test_the_gate_moves_by_its_own_share_of_the_step(pair):
    gate = {}
    for preset, gate_rate in (("corrected", 1.0), ("corrected", 0.25), ("official", 0.25)):
        upper = Levels(pair, preset=preset, tuning=dict(gate_rate=gate_rate)).upper
        before, rng = snapshot(list(upper.perceptron.phi)), np.random.default_rng(0)
        gradient = {name: rng.standard_normal(v.shape) for name, v in before.items()}
        upper.move(gradient)
        after = snapshot(list(upper.perceptron.phi))
        for name, value in before.items():
            step = gradient[name]
            of_gate = name.startswith(("phi.query", "phi.key", "phi.output", "phi.gate"))
            if preset == "corrected":  # the first step of Adam
                step = np.sign(step)
            expected = 0.01 * (gate_rate if of_gate else 1.0) * step
            if preset == "official":
                expected = expected + 0.01 * 2.0 * value  # the decay is of phi as a whole
            np.testing.assert_allclose(value - after[name], expected, atol=2e-6)
            gate[name] = of_gate
    assert sum(gate.values()) == 9 and len(gate) == 13


def test_the_published_step_of_the_head_falls_along_a_cosine():
    assert [head_rate(0.01, k) for k in (0, 500, 1000)] == pytest.approx([0.01, 0.005, 0.0])
    assert head_rate(0.01, 1) == pytest.approx(0.005 * (1 + np.cos(np.pi / 1000)))


def test_the_annealed_arm_follows_the_published_decay_alone(pair):
    levels = Levels(pair, arm="annealed", interval=3)
    batch = levels.batch()
    share = batch.has_source * batch.row_weight
    weights = levels.step.fixed_weights(batch, number=7)
    np.testing.assert_allclose(weights[0], share * 0.98**2, rtol=1e-6)


def test_development_rows_rotate_through_the_whole_set(monkeypatch):
    """20 updates cover 19 meta_batchsize + head_rows rows of the head's fit."""
    upper = Levels(
        random_pair(2, users=170), meta_batchsize=2, upper_batchsize=6, head_rows=3
    ).upper  # fmt: skip
    fitted, size = [], len(upper.dev_table)
    assert 2 * 19 < size <= 2 * 19 + 3

    def features_of(rows, source_row):
        fitted.append(rows.row_id.tolist())
        assert (source_row < len(upper.rows.source.row)).all() and len(source_row) == len(rows)
        return np.zeros((len(rows), 8), np.float32)

    monkeypatch.setattr(upper, "features_of", features_of)
    train = set(upper.rows.train.row_id.tolist())
    for update in range(20):
        chosen = upper.cyclic(upper.dev_order, 2)
        upper.fit_head(stream(update), 0.01)
        assert fitted[-1][:2] == upper.dev_table.row_id[chosen].tolist()
        dev_rows = upper.dev_table.take(chosen)
        batch = upper.lower_batch(dev_rows, stream(update))
        users = dev_rows.sparse[:, 0]  # aligned, user by user, and three rows of each
        np.testing.assert_array_equal(batch.ids[1, :, 0], np.tile(users, 3))
        assert batch.row_mask.sum() == 6
        upper.updates += 1
    assert {len(set(rows)) for rows in fitted} == {3}
    seen = {row for rows in fitted for row in rows}
    assert seen == set(upper.dev_table.row_id.tolist()) and not train & seen


def test_a_new_start_keeps_nothing_of_the_collapsed_model(pair, monkeypatch):
    levels = Levels(pair, model_name="conet_s", on_collapse="restart", epochs=2)
    aucs, losses = iter((0.8, 0.5, 0.6, 0.7)), iter((0.5, 0.7, 0.5, 0.5))
    monkeypatch.setattr(levels, "train_epoch", lambda epoch: next(losses))
    monkeypatch.setattr(
        levels, "validate", lambda: {"auc": next(aucs), "logloss": 0.6, "spread": 1.0}
    )
    before = snapshot(levels.model)["table"]
    levels.epoch()
    levels.epoch()  # AUC 0.5 and a loss of 0.7: begins again
    run = levels.run
    assert run.restarts == 1 and run.epochs == 0 and levels.best_weights is None
    while not levels.finished():
        levels.epoch()
    assert (run.epochs, run.best_epoch, run.best) == (2, 2, 0.7)
    assert [row["auc"] for row in run.history] == [0.8, 0.5, 0.6, 0.7]
    assert [row["collapsed"] for row in run.history] == [0, 1, 0, 0]
    assert (levels.best_weights["table"] != before).any()


def test_the_log_has_the_lines_of_the_public_code(pair, caplog):
    """Every 100 steps the loss, every 2000 the weights, and the losses of each upper update."""
    caplog.set_level(logging.INFO, "hamur")
    plain, learned = Levels(pair, model_name="conet"), Levels(pair)
    learned.upper.last_weights = np.linspace(0.5, 1.5, 11)
    texts = "min 0.000 max 1.000", "mean 1.000 min 0.500 max 1.500"
    for levels, text in zip((plain, learned), texts):
        caplog.clear()
        for done in (99, 100, 101, 2000):
            levels.step.log(levels.batch(), Tensor(np.float32(0.25)), done - 1)
        *losses, weights = caplog.messages
        assert losses == [f"iteration {n}: target loss 0.25000" for n in (100, 2000)]
        assert text in weights and len(weights.split("the first ")[1].split()) == 8
    caplog.clear()
    learned.train(3)
    row = learned.step.records()[0]
    losses = f"main loss {row['lower_loss']:.5f}, meta loss {row['dev_loss']:.5f}"
    assert caplog.messages == [f"upper update 1: {losses}"]


def test_the_oracle_arm_needs_the_truth(pair):
    with pytest.raises(ValueError, match="`harmful`"):
        Levels(pair, arm="oracle")
    harmful = np.arange(len(pair.source)) % 2 == 0
    levels = Levels(pair, harmful, arm="oracle")
    batch = levels.batch()
    weights = levels.step.fixed_weights(batch, 0)[0]
    assert not weights[harmful[batch.source_row] & (batch.has_source > 0)].any()
    np.testing.assert_array_equal(
        weights > 0, ~harmful[batch.source_row] & (batch.has_source * batch.row_mask > 0)
    )
