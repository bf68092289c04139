"""Generated raw Ali-CCP files of any size: byte-faithful, streamed, with a known best AUC.

Rows come in blocks of 65,536; block b of file f is drawn from the stream (seed, f, b) alone.  What
an item, a category or a user is, is drawn once from (seed, 0).  Marginals: shares of the domains
.3779/.0075/.6147, click rate .0389 over all (by domain .0450/.0300/.0353, our choice), conversion
.000214 an impression, presence and cardinality of each field as published (`PRESENT`), the latter
scaled by (rows / 85.3 million) ** 0.6.  The four lists of a common row hold 25 entries altogether
unless told otherwise; the real ones hold about 613.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hamur.data.ali_ccp_lists import COMMON_FIELDS, SKELETON_FIELDS
from hamur.data.draws import ZIPF, cardinality
from hamur.data.planted import Field, Signal, Truth, intercepts, sigmoid, write_truth

BLOCK = 65_536
PILOT_ROWS = 1 << 17
BALANCED = 5_000  # items that are popular enough to matter
ALL_ROWS, ROWS_PER_COMMON = 85_316_519, 58
SHARES, RATES, CONVERSION = (0.3779, 0.0075, 0.6147), (0.0450, 0.0300, 0.0353), 0.000214
IMPOSSIBLE = 5e-6  # rows of a conversion without a click, at least one from 10,000 rows on
PRESENT = {
    "101": (294_736, 0.998), "121": (98, 0.870), "122": (14, 0.870), "124": (3, 0.870),
    "125": (8, 0.870), "126": (4, 0.416), "127": (4, 0.870), "128": (3, 0.870),
    "129": (5, 0.637), "205": (3_078_306, 1.0), "206": (8_581, 1.0), "207": (604_498, 1.0),
    "210": (96_258, 0.9999), "216": (208_179, 0.711), "508": (7_735, 0.696),
    "509": (384_343, 0.221), "702": (142_632, 0.224), "853": (74_317, 0.410),
    "109_14": (6_086, 0.991), "110_14": (116_741, 0.991), "127_14": (58_015, 0.990),
    "150_14": (33_786, 0.998),
}  # fmt: skip
# The first raw id of a field.  Those of 12x are the real ones, the others are our choice.
FIRST_ID = {
    "101": 1, "121": 3438658, "122": 3438755, "124": 3438768, "125": 3438770, "126": 3438777,
    "127": 3438780, "128": 3864885, "129": 3864887, "205": 4_000_000, "206": 8_316_000,
    "207": 7_100_000, "210": 8_210_000, "216": 8_950_000, "508": 9_050_000, "509": 9_060_000,
    "702": 9_450_000, "853": 9_600_000, "109_14": 450_000, "110_14": 460_000, "127_14": 580_000,
    "150_14": 640_000, "301": 9_351_665,
}  # fmt: skip
LISTS = ("109_14", "110_14", "127_14", "150_14")
LIST_SHARES = (70 / 613, 252 / 613, 155 / 613, 136 / 613)
PROFILE = ("101", "121", "122", "124", "125", "126", "127", "128", "129")
VALUED = ("508", "509", "702", "853")
NODES, CROSSED = 6.1, 3.4  # mean entries of 210 and of 853, where present
WEIGHTS = {"101": 0.2, "205": 0.2, "121": 0.6, "125": 0.9, "206": 0.9, "216": 0.2}
SIDES = {"121": "user", "125": "user", "124": "user", "206": "item", "205": "item"}
FLIPPED = ("125", "206")
_VALUES = np.array([f"{np.log1p(c):.5f}".rstrip("0") for c in range(1, 201)])
_ONE = len(_VALUES)
_VALUE_TEXT = pa.array([*_VALUES, "1.0"])
_VALUE_NUMBER = np.append(_VALUES.astype(float), 1.0)


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


def make_ali_ccp_raw(
    out: str | Path, rows: int, seed: int, test_rows: int = 0, truth: bool = True, **options
) -> dict:
    """Writes sample_skeleton_{train,test}.csv and common_features_{train,test}.csv below `out`.

    rows, test_rows: lines of the two skeleton files; test_rows 0 = half as many as rows.
    signal, domain_shift: standard deviations of the two parts of the logit; list_entries: mean
    of the four lists of a common row together; min_domain_rows, min_positives: of each domain in
    each file (positives also of conversion in train), for small files; they override the rates.
    Beside `out`, as <out>.truth.npz and <out>.truth.json, the truth: per row the probability of a
    click, the one without knowing the domain, the label and the domain; and the AUCs they allow.
    Returns the content of truth.json.  truth=False: neither is written nor returned.
    """
    given = Options(rows, test_rows or max(1, rows // 2), seed, **options)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    world = _World(given)
    known = {}
    for file, (part, count) in enumerate((("train", given.rows), ("test", given.test_rows)), 1):
        common = _Common(world, file, count)
        if part == "train":
            world.calibrate(common)
        common.write(out / f"common_features_{part}.csv")
        known[part] = _write_skeleton(
            out / f"sample_skeleton_{part}.csv", world, common, file, part
        )
    return write_truth(out, given.__dict__, known) if truth else {}


class _World:
    """Items, vocabularies, coefficients: everything that rows share."""

    def __init__(self, options: Options):
        self.options = options
        rng = _stream(options.seed, 0, 0)
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

    def calibrate(self, common: "_Common") -> None:
        """Settles scale and intercepts on rows like those that follow, with the same users."""
        pilot = _Rows(self, common, _stream(self.options.seed, 0, 1), PILOT_ROWS)
        logits = self.signal.fit(*pilot.features())
        self.intercepts = intercepts(logits, pilot.domain, self.options.rates)

    def draw(self, rng: np.random.Generator, name: str, count: int) -> np.ndarray:
        """(count,) values 0..size-1 of a field, small ones most often."""
        place = np.searchsorted(self.zipf[name], rng.random(count), side="right")
        return place.astype(np.int32)


class _Common:
    """The common rows of one file: profiles in memory, lists written as they are drawn."""

    def __init__(self, world: _World, file: int, rows: int):
        self.world, self.file = world, file
        self.rows = max(2, rows // world.options.rows_per_common)
        blocks = [self._profile(b, n) for b, n in _blocks(self.rows)]
        self.profile = {name: np.concatenate([block[name] for block in blocks]) for name in PROFILE}

    def _profile(self, block: int, rows: int) -> dict[str, np.ndarray]:
        """name -> (rows,) value, or -1 where it is missing."""
        rng = _stream(self.world.options.seed, 10 + self.file, block)
        known = rng.random(rows) < PRESENT["121"][1]  # the profile as a whole is known or not
        columns = {}
        for name in PROFILE:
            value, share = self.world.draw(rng, name, rows), PRESENT[name][1]
            if name == "101":
                there = rng.random(rows) < share
            else:
                there = known & (rng.random(rows) < share / PRESENT["121"][1])
            columns[name] = np.where(there, value, -1)
        return columns

    def keys(self, start: int, stop: int) -> np.ndarray:
        return _scramble(np.arange(start, stop, dtype=np.uint64), self.file)

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            for block, rows in _blocks(self.rows):
                start = block * BLOCK
                rng = _stream(self.world.options.seed, 20 + self.file, block)
                parts = [
                    _single(name, self.profile[name][start : start + rows]) for name in PROFILE
                ]
                for name, share in zip(LISTS, LIST_SHARES):
                    parts.append(self._list(rng, name, rows, share))
                counts, lists = _lists(rng, rows, parts, COMMON_FIELDS)
                _write(file, (_hex(self.keys(start, start + rows)), counts, lists))

    def _list(self, rng, name: str, rows: int, share: float) -> tuple:
        mean = max(1.0, self.world.options.list_entries * share / PRESENT[name][1])
        length = (1 + rng.poisson(mean - 1, rows)) * (rng.random(rows) < PRESENT[name][1])
        row = np.repeat(np.arange(rows), length)
        return name, row, self.world.draw(rng, name, len(row)), _counts(rng, len(row))


class _Rows:
    """A block of skeleton rows."""

    def __init__(self, world: _World, common: _Common, rng: np.random.Generator, rows: int):
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
            there = rng.random(rows) < PRESENT[name][1]
            own = {"508": "206", "509": "207", "702": "216"}.get(name)
            value = world.draw(rng, name, rows) if own is None else self._crossed(own, name)
            self.ids[name] = np.where(there, value, -1)
            self.values[name] = _counts(rng, rows)

    def _crossed(self, own: str, name: str) -> np.ndarray:
        """A cross of the history with the item's own category, shop or brand."""
        return np.maximum(self.ids[own], 0) % self.world.sizes[name]

    def features(self) -> tuple[dict[str, Field], np.ndarray]:
        """What the planted signal sees; code 0 is a missing value."""
        names = {**self.profile, **{name: self.ids[name] for name in ("205", "206", "216")}}
        dense = [_VALUE_NUMBER[self.values[n]] / 5.31 * (self.ids[n] >= 0) for n in VALUED]
        return {name: Field(column + 1) for name, column in names.items()}, np.stack(dense, axis=1)

    def parts(self) -> Iterator[tuple]:
        """(field, row, value, place of the number) of all features."""
        rng, world = self.rng, self.world
        for name in ("205", "206", "207", "216", "508", "509", "702"):
            yield _single(name, self.ids[name], self.values.get(name))
        yield _single("301", self.domain)
        there = rng.random(self.rows) < PRESENT["210"][1]
        row = np.repeat(np.arange(self.rows), world.nodes[self.item] * there)
        first = np.concatenate(([True], row[1:] != row[:-1])) if len(row) else np.empty(0, bool)
        order = np.arange(len(row)) - np.maximum.accumulate(np.where(first, np.arange(len(row)), 0))
        value = (world.node_base[self.item[row]] + order * 7919) % world.sizes["210"]
        yield "210", row, value, np.full(len(row), _ONE)
        more = 1 + rng.poisson(CROSSED - 1, self.rows)
        row = np.repeat(np.arange(self.rows), more * (self.ids["853"] >= 0))
        yield "853", row, world.draw(rng, "853", len(row)), _counts(rng, len(row))


