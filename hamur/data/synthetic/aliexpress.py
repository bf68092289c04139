"""Generated AliExpress files, raw or processed, of any size; no row of them is real.

    click       ~ Bernoulli(p),       logit p = b + signal (0.65 common + 0.45 own)
    conversion  ~ Bernoulli(q), if clicked,  logit q = b' + 1.35 signal (rho z + sqrt(1 - rho^2) z')

`common` is the same function of the columns in every country, `own` one of the country's; z is the
standardised click score, z' another function, rho = 1 - 2 task_conflict.  All are sums of effects
of the 16 fields, of a crossing of user and item factors of rank 4, and of 12 numerical columns.
Rows come in blocks of 4,096 search pages with a random stream each, so memory does not grow with
their number, and the same arguments give the same bytes.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamur.data.aliexpress import files
from hamur.data.synthetic.signals import RANK, GroundTruth, bisect, stream
from hamur.metrics.exact_front import sigmoid

# click, and purchase, per impression: in line with published log-losses, not counts of the data.
RATES = {
    "NL": (0.024, 0.0008), "ES": (0.028, 0.0006), "FR": (0.022, 0.0005),
    "US": (0.022, 0.00045), "RU": (0.022, 0.0005),
}  # fmt: skip
# categorical_1..16: numbers of values; the maxima that public samples show, then seven flags.
CARDINALITIES = (1, 10, 4, 6, 21, 7, 50, 8, 7) + 7 * (2,)
LEVELS = 101  # numerical cells are 0.01 n, which as text has the artefacts of binary fractions
CONSTANT = ("numerical_58", "numerical_59", "numerical_60")
FLIPPED = ("categorical_5", "categorical_10")  # opposite own effects in every second country
_PAGES = 4_096
_MEAN_ITEMS, _MOST_ITEMS = 9, 48
_NUMERICAL_EFFECTS = 12
_SHARED, _OWN, _BOUGHT = 0.65, 0.45, 1.35
_USERS, _USER_NUMBERS = len(files.USER_CATEGORICAL), len(files.USER_NUMERICAL)
_BINS, _LIMIT = 80_000, 20.0  # histogram of logits


@dataclass(frozen=True)
class Block:
    """P pages and their n items, in page order; codes and levels are small whole numbers."""

    search_id: np.ndarray  # (P,)
    page: np.ndarray  # (n,) ascending
    user_codes: np.ndarray  # (P, 9)
    user_levels: np.ndarray  # (P, 23)
    item_codes: np.ndarray  # (n, 7)
    item_levels: np.ndarray  # (n, 40)
    draws: np.ndarray  # (n, 2) uniform, for click and conversion
    item_order: np.ndarray  # (n,) order of the rows in the item file: pages are mixed

    @property
    def codes(self) -> np.ndarray:
        """(n, 16)"""
        return np.concatenate([self.user_codes[self.page], self.item_codes], axis=1)

    @property
    def levels(self) -> np.ndarray:
        """(n, 63)"""
        return np.concatenate([self.user_levels[self.page], self.item_levels], axis=1)


def make_aliexpress(
    out: str | Path,
    rows: int,
    seed: int,
    country: str = "NL",
    test_rows: int | None = None,
    form: str = "raw",
    rates: tuple[float, float] | None = None,
    signal: float = 1.0,
    task_conflict: float = 0.25,
) -> dict[str, dict[str, GroundTruth]]:
    """Writes `rows` training and `test_rows` (None: half as many) test rows of one country.

    form: "raw" writes {cc}_{user,item}_{train,test}.csv into `out`, "processed" the same rows to
        AliExpress_{CC}/{train,test}.csv below it.
    rates: of click and of purchase per impression; None takes those of RATES.
    task_conflict: 0 what is clicked is bought, 0.5 unrelated, 1 the opposite is bought.
    Returns the ground truth of the rows in their joined order: part -> label -> GroundTruth.
    """
    if form not in FORMATS:
        raise ValueError(f"form is {form!r}; use one of {tuple(FORMATS)}")
    if country not in RATES:
        raise ValueError(f"country is {country!r}; use one of {tuple(RATES)}")
    if not 0 <= task_conflict <= 1:
        raise ValueError(f"`task_conflict` is {task_conflict}; use a share from 0 to 1")
    number = files.COUNTRIES.index(country)
    score = _Score(seed, number, signal, task_conflict)
    sizes = dict(zip(files.PARTS, (rows, rows // 2 if test_rows is None else test_rows)))
    truths = {}
    for p, (part, size) in enumerate(sizes.items()):
        key = (seed, number, p)
        bias = _intercepts(score, key, size, rates or RATES[country])
        names, header, cells_of = FORMATS[form]
        paths = [Path(out) / n.format(cc=country.lower(), CC=country, part=part) for n in names]
        with ExitStack() as stack:
            outputs = [stack.enter_context(_open(path, header)) for path in paths]
            truths[part] = _write(outputs, cells_of, score, bias, key, size)
    return truths


def _open(path: Path, header: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w", newline="\n", encoding="ascii")
    file.write(header)
    return file


def _write(outputs: list, cells_of, score: "_Score", bias, key: tuple[int, ...], rows: int) -> dict:
    """Writes all blocks; returns label -> GroundTruth."""
    columns = []
    for block in _blocks(key, rows):
        probability = sigmoid(score.logits(block) + bias)  # (n, 2): click, purchase if clicked
        drawn = block.draws < probability
        click, bought = drawn[:, 0], drawn.all(axis=1)
        for file, cells in zip(outputs, cells_of(block, click.astype(int) + bought)):
            file.writelines(",".join(row) + "\n" for row in cells.tolist())
        columns.append((probability[:, 0], probability.prod(axis=1), click, bought))
    click_p, bought_p, click, bought = map(np.concatenate, zip(*columns))
    both = zip(files.LABELS, ((click_p, click), (bought_p, bought)))
    return {name: GroundTruth.of_one_domain(p, y.astype(np.int8)) for name, (p, y) in both}


def _blocks(key: tuple[int, ...], rows: int) -> Iterator[Block]:
    for number in itertools.count():
        if not rows:
            return
        block = _block(stream(*key, number), number, rows)
        yield block
        rows -= len(block.page)


def _block(rng: np.random.Generator, number: int, most_rows: int) -> Block:
    """The rows of a shorter block are the first ones of the whole block."""
    sizes = np.minimum(1 + rng.poisson(_MEAN_ITEMS, _PAGES), _MOST_ITEMS)
    page = np.repeat(np.arange(_PAGES), sizes)
    n, search_id = len(page), 1 + number * _PAGES + rng.permutation(_PAGES)
    codes = np.stack([_codes(rng, size, _PAGES) for size in CARDINALITIES[:_USERS]], axis=1)
    flags = np.stack([_codes(rng, size, n) for size in CARDINALITIES[_USERS:]], axis=1)
    user_levels = _levels(rng, _PAGES, _USER_NUMBERS)
    item_levels = _levels(rng, n, len(files.ITEM_NUMERICAL))
    for name in CONSTANT:
        item_levels[:, files.DENSE_COLUMNS.index(name) - _USER_NUMBERS] = 0
    draws, place = rng.random((n, 2)), rng.permutation(_PAGES)
    rows = min(n, most_rows)
    pages = page[rows - 1] + 1
    return Block(
        search_id[:pages],
        page[:rows],
        codes[:pages],
        user_levels[:pages],
        flags[:rows],
        item_levels[:rows],
        draws[:rows],
        np.argsort(place[page[:rows]], kind="stable"),
    )


def _codes(rng: np.random.Generator, size: int, rows: int) -> np.ndarray:
    """(rows,) 0..size-1, small numbers more often."""
    return (rng.random(rows) ** 1.5 * size).astype(np.int64)


def _levels(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) of 0..100, in every second column half of them 0."""
    levels = (rng.random((rows, columns)) ** 2 * LEVELS).astype(np.int64)
    levels[:, ::2] *= rng.random((rows, len(range(0, columns, 2)))) < 0.5
    return levels


