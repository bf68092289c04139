"""Where the preferences of a training step and of an evaluation come from."""

from itertools import combinations
from math import comb

import numpy as np

SAMPLERS = ("angles", "annealed", "grid", "dirichlet")
GRID_ENDS = 0.01


def lattice(num_tasks: int, least: int) -> np.ndarray:
    """All points of the simplex with coordinates i/p, smallest p that gives at least so many."""
    p = 1
    while comb(p + num_tasks - 1, num_tasks - 1) < least:
        p += 1
    bars = np.array(list(combinations(range(p + num_tasks - 1), num_tasks - 1)))
    edges = np.column_stack([np.full(len(bars), -1), bars, np.full(len(bars), p + num_tasks - 1)])
    return (np.diff(edges, axis=1) - 1) / p


def evaluation_preferences(num_tasks: int, number: int) -> np.ndarray:
    """(R, T) float32 with the corners: r_1 = i/(R-1) for two tasks, else the lattice."""
    if num_tasks == 2:
        first = np.linspace(0.0, 1.0, number) if number > 1 else np.array([0.5])
        return np.column_stack([first, 1.0 - first]).astype(np.float32)
    return lattice(num_tasks, number).astype(np.float32)


def official_preferences() -> np.ndarray:
    """The public code's five (5, 2): angles from 0.1 to pi/2 - 0.1, (cos, sin) over their sum."""
    angles = np.linspace(0.1, np.pi / 2 - 0.1, 5)
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    return (points / points.sum(axis=1, keepdims=True)).astype(np.float32)


class Sampler:
    """Preferences of a step: sampler(step, total_steps) -> (R, T) float32, with constant R.

    "grid": fixed, r_1 = linspace(.01, .99, R) for two tasks, else the simplex lattice with at least
    R points.  "angles": for two tasks r_1 = sin(i pi / (2 (R-1)))^2 in place of it, equal steps of
    Hellinger's distance with both corners: a front changes fastest near its ends.  "annealed": each
    node of the grid to the power a t and renormalised, t = step / last step, so that all start at
    the centre and spread to the corners.  "dirichlet": drawn from (seed, step).
    Attributes: nodes (R, T), the grid; number R.
    Raises:  ValueError: an unknown name or a number out of range.
    """

    def __init__(self, name, num_tasks, number, seed=0, anneal_power=2.0, alpha=None):
        if name not in SAMPLERS:
            raise ValueError(f"`sampler` is {name!r}; known are {', '.join(SAMPLERS)}.")
        self.name, self.seed, self.power = name, seed, anneal_power
        if num_tasks == 2:
            ends = (GRID_ENDS, 1.0 - GRID_ENDS) if number > 1 else (0.5, 0.5)
            first = np.linspace(*ends, number)
            if name == "angles" and number > 1:
                first = (1.0 - np.cos(np.linspace(0.0, np.pi, number))) / 2.0
            self.nodes = np.column_stack([first, 1.0 - first])
        else:
            self.nodes = lattice(num_tasks, number)
        self.number = len(self.nodes) if name != "dirichlet" else number
        self.alpha = np.ones(num_tasks) if alpha is None else np.asarray(alpha, np.float64)
        if len(self.alpha) != num_tasks or not (self.alpha > 0).all():
            raise ValueError(
                f"`dirichlet_alpha` needs {num_tasks} positive numbers, got {self.alpha.tolist()}."
            )

    def __call__(self, step, total_steps):
        if self.name == "dirichlet":
            rng = np.random.Generator(np.random.PCG64([self.seed, step, 7]))
            return rng.dirichlet(self.alpha, self.number).astype(np.float32)
        nodes = self.nodes
        if self.name == "annealed":
            time = step / max(1, total_steps - 1)
            with np.errstate(divide="ignore"):
                nodes = np.power(nodes, min(time, 1.0) * self.power)
            nodes = nodes / nodes.sum(axis=1, keepdims=True)
        return nodes.astype(np.float32)

    def slots(self, preferences):
        """(R,) the node that each preference's losses are smoothed in."""
        if self.name != "dirichlet":
            return np.arange(self.number)
        distance = ((preferences[:, None] - self.nodes[None]) ** 2).sum(axis=2)
        return distance.argmin(axis=1)


class FixedSampler:
    """One preference for all steps, as a reference model has it."""

    def __init__(self, preference):
        self.nodes = np.asarray(preference, np.float32).reshape(1, -1)
        self.number = 1

    def __call__(self, step, total_steps):
        return self.nodes

    def slots(self, preferences):
        return np.zeros(1, np.int64)
