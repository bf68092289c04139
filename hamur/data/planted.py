"""A planted, domain-dependent signal for generated data, and the best AUC that it allows.

    logit_d = b_d + s (sum_f g_f[x_f] + a.v + w.dense) + h (sum_f g_fd[x_f] + a.(M_d v) + w_d.dense)

g_f are effects of single fields, a and v user and item factors of rank 4, M_d random rotations, w
weights of the dense columns; the h part differs between the domains.  Most of it hangs on fields
of few values, so that a short training on few rows can learn it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RANK = 4
_BISECTIONS = 60


@dataclass(frozen=True)
class Field:
    """codes (N,) int; weight: spread of its effects; side: "user", "item" or "" (no factor);
    flipped: its own effects in the last domain are those of domain 0 with the opposite sign."""

    codes: np.ndarray
    weight: float = 1.0
    side: str = ""
    flipped: bool = False


def plant(
    rng: np.random.Generator,
    fields: Mapping[str, Field],
    dense: np.ndarray,
    num_domains: int,
    signal: float = 1.0,
    domain_shift: float = 1.0,
) -> np.ndarray:
    """(N, D) logits of every row in every domain, without b_d; dense (N, C).

    signal (s) and domain_shift (h): standard deviations of the two parts over the rows.
    """
    flipped = [name for name, field in fields.items() if field.flipped]
    tables = {name: _effects(rng, field, num_domains + 1) for name, field in fields.items()}
    for name in flipped:
        tables[name][:, -1] = -tables[name][:, 1]
    additive = sum(tables[name][field.codes] for name, field in fields.items())  # (N, D + 1)
    user, item = (_factors(rng, fields, side) for side in ("user", "item"))  # (N, RANK)
    weights = rng.standard_normal((dense.shape[1], num_domains + 1))
    linear = (dense - 0.5) @ weights
    parts = []
    for d in range(num_domains + 1):  # 0: the part common to all domains
        turn = np.eye(RANK) if d == 0 else np.linalg.qr(rng.standard_normal((RANK, RANK)))[0]
        crossed = np.einsum("nr,nr->n", user, item @ turn)
        part = _unit(additive[:, d]) + 0.6 * _unit(crossed) + 0.5 * _unit(linear[:, d])
        parts.append(_unit(part))
    common, own = parts[0], np.stack(parts[1:], axis=1)
    return signal * common[:, None] + domain_shift * own


def _effects(rng: np.random.Generator, field: Field, width: int) -> np.ndarray:
    return field.weight * rng.standard_normal((int(field.codes.max()) + 1, width))


def _factors(rng: np.random.Generator, fields: Mapping[str, Field], side: str) -> np.ndarray:
    chosen = [field for field in fields.values() if field.side == side]
    return sum(_effects(rng, field, RANK)[field.codes] for field in chosen)


def _unit(column: np.ndarray) -> np.ndarray:
    spread = column.std()
    return (column - column.mean()) / spread if spread > 0 else np.zeros_like(column)


def meet_rates(logits: np.ndarray, domain: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
    """(N, D) probabilities: each domain's intercept makes the mean over its rows its rate."""
    intercepts = np.zeros(logits.shape[1])
    for d, rate in enumerate(rates):
        own = logits[domain == d, d]
        low, high = -40.0, 40.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if sigmoid(own + middle).mean() < rate else (low, middle)
        intercepts[d] = (low + high) / 2
    return sigmoid(logits + intercepts)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


@dataclass(frozen=True)
class Truth:
    """What only the generator knows: probability, domain, labels (N,) of the rows as written.

    by_domain (N, D): the probability the row would have in each domain.
    """

    probability: np.ndarray
    labels: np.ndarray
    domain: np.ndarray
    by_domain: np.ndarray

    def take(self, rows: np.ndarray) -> "Truth":
        return Truth(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def domain_blind(self) -> np.ndarray:
        """(N,) sum_d P(d) p_d(x): the best a model without the domain can know, if the domain
        does not depend on the other fields."""
        return self.by_domain @ (np.bincount(self.domain) / len(self.domain))


def expected_auc(probability: np.ndarray) -> float:
    """The AUC of the true probabilities, averaged over the labels they may draw; O(N log N).

    Pairs i != j weigh p_i (1 - p_j) and count 1 where p_i > p_j, one half where equal.
    """
    p = np.sort(probability)
    miss = 1.0 - p
    starts, ends = np.searchsorted(p, p, "left"), np.searchsorted(p, p, "right")
    below = np.concatenate(([0.0], np.cumsum(miss)))
    equal = below[ends] - below[starts] - miss  # without the row itself
    won = p @ (below[starts] + 0.5 * equal)
    return float(won / (p.sum() * miss.sum() - p @ miss))
