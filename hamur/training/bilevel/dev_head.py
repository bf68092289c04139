"""Logistic regression on the target tower's features: the head through which the upper level reads
the development loss."""

import math

import numpy as np

from hamur.models.prediction import sigmoid

NEWTON_STEPS = 6
HALVINGS = 30  # of a Newton step at most
LOGIT_LIMIT = 30.0
COSINE_FITS = 1000  # head fits over which the step size of the public code falls to 0


def clipped_sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), z clipped to +-LOGIT_LIMIT."""
    return sigmoid(np.clip(z, -LOGIT_LIMIT, LOGIT_LIMIT))


def newton_fit(
    features: np.ndarray, labels: np.ndarray, solution: np.ndarray, l2: float
) -> np.ndarray:
    """min over (w, b) of mean cross entropy + l2/2 |(w, b)|^2, from the last solution.

    features (N, H), labels (N,), solution (H + 1,), the bias last; float64.  A step is halved until
    the loss falls: whole steps diverge from a start far off the minimum, as the last solution is
    when many lower steps have moved the features.
    """
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(np.float64)

    def loss(at: np.ndarray) -> float:
        z = x @ at
        return float((np.logaddexp(0.0, z) - labels * z).mean() + 0.5 * l2 * (at @ at))

    start = np.nan_to_num(solution.astype(np.float64))
    solution = min((np.zeros(x.shape[1]), start), key=loss)
    value = loss(solution)
    for _ in range(NEWTON_STEPS):
        probability = clipped_sigmoid(x @ solution)
        gradient = x.T @ (probability - labels) / len(x) + l2 * solution
        curvature = probability * (1.0 - probability) / len(x)
        hessian = (x * curvature[:, None]).T @ x + l2 * np.eye(len(solution))
        # Without L2 a dead feature makes the system singular; the smallest step solves it then.
        step = np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]
        for _ in range(HALVINGS):
            nearer = solution - step
            if (reached := loss(nearer)) <= value:
                solution, value = nearer, reached
                break
            step = step / 2.0
    return solution


class VectorAdam:
    """Adam on NumPy arrays by name; its moments persist."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8):
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.steps, self.first, self.second = 0, {}, {}

    def __call__(self, values: dict, gradients: dict, rate: float | dict) -> dict:
        """The values after one step; all arrays keep their dtype.  rate: one, or one per name."""
        self.steps += 1
        moved = {}
        for name, gradient in gradients.items():
            zero = np.zeros_like(values[name])
            first = self.beta1 * self.first.get(name, zero) + (1 - self.beta1) * gradient
            second = self.beta2 * self.second.get(name, zero) + (1 - self.beta2) * gradient**2
            self.first[name], self.second[name] = first, second
            size = np.sqrt(second / (1 - self.beta2**self.steps)) + self.epsilon
            rate_of_name = rate[name] if isinstance(rate, dict) else rate
            step = rate_of_name * first / (1 - self.beta1**self.steps) / size
            moved[name] = (values[name] - step).astype(values[name].dtype)
        return moved

    def state(self) -> dict[str, np.ndarray]:
        arrays = {f"first.{name}": value for name, value in self.first.items()}
        arrays |= {f"second.{name}": value for name, value in self.second.items()}
        return arrays | {"steps": np.array([self.steps])}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        self.steps = int(arrays["steps"][0])
        for moments, prefix in ((self.first, "first."), (self.second, "second.")):
            moments.clear()
            names = [name for name in arrays if name.startswith(prefix)]
            moments.update({name.removeprefix(prefix): arrays[name] for name in names})


def head_rate(lr: float, fit: int) -> float:
    """Step size of head fit number `fit`, from 0, in the public code."""
    return lr * (1.0 + math.cos(math.pi * fit / COSINE_FITS)) / 2.0


def adam_fit(
    features: np.ndarray,
    labels: np.ndarray,
    solution: np.ndarray,
    adam: VectorAdam,
    rate: float,
    size: int,
    steps: int,
) -> np.ndarray:
    """`steps` batches of `size` rows in order, from the first again after the last; mean loss."""
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(np.float64)
    batches = -(-len(x) // size)
    for step in range(steps):
        begin = (step % batches) * size
        rows, truth = x[begin : begin + size], labels[begin : begin + size]
        gradient = rows.T @ (clipped_sigmoid(rows @ solution) - truth) / len(rows)
        solution = adam({"head": solution}, {"head": gradient}, rate)["head"]
    return solution
