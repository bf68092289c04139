"""Generated files in the formats of the real data sets; no row of them is real.

    make_movielens   ratings.dat users.dat movies.dat
    make_ali_ccp     ali_ccp_{train,val,test}_sample.csv
    write_samples    the folders under data/, which a test makes again and compares byte by byte

Same arguments, same bytes.  The labels follow `planted.plant`, so the best possible AUC is known.
"""

from pathlib import Path

import numpy as np

from hamur.data import ali_ccp, movielens
from hamur.data.planted import Field, Truth, meet_rates, plant
from hamur.data.synthetic_aliexpress import make_aliexpress_sample
from hamur.data.synthetic_amazon import make_amazon_sample

SEED = 2022
# Cardinalities grow with rows ** 0.6; popular values are drawn by Zipf's law.
_GROWTH, _ZIPF = 0.6, 1.05

# MovieLens-1M as published: users by age, rating counts, share of the rows and rate of each domain.
_AGE_USERS = {1: 222, 18: 1103, 25: 2096, 35: 1193, 45: 550, 50: 496, 56: 380}
_RATING_COUNTS = {1: 56_174, 2: 107_557, 3: 261_197, 4: 348_971, 5: 226_310}
_ML_RATES = (0.552, 0.563, 0.600)
_ML_ROWS, _ML_USERS, _ML_MOVIES, _ML_ZIPS = 1_000_209, 6_040, 3_883, 3_439
_MIN_RATINGS = 20
_MALE_SHARE = 0.717
_GENRE_NAMES = (
    "Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir "
    "Horror Musical Mystery Romance Sci-Fi Thriller War Western"
)
_GENRES = _GENRE_NAMES.split()
_ADJECTIVES = ("Silent", "Crimson", "Last", "Hidden", "Broken", "Golden", "Distant", "Café")
_NOUNS = ("Harbor", "Orchard", "Signal", "Winter", "Lantern", "Passage", "Garden", "Déjà-Vu")
_FIRST_TIME, _TIME_SPAN = 956_703_932, 80_000_000  # seconds

# Ali-CCP: distinct ids and share of rows that have one.
_ALI_FIELDS = {
    "101": (294_736, 0.998), "121": (98, 0.870), "122": (14, 0.870), "124": (3, 0.870),
    "125": (8, 0.870), "126": (4, 0.416), "127": (4, 0.870), "128": (3, 0.870),
    "129": (5, 0.637), "205": (3_078_306, 1.0), "206": (8_581, 1.0), "207": (604_498, 1.0),
    "210": (96_258, 0.9999), "216": (208_179, 0.711), "508": (7_735, 0.696),
    "509": (384_343, 0.221), "702": (142_632, 0.224), "853": (74_317, 0.410),
    "109_14": (6_086, 0.991), "110_14": (116_741, 0.991), "127_14": (58_015, 0.990),
    "150_14": (33_786, 0.998),
}  # fmt: skip
_ALI_ROWS = 85_316_519


def write_samples(out: str | Path) -> None:
    """The sample folders of this repository, below `out`."""
    make_movielens(Path(out) / "ml-1m-sample", rows=8_000, seed=SEED)
    make_ali_ccp(Path(out) / "ali-ccp-sample", rows=6_000, seed=SEED)
    make_aliexpress_sample(Path(out) / "aliexpress-sample", seed=SEED)
    make_amazon_sample(Path(out) / "amazon-sample", seed=SEED)


def cardinality(real: int, rows: int, real_rows: int) -> int:
    """How many distinct values a generated column of this many rows has."""
    return min(real, max(min(real, 8), round(real * (rows / real_rows) ** _GROWTH)))


