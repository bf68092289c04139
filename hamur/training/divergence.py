"""When a training has failed: one rule for every family of models.

The lowest validation log loss of a run is held against that of the constant predictor, which gives
every validation row the base rate of the training rows.  Above it the model is worse than no model:
a warning and a mark in metrics.json.  Above LIMIT times it, and above what a model without any
training has, or where a number is not finite: divergence.
"""

import logging
import math

import numpy as np

LIMIT = 10.0
# Of a rare label the constant predictor's loss is far below ln 2, that of a model whose every
# probability is 1/2, as they are after a few steps.
UNTRAINED = 2.0 * math.log(2.0)
SMALLEST_RATE = 1e-12
logger = logging.getLogger(__name__)


class DivergenceError(ValueError):
    """Values of a training are not finite, or its model is far worse than a constant prediction.

    exit_code: of a script, which then leaves no metrics.json.
    """

    exit_code = 3


def require_finite(what: str, values: np.ndarray, place: str) -> None:
    """Raises DivergenceError: some of the values are not finite."""
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise DivergenceError(f"{what} not finite {place}")


def constant_losses(train: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(T,) log losses of the constant predictor, from the labels (N, T) and (M, T)."""
    rates, observed = (
        np.asarray(labels).mean(axis=0, dtype=np.float64) for labels in (train, valid)
    )
    rates = np.clip(rates, SMALLEST_RATE, 1.0 - SMALLEST_RATE)
    return -(observed * np.log(rates) + (1.0 - observed) * np.log(1.0 - rates))


def judge(loss: float, constant: float, epochs: int) -> bool:
    """Whether a run is worse than the constant predictor, by its lowest validation log loss.

    Warns if it is.
    Raises:  DivergenceError: it is far worse.
    """
    text = (
        f"after epoch {epochs} the lowest validation log loss is {loss:.6g}, that of a constant "
        f"prediction {constant:.6g}"
    )
    if loss > max(LIMIT * constant, UNTRAINED):
        raise DivergenceError(f"diverged: {text}; lower the learning rate (`learning_rate`).")
    if loss > constant:
        logger.warning("%s: the model is worse than no model", text)
    return loss > constant
