"""Where on the simplex of preferences each expert starts, and what a preference becomes before it
meets a row."""

from itertools import combinations_with_replacement

import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers.preference import FEATURES, PreferenceTrunk

CANDIDATES = 12  # coordinates of the points that anchors are picked from are multiples of 1/12


def preference_anchors(num_tasks: int, number: int) -> np.ndarray:
    """Points (X, T) spread over the simplex, one an expert, the same for the same sizes.

    Two tasks: r_1 = (1 - cos(pi i / (X-1))) / 2, closer at the ends, where the best network changes
    fastest with r.  More: the corners first, then always the lattice point that is farthest from
    all points so far (with three tasks the centre comes fourth).
    """
    if num_tasks == 2:
        turn = np.linspace(0.0, np.pi, number) if number > 1 else np.array([np.pi / 2])
        first = (1.0 - np.cos(turn)) / 2
        return np.column_stack([first, 1.0 - first])
    draws = combinations_with_replacement(range(num_tasks), CANDIDATES)
    points = np.array([np.bincount(d, minlength=num_tasks) for d in draws]) / CANDIDATES
    chosen = list(np.eye(num_tasks)[:number])
    while len(chosen) < number:
        distance = ((points[:, None] - np.array(chosen)[None]) ** 2).sum(axis=2).min(axis=1)
        # Equal distances differ by rounding; the first of them is taken on every machine.
        chosen.append(points[np.flatnonzero(distance >= distance.max() - 1e-9)[0]])
    return np.array(chosen)


class PreferenceFeatures(nn.Cell):
    """All that the network reads of a preference: its features v, and how near it is to the
    experts' anchors a_i,

        [ v,  strength (2 r . a_i - |a_i|^2) ]        r (R, T) -> (R, 64 + X).

    The second part, for the logits of every gate, is -strength |r - a_i|^2 up to what a softmax
    over the experts ignores.  Without it all preferences start at the same mixture of experts,
    where a change of the gate changes next to nothing, and stay there.
    """

    def __init__(self, rng, num_tasks, anchors, strength):
        super().__init__()
        self.trunk = PreferenceTrunk(rng, num_tasks)
        self.slopes = Tensor((2.0 * strength * anchors.T).astype(np.float32))  # (T, X)
        self.levels = Tensor((-strength * (anchors**2).sum(axis=1)).astype(np.float32))
        self.width = FEATURES + len(anchors)

    def construct(self, preferences):
        nearness = ops.bias_add(ops.matmul(preferences, self.slopes), self.levels)
        return ops.concat((self.trunk(preferences), nearness), 1)
