"""Generated Ali-CCP files: the processed 33-column CSVs, and the raw files of any size.

Raw files are byte-faithful and streamed, see `ali_world`; the best possible AUC of both is known.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hamur.data.ali_ccp.columns import COMMON_FIELDS, CSV_COLUMNS, DENSE_COLUMNS, SKELETON_FIELDS
from hamur.data.synthetic import signals
from hamur.data.synthetic.ali_world import (
    ALL_ROWS,
    BLOCK,
    PRESENT,
    VALUES,
    CommonRows,
    Features,
    Options,
    SkeletonRows,
    World,
    blocks_of,
)
from hamur.metrics.exact_front import sigmoid

PILOT_ROWS = 1 << 17
IMPOSSIBLE = 5e-6  # rows of a conversion without a click, at least one from 10,000 rows on
# The first raw id of a field.  Those of 12x are the real ones, the others are our choice.
FIRST_ID = {
    "101": 1, "121": 3438658, "122": 3438755, "124": 3438768, "125": 3438770, "126": 3438777,
    "127": 3438780, "128": 3864885, "129": 3864887, "205": 4_000_000, "206": 8_316_000,
    "207": 7_100_000, "210": 8_210_000, "216": 8_950_000, "508": 9_050_000, "509": 9_060_000,
    "702": 9_450_000, "853": 9_600_000, "109_14": 450_000, "110_14": 460_000, "127_14": 580_000,
    "150_14": 640_000, "301": 9_351_665,
}  # fmt: skip


def make_ali_ccp(
    out: str | Path,
    rows: int,
    seed: int,
    shares: tuple[float, ...] = (0.36, 0.08, 0.56),
    rates: tuple[float, ...] = (0.22, 0.30, 0.18),
    conversion: float = 0.15,
    parts: tuple[float, ...] = (0.6, 0.2, 0.2),
    signal: float = 1.2,
    domain_shift: float = 1.1,
) -> dict[str, signals.GroundTruth]:
    """Writes ali_ccp_{train,val,test}_sample.csv with `rows` impressions altogether.

    shares, rates: of the rows and of clicks per domain; conversion: purchases per click.  The
    defaults are far above those of the real data (0.3779 0.0075 0.6147 and about 0.04), so that
    a few thousand rows hold every domain and class.
    Returns the ground truth of each file's rows: {"train": ..., "val": ..., "test": ...}.
    """
    rng = signals.stream(seed)
    ids = {}
    for name, (real, present) in PRESENT.items():
        known, size = rng.random(rows) < present, signals.cardinality(real, rows, ALL_ROWS)
        ids[name] = np.where(known, 1 + signals.zipf(rng, size, rows), 0)
    dense = _scaled_counts(rng, ids)
    domain = np.searchsorted(np.cumsum(shares)[:-1], rng.random(rows), side="right")
    side = {"121": "user", "122": "user", "125": "user", "206": "item", "205": "item"}
    weight = {"101": 0.2, "205": 0.2, "121": 0.8, "125": 0.8, "206": 0.8}
    flipped = ("121", "125")
    fields = {
        name: signals.Field(column, weight.get(name, 0.4), side.get(name, ""), name in flipped)
        for name, column in ids.items()
        if name in weight or PRESENT[name][0] <= 100
    }
    by_domain = signals.domain_probabilities(
        rng, fields, dense, domain, rates, signal, domain_shift
    )
    click = (rng.random(rows) < signals.in_own_domain(by_domain, domain)).astype(np.int8)
    purchase = click * (rng.random(rows) < conversion)
    truth = signals.GroundTruth.of(by_domain, click, domain)
    cuts = np.round(np.cumsum(parts) / sum(parts) * rows).astype(int)[:-1]
    ids = {name: _first_appearance(column, cuts[0]) for name, column in ids.items()}
    values = {"click": click, "purchase": purchase, **ids, "301": domain + 1}
    values |= {name: dense[:, c] for c, name in enumerate(DENSE_COLUMNS)}
    table, truths = pd.DataFrame({name: values[name] for name in CSV_COLUMNS}), {}
    Path(out).mkdir(parents=True, exist_ok=True)
    for part, positions in zip(("train", "val", "test"), np.split(np.arange(rows), cuts)):
        path = Path(out) / f"ali_ccp_{part}_sample.csv"
        table.iloc[positions].to_csv(path, index=False, lineterminator="\n")
        truths[part] = truth.take(positions)
    return truths


def _scaled_counts(rng: np.random.Generator, ids: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 8) ln(1 + count) scaled by its maximum to [0, 1]; 0 where the id is missing."""
    columns = []
    for name in DENSE_COLUMNS:
        present = ids[name.removeprefix("D")] > 0
        counts = np.floor(1.0 / (1.0 - rng.random(len(present))) ** 1.2)
        value = np.log1p(np.minimum(counts, 200)) * present
        columns.append(np.round(value / value.max(), 5))
    return np.stack(columns, axis=1)


