"""What the generators share: draws, the signal in the labels, and the best AUC that it allows.

    logit_d = b_d + s (sum_f g_f[x_f] + a.v + w.dense) + h (sum_f g_fd[x_f] + a.(M_d v) + w_d.dense)

g_f are effects of single fields, a and v user and item factors of rank 4, M_d random rotations, w
weights of the dense columns; the h part differs between the domains.  Most of it depends on fields
of few values, so that a short training on few rows can learn it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamur.files import replacing, write_text
from hamur.metrics.exact_front import sigmoid, soft_auc

# Cardinalities grow with rows ** 0.6; popular values are drawn by Zipf's law.
GROWTH, ZIPF = 0.6, 1.05
RANK = 4
_BISECTIONS = 60


def stream(*key: int) -> np.random.Generator:
    """The random stream of these numbers."""
    return np.random.Generator(np.random.PCG64(key))


def cardinality(real: int, rows: int, real_rows: int) -> int:
    """How many distinct values a generated column of this many rows has."""
    return min(real, max(min(real, 8), round(real * (rows / real_rows) ** GROWTH)))


def zipf_cumulated(size: int, exponent: float = ZIPF) -> np.ndarray:
    """(size,) cumulated probabilities of the values 0..size-1, small ones most often."""
    cumulated = np.cumsum(np.arange(1, size + 1) ** -exponent)
    return cumulated / cumulated[-1]


def zipf(rng: np.random.Generator, size: int, rows: int, exponent: float = ZIPF) -> np.ndarray:
    """(rows,) of 0..size-1, small numbers most often."""
    return np.searchsorted(zipf_cumulated(size, exponent), rng.random(rows), side="right")


def distinct(rng: np.random.Generator, limit: int, number: int) -> np.ndarray:
    """(number,) different values below `limit`, ascending."""
    return np.sort(rng.permutation(limit)[:number])


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

    def effects(self, rng: np.random.Generator, width: int) -> np.ndarray:
        """(number of codes, width) random effects of the codes."""
        num_codes = self.size or int(self.codes.max()) + 1
        return self.weight * rng.standard_normal((num_codes, width))


class Signal:
    """The coefficients of the logits, to be applied to any number of blocks of rows.

    The first rows it sees (`fit`) determine the scale of its parts: means and standard deviations.
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
        self.effects = {name: field.effects(rng, width) for name, field in fields.items()}
        for name, field in fields.items():
            if field.flipped:
                self.effects[name][:, -1] = -self.effects[name][:, 1]
        self.factors = {
            side: {n: f.effects(rng, RANK) for n, f in fields.items() if f.side == side}
            for side in ("user", "item")
        }
        self.weights = rng.standard_normal((num_dense, width))
        self.turns = [np.eye(RANK)]
        for _ in range(num_domains):
            self.turns.append(np.linalg.qr(rng.standard_normal((RANK, RANK)))[0])
        self._scales: list = []

    def fit(self, fields: Mapping[str, Field], dense: np.ndarray) -> np.ndarray:
        """The logits of the rows that determine the scale."""
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


def bisect(mean: Callable[[float], float], rate: float, limit: float = 40.0) -> float:
    """The b in [-limit, limit] where the increasing function `mean` reaches `rate`."""
    low, high = -limit, limit
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < rate else (low, middle)
    return (low + high) / 2


def intercept(logits: np.ndarray, rate: float) -> float:
    """The b for which the mean probability of logits (N,) + b is the rate."""
    return bisect(lambda b: sigmoid(logits + b).mean(), rate)


