"""What generated raw Ali-CCP rows share: marginals, items, vocabularies, coefficients.

Marginals: shares of the domains .3779/.0075/.6147, click rate .0389 over all (by domain
.0450/.0300/.0353, our choice), conversion .000214 an impression, presence and cardinality of each
field as published (`PRESENT`), the latter scaled by (rows / 85.3 million) ** 0.6.  The four lists
of a common row hold 25 entries altogether unless told otherwise; the real ones hold about 613.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hamur.data.synthetic.draws import ZIPF, cardinality
from hamur.data.synthetic.planted import Field, Signal

BLOCK = 65_536
PILOT_ROWS = 1 << 17
BALANCED = 5_000  # items that are popular enough to matter
ALL_ROWS, ROWS_PER_COMMON = 85_316_519, 58
SHARES, RATES, CONVERSION = (0.3779, 0.0075, 0.6147), (0.0450, 0.0300, 0.0353), 0.000214
PRESENT = {
    "101": (294_736, 0.998), "121": (98, 0.870), "122": (14, 0.870), "124": (3, 0.870),
    "125": (8, 0.870), "126": (4, 0.416), "127": (4, 0.870), "128": (3, 0.870),
    "129": (5, 0.637), "205": (3_078_306, 1.0), "206": (8_581, 1.0), "207": (604_498, 1.0),
    "210": (96_258, 0.9999), "216": (208_179, 0.711), "508": (7_735, 0.696),
    "509": (384_343, 0.221), "702": (142_632, 0.224), "853": (74_317, 0.410),
    "109_14": (6_086, 0.991), "110_14": (116_741, 0.991), "127_14": (58_015, 0.990),
    "150_14": (33_786, 0.998),
}  # fmt: skip
LISTS = ("109_14", "110_14", "127_14", "150_14")
LIST_SHARES = (70 / 613, 252 / 613, 155 / 613, 136 / 613)
PROFILE = ("101", "121", "122", "124", "125", "126", "127", "128", "129")
VALUED = ("508", "509", "702", "853")
NODES, CROSSED = 6.1, 3.4  # mean entries of 210 and of 853, where present
WEIGHTS = {"101": 0.2, "205": 0.2, "121": 0.6, "125": 0.9, "206": 0.9, "216": 0.2}
SIDES = {"121": "user", "125": "user", "124": "user", "206": "item", "205": "item"}
FLIPPED = ("125", "206")


@dataclass(frozen=True)
class Options:
    """What the files hold; see `make_ali_ccp_raw`."""

    rows: int
    test_rows: int
    seed: int
    signal: float = 1.0
    domain_shift: float = 0.8
    shares: tuple[float, ...] = SHARES
    rates: tuple[float, ...] = RATES
    conversion: float = CONVERSION
    list_entries: float = 25.0
    min_domain_rows: int = 0
    min_positives: int = 0
    rows_per_common: int = ROWS_PER_COMMON


class World:
    """Items, vocabularies, coefficients: everything that rows share."""

    def __init__(self, options: Options):
        self.options = options
        rng = stream(options.seed, 0, 0)
        rows = options.rows + options.test_rows
        self.sizes = {
            name: cardinality(real, rows, ALL_ROWS) for name, (real, _) in PRESENT.items()
        }
        self.zipf = {name: _cumulated(size) for name, size in self.sizes.items()}
        items = self.sizes["205"]
        # (items,) each: what an item is
        self.items = {name: self.draw(rng, name, items) for name in ("206", "207", "216")}
        self.branded = _balanced(rng, self.zipf["205"], PRESENT["216"][1])
        self.nodes = 1 + rng.poisson(NODES - 1, items)
        self.node_base = rng.integers(0, 1 << 30, items)
        sizes = {name: Field(None, WEIGHTS.get(name, 0.4), SIDES.get(name, ""), name in FLIPPED,
                             self.sizes[name] + 1)
                 for name in (*PROFILE, "205", "206", "216")}  # fmt: skip
        self.signal = Signal(
            rng, sizes, len(VALUED), len(options.shares), options.signal, options.domain_shift
        )

    def draw(self, rng: np.random.Generator, name: str, count: int) -> np.ndarray:
        """(count,) values 0..size-1 of a field, small ones most often."""
        place = np.searchsorted(self.zipf[name], rng.random(count), side="right")
        return place.astype(np.int32)


def _cumulated(size: int) -> np.ndarray:
    weights = np.cumsum(np.arange(1, size + 1) ** -ZIPF)
    return weights / weights[-1]


def _balanced(rng: np.random.Generator, cumulated: np.ndarray, share: float) -> np.ndarray:
    """(n,) bool, true for this share of the draws: few popular values must not decide it."""
    weight, chosen, sum_ = np.diff(cumulated, prepend=0), rng.random(len(cumulated)) < share, 0.0
    for i in range(min(BALANCED, len(chosen))):
        chosen[i] = sum_ + weight[i] <= share * cumulated[i]
        sum_ += weight[i] * chosen[i]
    return chosen


def blocks_of(rows: int) -> Iterator[tuple[int, int]]:
    return ((at // BLOCK, min(BLOCK, rows - at)) for at in range(0, rows, BLOCK))


def stream(seed: int, file: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, file, block]))