def _first_appearance(ids: np.ndarray, train_rows: int) -> np.ndarray:
    """Codes by first appearance in the training rows, 0 for ids that do not occur there."""
    known, first = np.unique(ids[:train_rows], return_index=True)
    known, first = known[known > 0], first[known > 0]
    codes = np.zeros(ids.max() + 1, int)
    codes[known[np.argsort(first)]] = np.arange(1, len(known) + 1)
    return codes[ids]


def make_ali_ccp_raw(
    out: str | Path, rows: int, seed: int, test_rows: int = 0, truth: bool = True, **options
) -> dict:
    """Writes sample_skeleton_{train,test}.csv and common_features_{train,test}.csv below `out`.

    rows, test_rows: lines of the two skeleton files; test_rows 0 = half as many as rows.
    options: of `ali_world.Options`.  signal, domain_shift: standard deviations of the two parts
    of the logit; list_entries: mean of the four lists of a common row together; min_domain_rows,
    min_positives: per domain in each file (positives also of conversion in train), for small
    files; they override the rates.
    Beside `out`, as <out>.truth.npz and <out>.truth.json, the ground truth: per row the probability
    of a click, the one without knowing the domain, the label and the domain; and the AUCs they
    allow.  Returns the content of truth.json.  truth=False: neither is written nor returned.
    """
    settings = Options(rows, test_rows or max(1, rows // 2), seed, **options)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    world, truths = World(settings), {}
    for file, (part, count) in enumerate(
        (("train", settings.rows), ("test", settings.test_rows)), 1
    ):
        common = CommonRows(world, file, count)
        if part == "train":
            # The signal's scale and the intercepts come from rows like those that follow.
            pilot = SkeletonRows(world, common, signals.stream(seed, 0, 1), PILOT_ROWS)
            logits = world.signal.fit(*pilot.inputs())
            world.intercepts = signals.intercepts(logits, pilot.domain, settings.rates)
        _write_common(out / f"common_features_{part}.csv", common)
        truths[part] = _write_skeleton(out / f"sample_skeleton_{part}.csv", common, count)
    return signals.write_truth(out, vars(settings), truths) if truth else {}


def _write_common(path: Path, common: CommonRows) -> None:
    with path.open("wb") as file:
        for block, rows in blocks_of(common.rows):
            start = block * BLOCK
            rng = signals.stream(common.world.options.seed, 20 + common.file, block)
            keys = np.arange(start, start + rows, dtype=np.uint64)
            features = list(common.features(rng, start, rows))
            counts, lists = _feature_lists(rng, rows, features, COMMON_FIELDS)
            _write_lines(file, (_hex_keys(keys, common.file), counts, lists))


def _write_skeleton(path: Path, common: CommonRows, count: int) -> signals.GroundTruth:
    """Writes `count` rows; returns the ground truth of those that a reader keeps."""
    world, file, truths = common.world, common.file, []
    with path.open("wb") as out:
        for block, number in blocks_of(count):
            rng = signals.stream(world.options.seed, 30 + file, block)
            rows = SkeletonRows(world, common, rng, number)
            by_domain, click, conversion, impossible = _labels(rng, rows, count, block)
            features = list(rows.features())
            counts, lists = _feature_lists(rng, number, features, SKELETON_FIELDS)
            ids = np.arange(1, number + 1) + block * BLOCK
            keys = _hex_keys(rows.common.astype(np.uint64), file)
            labels = (click.astype(int), conversion.astype(int))
            _write_lines(out, (ids, *labels, keys, counts, lists))
            truths.append(_kept_truth(by_domain, click, rows.domain, ~impossible, world.options))
    columns = zip(*(vars(truth).values() for truth in truths))
    return signals.GroundTruth(*map(np.concatenate, columns))


def _labels(
    rng: np.random.Generator, rows: SkeletonRows, count: int, block: int
) -> tuple[np.ndarray, ...]:
    """(probabilities by domain, click, conversion, impossible rows) of a block of `count` rows."""
    options = rows.world.options
    _force_domains(rows, options, count, block)
    by_domain = sigmoid(rows.world.signal.logits(*rows.inputs()) + rows.world.intercepts)
    click = rng.random(rows.rows) < signals.in_own_domain(by_domain, rows.domain)
    per_click = options.conversion / np.dot(options.shares, options.rates)
    bought = rng.random(rows.rows) < per_click
    _force_positives(click, bought, rows.domain, options, block)
    impossible = ~click & (rng.random(rows.rows) < IMPOSSIBLE)
    if block == 0 and count >= 10_000 and not impossible.any():
        impossible[np.flatnonzero(~click)[-1]] = True
    return by_domain, click, (click & bought) | impossible, impossible


def _kept_truth(by_domain, click, domain, kept, options: Options) -> signals.GroundTruth:
    """In small types: there may be many rows."""
    blind = by_domain @ np.array(options.shares)
    columns = (signals.in_own_domain(by_domain, domain), click, domain, blind)
    kinds = (np.float32, np.int8, np.int8, np.float32)
    return signals.GroundTruth(*(column[kept].astype(kind) for column, kind in zip(columns, kinds)))


def _force_domains(rows: SkeletonRows, options: Options, count: int, block: int) -> None:
    """min_domain_rows of every domain in a small file."""
    least, domains = options.min_domain_rows, len(options.shares)
    if block == 0 and count * min(options.shares) < 2 * least:
        forced = min(rows.rows, least * domains)
        rows.domain[:forced] = np.arange(forced) % domains


def _force_positives(click, bought, domain, options: Options, block: int) -> None:
    """Both classes of both labels in every domain of a small file, in either half of it."""
    if block or not options.min_positives:
        return
    for d in range(len(options.shares)):
        rows = np.flatnonzero(domain == d)[: 8 * options.min_positives]
        click[rows[0::2]], click[rows[1::2]] = True, False
        bought[rows[0::4]], bought[rows[2::4]] = True, False


def _feature_lists(
    rng: np.random.Generator, rows: int, features: list[Features], fields: tuple[str, ...]
) -> tuple[np.ndarray, pa.Array]:
    """(number of features of each row, their text), the fields of a row in random order."""
    position = {name: number for number, name in enumerate(fields)}
    row = np.concatenate([row for _, row, _, _ in features])
    order = np.argsort(row + rng.random(len(row)), kind="stable")
    field = np.concatenate([np.full(len(row), position[name]) for name, row, _, _ in features])
    ids = np.concatenate(
        [value.astype(np.int64) + FIRST_ID[name] for name, _, value, _ in features]
    )
    number = np.concatenate([number for _, _, _, number in features])
    text = pc.binary_join_element_wise(
        pc.binary_join_element_wise(
            pa.array([f"{name}\x02" for name in fields]).take(pa.array(field[order])),
            pc.cast(pa.array(ids[order]), pa.string()),
            "",
        ),
        pa.array(VALUES).take(pa.array(number[order])),
        "\x03",
    )
    counts = np.bincount(row, minlength=rows)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return counts, pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), text), "\x01")


def _write_lines(file, columns: tuple) -> None:
    """Lines of comma-separated columns."""
    text = [c if isinstance(c, pa.Array) else pc.cast(pa.array(c), pa.string()) for c in columns]
    lines = pc.binary_join_element_wise(*text, ",")
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")
    file.write(joined[0].as_buffer())
    file.write(b"\n")


def _hex_keys(number: np.ndarray, file: int) -> pa.Array:
    """Sixteen lower-case hexadecimal digits each, for uint64 numbers: a bijection (the finaliser
    of splitmix64), so that no two keys are equal."""
    with np.errstate(over="ignore"):
        z = number + np.uint64((file * 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    digits = z.astype(">u8").tobytes().hex()
    return pa.array([digits[at : at + 16] for at in range(0, len(digits), 16)])