def intercepts(logits: np.ndarray, domain: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
    """(D,) b_d for which the mean probability of the rows of domain d is its rate."""
    return np.array([intercept(logits[domain == d, d], rate) for d, rate in enumerate(rates)])


def domain_probabilities(
    rng: np.random.Generator,
    fields: Mapping[str, Field],
    dense: np.ndarray,
    domain: np.ndarray,
    rates: tuple[float, ...],
    signal: float,
    domain_shift: float,
) -> np.ndarray:
    """(N, D) probabilities of rows in every domain, from a new `Signal`: the mean over the rows of
    each domain is its rate."""
    logits = Signal(rng, fields, dense.shape[1], len(rates), signal, domain_shift).fit(
        fields, dense
    )
    return sigmoid(logits + intercepts(logits, domain, rates))


def in_own_domain(by_domain: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """(N,) of by_domain (N, D), the value of each row in its own domain."""
    return np.take_along_axis(by_domain, domain[:, None], axis=1)[:, 0]


@dataclass(frozen=True)
class GroundTruth:
    """What only the generator knows: probability, labels, domain (N,) of the rows as written.

    blind (N,): sum_d P(d) p_d(x), the best a model without the domain can know, if the domain does
    not depend on the other fields.
    """

    probability: np.ndarray
    labels: np.ndarray
    domain: np.ndarray
    blind: np.ndarray

    @classmethod
    def of(cls, by_domain: np.ndarray, labels: np.ndarray, domain: np.ndarray) -> "GroundTruth":
        """From by_domain (N, D), the probability a row would have in each domain."""
        blind = by_domain @ (np.bincount(domain) / len(domain))
        return cls(in_own_domain(by_domain, domain), labels, domain, blind)

    @classmethod
    def of_one_domain(
        cls, probability: np.ndarray, labels: np.ndarray, domain: int = 0
    ) -> "GroundTruth":
        """Of rows that are all of one domain, where nothing is gained by knowing it."""
        return cls(probability, labels, np.full(len(labels), domain), probability)

    def take(self, rows: np.ndarray) -> "GroundTruth":
        """Of those rows, in that order."""
        return GroundTruth(*(column[rows] for column in vars(self).values()))

    def report(self) -> dict:
        """Rows, positives and the best AUCs, over all rows and per domain, as JSON values."""

        def figures(rows) -> dict:
            p, y = self.probability[rows].astype(np.float64), self.labels[rows]
            counts = {"rows": len(y), "positives": int(y.sum())}
            return counts | {"bayes_auc": bayes_auc(p, y), "expected_auc": expected_auc(p)}

        report = figures(slice(None))
        report["bayes_auc_domain_blind"] = bayes_auc(self.blind, self.labels)
        report["domains"] = {str(d): figures(self.domain == d) for d in np.unique(self.domain)}
        return report


def expected_auc(probability: np.ndarray) -> float:
    """The AUC of the true probabilities (N,), averaged over the labels they may draw."""
    return soft_auc(probability, probability)


def bayes_auc(probability: np.ndarray, labels: np.ndarray) -> float | None:
    """The AUC of the true probabilities on the labels they drew; None for a single class."""
    single = labels.sum() in (0, len(labels))
    return None if single else soft_auc(probability, labels.astype(np.float64))


def write_truth(
    out: Path, options: dict, truths: Mapping[str, GroundTruth], **more: np.ndarray
) -> dict:
    """Writes <out>.truth.npz and <out>.truth.json beside the folder `out`, never into it.

    The arrays are <part>_probability, _label, _domain and _blind (N,), and `more` as it is named.
    Returns the content of truth.json: the options, and `GroundTruth.report` of every part.
    """
    columns, report = dict(more), {"options": options}
    for part, truth in truths.items():
        probability, blind = truth.probability.astype(np.float32), truth.blind.astype(np.float32)
        arrays = (probability, truth.labels.astype(np.int8), truth.domain.astype(np.int8), blind)
        names = ("probability", "label", "domain", "blind")
        columns |= {f"{part}_{name}": array for name, array in zip(names, arrays)}
        report[part] = GroundTruth(*arrays).report()
    write_text(out.with_name(out.name + ".truth.json"), json.dumps(report, indent=1))
    # The last file of the data: where it is, they are complete.
    with (
        replacing(out.with_name(out.name + ".truth.npz")) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez(file, **columns)
    return report
