"""Every estimator on a bi-level problem with a closed form: weighted ridge regression.

L_low = sum_j w_j (x_j theta - y_j)^2 / 2 + rho |theta|^2 / 2,   w_j = 2 sigmoid(F_j phi) / n
L_dev = mean (x theta - y)^2 / 2 on development rows,  theta at the minimum of L_low
"""

from itertools import pairwise

import numpy as np
import pytest

from hamur.training.bilevel.hypergradient import (
    HyperOptions,
    Spectrum,
    clipped,
    conjugate_gradient,
    hypergradient,
)

ROWS, WIDTH, FEATURES, DEV_ROWS, RHO = 64, 10, 5, 128, 0.05
SEEDS = range(5)


class Ridge:
    """The problem at the lower minimum; products in float32, as compiled graphs give them."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self.x, self.dev_x = (
            rng.standard_normal((ROWS, WIDTH)),
            rng.standard_normal((DEV_ROWS, WIDTH)),
        )
        self.features = rng.standard_normal((ROWS, FEATURES))
        self.features[:, 0] = 1.0
        truth = rng.standard_normal(WIDTH)
        noise = np.where(np.arange(ROWS) % 3 == 2, 3.0, 0.3)
        self.y = self.x @ truth + noise * rng.standard_normal(ROWS)
        self.dev_y = self.dev_x @ truth + 0.3 * rng.standard_normal(DEV_ROWS)
        self.phi = 0.3 * rng.standard_normal(FEATURES)
        self.theta = self.minimum(self.phi)

    def weights(self, phi):
        return 2 / (1 + np.exp(-self.features @ phi)) / ROWS

    def hessian(self, phi):
        return (self.x * self.weights(phi)[:, None]).T @ self.x + RHO * np.eye(WIDTH)

    def minimum(self, phi):
        return np.linalg.solve(self.hessian(phi), (self.x * self.weights(phi)[:, None]).T @ self.y)

    def dev_loss(self, phi):
        return 0.5 * np.mean((self.dev_x @ self.minimum(phi) - self.dev_y) ** 2)

    def dev_gradient(self):
        return self.dev_x.T @ (self.dev_x @ self.theta - self.dev_y) / DEV_ROWS

    def hvp(self, x):
        h = self.hessian(self.phi).astype(np.float32)
        return (h @ x.astype(np.float32)).astype(np.float64)

    gauss_newton = hvp  # a linear model has no curvature of its own

    def precondition(self, p):
        return p

    def influence(self, p):
        return (self.x @ self.theta - self.y) * (self.x @ p)

    def phi_gradient(self, influence, p):
        half = self.weights(self.phi) * ROWS / 2
        slope = 2 * half * (1 - half) / ROWS
        return {"phi": -(slope * influence) @ self.features}

    def exact(self):
        p = np.linalg.solve(self.hessian(self.phi), self.dev_gradient())
        return self.phi_gradient(self.influence(p), p)["phi"]

    def largest(self):
        return np.linalg.eigvalsh(self.hessian(self.phi)).max()


def error(problem, **options):
    found = hypergradient(problem, HyperOptions(power_steps=0, **options)).gradient["phi"]
    exact = problem.exact()
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


@pytest.fixture(params=SEEDS)
def ridge(request):
    return Ridge(request.param)


def test_the_exact_hypergradient_is_that_of_the_closed_form(ridge):
    step = 1e-6
    differences = [
        (ridge.dev_loss(ridge.phi + step * unit) - ridge.dev_loss(ridge.phi - step * unit))
        / (2 * step)
        for unit in np.eye(FEATURES)
    ]
    np.testing.assert_allclose(ridge.exact(), differences, atol=1e-7, rtol=0)


def test_converged_estimators_reach_the_exact_hypergradient(ridge):
    assert error(ridge, estimator="cg", cg_iters=10, tolerance=1e-7) <= 1e-6
    assert error(ridge, estimator="cg", cg_iters=10) <= 1e-3  # at the tolerance of a run
    assert error(ridge, estimator="gauss_newton", cg_iters=10, tolerance=1e-7) <= 1e-6
    assert error(ridge, estimator="neumann", terms=60, alpha=1 / ridge.largest()) <= 1e-6


def test_the_error_of_the_neumann_series_falls_with_more_terms(ridge):
    alpha = 1 / ridge.largest()
    errors = [error(ridge, estimator="neumann", terms=k, alpha=alpha) for k in (0, 3, 10, 30)]
    assert all(fewer > more for fewer, more in pairwise(errors))
    assert errors[-1] <= 3e-4 and errors[0] > 0.1


def test_one_step_points_the_same_way(ridge):
    found = hypergradient(ridge, HyperOptions()).gradient["phi"]
    exact = ridge.exact()
    assert found @ exact >= 0.85 * np.linalg.norm(found) * np.linalg.norm(exact)


def test_the_published_series_lacks_its_factor(ridge):
    alpha = 0.5 / ridge.largest()
    options = dict(estimator="neumann", terms=3, alpha=alpha, power_steps=0)
    scaled = hypergradient(ridge, HyperOptions(**options)).gradient["phi"]
    published = hypergradient(ridge, HyperOptions(**options, scaled=False)).gradient["phi"]
    np.testing.assert_allclose(scaled, alpha * published)


def test_power_iteration_finds_the_largest_eigenvalue(ridge):
    options, spectrum = HyperOptions(estimator="neumann", alpha=1e9, refresh=1), Spectrum()
    first = hypergradient(ridge, options, spectrum)
    # A Rayleigh quotient is never too large; a step of 2 / largest would still converge.
    assert 0.75 <= first.largest_eigenvalue / ridge.largest() <= 1 + 1e-6
    assert first.alpha == pytest.approx(0.9 / first.largest_eigenvalue)
    for _ in range(2):  # each begins where the last ended, as between upper updates
        result = hypergradient(ridge, options, spectrum)
    assert abs(result.largest_eigenvalue / ridge.largest() - 1) <= 0.05
    assert spectrum.calls == 3
    stale = HyperOptions(estimator="neumann", alpha=1e9, refresh=20)
    assert hypergradient(ridge, stale, spectrum).largest_eigenvalue == result.largest_eigenvalue


def test_residuals_tell_how_well_the_system_is_solved(ridge):
    cg = hypergradient(ridge, HyperOptions(estimator="cg", tolerance=1e-6))
    assert cg.residual <= 1e-4
    series = HyperOptions(estimator="neumann", terms=3, alpha=1 / ridge.largest(), power_steps=0)
    p = hypergradient(ridge, series, with_residual=True)
    expected = ridge.hessian(ridge.phi) @ p.p - p.v
    assert p.residual == pytest.approx(np.linalg.norm(expected) / np.linalg.norm(p.v), rel=1e-4)
    assert hypergradient(ridge, series).residual is None


def test_damping_is_added_to_the_hessian(ridge):
    result = hypergradient(ridge, HyperOptions(estimator="cg", damping=0.5, tolerance=1e-7))
    exact = np.linalg.solve(ridge.hessian(ridge.phi) + 0.5 * np.eye(WIDTH), result.v)
    np.testing.assert_allclose(result.p, exact, rtol=1e-4, atol=1e-6)


class Indefinite(Ridge):
    def hvp(self, x):
        return x * np.linspace(-2.0, 3.0, WIDTH)


def test_indefinite_hessian_and_diverging_series_are_told_and_finite():
    problem = Indefinite(0)
    cg = hypergradient(problem, HyperOptions(estimator="cg"))
    assert cg.flags["negative_curvature"] and np.isfinite(cg.p).all()
    assert cg.residual > 1
    for guard in (True, False):
        options = HyperOptions(
            estimator="neumann", terms=6, alpha=5 / 3, power_steps=0, guard=guard
        )
        series = hypergradient(problem, options, with_residual=True)
        assert series.flags["diverged"] and np.isfinite(series.p).all()
        assert series.residual > 1 and series.iterations == (0 if guard else 6)


def test_conjugate_gradient_returns_v_where_the_first_direction_curves_down():
    v = np.array([1.0, 2.0])
    p, iterations, negative = conjugate_gradient(lambda x: -x, v, 5, 1e-4)
    np.testing.assert_array_equal(p, v)
    assert negative and iterations == 0


def test_clipping_limits_the_global_norm():
    gradient, norm, factor = clipped({"a": np.full(4, 30.0), "b": np.full(5, 8.0)}, 10.0)
    assert norm == pytest.approx(np.sqrt(4 * 900 + 5 * 64))
    assert factor == pytest.approx(10 / norm)
    assert np.sqrt(sum((g**2).sum() for g in gradient.values())) == pytest.approx(10, rel=1e-6)
    _, _, factor = clipped({"a": np.ones(3)}, 10.0)
    assert factor == 1.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(estimator="lbfgs"), "known are one_step, neumann, cg, gauss_newton"),
        (dict(terms=-1), "at least 0"),
        (dict(alpha=0.0), "alpha must be positive"),
        (dict(damping=-1.0), "damping not negative"),
    ],
)
def test_options_out_of_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        HyperOptions(**options)
