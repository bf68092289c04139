"""Generated pairs of Amazon categories in the raw formats, with known harmful source behaviours.

    score = 2.5 (v . u) / sqrt(k) + bias + N(0, 0.5^2),    rating > 3 where score > its threshold

u are factors of the users, v of the items: a centre of the item's category and a part of its own.
A source behaviour is harmful if its item's category is one of `harmful_categories` drawn at random;
what a user says there tells nothing, or the wrong thing, about what the user likes in the target:

    independent   the score is computed with other user factors        invert   with -u, odd users
    random        the score is N(0, 1.5^2)                              none     nothing is harmful

The truth is written beside the data, never inside.
"""

from pathlib import Path

import numpy as np
from scipy.special import ndtr

from hamur.data.synthetic.amazon_files import (
    Domain,
    Rows,
    write_meta,
    write_reviews,
)
from hamur.data.synthetic.planted import Truth, auc_report, write_truth

PLANTS = ("independent", "random", "invert", "none")
_RANK, _STRENGTH, _NOISE, _RANDOM = 3, 2.5, 0.5, 1.5
_THRESHOLDS = (-1.7, -0.7, 0.0, 1.0)  # of the scores between the ratings 1, 2, 3, 4, 5
# Ratings 1..5 of Musical_Instruments, for pairs without a plant.
_HISTOGRAM = (217, 250, 772, 2_084, 6_938)
_DAYS = 1_000
_CORE = 5
_MISSING_META = 0.01
_ROUNDS = 30


def make_amazon_pair(
    out: str | Path,
    users: int = 2_000,
    seed: int = 0,
    pair: tuple[str, str] = ("SynBooks", "SynToys"),
    plant: str = "independent",
    harmful_categories: int = 8,
    harmful_users: float = 0.0,
    extra_users: float = 0.0,
    items: tuple[int, int] = (600, 400),
    categories: tuple[int, int] = (12, 8),
    missing_meta_share: float = _MISSING_META,
    compressed: bool = True,
    truth: bool = True,
) -> dict[str, Truth]:
    """Writes reviews_<Name>_5.json.gz and meta_<Name>.json.gz of both categories.

    users: in both domains; extra_users: this share more in the source only, and as many in the
        target only.  harmful_users: share of the users all of whose source rows are harmful.
    items, categories: of source and target.  Users, items and rows shrink to the 5-core.
    truth: also write <out>.truth.npz and .json, see `planted.write_truth`; the parts are the
        categories, rows in file order, and harmful_<Name> (N,) bool says which rows are planted.
    Returns the truth of both files' rows, in file order, by category name.
    """
    if plant not in PLANTS:
        raise ValueError(f"plant is {plant!r}; use one of {PLANTS}")
    if not 0 <= harmful_categories <= categories[0]:
        raise ValueError(f"harmful_categories is {harmful_categories} of {categories[0]}")
    rng = np.random.Generator(np.random.PCG64([seed, users]))
    domains = (
        Domain(pair[0], items[0], categories[0], 8, 12.0),
        Domain(pair[1], items[1], categories[1], 5, 4.0),
    )
    extra = round(extra_users * users)
    total = users + 2 * extra
    factors = rng.standard_normal((2, total, _RANK))
    bad_user = rng.random(total) < harmful_users
    out, truths, harms = Path(out), {}, {}
    out.mkdir(parents=True, exist_ok=True)
    members = np.arange(users + extra), np.append(np.arange(users), np.arange(users + extra, total))
    for d, domain in enumerate(domains):
        planted = harmful_categories if d == 0 and plant != "none" else None
        category, bad = _categories(rng, domain, planted)
        rows = _rows(rng, domain, members[d])
        harmful = bad[category[rows[1]]] | (bad_user[rows[0]] if d == 0 else False)
        rows = _in_core(_rated(rng, rows, category, factors, harmful, plant, domain), domain, users)
        write_reviews(out, domain, rows, rng, compressed, d)
        write_meta(
            out, domain, np.unique(rows.item), category, rng, missing_meta_share, compressed, d
        )
        liked = (rows.rating > 3).astype(np.int8)
        truths[domain.name] = Truth(
            rows.probability, liked, np.full(len(liked), d), rows.probability
        )
        harms[f"harmful_{domain.name}"] = rows.harmful
    if truth:
        options = dict(seed=seed, users=users, plant=plant, pair=pair, extra=extra)
        write_truth(out, options, truths, **harms)
    return truths


def generate(
    out: Path,
    rows: int,
    seed: int,
    users: int | None = None,
    pair: str = "SynBooks,SynToys",
    **options,
) -> dict:
    """A pair with about `rows` source reviews, of 20 a user, or of so many users.

    More than 2,000 users have more items, by the power 0.6, fewer have fewer, in proportion, so
    that a 5-core remains.  Returns `auc_report` by category.
    """
    users = max(20, rows // 20) if users is None else users
    growth = (users / 2_000) ** (0.6 if users > 2_000 else 1.0)
    items = tuple(max(least, round(growth * n)) for n, least in ((600, 30), (400, 20)))
    truth = make_amazon_pair(out, users, seed, tuple(pair.split(",")), items=items, **options)
    return {
        name: auc_report(each.probability, each.labels, each.domain, each.blind)
        for name, each in truth.items()
    }


def make_amazon_sample(out: str | Path, seed: int) -> None:
    """The bundled sample: 240 users of both categories and 144 of one only."""
    make_amazon_pair(out, 240, seed, extra_users=0.3, items=(240, 160), truth=False)


def _categories(rng, domain: Domain, planted: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Category (items,) of every item, and (categories,) bool: it is one of the planted ones."""
    category = rng.integers(domain.categories, size=domain.items)
    bad = np.zeros(domain.categories, bool)
    if planted is not None:
        bad[rng.permutation(domain.categories)[:planted]] = True
    return category, bad


def _rows(rng: np.random.Generator, domain: Domain, members: np.ndarray) -> tuple[np.ndarray, ...]:
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
    keep = ~again
    user, item = user[keep], item[keep]
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
        shares = np.cumsum(_HISTOGRAM) / sum(_HISTOGRAM)
        thresholds = np.quantile(score, shares[:-1])
    rating = 1 + np.searchsorted(thresholds, score)
    probability = ndtr((mean - thresholds[2]) / noise)
    return Rows(user, item, day, probability, rating, harmful)


def _in_core(rows: Rows, domain: Domain, users: int) -> Rows:
    """The rows of users and items with at least five.

    Raises:  ValueError: there are none; names the sizes that were asked for.
    """
    rows = rows.take(_core(rows.user, rows.item))
    if not len(rows.user):
        raise ValueError(
            f"no row of {domain.name} is left in the 5-core of {users} users and "
            f"{domain.items} items; use more users or fewer items"
        )
    return rows


def _core(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Positions of the rows that stay when users and items of fewer than 5 rows leave, again and
    again."""
    rows = np.arange(len(user))
    while len(rows):
        counts = [np.bincount(column[rows])[column[rows]] for column in (user, item)]
        good = np.minimum(*counts) >= _CORE
        if good.all():
            break
        rows = rows[good]
    return rows
