"""Generated rows of the raw Ali-CCP files: items, users, features, and their text.

Marginals: shares of the domains .3779/.0075/.6147, click rate .0389 over all (by domain
.0450/.0300/.0353, our choice), conversion .000214 per impression, presence and cardinality of each
field as published (`PRESENT`), the latter scaled by (rows / 85.3 million) ** 0.6.  The four lists
of a common row hold 25 entries altogether unless told otherwise; the real ones hold about 613.

Rows come in blocks of 65,536; block b of file f is drawn from the stream (seed, f, b) alone.  What
an item, a category or a user is, is drawn once from (seed, 0).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hamur.data.synthetic.signals import Field, Signal, cardinality, stream, zipf_cumulated

BLOCK = 65_536
BALANCED = 5_000  # items that are popular enough to matter
ALL_ROWS, ROWS_PER_COMMON = 85_316_519, 58
SHARES, RATES, CONVERSION = (0.3779, 0.0075, 0.6147), (0.0450, 0.0300, 0.0353), 0.000214
PRESENT = {  # field: (number of values, share of the rows that have one)
    "101": (294_736, 0.998), "121": (98, 0.870), "122": (14, 0.870), "124": (3, 0.870),
    "125": (8, 0.870), "126": (4, 0.416), "127": (4, 0.870), "128": (3, 0.870),
    "129": (5, 0.637), "205": (3_078_306, 1.0), "206": (8_581, 1.0), "207": (604_498, 1.0),
    "210": (96_258, 0.9999), "216": (208_179, 0.711), "508": (7_735, 0.696),
    "509": (384_343, 0.221), "702": (142_632, 0.224), "853": (74_317, 0.410),
    "109_14": (6_086, 0.991), "110_14": (116_741, 0.991), "127_14": (58_015, 0.990),
    "150_14": (33_786, 0.998),
}  # fmt: skip
LIST_SHARES = {"109_14": 70 / 613, "110_14": 252 / 613, "127_14": 155 / 613, "150_14": 136 / 613}
PROFILE = ("101", "121", "122", "124", "125", "126", "127", "128", "129")
VALUED = ("508", "509", "702", "853")
CROSSED_WITH = {"508": "206", "509": "207", "702": "216"}  # the item's category, shop and brand
NODES, CROSSED = 6.1, 3.4  # mean entries of 210 and of 853, where present
WEIGHTS = {"101": 0.2, "205": 0.2, "121": 0.6, "125": 0.9, "206": 0.9, "216": 0.2}
SIDES = {"121": "user", "125": "user", "124": "user", "206": "item", "205": "item"}
FLIPPED = ("125", "206")
_VALUES = [f"{np.log1p(count):.5f}".rstrip("0") for count in range(1, 201)]
_ONE = len(_VALUES)
VALUES = np.array([*_VALUES, "1.0"])  # the numbers of features, as text; _ONE is that of "1.0"

# (field, row, value, position in VALUES) of features of a block of rows
Features = tuple[str, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Options:
    """What the files hold; see `make_ali_ccp_raw`.

    Raises:  ValueError: more conversions than clicks.
    """

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

    def __post_init__(self):
        clicks = float(np.dot(self.shares, self.rates))
        if self.conversion > clicks:
            raise ValueError(
                f"`conversion` is {self.conversion}; {clicks:.4f} of the impressions are clicked"
            )


class World:
    """Items, vocabularies, coefficients: everything that rows share."""

    def __init__(self, options: Options):
        self.options = options
        rng = stream(options.seed, 0, 0)
        rows = options.rows + options.test_rows
        self.sizes = {
            name: cardinality(real, rows, ALL_ROWS) for name, (real, _) in PRESENT.items()
        }
        self.zipf = {name: zipf_cumulated(size) for name, size in self.sizes.items()}
        items = self.sizes["205"]
        # (items,) each: what an item is
        self.items = {name: self.draw(rng, name, items) for name in ("206", "207", "216")}
        self.branded = _balanced(rng, self.zipf["205"], PRESENT["216"][1])
        self.nodes = 1 + rng.poisson(NODES - 1, items)
        self.node_base = rng.integers(0, 1 << 30, items)
        fields = {name: Field(None, WEIGHTS.get(name, 0.4), SIDES.get(name, ""), name in FLIPPED,
                              self.sizes[name] + 1)
                  for name in (*PROFILE, "205", "206", "216")}  # fmt: skip
        self.signal = Signal(
            rng, fields, len(VALUED), len(options.shares), options.signal, options.domain_shift
        )

    def draw(self, rng: np.random.Generator, name: str, count: int) -> np.ndarray:
        """(count,) values 0..size-1 of a field, small ones most often."""
        return np.searchsorted(self.zipf[name], rng.random(count), side="right").astype(np.int32)


def _balanced(rng: np.random.Generator, cumulated: np.ndarray, share: float) -> np.ndarray:
    """(n,) bool, true for this share of the draws: few popular values must not decide it."""
    weight, true, sum_ = np.diff(cumulated, prepend=0), rng.random(len(cumulated)) < share, 0.0
    for i in range(min(BALANCED, len(true))):
        true[i] = sum_ + weight[i] <= share * cumulated[i]
        sum_ += weight[i] * true[i]
    return true


class CommonRows:
    """The common rows of one file: profiles in memory, lists drawn as they are written."""

    def __init__(self, world: World, file: int, rows: int):
        self.world, self.file = world, file
        self.rows = max(2, rows // world.options.rows_per_common)
        blocks = [self._profile(b, n) for b, n in blocks_of(self.rows)]
        self.profile = {name: np.concatenate([block[name] for block in blocks]) for name in PROFILE}

    def _profile(self, block: int, rows: int) -> dict[str, np.ndarray]:
        """name -> (rows,) value, or -1 where it is missing."""
        rng = stream(self.world.options.seed, 10 + self.file, block)
        known = rng.random(rows) < PRESENT["121"][1]  # the profile as a whole is known or not
        columns = {}
        for name in PROFILE:
            value, share = self.world.draw(rng, name, rows), PRESENT[name][1]
            if name == "101":
                present = rng.random(rows) < share
            else:
                present = known & (rng.random(rows) < share / PRESENT["121"][1])
            columns[name] = np.where(present, value, -1)
        return columns

    def features(self, rng: np.random.Generator, start: int, rows: int) -> Iterator[Features]:
        """The profiles, and lists drawn from rng, of so many rows from `start` on."""
        world = self.world
        for name in PROFILE:
            yield _single(name, self.profile[name][start : start + rows])
        for name, share in LIST_SHARES.items():
            mean = max(1.0, world.options.list_entries * share / PRESENT[name][1])
            length = (1 + rng.poisson(mean - 1, rows)) * (rng.random(rows) < PRESENT[name][1])
            row = np.repeat(np.arange(rows), length)
            yield name, row, world.draw(rng, name, len(row)), _draw_counts(rng, len(row))


class SkeletonRows:
    """A block of skeleton rows."""

    def __init__(self, world: World, common: CommonRows, rng: np.random.Generator, rows: int):
        shares = np.cumsum(world.options.shares)
        self.world, self.rng, self.rows = world, rng, rows
        self.common = (rng.random(rows) ** 1.5 * common.rows).astype(np.int64)
        self.domain = np.searchsorted(shares[:-1], rng.random(rows), side="right")
        self.profile = {name: column[self.common] for name, column in common.profile.items()}
        self.item = world.draw(rng, "205", rows)
        self.ids = {"205": self.item}
        self.ids |= {name: column[self.item] for name, column in world.items.items()}
        self.ids["216"] = np.where(world.branded[self.item], self.ids["216"], -1)
        self.values = {}
        for name in VALUED:
            present = rng.random(rows) < PRESENT[name][1]
            if name in CROSSED_WITH:  # a cross of the history with the item's own value
                value = np.maximum(self.ids[CROSSED_WITH[name]], 0) % world.sizes[name]
            else:
                value = world.draw(rng, name, rows)
            self.ids[name] = np.where(present, value, -1)
            self.values[name] = _draw_counts(rng, rows)

    def inputs(self) -> tuple[dict[str, Field], np.ndarray]:
        """What the signal of the labels depends on; code 0 is a missing value."""
        names = {**self.profile, **{name: self.ids[name] for name in ("205", "206", "216")}}
        numbers = VALUES.astype(float)
        dense = [numbers[self.values[n]] / 5.31 * (self.ids[n] >= 0) for n in VALUED]
        return {name: Field(column + 1) for name, column in names.items()}, np.stack(dense, axis=1)

    def features(self) -> Iterator[Features]:
        """All features of the rows."""
        rng, world = self.rng, self.world
        for name in ("205", "206", "207", "216", "508", "509", "702"):
            yield _single(name, self.ids[name], self.values.get(name))
        yield _single("301", self.domain)
        present = rng.random(self.rows) < PRESENT["210"][1]
        counts = world.nodes[self.item] * present
        row = np.repeat(np.arange(self.rows), counts)
        order = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)  # in its row
        value = (world.node_base[self.item[row]] + order * 7919) % world.sizes["210"]
        yield "210", row, value, np.full(len(row), _ONE)
        more = 1 + rng.poisson(CROSSED - 1, self.rows)
        row = np.repeat(np.arange(self.rows), more * (self.ids["853"] >= 0))
        yield "853", row, world.draw(rng, "853", len(row)), _draw_counts(rng, len(row))


def blocks_of(rows: int) -> Iterator[tuple[int, int]]:
    """(number, rows) of each block."""
    return ((at // BLOCK, min(BLOCK, rows - at)) for at in range(0, rows, BLOCK))


def _single(name: str, value: np.ndarray, number: np.ndarray | None = None) -> Features:
    """A field of one value per row, -1 = none; number: positions in VALUES, None = 1.0."""
    row = np.flatnonzero(value >= 0)
    return name, row, value[row], np.full(len(row), _ONE) if number is None else number[row]


def _draw_counts(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(rows,) positions in VALUES of ln(1 + count), small counts most often."""
    count = np.floor(1.0 / (1.0 - rng.random(rows)) ** 0.8)
    return np.minimum(count, len(_VALUES)).astype(np.int64) - 1
