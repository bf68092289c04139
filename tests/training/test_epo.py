"""Exact Pareto optimal search: the closed form against a linear-program solver."""

import numpy as np
import pytest
from scipy.optimize import linprog

from hamur.training.preference.epo import epo_weights, program, solve


def random_case(rng, tasks):
    slopes = rng.normal(size=(tasks, 6))
    preference = rng.dirichlet(np.ones(tasks))
    return slopes @ slopes.T, rng.uniform(0.05, 1.5, tasks), preference


def test_two_tasks_in_closed_form_equal_the_solver():
    rng = np.random.default_rng(0)
    feasible = 0
    for _ in range(500):
        objective, rows, bounds = program(*random_case(rng, 2))
        found = solve(objective, rows, bounds)
        expected = linprog(
            -objective, -rows, -bounds, np.ones((1, 2)), [1.0], (0, 1), method="highs"
        )
        assert (found is None) == (expected.status != 0)
        if found is not None:
            feasible += 1
            assert objective @ found == pytest.approx(-expected.fun, abs=1e-8)
    assert feasible > 100


def test_an_impossible_program_has_no_solution():
    assert solve(np.ones(2), np.array([[-1.0, -1.0]]), np.array([0.0])) is None


def test_a_lagging_loss_gets_the_weight():
    """With independent gradients, the task whose r L is largest is the one to descend."""
    weights, _ = epo_weights(
        np.eye(2)[None], np.array([[1.0, 0.2]]), np.array([[0.5, 0.5]]), np.ones(2)
    )
    assert weights[0, 0] > 0.9
