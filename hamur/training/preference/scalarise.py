"""From the losses of all preferences to the weight of each loss: pure functions of arrays.

The coefficients are data for the training step: they come from smoothed losses of the past, since a
batch at natural rates holds about one conversion and a non-linear function of its loss would be
noise.  A coefficient below zero would make the network worse at a task on purpose; only the
official rule can produce one.
"""

from collections.abc import Callable

import numpy as np

from hamur.metrics.fronts import clipped, hypervolume_gradient

TEMPERATURE = 0.05
COSMOS_WEIGHT = 0.05
OFFICIAL_WEIGHT = 0.05
HYPERVOLUME_WEIGHT = 4.0
COSINE_EPSILON = 1e-8


def linear(losses, preferences):
    """r_k.  Complete on convex fronts, unbiased on mini-batches."""
    return preferences.astype(np.float64)


def tchebycheff(losses, preferences):
    """r_k where r_k L_k is largest (ties share), else 0; aims at L proportional to 1/r."""
    weighted = preferences * losses
    worst = weighted >= weighted.max(axis=1, keepdims=True) * (1.0 - 1e-12)
    return preferences * worst / worst.sum(axis=1, keepdims=True)


def smooth_tchebycheff(losses, preferences, temperature=TEMPERATURE):
    """r_k softmax_k(r_k L_k / temperature) (arXiv 2402.19078)."""
    scores = preferences * losses / temperature
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return preferences * scores / scores.sum(axis=1, keepdims=True)


def cosmos(losses, preferences, weight=COSMOS_WEIGHT):
    """r_k - weight d cos(L, 1/r) / dL_k (arXiv 2103.12640, for any number of tasks)."""
    return preferences - weight * cosine_gradient(losses, 1.0 / clipped(preferences))


def official(losses, preferences, weight=OFFICIAL_WEIGHT):
    """r_k - weight d cos(L, 1 - r) / dL_k with raw losses, as the public code has it.

    Negative for a rare task over much of the simplex: the network then climbs on that task's loss.
    """
    return preferences - weight * cosine_gradient(losses, 1.0 - preferences)


def hypervolume(losses, preferences, weight=HYPERVOLUME_WEIGHT):
    """-d HV / dL_k, each row scaled to norm 1, minus weight d cos(L, 1/r) / dL_k (PHN-HVI)."""
    reference = np.maximum(1.1, 1.1 * losses.max(axis=0))
    gain = -hypervolume_gradient(losses, reference)
    norm = np.linalg.norm(gain, axis=1, keepdims=True)
    gain = np.divide(gain, norm, out=np.zeros_like(gain), where=norm > 0)
    return gain - weight * cosine_gradient(losses, 1.0 / clipped(preferences))


def epo(losses, preferences):
    """Preferences themselves: the rule needs gradients, which the module `epo` adds."""
    return preferences.astype(np.float64)


def cosine_gradient(losses, directions):
    """d cos(L, v) / dL_k = (v_k / |v| - cos L_k / |L|) / |L|, (R, T)."""
    size = np.maximum(np.linalg.norm(losses, axis=1, keepdims=True), COSINE_EPSILON)
    unit = losses / size
    towards = np.linalg.norm(directions, axis=1, keepdims=True)
    towards = directions / np.maximum(towards, COSINE_EPSILON)
    cosine = (unit * towards).sum(axis=1, keepdims=True)
    return (towards - cosine * unit) / size


SCALARISATIONS: dict[str, Callable] = {
    "linear": linear,
    "tchebycheff": tchebycheff,
    "smooth_tchebycheff": smooth_tchebycheff,
    "cosmos": cosmos,
    "hypervolume": hypervolume,
    "epo": epo,
    "official": official,
}
RAW = ("official",)  # neither normalised nor clamped


def scalarise(name: str, losses: np.ndarray, preferences: np.ndarray) -> np.ndarray:
    """c (R, T) float64: how strongly each loss of each preference is descended.

    losses (R, T), normalised as the rule needs; preferences (R, T) on the simplex.
    All rules but "official" give c >= 0.
    Raises:  ValueError: an unknown name.
    """
    if name not in SCALARISATIONS:
        raise ValueError(f"`scalarisation` is {name!r}; known are {', '.join(SCALARISATIONS)}.")
    losses, preferences = np.asarray(losses, np.float64), np.asarray(preferences, np.float64)
    coefficients = SCALARISATIONS[name](losses, preferences)
    return coefficients if name in RAW else np.maximum(coefficients, 0.0)


def step_weights(name, losses, preferences, ranges=None) -> np.ndarray:
    """The coefficients as the step uses them: brought back to NE by the chain rule where losses
    were divided by ranges (T,), and each row scaled to sum 1; a row of zeros becomes its
    preference.

    (R, T) float32.  "official" is left as it is.
    """
    coefficients = scalarise(name, losses, preferences)
    if name in RAW:
        return coefficients.astype(np.float32)
    if ranges is not None:
        coefficients = coefficients / ranges
    total = coefficients.sum(axis=1, keepdims=True)
    empty = total <= 0
    coefficients = np.where(empty, preferences, coefficients / np.where(empty, 1.0, total))
    return coefficients.astype(np.float32)
