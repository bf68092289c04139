"""Draws that the generators share."""

import numpy as np

# Cardinalities grow with rows ** 0.6; popular values are drawn by Zipf's law.
GROWTH, ZIPF = 0.6, 1.05


def cardinality(real: int, rows: int, real_rows: int) -> int:
    """How many distinct values a generated column of this many rows has."""
    return min(real, max(min(real, 8), round(real * (rows / real_rows) ** GROWTH)))


def zipf(rng: np.random.Generator, size: int, rows: int, exponent: float = ZIPF) -> np.ndarray:
    """(rows,) of 0..size-1, small numbers most often."""
    cumulated = np.cumsum(np.arange(1, size + 1) ** -exponent)
    return np.searchsorted(cumulated / cumulated[-1], rng.random(rows), side="right")


def distinct(rng: np.random.Generator, limit: int, number: int) -> np.ndarray:
    """(number,) different values below `limit`, ascending."""
    return np.sort(rng.permutation(limit)[:number])
