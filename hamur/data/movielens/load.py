"""MovieLens-1M: does a user like a movie?  Domains are age groups.

    label   rating > 3                      domain  age {1, 18} -> 0, {25} -> 1, {35, ..., 56} -> 2
    sparse  user_id movie_id gender occupation zip cate_id (first genre) domain_indicator
            or, with genres="multi", the list of all genres in the place of cate_id
    dense   age, scaled to [0, 1]

Age is a feature, defines the domain, and the domain is a feature once more, as in the public code.
Title and timestamp are no features; the timestamp is kept as `time`.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data import build_tables, cache, splits
from hamur.data.encode import MISSING, Codes, factorise
from hamur.data.errors import StatsMismatchError
from hamur.data.movielens.files import CSV, MOVIES, RATINGS, USER_FIELDS, USERS, find_files
from hamur.data.movielens.genres import GENRES, all_genres, first_genre
from hamur.data.multi_valued import pooled_by
from hamur.data.schema import Schema
from hamur.data.streaming.prepare import DataSet
from hamur.data.table import Splits
from hamur.data.text import checks, reader
from hamur.data.text.bad_rows import BadRows, Policy

NAME = "ml-1m"
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "ml-1m-sample"
DOMAIN_NAMES = ("age up to 24", "age 25 to 34", "age 35 and over")
DOMAIN_OF_AGE = {1: 0, 18: 0, 25: 1, 35: 2, 45: 2, 50: 2, 56: 2}
LIKED_FROM = 4

# Of the complete official files.  domain -> rows, rows with rating > 3, users, movies.
OFFICIAL_ROWS, OFFICIAL_USERS = 1_000_209, 6_040
OFFICIAL = {
    0: (210_747, 116_409, 1_325, 3_429),
    1: (395_556, 222_554, 2_096, 3_508),
    2: (393_906, 236_318, 2_619, 3_595),
}


def load_movielens(
    path: str | Path | None = None,
    split: str | None = None,
    split_seed: int = 2022,
    fit_on: str = "train",
    source_format: str | None = None,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    allow_leakage: tuple[str, ...] = (),
    check_statistics: bool = True,
    cache_dir: str | Path | None = None,
    genres: str | None = None,
    pool_weight: str | None = None,
) -> tuple[Splits, Schema]:
    """The three splits and their schema, memory-mapped from a cache that is built when needed.

    path: the folder of ratings.dat, users.dat and movies.dat, or of ml-1m.csv or
        ml-1m-sample.csv, or such a CSV file, or a cache that examples/prepare_data.py made; None is
        the bundled sample of generated rows.
    split: "random" (default, 8:1:1 by split_seed), "temporal" (8:1:1 by time; mostly users never
        seen before) or "user_temporal" (the last tenth of each user's ratings, and the one
        before).
    fit_on: "all" fits vocabularies and scaler on all rows and has no 'unknown': for comparison
        with the public code only.
    source_format: "raw" or "csv", needed where a folder holds both.
    on_bad_rows: "error" stops at the first bad row, "skip" leaves bad rows out and counts them in
        schema.split["files"].
    check_statistics: a complete official file must have the published counts.
    cache_dir: None is $HAMUR_CACHE or the user's cache folder.
    genres: "first" (default) makes a movie's first genre the field cate_id, "multi" takes all of
        them as the field `genres`, a list, of whose embeddings models take the mean.
    pool_weight: "uniform" or "value", how the entries of a list count; genres all have the value 1.
    Raises:  DataError, of the kind that `hamur.data.errors` names.
    """
    given = Options(
        split or "random",
        split_seed,
        fit_on,
        Policy(on_bad_rows, max_bad_fraction),
        tuple(allow_leakage),
        check_statistics,
        genres or "first",
    )
    source = SAMPLE if path is None else Path(path).expanduser()
    if cache.is_cache(source):
        loaded = cache.open_prepared(source, split, fit_on, genres=genres)
        return build_tables.check_classes(*pooled_by(*loaded, pool_weight))
    files = find_files(source, source_format)
    digest = cache.source_digest(files)
    options = dataclasses.asdict(given) | {"source_format": [file.suffix for file in files]}
    loaded = cache.load_or_build(
        NAME, source, options, digest, lambda: read(files, given, digest), cache_dir
    )
    return build_tables.check_classes(*pooled_by(*loaded, pool_weight))


@dataclass(frozen=True)
class Options:
    """What the tables depend on besides the files; see `load_movielens`."""

    split: str = "random"
    split_seed: int = 2022
    fit_on: str = "train"
    policy: Policy = field(default_factory=Policy)
    allow_leakage: tuple[str, ...] = ()
    check_statistics: bool = True
    genres: str = "first"

    def __post_init__(self):
        if self.genres not in GENRES:
            raise ValueError(f"genres is {self.genres!r}; use one of {GENRES}")
        if self.split not in _SPLITS:
            raise ValueError(f"split is {self.split!r}; use one of {tuple(_SPLITS)}")


def build(space, files: list[Path], options: Options) -> tuple:
    """For `prepare`: seconds and less than 1 GiB, so in one piece and in memory."""
    fitted: dict[str, np.ndarray] = {}
    return *read(files, options, cache.source_digest(files), fitted), fitted


DATASET = DataSet(NAME, Options, find_files, build, user="user_id", item="movie_id")


def read(
    files: list[Path], options: Options, digest: dict, fitted: dict | None = None
) -> tuple[Splits, Schema, list[BadRows]]:
    """The tables of the three raw files or of one joined file, and what was left out of each."""
    bad_rows = [BadRows(file, options.policy) for file in files]
    raw = (_read_csv if len(files) == 1 else _read_raw)(bad_rows).raw(options.genres)
    if options.check_statistics:
        _check_statistics(files[0].parent, raw)
    seed = options.split_seed if options.split == "random" else None
    tables, schema = build_tables.assemble(
        raw,
        _SPLITS[options.split](raw, options.split_seed),
        build_tables.Encoding(fit_on=options.fit_on, allow_leakage=options.allow_leakage),
        bad_rows,
        name=NAME,
        domain_names=DOMAIN_NAMES,
        group="user_id",
        split={"rule": options.split, "seed": seed, "source": digest, "genres": options.genres},
        fitted=fitted,
    )
    return tables, schema, bad_rows


_SPLITS = {
    "random": lambda raw, seed: splits.random_split(len(raw.domain), seed),
    "temporal": lambda raw, seed: splits.temporal_split(raw.time),
    "user_temporal": lambda raw, seed: splits.user_temporal_split(raw.group, raw.time),
}


@dataclass(frozen=True)
class _Ratings:
    """Joined ratings: arrays (N,), Codes (N,) and the genres (N,) as the file has them."""

    rows: reader.Rows
    age: np.ndarray
    fields: dict[str, Codes]
    genres: pd.Categorical

    def raw(self, genres: str) -> build_tables.RawColumns:
        columns = self.rows.columns
        domain = np.full(max(DOMAIN_OF_AGE) + 1, MISSING)
        domain[list(DOMAIN_OF_AGE)] = list(DOMAIN_OF_AGE.values())
        sparse = {name: factorise(columns[name]) for name in ("user_id", "movie_id")} | self.fields
        if genres == "first":
            sparse["cate_id"] = first_genre(self.genres)
        return build_tables.RawColumns(
            sparse=sparse,
            multi={} if genres == "first" else {"genres": all_genres(self.genres)},
            dense={"age": self.age},
            labels={"like": columns["rating"] >= LIKED_FROM},
            domain=domain[self.age],
            row_id=self.rows.lines - self.rows.lines[0],
            group=columns["user_id"],
            time=columns["timestamp"],
        )


def _read_raw(bad_rows: list[BadRows]) -> _Ratings:
    of_ratings, of_users, of_movies = bad_rows
    users = reader.read_rows(of_users.path, USERS, of_users)
    users = _known_age(users, of_users)
    users = checks.unique(users, ("user_id",), of_users)
    of_users.raise_if_any()
    movies = reader.read_rows(of_movies.path, MOVIES, of_movies)
    movies = checks.unique(movies, ("movie_id",), of_movies)
    of_movies.raise_if_any()
    ratings = _valid_ratings(reader.read_rows(of_ratings.path, RATINGS, of_ratings), of_ratings)
    user_ids, movie_ids = users.columns["user_id"], movies.columns["movie_id"]
    ratings = checks.with_partner(ratings, "user_id", user_ids, of_users.path, of_ratings)
    ratings = checks.with_partner(ratings, "movie_id", movie_ids, of_movies.path, of_ratings)
    of_ratings.raise_if_any()
    user = pd.Index(user_ids).get_indexer(ratings.columns["user_id"])
    movie = pd.Index(movie_ids).get_indexer(ratings.columns["movie_id"])
    fields = {name: factorise(users.columns[name]).take(user) for name in USER_FIELDS}
    genres = movies.columns["genres"][movie]
    return _Ratings(ratings, users.columns["age"][user], fields, genres)


def _read_csv(bad_rows: list[BadRows]) -> _Ratings:
    (of_file,) = bad_rows
    rows = _valid_ratings(reader.read_rows(of_file.path, CSV, of_file), of_file)
    rows = _known_age(rows, of_file)
    of_file.raise_if_any()
    fields = {name: factorise(rows.columns[name]) for name in USER_FIELDS}
    return _Ratings(rows, rows.columns["age"], fields, rows.columns["genres"])


def _known_age(rows: reader.Rows, bad_rows: BadRows) -> reader.Rows:
    known = np.isin(rows.columns["age"], list(DOMAIN_OF_AGE))
    return checks.known_domain(rows, "age", known, DOMAIN_OF_AGE, bad_rows)


def _valid_ratings(rows: reader.Rows, bad_rows: BadRows) -> reader.Rows:
    rows = checks.allowed(rows, "rating", range(1, 6), bad_rows)
    return checks.unique(rows, ("user_id", "movie_id"), bad_rows)


def _check_statistics(source: Path, raw: build_tables.RawColumns) -> None:
    users = len(raw.sparse["user_id"].values)
    if (len(raw.domain), users) != (OFFICIAL_ROWS, OFFICIAL_USERS):
        return  # a subset or generated rows: nothing is known about it
    liked = raw.labels["like"]
    for d, expected in OFFICIAL.items():
        rows = raw.domain == d
        ids = [len(np.unique(raw.sparse[name].codes[rows])) for name in ("user_id", "movie_id")]
        found = (int(rows.sum()), int(liked[rows].sum()), *ids)
        if found != expected:
            raise StatsMismatchError(
                f"domain {d}: rows, rows with rating > 3, users and movies",
                file=source,
                value=found,
                expected=str(expected),
                remedy="fetch the files again, or check_statistics=False for an edited copy",
            )
