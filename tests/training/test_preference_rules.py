"""Scalarisations, samplers and front measures as theorems, on plain arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamur.metrics import fronts
from hamur.metrics.fronts import check_preference
from hamur.training.preference import scalarise
from hamur.training.preference.epo import epo_weights
from hamur.training.preference.samplers import (
    SAMPLERS,
    Sampler,
    evaluation_preferences,
    lattice,
    official_preferences,
)
from tests.support.oracle import central_difference

DESCENDING = [name for name in scalarise.SCALARISATIONS if name != "official"]
ALIEXPRESS_US = np.array([[0.1007, 0.00381]])  # published log losses of good models
ALIEXPRESS_NL, ALIEXPRESS_ES = np.array([[0.1077, 0.00606]]), np.array([[0.1203, 0.0045]])


@st.composite
def situations(draw):
    """Losses in (0, 2] and preferences on the simplex, near-corners included, (R, T) each."""
    tasks = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    losses = rng.uniform(1e-4, 2.0, (3, tasks))
    sharpness = draw(st.sampled_from([0.02, 0.3, 1.0, 5.0]))
    preferences = rng.dirichlet(np.full(tasks, sharpness), 3)
    if draw(st.booleans()):
        preferences[0] = np.eye(tasks)[draw(st.integers(0, tasks - 1))]
    return losses, preferences


@pytest.mark.parametrize("name", DESCENDING)
@settings(max_examples=500, deadline=None, derandomize=True)
@given(situations())
def test_no_task_is_ever_ascended(name, situation):
    losses, preferences = situation
    coefficients = scalarise.scalarise(name, losses, preferences)
    assert np.isfinite(coefficients).all() and (coefficients >= 0).all()
    weights = scalarise.step_weights(
        name, losses, preferences, ranges=np.full(losses.shape[1], 0.3)
    )
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(situations(), st.integers(0, 2**32 - 1))
def test_epo_ascends_no_task_whatever_the_gradients(situation, seed):
    losses, preferences = (part[:1] for part in situation)
    slopes = np.random.default_rng(seed).normal(size=(1, losses.shape[1], 6))
    grams = slopes @ slopes.swapaxes(1, 2)
    weights, _ = epo_weights(grams, losses, preferences, np.full(losses.shape[1], 0.3))
    assert np.isfinite(weights).all() and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)


def test_the_published_rule_ascends_the_rare_task():
    preferences = official_preferences()
    expected = [[0.9088, 0.0912], [0.6784, 0.3216], [0.5, 0.5], [0.3216, 0.6784], [0.0912, 0.9088]]
    np.testing.assert_allclose(preferences, expected, atol=1e-4)
    found = scalarise.scalarise("official", np.repeat(ALIEXPRESS_US, 5, 0), preferences)
    np.testing.assert_allclose(found[:, 1], [-0.400, -0.118, 0.163, 0.483, 0.878], atol=1e-3)


def test_the_published_loss_is_about_clicks_alone():
    """r . L at the five preferences, and how often a draw would give both tasks the same part."""
    parts = official_preferences() * ALIEXPRESS_US
    shares = parts[:, 0] / parts.sum(axis=1)
    np.testing.assert_allclose(shares, [0.996, 0.982, 0.964, 0.926, 0.726], atol=1e-3)
    draws = np.random.default_rng(0).dirichlet([1, 1.2], 20_000)
    assert np.mean(draws[:, 1] > 0.964) == pytest.approx(0.043, abs=0.005)


@pytest.mark.parametrize(
    ("losses", "turn", "share"),
    [(ALIEXPRESS_US, 0.599, 0.33), (ALIEXPRESS_NL, 0.620, 0.31), (ALIEXPRESS_ES, 0.645, 0.29)],
    ids=["US", "NL", "ES"],
)
def test_the_published_rule_turns_at_a_preference_and_in_a_third_of_the_draws(losses, turn, share):
    first = np.array([turn - 2e-3, turn + 2e-3])
    near = scalarise.scalarise("official", losses.repeat(2, 0), np.stack([first, 1 - first], 1))
    assert near[0, 1] > 0 > near[1, 1]
    draws = np.random.default_rng(0).dirichlet([1, 1.2], 20_000)
    many = scalarise.scalarise("official", losses.repeat(len(draws), 0), draws)
    assert np.mean(many[:, 1] < 0) == pytest.approx(share, abs=0.01)


def test_smooth_tchebycheff_lies_between_tchebycheff_and_linear():
    rng = np.random.default_rng(1)
    losses, preferences = rng.uniform(0.2, 1.5, (20, 3)), rng.dirichlet(np.ones(3), 20)
    sharp = scalarise.smooth_tchebycheff(losses, preferences, temperature=1e-4)
    np.testing.assert_allclose(sharp, scalarise.tchebycheff(losses, preferences), atol=1e-3)
    flat = scalarise.smooth_tchebycheff(losses, preferences, temperature=1e4)
    np.testing.assert_allclose(flat * 3, preferences, atol=1e-3)
    tied = scalarise.tchebycheff(np.array([[1.0, 1.0]]), np.array([[0.5, 0.5]]))
    np.testing.assert_array_equal(tied, [[0.25, 0.25]])


def test_cosmos_unclamped_would_ascend_only_near_the_corner():
    losses = np.array([[0.9, 0.9]])
    for r, sign in ((0.015, -1), (0.025, 1)):
        c = scalarise.cosmos(losses, np.array([[r, 1 - r]]))
        assert np.sign(c[0, 0]) == sign


@pytest.mark.parametrize("name", list(scalarise.SCALARISATIONS))
def test_weights_at_the_corners_are_finite(name):
    losses = np.array([[0.8, 0.9]] * 2)
    assert np.isfinite(scalarise.step_weights(name, losses, np.eye(2), np.ones(2))).all()


def test_unknown_rules_name_the_choices():
    with pytest.raises(ValueError, match="`scalarisation` is 'sum'; known are linear, tchebycheff"):
        scalarise.scalarise("sum", np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="`sampler` is 'sum'; known are angles, annealed"):
        Sampler("sum", 2, 4)
    with pytest.raises(ValueError, match="`dirichlet_alpha` needs 2 positive numbers"):
        Sampler("dirichlet", 2, 4, alpha=(1, 2, 3))


# hypervolume


def test_hypervolume_of_three_points_by_hand():
    points = np.array([(0.2, 0.8), (0.5, 0.5), (0.8, 0.2)])
    one = np.ones(2)
    assert fronts.hypervolume(points, one) == pytest.approx(0.37)
    assert fronts.hypervolume(points[::-1], one) == pytest.approx(0.37)
    for extra in ((0.6, 0.6), (0.5, 0.5), (0.1, 1.2)):
        assert fronts.hypervolume(np.vstack([points, extra]), one) == pytest.approx(0.37)
    assert fronts.hypervolume(points + 1, one) == 0.0


def test_the_sweep_equals_the_slicing_recursion():
    rng = np.random.default_rng(2)
    for _ in range(20):
        points = rng.random((9, 2))
        lifted = np.column_stack([points, np.zeros(9)])  # one slab of height 1
        found = fronts.hypervolume(lifted, np.ones(3))
        assert found == pytest.approx(fronts.hypervolume(points, np.ones(2)), abs=1e-12)


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_hypervolume_ignores_order_duplicates_and_dominated_points(tasks):
    rng, one = np.random.default_rng(9), np.ones(tasks)
    points = rng.random((10, tasks))
    volume = fronts.hypervolume(points, one)
    for changed in (
        rng.permutation(points),
        np.vstack([points, points[3]]),
        np.vstack([points, points[3] + 0.05]),
    ):
        assert fronts.hypervolume(changed, one) == pytest.approx(volume, abs=1e-12)


@pytest.mark.parametrize("tasks", [3, 4])
def test_hypervolume_equals_the_share_of_random_points_it_covers(tasks):
    rng = np.random.default_rng(3)
    points, draws = rng.random((6, tasks)), rng.random((200_000, tasks))
    covered = np.zeros(len(draws), bool)
    for point in points:
        covered |= (draws >= point).all(axis=1)
    assert fronts.hypervolume(points, np.ones(tasks)) == pytest.approx(covered.mean(), abs=0.005)


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_hypervolume_gradient_equals_central_differences(tasks):
    rng = np.random.default_rng(tasks)
    points = rng.random((12, tasks))
    points = points[~fronts.dominated(points)]
    reference = np.full(tasks, 1.1)
    found = fronts.hypervolume_gradient(points, reference)

    def volume(values):
        return fronts.hypervolume(values["points"], reference)

    for i, k in np.ndindex(*points.shape):
        slope = central_difference(volume, {"points": points}, "points", (i, k))
        assert found[i, k] == pytest.approx(slope, abs=1e-6)


def test_measures_of_a_known_front():
    first = np.linspace(0, 1, 5)
    preferences = np.column_stack([first, 1 - first])
    losses = np.column_stack([0.9 - 0.2 * first, 0.7 + 0.2 * first])
    assert fronts.spearman(preferences, losses) == pytest.approx([1.0, 1.0])
    assert fronts.spearman(preferences, losses[::-1]) == pytest.approx([-1.0, -1.0])
    assert fronts.spearman(preferences, np.full((5, 2), 0.8)) == [None, None]
    assert fronts.span(losses) == pytest.approx([0.2, 0.2])
    assert fronts.nondominated_share(losses) == 1.0
    assert fronts.nondominated_share(np.vstack([losses, [[0.9, 0.9]]])) == pytest.approx(5 / 6)
    convex = np.column_stack([0.7 + 0.2 * (1 - first) ** 2, 0.7 + 0.2 * first**2])  # best at r_1
    assert fronts.regret(preferences, convex, convex) == pytest.approx(0.0)
    assert fronts.regret(preferences, convex[::-1], convex) > 0.05
    assert fronts.sparsity(losses) == pytest.approx(2 * 4 * 0.05**2 / 4)
    assert fronts.cross_angle(np.array([[1.0, 1.0]]), np.array([[0.5, 0.5]])) == pytest.approx(
        0, abs=1e-4
    )
    measures = fronts.front_measures(preferences, losses, 1 - losses / 2)
    assert measures["outside"] == 0 and measures["hv_ne"] > 0 and "reason" not in measures
    assert measures["hv_auc"] == pytest.approx(fronts.hypervolume(losses / 2, np.full(2, 0.5)))
    assert measures["span_auc"] == pytest.approx([0.1, 0.1])
    assert fronts.published_hypervolume(np.array([[0.7049, 0.8701]])) == pytest.approx(
        0.6133, abs=1e-4
    )


def test_angle_and_sparsity_are_those_of_losses_above_the_ideal():
    """On NE itself, all within (.75, 1), no front could come near 1/r."""
    first, ideal = np.linspace(0.2, 0.8, 4), np.array([0.75, 0.7])
    preferences = np.column_stack([first, 1 - first])
    scaled = 0.15 / preferences
    losses = ideal + (1 - ideal) * scaled
    measures = fronts.front_measures(preferences, losses, 1 - losses / 2, ideal=ideal)
    assert measures["cross_angle"] == pytest.approx(0.0, abs=1e-4)
    assert measures["sparsity"] == pytest.approx(fronts.sparsity(scaled))
    assert fronts.cross_angle(losses, preferences) > 10
    guessed = fronts.front_measures(preferences, losses, 1 - losses / 2)
    own = losses.min(axis=0) - 0.01
    assert guessed["sparsity"] == pytest.approx(fronts.sparsity((losses - own) / (1 - own)))


# preferences


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("tasks", "number"), [(2, 8), (3, 8), (3, 25), (4, 8)])
def test_samplers_stay_on_the_simplex_and_repeat(name, tasks, number):
    draws = [Sampler(name, tasks, number, seed=4)(t, 100) for t in (0, 50, 99)]
    again = [Sampler(name, tasks, number, seed=4)(t, 100) for t in (0, 50, 99)]
    for one, other in zip(draws, again):
        assert one.dtype == np.float32 and (one >= 0).all()
        np.testing.assert_allclose(one.sum(axis=1), 1.0, atol=1e-6)
        np.testing.assert_array_equal(one, other)
    assert len({len(draw) for draw in draws}) == 1


def test_angles_are_equal_steps_of_hellingers_distance_from_corner_to_corner():
    nodes = Sampler("angles", 2, 8)(0, 100)
    np.testing.assert_array_equal(nodes[[0, -1]], [[0, 1], [1, 0]])
    similar = (np.sqrt(nodes[1:]) * np.sqrt(nodes[:-1])).sum(axis=1)
    np.testing.assert_allclose(np.arccos(similar), np.pi / 14, rtol=1e-4)
    np.testing.assert_array_equal(Sampler("angles", 2, 1)(0, 100), [[0.5, 0.5]])
    three = [Sampler(name, 3, 8)(0, 100) for name in ("angles", "grid")]
    np.testing.assert_array_equal(*three)
    np.testing.assert_allclose(Sampler("grid", 2, 8)(0, 100)[:, 0], np.linspace(0.01, 0.99, 8))


def test_annealing_goes_from_the_centre_to_the_corners():
    sampler = Sampler("annealed", 2, 8)
    np.testing.assert_allclose(sampler(0, 100), 0.5)
    assert sampler(99, 100).max() > 0.99
    three = Sampler("annealed", 3, 8)
    np.testing.assert_allclose(three(0, 100), 1 / 3, rtol=1e-6)
    assert three(99, 100).max() > 0.99


def test_the_lattice_of_three_tasks_with_25_points_has_28():
    points = lattice(3, 25)
    assert len(points) == 28 and len(np.unique(points, axis=0)) == 28
    assert {tuple(row) for row in np.eye(3)} <= {tuple(row) for row in points}
    assert len(evaluation_preferences(2, 25)) == 25


def test_a_preference_off_the_simplex_is_refused():
    for wrong in ([0.5, 0.4], [1.2, -0.2], [np.nan, 1.0], [0.2, 0.3, 0.5], [1.0], 1.0):
        with pytest.raises(ValueError, match="preference") as caught:
            check_preference(wrong, 2)
        assert str(wrong) in str(caught.value)
    check_preference([0.49995, 0.49996], 2)
    with pytest.raises(ValueError, match="sums to 1"):
        check_preference([0.49994, 0.49994], 2)
    np.testing.assert_allclose(check_preference([0.50004, 0.5], 2).sum(), 1.0)
    np.testing.assert_array_equal(check_preference([[1, 0], [0, 1]], 2), np.eye(2))