class _Score:
    """The logits of a block without intercepts, from tables drawn once."""

    def __init__(self, seed: int, country: int, signal: float, task_conflict: float):
        shared = stream(seed, 1_000)
        own = stream(seed, 1_001, country)
        # Functions: 0, 1 of the click and of the purchase in all countries; 2, 3 of this country.
        tables = [
            (shared.standard_normal((c, 2)), own.standard_normal((c, 2))) for c in CARDINALITIES
        ]
        for name in FLIPPED:
            f = files.SPARSE_COLUMNS.index(name)
            flipped = stream(seed, 1_002, f)
            sign = -1.0 if country % 2 else 1.0
            tables[f][1][:] = 2.0 * sign * flipped.standard_normal((CARDINALITIES[f], 2))
        self._tables = [np.concatenate(pair, axis=1) for pair in tables]
        self._factors = [shared.standard_normal((c, RANK)) for c in CARDINALITIES]
        turns = [np.linalg.qr(own.standard_normal((RANK, RANK)))[0] for _ in range(4)]
        self._turns = np.stack(turns)  # (4, RANK, RANK)
        varying = [f for f, name in enumerate(files.DENSE_COLUMNS) if name not in CONSTANT]
        self._columns = shared.permutation(varying)[:_NUMERICAL_EFFECTS]
        weights = [rng.standard_normal((_NUMERICAL_EFFECTS, 2)) for rng in (shared, own)]
        self._weights = np.concatenate(weights, axis=1)
        self._rho = 1.0 - 2.0 * task_conflict
        self._signal = signal
        pilot = _block(stream(seed, 1_003), 0, 1 << 30)
        parts = self._parts(pilot)
        self._centre, self._spread = parts.mean(axis=0), parts.std(axis=0)

    def logits(self, block: Block) -> np.ndarray:
        """(n, 2): of a click, and of a purchase once clicked."""
        parts = (self._parts(block) - self._centre) / self._spread  # (n, 3, 4)
        mixed = parts.transpose(0, 2, 1) @ np.array([1.0, 0.6, 0.5]) / np.sqrt(1.61)  # (n, 4)
        either = _SHARED * mixed[:, :2] + _OWN * mixed[:, 2:]  # (n, 2)
        unit = either / np.hypot(_SHARED, _OWN)
        bought = self._rho * unit[:, 0] + np.sqrt(1.0 - self._rho**2) * unit[:, 1]
        return self._signal * np.stack([either[:, 0], _BOUGHT * bought], axis=1)

    def _parts(self, block: Block) -> np.ndarray:
        """(n, 3, 4): effects of fields, crossing, numbers, of the four functions."""
        codes = block.codes
        additive = sum(table[codes[:, f]] for f, table in enumerate(self._tables))
        user = sum(self._factors[f][codes[:, f]] for f in range(_USERS))
        item = sum(self._factors[f][codes[:, f]] for f in range(_USERS, codes.shape[1]))
        crossed = np.einsum("nr,krs,ns->nk", user, self._turns, item, optimize=True)
        linear = (block.levels[:, self._columns] / (LEVELS - 1)) @ self._weights
        return np.stack([additive, crossed, linear], axis=1)


