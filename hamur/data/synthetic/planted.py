"""A planted, domain-dependent signal for generated data, and the best AUC that it allows.

    logit_d = b_d + s (sum_f g_f[x_f] + a.v + w.dense) + h (sum_f g_fd[x_f] + a.(M_d v) + w_d.dense)

g_f are effects of single fields, a and v user and item factors of rank 4, M_d random rotations, w
weights of the dense columns; the h part differs between the domains.  Most of it hangs on fields
of few values, so that a short training on few rows can learn it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RANK = 4
_BISECTIONS = 60


@dataclass(frozen=True)
class Field:
    """codes (N,) int; weight: spread of its effects; side: "user", "item" or "" (no factor);
    flipped: its own effects in the last domain are those of domain 0 with the opposite sign.

    size: number of codes; 0 = one more than the largest.
    """

    codes: np.ndarray
    weight: float = 1.0
    side: str = ""
    flipped: bool = False
    size: int = 0

    @property
    def num_codes(self) -> int:
        return self.size or int(self.codes.max()) + 1


class Signal:
    """The coefficients of the planted logits, to be applied to any number of blocks of rows.

    The first rows it sees (`fit`) settle the scale of its parts: means and standard deviations.
    signal (s) and domain_shift (h): standard deviations of the two parts over those rows.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        fields: Mapping[str, Field],
        num_dense: int,
        num_domains: int,
        signal: float = 1.0,
        domain_shift: float = 1.0,
    ):
        self.signal, self.domain_shift, self.num_domains = signal, domain_shift, num_domains
        width = num_domains + 1  # 0: the part common to all domains
        self.effects = {name: _effects(rng, field, width) for name, field in fields.items()}
        for name, field in fields.items():
            if field.flipped:
                self.effects[name][:, -1] = -self.effects[name][:, 1]
        self.factors = {
            side: {n: _effects(rng, f, RANK) for n, f in fields.items() if f.side == side}
            for side in ("user", "item")
        }
        self.weights = rng.standard_normal((num_dense, width))
        self.turns = [np.eye(RANK)]
        for _ in range(num_domains):
            self.turns.append(np.linalg.qr(rng.standard_normal((RANK, RANK)))[0])
        self._scales: list = []

    def fit(self, fields: Mapping[str, Field], dense: np.ndarray) -> np.ndarray:
        """The logits of the rows that settle the scale."""
        self._scales = []
        return self.logits(fields, dense)

    def logits(self, fields: Mapping[str, Field], dense: np.ndarray) -> np.ndarray:
        """(N, D) logits of every row in every domain, without b_d; dense (N, C)."""
        additive = sum(table[fields[name].codes] for name, table in self.effects.items())
        user, item = (
            sum(table[fields[name].codes] for name, table in self.factors[side].items())
            for side in ("user", "item")
        )  # (N, RANK)
        linear = (dense - 0.5) @ self.weights
        scales, parts = iter(self._scales), []
        fitted = bool(self._scales)

        def unit(column: np.ndarray) -> np.ndarray:
            if not fitted:
                self._scales.append((column.mean(), column.std()))
            middle, spread = next(scales) if fitted else self._scales[-1]
            return (column - middle) / spread if spread > 0 else np.zeros_like(column)

        for d, turn in enumerate(self.turns):
            crossed = np.einsum("nr,nr->n", user, item @ turn)
            part = unit(additive[:, d]) + 0.6 * unit(crossed) + 0.5 * unit(linear[:, d])
            parts.append(unit(part))
        common, own = parts[0], np.stack(parts[1:], axis=1)
        return self.signal * common[:, None] + self.domain_shift * own


def plant(
    rng: np.random.Generator,
    fields: Mapping[str, Field],
    dense: np.ndarray,
    num_domains: int,
    signal: float = 1.0,
    domain_shift: float = 1.0,
) -> np.ndarray:
    """(N, D) logits of every row in every domain, without b_d; dense (N, C).  See `Signal`."""
    planted = Signal(rng, fields, dense.shape[1], num_domains, signal, domain_shift)
    return planted.fit(fields, dense)


