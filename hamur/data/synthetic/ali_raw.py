"""Generated raw Ali-CCP files of any size: byte-faithful, streamed, with a known best AUC.

Rows come in blocks of 65,536; block b of file f is drawn from the stream (seed, f, b) alone.  What
an item, a category or a user is, is drawn once from (seed, 0).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hamur.data.ali_ccp.form import COMMON_FIELDS, SKELETON_FIELDS
from hamur.data.synthetic.ali_text import (
    ONE,
    VALUE_NUMBER,
    draw_counts,
    feature_lists,
    hex_keys,
    scramble,
    single,
    write_lines,
)
from hamur.data.synthetic.ali_world import (
    BLOCK,
    CROSSED,
    LIST_SHARES,
    LISTS,
    PILOT_ROWS,
    PRESENT,
    PROFILE,
    VALUED,
    Options,
    World,
    blocks_of,
    stream,
)
from hamur.data.synthetic.planted import Field, Truth, intercepts, sigmoid, write_truth

IMPOSSIBLE = 5e-6  # rows of a conversion without a click, at least one from 10,000 rows on


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
    world = World(given)
    known = {}
    for file, (part, count) in enumerate((("train", given.rows), ("test", given.test_rows)), 1):
        common = _Common(world, file, count)
        if part == "train":
            world.intercepts = _calibrate(world, common)
        common.write(out / f"common_features_{part}.csv")
        known[part] = _write_skeleton(
            out / f"sample_skeleton_{part}.csv", world, common, file, part
        )
    return write_truth(out, given.__dict__, known) if truth else {}


class _Common:
    """The common rows of one file: profiles in memory, lists written as they are drawn."""

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
                there = rng.random(rows) < share
            else:
                there = known & (rng.random(rows) < share / PRESENT["121"][1])
            columns[name] = np.where(there, value, -1)
        return columns

    def keys(self, start: int, stop: int) -> np.ndarray:
        return scramble(np.arange(start, stop, dtype=np.uint64), self.file)

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            for block, rows in blocks_of(self.rows):
                start = block * BLOCK
                rng = stream(self.world.options.seed, 20 + self.file, block)
                parts = [single(name, self.profile[name][start : start + rows]) for name in PROFILE]
                for name, share in zip(LISTS, LIST_SHARES):
                    parts.append(self._list(rng, name, rows, share))
                counts, lists = feature_lists(rng, rows, parts, COMMON_FIELDS)
                write_lines(file, (hex_keys(self.keys(start, start + rows)), counts, lists))

    def _list(self, rng, name: str, rows: int, share: float) -> tuple:
        mean = max(1.0, self.world.options.list_entries * share / PRESENT[name][1])
        length = (1 + rng.poisson(mean - 1, rows)) * (rng.random(rows) < PRESENT[name][1])
        row = np.repeat(np.arange(rows), length)
        return name, row, self.world.draw(rng, name, len(row)), draw_counts(rng, len(row))


class _Rows:
    """A block of skeleton rows."""

    def __init__(self, world: World, common: _Common, rng: np.random.Generator, rows: int):
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
            self.values[name] = draw_counts(rng, rows)

    def _crossed(self, own: str, name: str) -> np.ndarray:
        """A cross of the history with the item's own category, shop or brand."""
        return np.maximum(self.ids[own], 0) % self.world.sizes[name]

    def features(self) -> tuple[dict[str, Field], np.ndarray]:
        """What the planted signal sees; code 0 is a missing value."""
        names = {**self.profile, **{name: self.ids[name] for name in ("205", "206", "216")}}
        dense = [VALUE_NUMBER[self.values[n]] / 5.31 * (self.ids[n] >= 0) for n in VALUED]
        return {name: Field(column + 1) for name, column in names.items()}, np.stack(dense, axis=1)

    def parts(self) -> Iterator[tuple]:
        """(field, row, value, place of the number) of all features."""
        rng, world = self.rng, self.world
        for name in ("205", "206", "207", "216", "508", "509", "702"):
            yield single(name, self.ids[name], self.values.get(name))
        yield single("301", self.domain)
        there = rng.random(self.rows) < PRESENT["210"][1]
        row = np.repeat(np.arange(self.rows), world.nodes[self.item] * there)
        first = np.concatenate(([True], row[1:] != row[:-1])) if len(row) else np.empty(0, bool)
        order = np.arange(len(row)) - np.maximum.accumulate(np.where(first, np.arange(len(row)), 0))
        value = (world.node_base[self.item[row]] + order * 7919) % world.sizes["210"]
        yield "210", row, value, np.full(len(row), ONE)
        more = 1 + rng.poisson(CROSSED - 1, self.rows)
        row = np.repeat(np.arange(self.rows), more * (self.ids["853"] >= 0))
        yield "853", row, world.draw(rng, "853", len(row)), draw_counts(rng, len(row))


def _calibrate(world: World, common: _Common) -> np.ndarray:
    """Settles the signal's scale, and returns the domains' intercepts, on rows like those that
    follow, with the same users."""
    pilot = _Rows(world, common, stream(world.options.seed, 0, 1), PILOT_ROWS)
    logits = world.signal.fit(*pilot.features())
    return intercepts(logits, pilot.domain, world.options.rates)


def _write_skeleton(path: Path, world: World, common: _Common, file: int, part: str) -> Truth:
    options = world.options
    count = options.rows if part == "train" else options.test_rows
    columns: list[list[np.ndarray]] = [[] for _ in range(4)]
    with path.open("wb") as out:
        for block, number in blocks_of(count):
            rng = stream(options.seed, 30 + file, block)
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
            counts, lists = feature_lists(rng, number, list(rows.parts()), SKELETON_FIELDS)
            start = block * BLOCK
            keys = scramble(rows.common.astype(np.uint64), file)
            ids = np.arange(start + 1, start + number + 1)
            write_lines(
                out, (ids, click.astype(int), conversion.astype(int), hex_keys(keys), counts, lists)
            )
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
