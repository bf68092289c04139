"""Generated pairs of Amazon categories in the raw formats, with known harmful source behaviours.

    score = 2.5 (v . u) / sqrt(k) + bias + N(0, 0.5^2),    rating > 3 where score > its threshold

u are factors of the users, v of the items: a centre of the item's category and a part of its own.
A source behaviour is harmful if its item's category is one of `harmful_categories` drawn at random;
what a user says there tells nothing, or the wrong thing, about what the user likes in the target:

    independent   the score is computed with other user factors        invert   with -u, odd users
    random        the score is N(0, 1.5^2)                              none     nothing is harmful

The ground truth is written beside the data, never inside.
"""

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from hamur.data.synthetic.signals import GroundTruth, stream, write_truth

PLANTS = ("independent", "random", "invert", "none")
_RANK, _STRENGTH, _NOISE, _RANDOM = 3, 2.5, 0.5, 1.5
_THRESHOLDS = (-1.7, -0.7, 0.0, 1.0)  # of the scores between the ratings 1, 2, 3, 4, 5
# Ratings 1..5 of Musical_Instruments, for pairs without injected noise.
_HISTOGRAM = (217, 250, 772, 2_084, 6_938)
_DAYS, _FIRST_DAY, _DAY = 1_000, 1_262_304_000, 86_400
_CORE, _ROUNDS, _WITHOUT_NAME = 5, 30, 0.003
_TEXT = (
    "the sturdy kit arrived early and my daughter's cousin keeps it on her desk though a corner "
    "came off after some weeks we would buy another if the colour were less loud"
)
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class Domain:
    """A category: its number 0 (source) or 1, name, items and categories of items; rows of a user:
    the fewest, and the mean of what is added to them."""

    number: int
    name: str
    items: int
    categories: int
    fewest: int
    more: float

    def asin(self, item: int) -> str:
        """B0 and eight characters, as products have; other letters in the other domain."""
        return f"B0{'ST'[self.number]}{item:07d}"


@dataclass(frozen=True)
class Rows:
    """user, item, day (N,); probability (N,) of a rating above 3, rating and harmful (N,)."""

    user: np.ndarray
    item: np.ndarray
    day: np.ndarray
    probability: np.ndarray
    rating: np.ndarray
    harmful: np.ndarray


