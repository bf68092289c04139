"""The fit of the development head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from hamur.models.prediction import sigmoid
from hamur.training.bilevel.dev_head import newton_fit


def problem(seed, rows=80, width=4, scale=3.0):
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((rows, width)), 0.0) * scale
    chance = sigmoid(features @ rng.standard_normal(width) - 1.0)
    return features, (rng.random(rows) < chance).astype(np.float64)


def objective(features, labels, solution, l2):
    z = features @ solution[:-1] + solution[-1]
    return (np.logaddexp(0.0, z) - labels * z).mean() + 0.5 * l2 * solution @ solution


@given(seed=st.integers(0, 10_000), far=st.floats(0.0, 300.0))
@settings(max_examples=60, deadline=None)
def test_a_fit_never_ends_above_its_start_nor_above_a_constant(seed, far):
    features, labels = problem(seed)
    start = np.random.default_rng(seed + 1).standard_normal(5) * far
    found = newton_fit(features, labels, start, 1e-2)
    reached = objective(features, labels, found, 1e-2)
    assert reached <= objective(features, labels, start, 1e-2) + 1e-12
    assert reached <= np.log(2.0) + 1e-12  # of the solution 0


@pytest.mark.parametrize("start", [0.0, 1.0, -40.0, np.nan])
def test_a_fit_from_anywhere_is_the_regularised_logistic_regression(start):
    features, labels = problem(3)
    found = np.full(5, start)
    for _ in range(3):  # fits go on where the last one ended
        found = newton_fit(features, labels, found, 1e-2)
    ones = np.append(features, np.ones((len(features), 1)), axis=1)
    judge = LogisticRegression(C=1.0 / (1e-2 * len(labels)), fit_intercept=False, tol=1e-10)
    expected = judge.fit(ones, labels).coef_[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