def _write_skeleton(path: Path, world: _World, common: _Common, file: int, part: str) -> Truth:
    options = world.options
    count = options.rows if part == "train" else options.test_rows
    columns: list[list[np.ndarray]] = [[] for _ in range(4)]
    with path.open("wb") as out:
        for block, number in _blocks(count):
            rng = _stream(options.seed, 30 + file, block)
            rows = _Rows(world, common, rng, number)
            _force_domains(rows, options, count, block)
            logits = world.signal.logits(*rows.features())
            by_domain = sigmoid(logits + world.intercepts)
            probability = np.take_along_axis(by_domain, rows.domain[:, None], axis=1)[:, 0]
            click = rng.random(number) < probability
            bought = rng.random(number) < options.conversion / (
                np.dot(options.shares, options.rates)
            )
            _force_positives(click, bought, rows.domain, options, block)
            impossible = ~click & (rng.random(number) < IMPOSSIBLE)
            if block == 0 and count >= 10_000 and not impossible.any():
                impossible[np.flatnonzero(~click)[-1]] = True
            conversion = (click & bought) | impossible
            counts, lists = _lists(rng, number, list(rows.parts()), SKELETON_FIELDS)
            start = block * BLOCK
            keys = _scramble(rows.common.astype(np.uint64), file)
            ids = np.arange(start + 1, start + number + 1)
            _write(out, (ids, click.astype(int), conversion.astype(int), _hex(keys), counts, lists))
            kept = ~impossible
            blind = by_domain @ np.array(options.shares)
            kinds = (np.float32, np.int8, np.int8, np.float32)
            known = (probability, click, rows.domain, blind)
            for collected, column, kind in zip(columns, known, kinds):
                collected.append(column[kept].astype(kind))
    return Truth(*map(np.concatenate, columns))