def make_movielens(
    out: str | Path,
    rows: int,
    seed: int,
    signal: float = 1.4,
    domain_shift: float = 1.1,
) -> Truth:
    """Writes the three raw files of MovieLens-1M with `rows` ratings, at least 20 a user.

    Returns the truth of the ratings in file order.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    num_users = min(cardinality(_ML_USERS, rows, _ML_ROWS), rows // _MIN_RATINGS)
    num_movies = max(2 * rows // num_users, cardinality(_ML_MOVIES, rows, _ML_ROWS))
    users = _users(rng, num_users, cardinality(_ML_ZIPS, rows, _ML_ROWS))
    movie_ids = _distinct(rng, max(3_952, num_movies + 100), num_movies) + 1
    genres = _zipf(rng, len(_GENRES), num_movies, exponent=0.7)
    user, movie = _pairs(rng, rows, num_users, num_movies)
    domain = np.array([movielens.DOMAIN_OF_AGE[age] for age in users["age"]])[user]
    fields = {
        "gender": Field(users["gender"][user], 0.7, "user", flipped=True),
        "occupation": Field(users["occupation"][user], 0.6, "user"),
        "genre": Field(genres[movie], 1.0, "item", flipped=True),
        "user_id": Field(user, 0.3, "user"),
        "movie_id": Field(movie, 0.4, "item"),
    }
    logits = plant(rng, fields, np.zeros((rows, 1)), 3, signal, domain_shift)
    by_domain = meet_rates(logits, domain, _ML_RATES)
    probability = np.take_along_axis(by_domain, domain[:, None], axis=1)[:, 0]
    liked = rng.random(rows) < probability
    time = _times(rng, user, num_users)
    rating = np.where(liked, _ratings(rng, (4, 5), rows), _ratings(rng, (1, 2, 3), rows))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _write_dat(out / "ratings.dat", (user + 1, movie_ids[movie], rating, time))
    _write_dat(
        out / "users.dat",
        (
            range(1, num_users + 1),
            np.array(["F", "M"])[users["gender"]],
            users["age"],
            users["occupation"],
            users["zip"],
        ),
    )
    _write_dat(out / "movies.dat", (movie_ids, *_titles(rng, genres)))
    return Truth(probability, liked.astype(np.int8), domain, by_domain)


def _users(rng: np.random.Generator, number: int, num_zips: int) -> dict[str, np.ndarray]:
    shares = np.array(list(_AGE_USERS.values())) / sum(_AGE_USERS.values())
    ages = np.repeat(list(_AGE_USERS), np.maximum(1, np.round(shares * number)).astype(int))
    ages = rng.permutation(np.resize(ages, number))
    zips = [f"{code:05d}" for code in _distinct(rng, 99_999, num_zips)]
    zips[0] = "0" + zips[0][1:]  # some start with 0, some have a second part
    zips[1::50] = [f"{code}-{rng.integers(1_000, 9_999)}" for code in zips[1::50]]
    return {
        "age": ages,
        "gender": (rng.random(number) < _MALE_SHARE).astype(int),
        "occupation": _zipf(rng, 21, number, exponent=0.5),
        "zip": np.array(zips)[_zipf(rng, num_zips, number, exponent=0.3)],
    }


def _pairs(rng, rows: int, num_users: int, num_movies: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratings by user, popular movies first to be chosen, no pair twice."""
    spare = rows - _MIN_RATINGS * num_users
    more = np.bincount((rng.random(spare) ** 1.3 * num_users).astype(int), minlength=num_users)
    counts = np.minimum(_MIN_RATINGS + rng.permutation(more), num_movies)
    while (missing := rows - counts.sum()) > 0:  # a user at the limit leaves rows to others
        free = np.flatnonzero(counts < num_movies)[:missing]
        counts[free] += 1
    popularity = -_ZIPF * np.log(np.arange(1, num_movies + 1))
    user = np.repeat(np.arange(num_users), counts)
    movie = np.empty(rows, int)
    start = 0
    for count in counts:
        # The largest of popularity + Gumbel noise are a sample without replacement.
        noise = -np.log(-np.log(rng.random(num_movies)))
        movie[start : start + count] = np.argsort(-(popularity + noise), kind="stable")[:count]
        start += count
    return user, movie


def _times(rng: np.random.Generator, user: np.ndarray, num_users: int) -> np.ndarray:
    begin = _FIRST_TIME + (rng.random(num_users) * _TIME_SPAN).astype(np.int64)
    return begin[user] + (rng.random(len(user)) ** 4 * 9_000_000).astype(np.int64)


def _ratings(rng: np.random.Generator, allowed: tuple[int, ...], rows: int) -> np.ndarray:
    shares = np.cumsum([_RATING_COUNTS[rating] for rating in allowed])
    return np.array(allowed)[np.searchsorted(shares / shares[-1], rng.random(rows), side="right")]