@dataclass(frozen=True)
class Options:
    """What the files hold.

    users: in both domains; extra_users: this share more in the source only, and as many in the
    target only; harmful_users: share of the users all of whose source rows are harmful.
    items, categories: of source and target.  Users, items and rows shrink to the 5-core.
    Raises:  ValueError: an unknown plant, more harmful categories than there are, or a share
        above 1.
    """

    users: int
    seed: int
    pair: tuple[str, str] = ("SynBooks", "SynToys")
    plant: str = "independent"
    harmful_categories: int = 8
    harmful_users: float = 0.0
    extra_users: float = 0.0
    items: tuple[int, int] = (600, 400)
    categories: tuple[int, int] = (12, 8)
    missing_meta_share: float = 0.01

    def __post_init__(self):
        if self.plant not in PLANTS:
            raise ValueError(f"`plant` is {self.plant!r}; use one of {PLANTS}")
        number, most = self.harmful_categories, self.categories[0]
        if not 0 <= number <= most:
            raise ValueError(f"`harmful_categories` is {number} of {most}")
        for name in ("harmful_users", "missing_meta_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"`{name}` is {share}; use a share from 0 to 1")


def make_amazon_pair(
    out: str | Path,
    users: int = 2_000,
    seed: int = 0,
    compressed: bool = True,
    truth: bool = True,
    **options,
) -> dict[str, GroundTruth]:
    """Writes reviews_<Name>_5.json.gz and meta_<Name>.json.gz of both categories.

    options: of `Options`.
    truth: also write <out>.truth.npz and .json, see `signals.write_truth`; the parts are the
        categories, rows in file order, and harmful_<Name> (N,) bool says which rows are harmful.
    Returns the ground truth of both files' rows, in file order, by category name.
    """
    settings = Options(users, seed, **options)
    rng = stream(seed, users)
    extra = round(settings.extra_users * users)
    total = users + 2 * extra
    factors = rng.standard_normal((2, total, _RANK))
    bad_user = rng.random(total) < settings.harmful_users
    members = np.arange(users + extra), np.append(np.arange(users), np.arange(users + extra, total))
    sizes = zip(settings.pair, settings.items, settings.categories, (8, 5), (12.0, 4.0))
    Path(out).mkdir(parents=True, exist_ok=True)
    out, truths, harmful = Path(out), {}, {}
    for number, of_domain, of_users in zip((0, 1), sizes, members):
        domain = Domain(number, *of_domain)
        rows, category = _reviews(rng, settings, domain, of_users, factors, bad_user)
        _write_reviews(out, domain, rows, rng, compressed)
        _write_meta(out, domain, rows, category, rng, settings.missing_meta_share, compressed)
        liked = (rows.rating > 3).astype(np.int8)
        truths[domain.name] = GroundTruth.of_one_domain(rows.probability, liked, domain.number)
        harmful[f"harmful_{domain.name}"] = rows.harmful
    if truth:
        described = {name: getattr(settings, name) for name in ("seed", "users", "plant", "pair")}
        write_truth(out, described | {"extra": extra}, truths, **harmful)
    return truths


def _reviews(
    rng: np.random.Generator,
    settings: Options,
    domain: Domain,
    members: np.ndarray,
    factors: np.ndarray,
    bad_user: np.ndarray,
) -> tuple[Rows, np.ndarray]:
    """The rows of one domain, and the category (items,) of its items."""
    is_source = domain.number == 0
    category = rng.integers(domain.categories, size=domain.items)
    bad = np.zeros(domain.categories, bool)
    if is_source and settings.plant != "none":
        bad[rng.permutation(domain.categories)[: settings.harmful_categories]] = True
    user, item, day = _drawn_rows(rng, domain, members)
    harmful = bad[category[item]] | (bad_user[user] if is_source else False)
    rows = _rated(rng, (user, item, day), category, factors, harmful, settings.plant, domain)
    return _in_core(rows, domain, settings.users), category


def _drawn_rows(rng: np.random.Generator, domain: Domain, members: np.ndarray) -> tuple:
    """user, item, day: each user some items, none twice, on days of their own."""
    counts = np.minimum(domain.fewest + rng.poisson(domain.more, len(members)), domain.items // 2)
    user = np.repeat(members, counts)
    item = rng.integers(domain.items, size=len(user))
    for _ in range(_ROUNDS):
        _, first = np.unique(user * domain.items + item, return_index=True)
        again = np.ones(len(user), bool)
        again[first] = False
        if not again.any():
            break
        item[again] = rng.integers(domain.items, size=again.sum())
    user, item = user[~again], item[~again]
    day = rng.integers(_DAYS, size=len(user))
    order = np.lexsort((rng.random(len(user)), item))  # files are ordered by item
    return user[order], item[order], day[order]


def _rated(
    rng: np.random.Generator,
    rows: tuple[np.ndarray, ...],
    category: np.ndarray,
    factors: np.ndarray,
    harmful: np.ndarray,
    plant: str,
    domain: Domain,
) -> Rows:
    user, item, day = rows
    centre = 0.8 * rng.standard_normal((domain.categories, _RANK))
    vectors = centre[category] + 0.6 * rng.standard_normal((domain.items, _RANK))
    bias = 0.3 * rng.standard_normal(domain.items)
    own, other = (
        _STRENGTH / np.sqrt(_RANK) * np.einsum("nr,nr->n", factor[user], vectors[item])
        for factor in factors
    )
    noise = np.full(len(user), _NOISE)
    mean = own + bias[item]
    if plant == "independent":
        mean = np.where(harmful, other + bias[item], mean)
    elif plant == "invert":
        harmful = harmful & (user % 2 == 1)
        mean = np.where(harmful, -mean, mean)
    elif plant == "random":
        mean, noise = np.where(harmful, 0.0, mean), np.where(harmful, _RANDOM, noise)
    score = mean + noise * rng.standard_normal(len(user))
    thresholds = np.array(_THRESHOLDS)
    if plant == "none":
        thresholds = np.quantile(score, np.cumsum(_HISTOGRAM)[:-1] / sum(_HISTOGRAM))
    rating = 1 + np.searchsorted(thresholds, score)
    probability = ndtr((mean - thresholds[2]) / noise)
    return Rows(user, item, day, probability, rating, harmful)


def _in_core(rows: Rows, domain: Domain, users: int) -> Rows:
    """The 5-core: no user and no item with fewer than 5 of these rows.

    Raises:  ValueError: there are none; names the sizes that were asked for.
    """
    core = np.arange(len(rows.user))
    while len(core):
        counts = [np.bincount(column[core])[column[core]] for column in (rows.user, rows.item)]
        good = np.minimum(*counts) >= _CORE
        if good.all():
            break
        core = core[good]
    if not len(core):
        raise ValueError(
            f"no row of {domain.name} is left in the 5-core of {users} users and "
            f"{domain.items} items; use more users or fewer items"
        )
    return replace(rows, **{name: column[core] for name, column in vars(rows).items()})


def _write(path: Path, compressed: bool, records: Iterator[str]) -> None:
    """One record per line."""
    lines = (record + "\n" for record in records)
    if not compressed:
        with path.open("w", encoding="ascii", newline="\n") as file:
            file.writelines(lines)
        return
    # No name and no time in the header, so that the same rows give the same bytes.
    with (
        path.with_name(path.name + ".gz").open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, "ascii", newline="\n") as file,
    ):
        file.writelines(lines)


def _write_reviews(
    out: Path, domain: Domain, rows: Rows, rng: np.random.Generator, compressed: bool
) -> None:
    """Writes reviews_<Name>_5.json[.gz], JSON objects."""
    words = rng.integers(len(_WORDS), size=(len(rows.user), 4))
    unnamed = rng.random(len(rows.user)) < _WITHOUT_NAME
    dates = np.datetime64(_FIRST_DAY, "s") + rows.day * np.timedelta64(_DAY, "s")

    def records() -> Iterator[str]:
        columns = (rows.user, rows.item, rows.day, rows.rating, dates, words, unnamed)
        for user, item, day, rating, date, numbers, nameless in zip(*(c.tolist() for c in columns)):
            record = {
                "reviewerID": f"A{user:012d}U",
                "asin": domain.asin(item),
                "reviewerName": f"Reader \u00e9{user}",
                "helpful": [0, 0],
                "reviewText": " ".join(_WORDS[w] for w in numbers),
                "overall": float(rating),
                "summary": _WORDS[numbers[0]].capitalize(),
                "unixReviewTime": _FIRST_DAY + _DAY * day,
                "reviewTime": f"{date:%m} {date.day}, {date:%Y}",
            }
            if nameless:
                del record["reviewerName"]
            yield json.dumps(record)

    _write(out / f"reviews_{domain.name}_5.json", compressed, records())


def _write_meta(
    out: Path, domain: Domain, rows: Rows, category: np.ndarray, rng: np.random.Generator,
    missing_share: float, compressed: bool,
) -> None:  # fmt: skip
    """Python literals: the reviewed items but a share, and a quarter more that nobody reviewed."""
    items = np.unique(rows.item)
    missing = rng.random(len(items)) < missing_share
    optional = rng.random((2 * len(items), 3))
    spare = domain.items + np.arange(len(items) // 4)

    def records() -> Iterator[str]:
        for n, item in enumerate(np.append(items[~missing], spare).tolist()):
            kind = int(category[item]) if item < domain.items else 0
            record = {"asin": domain.asin(item)}
            if optional[n, 0] < 0.9:
                record["title"] = f"Maker's \u00ab{_WORDS[item % len(_WORDS)]}\u00bb, no. {item}"
            if optional[n, 1] < 0.7:
                record["price"] = round(1 + 40 * float(optional[n, 2]), 2)
            if optional[n, 2] < 0.5:
                record["brand"] = "Smith & Sons"
            record["salesRank"] = {domain.name: item + 1}
            record["categories"] = [[domain.name, f"Kind {kind:02d}", "Children's"], ["Gifts"]]
            yield ascii(record)

    _write(out / f"meta_{domain.name}.json", compressed, records())