def _force_domains(rows: _Rows, options: Options, count: int, block: int) -> None:
    least, domains = options.min_domain_rows, len(options.shares)
    if block == 0 and count * min(options.shares) < 2 * least:
        forced = min(rows.rows, least * domains)
        rows.domain[:forced] = np.arange(forced) % domains


def _force_positives(click, bought, domain, options: Options, block: int) -> None:
    """Both classes of both labels in every domain of a small file, in either half of it."""
    if block or not options.min_positives:
        return
    for d in range(len(options.shares)):
        own = np.flatnonzero(domain == d)[: 8 * options.min_positives]
        click[own[0::2]], click[own[1::2]] = True, False
        bought[own[0::4]], bought[own[2::4]] = True, False


def _single(name: str, value: np.ndarray, number: np.ndarray | None = None) -> tuple:
    row = np.flatnonzero(value >= 0)
    return name, row, value[row], np.full(len(row), _ONE) if number is None else number[row]


def _counts(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(rows,) places in the table of ln(1 + count), small counts most often."""
    count = np.floor(1.0 / (1.0 - rng.random(rows)) ** 0.8)
    return np.minimum(count, len(_VALUES)).astype(np.int64) - 1


def _lists(rng, rows: int, parts: list[tuple], fields: tuple[str, ...]) -> tuple:
    """(features of each row, their text), the fields of a row in random order."""
    place = {name: number for number, name in enumerate(fields)}
    row = np.concatenate([part[1] for part in parts])
    order = np.argsort(row + rng.random(len(row)), kind="stable")
    field = np.concatenate([np.full(len(part[1]), place[part[0]]) for part in parts])[order]
    ids = np.concatenate([part[2].astype(np.int64) + FIRST_ID[part[0]] for part in parts])[order]
    value = np.concatenate([part[3] for part in parts])[order]
    text = pc.binary_join_element_wise(
        pc.binary_join_element_wise(
            pa.array([f"{name}\x02" for name in fields]).take(pa.array(field)),
            pc.cast(pa.array(ids), pa.string()),
            "",
        ),
        _VALUE_TEXT.take(pa.array(value)),
        "\x03",
    )
    counts = np.bincount(row, minlength=rows)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return counts, pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), text), "\x01")


def _write(file, columns: tuple) -> None:
    """Lines of comma-separated columns."""
    text = [c if isinstance(c, pa.Array) else pc.cast(pa.array(c), pa.string()) for c in columns]
    lines = pc.binary_join_element_wise(*text, ",")
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")
    file.write(joined[0].as_buffer())
    file.write(b"\n")


def _hex(keys: np.ndarray) -> pa.Array:
    """Sixteen lower-case hexadecimal digits each."""
    digits = keys.astype(">u8").tobytes().hex()
    return pa.array([digits[at : at + 16] for at in range(0, len(digits), 16)])


def _scramble(number: np.ndarray, file: int) -> np.ndarray:
    """A bijection of 64-bit numbers (the finaliser of splitmix64), so that no two keys meet."""
    with np.errstate(over="ignore"):
        z = number + np.uint64((file * 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


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


def _blocks(rows: int) -> Iterator[tuple[int, int]]:
    return ((at // BLOCK, min(BLOCK, rows - at)) for at in range(0, rows, BLOCK))


def _stream(seed: int, file: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, file, block]))