def _titles(rng: np.random.Generator, genres: np.ndarray) -> tuple[list[str], list[str]]:
    titles, names = [], []
    for number, genre in enumerate(genres):
        adjective = _ADJECTIVES[number % len(_ADJECTIVES)]
        noun = _NOUNS[number // len(_ADJECTIVES) % len(_NOUNS)]
        volume = number // (len(_ADJECTIVES) * len(_NOUNS))
        part = f" {volume + 1}" if volume else ""
        titles.append(f"{noun}, The {adjective}{part} ({1930 + int(rng.integers(70))})")
        others = [g for g in _GENRES if rng.random() < 0.06 and g != _GENRES[genre]]
        names.append("|".join([_GENRES[genre], *others]))
    return titles, names


def _write_dat(path: Path, columns: tuple) -> None:
    lines = ("::".join(map(str, row)) + "\n" for row in zip(*columns))
    path.write_bytes("".join(lines).encode("latin-1"))


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
) -> dict[str, Truth]:
    """Writes ali_ccp_{train,val,test}_sample.csv with `rows` impressions altogether.

    shares, rates: of the rows and of clicks in each domain; conversion: purchases per click.  The
    defaults are far above those of the real data (0.3779 0.0075 0.6147 and about 0.04), so that
    a few thousand rows hold every domain and class.
    Returns the truth of each file's rows: {"train": ..., "val": ..., "test": ...}.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    ids = {
        name: np.where(
            rng.random(rows) < present,
            1 + _zipf(rng, cardinality(real, rows, _ALI_ROWS), rows),
            0,
        )
        for name, (real, present) in _ALI_FIELDS.items()
    }
    dense = _counts(rng, ids)
    domain = np.searchsorted(np.cumsum(shares)[:-1], rng.random(rows), side="right")
    side = {"121": "user", "122": "user", "125": "user", "206": "item", "205": "item"}
    weight = {"101": 0.2, "205": 0.2, "121": 0.8, "125": 0.8, "206": 0.8}
    fields = {
        name: Field(column, weight.get(name, 0.4), side.get(name, ""), name in ("121", "125"))
        for name, column in ids.items()
        if name in weight or _ALI_FIELDS[name][0] <= 100
    }
    logits = plant(rng, fields, dense, len(shares), signal, domain_shift)
    by_domain = meet_rates(logits, domain, rates)
    probability = np.take_along_axis(by_domain, domain[:, None], axis=1)[:, 0]
    click = (rng.random(rows) < probability).astype(np.int8)
    purchase = click * (rng.random(rows) < conversion)
    truth = Truth(probability, click, domain, by_domain)
    cuts = np.round(np.cumsum(parts) / sum(parts) * rows).astype(int)[:-1]
    ids = {name: _first_appearance(column, cuts[0]) for name, column in ids.items()}
    values = {"click": click, "purchase": purchase, **ids, "301": domain + 1}
    values |= {name: dense[:, c] for c, name in enumerate(ali_ccp.DENSE_COLUMNS)}
    files, rows_of = {}, np.split(np.arange(rows), cuts)
    for part, chosen in zip(("train", "val", "test"), rows_of):
        _write_csv(Path(out) / f"ali_ccp_{part}_sample.csv", values, chosen)
        files[part] = truth.take(chosen)
    return files


def _counts(rng: np.random.Generator, ids: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 8) ln(1 + count) scaled by its maximum to [0, 1]; 0 where the id is missing."""
    columns = []
    for name in ali_ccp.DENSE_COLUMNS:
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


def _write_csv(path: Path, values: dict[str, np.ndarray], rows: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [values[name][rows].tolist() for name in ali_ccp.CSV_COLUMNS]
    lines = [",".join(ali_ccp.CSV_COLUMNS)]
    lines += [",".join(map(str, row)) for row in zip(*columns)]
    path.write_bytes("".join(line + "\n" for line in lines).encode())


def _zipf(rng: np.random.Generator, size: int, rows: int, exponent: float = _ZIPF) -> np.ndarray:
    """(rows,) of 0..size-1, small numbers most often."""
    cumulated = np.cumsum(np.arange(1, size + 1) ** -exponent)
    return np.searchsorted(cumulated / cumulated[-1], rng.random(rows), side="right")


def _distinct(rng: np.random.Generator, limit: int, number: int) -> np.ndarray:
    """(number,) different values below `limit`, ascending."""
    return np.sort(rng.permutation(limit)[:number])
