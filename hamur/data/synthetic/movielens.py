"""Generated raw files of MovieLens-1M: same format, similar marginals, no real row."""

from pathlib import Path

import numpy as np

from hamur.data import descriptions
from hamur.data.synthetic import signals

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


def make_movielens(
    out: str | Path, rows: int, seed: int, signal: float = 1.4, domain_shift: float = 1.1
) -> signals.GroundTruth:
    """Writes the three raw files of MovieLens-1M with `rows` ratings, at least 20 per user.

    Returns the ground truth of the ratings in file order.
    """
    rng = signals.stream(seed)
    num_users = min(signals.cardinality(_ML_USERS, rows, _ML_ROWS), rows // _MIN_RATINGS)
    num_movies = max(2 * rows // num_users, signals.cardinality(_ML_MOVIES, rows, _ML_ROWS))
    users = _users(rng, num_users, signals.cardinality(_ML_ZIPS, rows, _ML_ROWS))
    movie_ids = signals.distinct(rng, max(3_952, num_movies + 100), num_movies) + 1
    genres = signals.zipf(rng, len(_GENRES), num_movies, exponent=0.7)
    user, movie = _pairs(rng, rows, num_users, num_movies)
    domain = np.array([descriptions.DOMAIN_OF_AGE[age] for age in users["age"]])[user]
    fields = {
        "gender": signals.Field(users["gender"][user], 0.7, "user", flipped=True),
        "occupation": signals.Field(users["occupation"][user], 0.6, "user"),
        "genre": signals.Field(genres[movie], 1.0, "item", flipped=True),
        "user_id": signals.Field(user, 0.3, "user"),
        "movie_id": signals.Field(movie, 0.4, "item"),
    }
    by_domain = signals.domain_probabilities(
        rng, fields, np.zeros((rows, 1)), domain, _ML_RATES, signal, domain_shift
    )
    liked = rng.random(rows) < signals.in_own_domain(by_domain, domain)
    time = _times(rng, user, num_users)
    rating = np.where(liked, _ratings(rng, (4, 5), rows), _ratings(rng, (1, 2, 3), rows))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _write_dat(out / "ratings.dat", (user + 1, movie_ids[movie], rating, time))
    gender = np.array(["F", "M"])[users["gender"]]
    columns = (range(1, num_users + 1), gender, users["age"], users["occupation"], users["zip"])
    _write_dat(out / "users.dat", columns)
    _write_dat(out / "movies.dat", (movie_ids, *_titles(rng, genres)))
    return signals.GroundTruth.of(by_domain, liked.astype(np.int8), domain)


def _users(rng: np.random.Generator, number: int, num_zips: int) -> dict[str, np.ndarray]:
    shares = np.array(list(_AGE_USERS.values())) / sum(_AGE_USERS.values())
    ages = np.repeat(list(_AGE_USERS), np.maximum(1, np.round(shares * number)).astype(int))
    ages = rng.permutation(np.resize(ages, number))
    zips = [f"{code:05d}" for code in signals.distinct(rng, 99_999, num_zips)]
    zips[0] = "0" + zips[0][1:]  # some start with 0, some have a second part
    zips[1::50] = [f"{code}-{rng.integers(1_000, 9_999)}" for code in zips[1::50]]
    return {
        "age": ages,
        "gender": (rng.random(number) < _MALE_SHARE).astype(int),
        "occupation": signals.zipf(rng, 21, number, exponent=0.5),
        "zip": np.array(zips)[signals.zipf(rng, num_zips, number, exponent=0.3)],
    }


def _pairs(rng, rows: int, num_users: int, num_movies: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratings by user, popular movies first to be chosen, no pair twice."""
    spare = rows - _MIN_RATINGS * num_users
    more = np.bincount((rng.random(spare) ** 1.3 * num_users).astype(int), minlength=num_users)
    counts = np.minimum(_MIN_RATINGS + rng.permutation(more), num_movies)
    while (missing := rows - counts.sum()) > 0:  # a user at the limit leaves rows to others
        free = np.flatnonzero(counts < num_movies)[:missing]
        counts[free] += 1
    popularity = -signals.ZIPF * np.log(np.arange(1, num_movies + 1))
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