def _intercepts(score: _Score, key: tuple[int, ...], rows: int, rates) -> np.ndarray:
    """(2,) so that the mean probabilities of a click and of a purchase meet their rates.

    From histograms of the logits, which do not grow with the rows; a purchase needs both.
    """
    edges = np.linspace(-_LIMIT, _LIMIT, _BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    intercepts = np.zeros(2)
    for k, rate in enumerate(rates):
        histogram = np.zeros(_BINS)
        for block in _blocks(key, rows):
            logits = score.logits(block).clip(-_LIMIT, _LIMIT)
            weights = sigmoid(logits[:, 0] + intercepts[0]) if k else None
            histogram += np.histogram(logits[:, k], edges, weights=weights)[0]
        shares = histogram / rows
        intercepts[k] = bisect(lambda b, shares=shares: shares @ sigmoid(middle + b), rate, _LIMIT)
    return intercepts


# As text.  Every second categorical column prints its numbers with a decimal point, as exports do.
_NUMBERS = np.array([repr(0.01 * n) for n in range(LEVELS)], object)
_CODES = [
    np.array([f"{n}.0" if f % 2 else str(n) for n in range(size)], object)
    for f, size in enumerate(CARDINALITIES)
]


def _processed(block: Block, label: np.ndarray) -> list[np.ndarray]:
    """Cells of the one file; label (n,): 0 shown, 1 clicked, 2 bought."""
    ids = _id_texts(block)[block.page][:, None]
    labels = np.array([["0", "0"], ["1", "0"], ["1", "1"]], object)[label]
    cells = (ids, _code_texts(block.codes, 0), _NUMBERS[block.levels], labels)
    return [np.concatenate(cells, axis=1)]


def _raw(block: Block, label: np.ndarray) -> list[np.ndarray]:
    """Cells of the file of pages, and of the file of items."""
    ids = _id_texts(block)
    users = np.empty((len(ids), files.USER_COLUMNS), object)
    users[:, 0] = ids
    users[:, np.array(files.USER_CATEGORICAL) - 1] = _code_texts(block.user_codes, 0)
    users[:, np.array(files.USER_NUMERICAL) - 1] = _NUMBERS[block.user_levels]
    items = np.empty((len(block.page), files.ITEM_COLUMNS), object)
    items[:, 0], items[:, -1] = ids[block.page], label.astype(str)
    items[:, np.array(files.ITEM_CATEGORICAL) - 1] = _code_texts(block.item_codes, _USERS)
    items[:, np.array(files.ITEM_NUMERICAL) - 1] = _NUMBERS[block.item_levels]
    return [users, items[block.item_order]]


def _id_texts(block: Block) -> np.ndarray:
    return block.search_id.astype(str).astype(object)


def _code_texts(codes: np.ndarray, first_field: int) -> np.ndarray:
    return np.stack([_CODES[first_field + f][codes[:, f]] for f in range(codes.shape[1])], axis=1)


# Names of the files, the header of each, and the cells of a block.
FORMATS = {
    "raw": (("{cc}_user_{part}.csv", "{cc}_item_{part}.csv"), "", _raw),
    "processed": (("AliExpress_{CC}/{part}.csv",), ",".join(files.CSV_COLUMNS) + "\n", _processed),
}
