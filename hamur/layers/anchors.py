"""Anchors, the preferences that each expert serves, and the features of a preference.

The distance between preferences is Hellinger's, |sqrt(r) - sqrt(a)|: sqrt(r) is on a sphere, and
near a corner, where the best network changes fastest, equal steps of r are longer.
"""

from itertools import combinations_with_replacement

import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers.preference import FEATURES, PreferenceTrunk

CANDIDATES = 4  # coordinates of the points that anchors are picked from are multiples of 1/4


def closeness(anchors: np.ndarray) -> float:
    """Squared distance of the two different anchors that are nearest to each other; 1 if all are
    the same."""
    similar = np.sqrt(anchors) @ np.sqrt(anchors).T
    different = similar[~np.isclose(similar, 1.0)]
    return float(2.0 - 2.0 * different.max()) if len(different) else 1.0


def preference_anchors(num_tasks: int, number: int) -> np.ndarray:
    """Points (X, T) spread over the simplex, one per expert, the same for the same sizes.

    Two tasks: equal angles, r_1 = sin(i pi / (2 (X-1)))^2.  More: the corners first, then the
    centre, then always the lattice point that is farthest from all points so far (with three tasks
    the middles of the edges).
    """
    if num_tasks == 2:
        angle = np.linspace(0.0, np.pi / 2, number) if number > 1 else np.array([np.pi / 4])
        return np.column_stack([np.sin(angle) ** 2, np.cos(angle) ** 2])
    draws = combinations_with_replacement(range(num_tasks), CANDIDATES)
    points = np.array([np.bincount(d, minlength=num_tasks) for d in draws]) / CANDIDATES
    anchors = [*np.eye(num_tasks), np.full(num_tasks, 1.0 / num_tasks)][:number]
    while len(anchors) < number:
        similar = (np.sqrt(points) @ np.sqrt(anchors).T).max(axis=1)
        # Equal distances differ by rounding; the first of them is taken on every machine.
        anchors.append(points[np.flatnonzero(similar <= similar.min() + 1e-9)[0]])
    return np.array(anchors)


class PreferenceFeatures(nn.Cell):
    """All that the network reads of a preference: its features v, and its nearness to the experts'
    anchors a_i,

        [ v,  2 s sqrt(r) . sqrt(a_i) ]               r (R, T) -> (R, 64 + X).

    The second part, for the logits of every gate, is -s |sqrt(r) - sqrt(a_i)|^2 up to what a
    softmax over the experts ignores.  Without it all preferences start at the same mixture of
    experts, where a change of the gate changes next to nothing, and stay there.

    anchors (X, T).  strength: the difference of the two logits, for a preference at an anchor, of
    its expert and of the nearest other one; s follows from it.
    """

    def __init__(self, rng, num_tasks, anchors, strength):
        super().__init__()
        self.trunk = PreferenceTrunk(rng, num_tasks)
        scale = 2.0 * strength / closeness(anchors)
        self.anchors = Tensor((scale * np.sqrt(anchors.T)).astype(np.float32))  # (T, X)
        self.width = FEATURES + len(anchors)

    def construct(self, preferences):
        nearness = ops.matmul(ops.sqrt(preferences), self.anchors)
        return ops.concat((self.trunk(preferences), nearness), 1)