def _effects(rng: np.random.Generator, field: Field, width: int) -> np.ndarray:
    return field.weight * rng.standard_normal((field.num_codes, width))


def meet_rates(logits: np.ndarray, domain: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
    """(N, D) probabilities: each domain's intercept makes the mean over its rows its rate."""
    return sigmoid(logits + intercepts(logits, domain, rates))


def intercepts(logits: np.ndarray, domain: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
    """(D,) b_d for which the mean probability of the rows of domain d is its rate."""
    found = np.zeros(logits.shape[1])
    for d, rate in enumerate(rates):
        own = logits[domain == d, d]
        low, high = -40.0, 40.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if sigmoid(own + middle).mean() < rate else (low, middle)
        found[d] = (low + high) / 2
    return found


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


@dataclass(frozen=True)
class Truth:
    """What only the generator knows: probability, labels, domain (N,) of the rows as written.

    blind (N,): sum_d P(d) p_d(x), the best a model without the domain can know, if the domain does
    not depend on the other fields.
    """

    probability: np.ndarray
    labels: np.ndarray
    domain: np.ndarray
    blind: np.ndarray

    def take(self, rows: np.ndarray) -> "Truth":
        return Truth(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def truth_of(by_domain: np.ndarray, labels: np.ndarray, domain: np.ndarray) -> Truth:
    """From by_domain (N, D), the probability a row would have in each domain."""
    probability = np.take_along_axis(by_domain, domain[:, None], axis=1)[:, 0]
    return Truth(probability, labels, domain, by_domain @ (np.bincount(domain) / len(domain)))


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


def bayes_auc(probability: np.ndarray, labels: np.ndarray) -> float | None:
    """The AUC of the true probabilities on the labels they drew; None for a single class."""
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        return None
    order = np.argsort(probability, kind="stable")
    ordered = probability[order]
    starts = np.searchsorted(ordered, ordered, "left")
    ends = np.searchsorted(ordered, ordered, "right")
    ranks = (starts + ends + 1) / 2  # ties share their mean rank
    won = ranks[labels[order] > 0].sum() - positives * (positives + 1) / 2
    return float(won / (positives * (len(labels) - positives)))


def auc_report(
    probability: np.ndarray, labels: np.ndarray, domain: np.ndarray, blind: np.ndarray
) -> dict:
    """Rows, positives and the best AUCs, over all rows and in each domain, as JSON values.

    blind (N,): the best score without the domain; its AUC is what such a model can reach.
    """

    def figures(rows) -> dict:
        p, y = probability[rows].astype(np.float64), labels[rows]
        return {
            "rows": len(y),
            "positives": int(y.sum()),
            "bayes_auc": bayes_auc(p, y),
            "expected_auc": expected_auc(p),
        }

    report = figures(slice(None))
    report["bayes_auc_domain_blind"] = bayes_auc(blind, labels)
    report["domains"] = {str(d): figures(domain == d) for d in np.unique(domain)}
    return report


def write_truth(out: Path, options: dict, truth: dict[str, Truth], **more: np.ndarray) -> dict:
    """Writes <out>.truth.npz and <out>.truth.json beside the folder `out`, never into it.

    The arrays are <part>_probability, _label, _domain and _blind (N,), and `more` as it is named.
    Returns the content of the latter: the options, and `auc_report` for every part.
    """
    columns, report = dict(more), {"options": options}
    for part, own in truth.items():
        probability, blind = own.probability.astype(np.float32), own.blind.astype(np.float32)
        arrays = (probability, own.labels.astype(np.int8), own.domain.astype(np.int8), blind)
        names = ("probability", "label", "domain", "blind")
        columns |= {f"{part}_{name}": array for name, array in zip(names, arrays)}
        report[part] = auc_report(*arrays)
    np.savez(out.with_name(out.name + ".truth.npz"), **columns)
    text = json.dumps(report, indent=1)
    out.with_name(out.name + ".truth.json").write_text(text + "\n", encoding="utf-8")
    return report
