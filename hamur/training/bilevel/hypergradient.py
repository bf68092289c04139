"""Hypergradients of a bi-level problem: Neumann series, conjugate gradients with the Hessian or its
positive part, one step.

    lower level   theta*(phi) = argmin L_low(theta; w(phi))
    upper level   min over phi of L_dev(theta*(phi))
    d L_dev / d phi = - (dw/dphi)' c      c_j = < d(grad L_low)/dw_j , p >      (H + damping) p = v

with v = grad L_dev and H the Hessian of L_low, all in a subset of theta (implicit differentiation,
arXiv 1911.02590).  c_j is the influence of row j: how far its loss pulls against the development
loss.  Vectors are flat float64 arrays; only the products with H come from a compiled graph, so an
estimator is a few lines of NumPy that a test can hold against an exact solve.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

ESTIMATORS = ("one_step", "neumann", "cg", "gauss_newton")
CONJUGATE = ("cg", "gauss_newton")  # solved by conjugate gradients
Product = Callable[[np.ndarray], np.ndarray]  # x -> H x


class BilevelProblem(Protocol):
    """What an estimator asks of a problem, at the current theta, phi and batches.

    `hvp` may be missing (None) where the estimator is one_step, and `gauss_newton`, x -> J' B J x,
    where it is another.
    """

    hvp: Product | None
    gauss_newton: Product | None

    def dev_gradient(self) -> np.ndarray:
        """v, (n,)."""

    def precondition(self, p: np.ndarray) -> np.ndarray:
        """p as it is used; the identity gives the hypergradient itself."""

    def influence(self, p: np.ndarray) -> np.ndarray:
        """c, one number per row of the lower batch."""

    def phi_gradient(self, influence: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
        """-(dw/dphi)' c by name of the parameter; p is the preconditioned one."""


@dataclass(frozen=True)
class HyperOptions:
    """How p is computed.

    terms: K of the Neumann series; scaled: its factor alpha is included (the public code leaves it
    out, which agrees with the text-book form for alpha = 1 only); alpha: the step, an upper limit
    with power_steps > 0, which finds the largest |eigenvalue| every `refresh` calls and stays below
    its inverse; damping: added to H; guard: the series stops where its terms grow.
    Raises:  ValueError: an unknown estimator, or a number out of range.
    """

    estimator: str = "one_step"
    terms: int = 3
    scaled: bool = True
    alpha: float = 1.0
    power_steps: int = 8
    refresh: int = 20
    damping: float = 0.0
    cg_iters: int = 10
    tolerance: float = 1e-4
    guard: bool = True

    def __post_init__(self):
        if self.estimator not in ESTIMATORS:
            raise ValueError(
                f"`estimator` is {self.estimator!r}; known are {', '.join(ESTIMATORS)}."
            )
        if self.terms < 0 or self.cg_iters < 1:
            raise ValueError(
                f"terms must be at least 0 and `cg_iters` at least 1, got {self.terms} and "
                f"{self.cg_iters}."
            )
        if not self.alpha > 0 or not self.damping >= 0:
            raise ValueError(
                "HyperOptions: alpha must be positive and damping not negative, got "
                f"{self.alpha} and {self.damping}."
            )


@dataclass
class Spectrum:
    """The largest |eigenvalue| of H so far, and the vector that the next power iteration starts
    from; it persists between calls."""

    vector: np.ndarray | None = None
    largest: float | None = None
    calls: int = 0


@dataclass
class HyperResult:
    """p before preconditioning, the influence, the gradient, and how well the system was solved."""

    gradient: dict[str, np.ndarray]
    p: np.ndarray
    v: np.ndarray
    influence: np.ndarray
    residual: float | None = None
    alpha: float | None = None
    largest_eigenvalue: float | None = None
    iterations: int = 0
    flags: dict[str, bool] = field(default_factory=dict)


