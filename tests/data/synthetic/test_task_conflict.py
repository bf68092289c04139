"""The generated conflict of tasks and its exact front against the specification's figures."""

import numpy as np
import pytest

from hamur.data.synthetic.conflict import make_task_conflict, task_names
from hamur.data.synthetic.signals import expected_auc
from hamur.metrics import auc, fronts
from hamur.metrics.exact_front import (
    base_entropy,
    best_scores,
    exact_front,
    oracle_losses,
    soft_auc,
)
from hamur.reporting.front import posthoc_logits

CORNERS = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
# conflict: base rates, Bayes NE, and NE_1, NE_2, AUC_1, AUC_2 at each of CORNERS
FIGURES = {
    0.0: ((0.25, 0.08), (0.765, 0.780), [(0.765, 0.780, 0.818, 0.832)] * 3),
    0.25: (
        (0.25, 0.071),
        (0.765, 0.797),
        [(0.991, 0.797, 0.678, 0.824), (0.804, 0.842, 0.798, 0.785), (0.765, 0.976, 0.818, 0.712)],
    ),
    0.5: (
        (0.25, 0.056),
        (0.765, 0.835),
        [(1.174, 0.835, 0.554, 0.803), (0.827, 0.909, 0.786, 0.725), (0.765, 1.136, 0.818, 0.613)],
    ),
}
VOLUMES = {
    (0.0, 0): 0.0518,
    (0.25, 0): 0.0415,
    (0.5, 0): 0.0240,
    (0.25, 1): 0.0485,
    (0.25, 2): 0.0397,
}


def truth_of(conflict, seed=0):
    """(probabilities of all rows, intercepts)"""
    parts = make_task_conflict(40_000, 2, conflict, seed=seed)[2]
    return np.concatenate([part.probability for part in parts]), parts.train.intercepts


@pytest.mark.parametrize("conflict", list(FIGURES))
def test_the_generator_and_its_front_give_the_specified_figures(conflict):
    rates, bayes, points = FIGURES[conflict]
    q, intercepts = truth_of(conflict)
    np.testing.assert_allclose(q.mean(axis=0), rates, atol=1e-3)
    entropy = base_entropy(q.mean(axis=0))
    own = oracle_losses(np.log(q / (1 - q)), q) / entropy
    np.testing.assert_allclose(own, bayes, atol=3e-3)
    losses, areas = exact_front(q, intercepts, CORNERS)
    np.testing.assert_allclose(np.hstack([losses, areas]), points, atol=3e-3)


@pytest.mark.parametrize(("conflict", "seed"), list(VOLUMES))
def test_the_exact_front_is_monotone_and_convex(conflict, seed):
    truth = truth_of(conflict, seed)
    first = np.linspace(0, 1, 11)
    preferences = np.column_stack([first, 1 - first])
    losses, _ = exact_front(*truth, preferences)
    volume = fronts.hypervolume(losses, np.ones(2))
    assert volume == pytest.approx(VOLUMES[conflict, seed], abs=5e-4)
    if conflict == 0:
        assert max(fronts.span(losses)) < 1e-3
        return
    assert fronts.spearman(preferences, losses) == pytest.approx([1.0, 1.0])
    # Each preference's point is the best of all points for that preference: a convex front.
    values = preferences @ losses.T
    np.testing.assert_array_equal(values.argmin(axis=1), np.arange(11))


def test_closed_form_and_bisection_agree():
    q = truth_of(0.25)[0][:500]
    weights = np.array([0.3, 0.7])
    closed = best_scores(q, np.zeros(2), weights)
    bisected = best_scores(q, np.array([0.0, 1e-9]), weights)
    np.testing.assert_allclose(closed, bisected, atol=1e-6)


def test_the_posthoc_score_of_the_true_probabilities_is_the_exact_front():
    q, intercepts = truth_of(0.25)
    entropy = base_entropy(q.mean(axis=0))
    logits = np.log(q / (1 - q))
    found = posthoc_logits(logits, CORNERS, intercepts, entropy)
    losses = [oracle_losses(found[:, r], q) / entropy for r in range(3)]
    expected, _ = exact_front(q, intercepts, CORNERS)
    np.testing.assert_allclose(losses, expected, atol=1e-6)


def test_soft_auc_is_the_mean_over_pairs_of_the_labels_that_may_be_drawn():
    rng = np.random.default_rng(0)
    q, scores = rng.random(300), rng.integers(0, 40, 300).astype(float)
    for s, p in ((scores, q), (np.round(q, 1), np.round(q, 1))):  # with ties
        wins = (s[:, None] > s) + 0.5 * (s[:, None] == s)
        pairs = p[:, None] * (1 - p)
        np.fill_diagonal(pairs, 0)
        assert soft_auc(s, p) == pytest.approx((pairs * wins).sum() / pairs.sum(), abs=1e-12)
    assert expected_auc(q) == soft_auc(q, q)
    hard = (rng.random(300) < 0.4).astype(float)
    assert soft_auc(scores, hard) == pytest.approx(auc(hard, scores), abs=1e-12)


def test_tables_fit_their_schema_and_no_page_is_cut():
    splits, schema, truth = make_task_conflict(3_000, tasks=3, seed=4)
    assert schema.labels == task_names(3) == ("click", "cart", "conversion")
    assert (schema.num_sparse, schema.num_dense) == (16, 63)
    pages = [set(table.group.tolist()) for table in splits]
    assert not (pages[0] & pages[1] or pages[1] & pages[2] or pages[0] & pages[2])
    assert sum(len(table) for table in splits) == 3_000
    for table, known in zip(splits, truth):
        table.validate(schema)
        assert len(known.probability) == len(table)
        assert (np.diff(table.labels, axis=1) <= 0).all()  # a funnel
    again = make_task_conflict(3_000, tasks=3, seed=4)[0]
    np.testing.assert_array_equal(again.train.labels, splits.train.labels)


def test_numbers_out_of_range_are_refused():
    for arguments in (
        dict(num_rows=10),
        dict(conflict=0.7),
        dict(rates=(0.1,)),
        dict(rates=(0, 0.1)),
    ):
        with pytest.raises(ValueError, match=r"must|rates"):
            make_task_conflict(**arguments)