def hypergradient(
    problem: BilevelProblem,
    options: HyperOptions,
    spectrum: Spectrum | None = None,
    with_residual: bool = False,
) -> HyperResult:
    """Estimate d L_dev / d phi.

    with_residual: also ||(H + damping) p - v|| / ||v||, one more product (CG always gives it).
    Raises:  ValueError: H is asked for of a problem that has none.
    """
    v = problem.dev_gradient()
    hessian = problem.gauss_newton if options.estimator == "gauss_newton" else problem.hvp
    system = None
    if hessian is not None:
        system = damped(hessian, options.damping)
    elif options.estimator != "one_step":
        raise ValueError(f"estimator {options.estimator!r} needs products with the Hessian.")
    alpha, largest, iterations, flags = options.alpha, None, 0, {}
    if options.estimator == "one_step":
        p = alpha * v
    elif options.estimator == "neumann":
        if options.power_steps:
            largest = refreshed(problem.hvp, v, options, spectrum or Spectrum())
            alpha = min(alpha, 0.9 / (largest + options.damping + 1e-30))
        p, iterations, diverged = neumann(system, v, alpha, options.terms, options.guard)
        p = p * alpha if options.scaled else p
        flags["diverged"] = diverged
    else:
        p, iterations, negative = conjugate_gradient(system, v, options.cg_iters, options.tolerance)
        flags["negative_curvature"] = negative
    residual = None
    if system is not None and (with_residual or options.estimator in CONJUGATE):
        residual = relative_residual(system, p, v)
    used = problem.precondition(p)
    influence = problem.influence(used)
    gradient = problem.phi_gradient(influence, used)
    return HyperResult(
        gradient, p, v, influence, residual, alpha, largest, iterations, flags
    )  # fmt: skip


def damped(hvp: Product, damping: float) -> Product:
    """x -> (H + damping) x."""

    def product(x: np.ndarray) -> np.ndarray:
        return hvp(x) + damping * x

    return product


def neumann(system: Product, v: np.ndarray, alpha: float, terms: int, guard: bool = True):
    """sum_{k=0..K} (I - alpha A)^k v, without the factor alpha.

    Returns (sum, terms used, whether a term grew); with guard the series ends before that term.
    """
    total, term, size, diverged = v.copy(), v, np.linalg.norm(v), False
    for k in range(1, terms + 1):
        term = term - alpha * system(term)
        grown = np.linalg.norm(term)
        if not grown <= size:  # also for NaN
            diverged = True
            if guard:
                return total, k - 1, True
        total, size = total + term, grown
    return total, terms, diverged


def conjugate_gradient(system: Product, v: np.ndarray, iterations: int, tolerance: float):
    """A p = v by conjugate gradients from p = 0.

    Networks with ReLU have indefinite Hessians: at a direction of curvature <= 0 the iterate so far
    is returned, v itself if there is none.  Returns (p, iterations, whether that happened).
    """
    p, residual = np.zeros_like(v), v.copy()
    direction, square = residual.copy(), float(residual @ residual)
    target = tolerance**2 * square
    for k in range(iterations):
        if square <= target:
            return p, k, False
        image = system(direction)
        curvature = float(direction @ image)
        if not curvature > 0.0:
            return (p if k else v.copy()), k, True
        step = square / curvature
        p, residual = p + step * direction, residual - step * image
        square, before = float(residual @ residual), square
        direction = residual + (square / before) * direction
    return p, iterations, False


def power_iteration(hvp: Product, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """(largest |Rayleigh quotient|, last vector): H is indefinite, so the magnitude counts."""
    x, largest = start / (np.linalg.norm(start) + 1e-30), 0.0
    for _ in range(steps):
        image = hvp(x)
        largest = max(largest, abs(float(x @ image)))
        size = np.linalg.norm(image)
        if not size > 0.0:
            break
        x = image / size
    return largest, x


def refreshed(hvp: Product, v: np.ndarray, options: HyperOptions, spectrum: Spectrum) -> float:
    """The largest |eigenvalue|, measured anew every `refresh` calls."""
    if spectrum.calls % options.refresh == 0:
        start = spectrum.vector
        if start is None or start.shape != v.shape:
            start = np.random.Generator(np.random.PCG64(0)).standard_normal(len(v))
        spectrum.largest, spectrum.vector = power_iteration(hvp, start, options.power_steps)
    spectrum.calls += 1
    return spectrum.largest


def relative_residual(system: Product, p: np.ndarray, v: np.ndarray) -> float:
    """||A p - v|| / ||v||."""
    return float(np.linalg.norm(system(p) - v) / (np.linalg.norm(v) + 1e-30))


def clipped(gradient: dict[str, np.ndarray], limit: float) -> tuple[dict, float, float]:
    """The gradient with its global norm limited, that norm before, and the factor."""
    norm = float(np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradient.values())))
    factor = min(1.0, limit / (norm + 1e-6))
    return {name: g * np.float32(factor) for name, g in gradient.items()}, norm, factor
