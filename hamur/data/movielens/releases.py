"""The releases of MovieLens: their files, how these are written, and what their columns mean.

    1M       ratings.dat   users.dat   movies.dat    or the public joined ml-1m.csv
    100K     u.data        u.user      u.item
    10M      ratings.dat               movies.dat
    latest   ratings.csv               movies.csv    20M, 25M and 32M too

A rating is a whole number from 1 to 5, in 10M and later ones half a star to five.  Users have ages
in 1M, of seven groups, and in 100K, in years.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import FLAGS, Columns, Domain, MultiColumn
from hamur.data.loading import find_files
from hamur.data.text import checks
from hamur.data.text.bad_rows import BadRows
from hamur.data.text.lines import FileFormat, read_header
from hamur.data.text.reader import Rows
from hamur.errors import DataError

PAGE = "https://grouplens.org/datasets/movielens"
DOMAINS = {"age up to 24": (1, 18), "age 25 to 34": (25,), "age 35 and over": (35, 45, 50, 56)}
DOMAIN_OF_AGE = {age: d for d, ages in enumerate(DOMAINS.values()) for age in ages}
_YEARS = (range(1, 25), range(25, 35), range(35, 120))  # of the same domains
COLUMNS = Columns(
    kinds={
        "user_id": "int",
        "movie_id": "int",
        "rating": "int",
        "timestamp": "int",
        "genres": "text",
        "gender": "text",
        "age": "int",
        "occupation": "category",
        "zip": "text",  # 662 start with 0 and 66 hold a dash: as numbers they would merge
    },
    ignore=("title",),
    values={"rating": range(1, 6)},
    key=("user_id", "movie_id"),
    labels={"like": "rating > 3"},
    sparse=("user_id", "movie_id", "gender", "occupation", "zip"),
    multi=(MultiColumn("cate_id", "genres", first_only=True),),
    dense=("age",),
    domain=Domain("age", DOMAINS),
    group="user_id",
    time="timestamp",
)
HEADER = "user_id,movie_id,rating,timestamp,title,genres,gender,age,occupation,zip"
CSV_COLUMNS = tuple(HEADER.split(","))
CSV_NAMES = ("ml-1m.csv", "ml-1m-sample.csv")
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_HALF_STARS = tuple(np.arange(0.5, 5.5, 0.5).tolist())


@dataclass(frozen=True)
class Release:
    """name: of its tables.  formats: of the files, by name: ratings, users if it has them, movies.

    genres: (movies, their BadRows) -> movies with the column genres, where that has another form.
    """

    name: str
    columns: Columns
    formats: dict[str, FileFormat]
    genres: Callable[[Rows, BadRows], Rows] | None = None

    def format_of(self, file: Path) -> FileFormat | None:
        """None of the joined CSV."""
        return self.formats.get(_name(file))

    def joins(self, files: list[Path]) -> list[tuple]:
        """What `Join` takes for each file after the ratings: users if they are there, movies."""
        user, movie = self.columns.key
        formats = [self.format_of(file) for file in files[1:]]
        users = [(user, each) for each in formats[:-1]]
        return users + [(movie, each, self.genres) for each in formats[-1:]]


def _name(file: Path) -> str:
    return file.name.removesuffix(".gz")


def _format(columns: Columns, *names: str, **form) -> FileFormat:
    """Of the file with these columns and no header."""
    kinds = {name: columns.kinds[name] for name in names if name in columns.kinds}
    return FileFormat(kinds, names=names, **{"separator": "::", "quoted": False} | form)


def _genres_of_flags(movies: Rows, bad_rows: BadRows) -> Rows:
    for name in _GENRES_100K:
        movies = checks.allowed(movies, name, FLAGS, bad_rows)
    flags = np.stack([movies.columns[name] for name in _GENRES_100K], axis=1)  # (movies, genres)
    genres = ["|".join(compress(_GENRES_100K, row)) for row in flags.tolist()]
    columns = {"movie_id": movies.columns["movie_id"], "genres": pd.Categorical(genres)}
    return Rows(columns, movies.lines)


def _without_users(user: str, movie: str) -> Columns:
    kinds = {user: "int", movie: "int", "rating": "float", "timestamp": "int", "genres": "text"}
    return Columns(kinds, {}, (), values={"rating": _HALF_STARS}, key=(user, movie))


_RATINGS = ("user_id", "movie_id", "rating", "timestamp")
_MOVIES = _format(COLUMNS, "movie_id", "title", "genres", encoding="latin-1")
ML_1M = Release(
    "ml-1m",
    COLUMNS,
    {
        "ratings.dat": _format(COLUMNS, *_RATINGS),
        "users.dat": _format(COLUMNS, "user_id", "gender", "age", "occupation", "zip"),
        "movies.dat": _MOVIES,
    },
)
_COLUMNS_100K = replace(
    COLUMNS,
    kinds=COLUMNS.kinds | {"occupation": "text"} | dict.fromkeys(_GENRES_100K, "int"),
    domain=Domain("age", dict(zip(DOMAINS, map(tuple, _YEARS)))),
)
_FACTS_100K = ("movie_id", "title", "released", "released_on_video", "url")
ML_100K = Release(
    "ml-100k",
    replace(_COLUMNS_100K, kinds=COLUMNS.kinds | {"occupation": "text"}),
    {
        "u.data": _format(COLUMNS, *_RATINGS, separator="\t"),
        "u.user": _format(
            *(_COLUMNS_100K, "user_id", "age", "gender", "occupation", "zip"), separator="|"
        ),
        "u.item": _format(
            *(_COLUMNS_100K, *_FACTS_100K, *_GENRES_100K), separator="|", encoding="latin-1"
        ),
    },
    _genres_of_flags,
)
_COLUMNS_10M = _without_users("user_id", "movie_id")
ML_10M = Release(
    "ml-10m",
    _COLUMNS_10M,
    # Its titles are UTF-8, of which nothing is read, and those of a 1M without users are not.
    {"ratings.dat": _format(_COLUMNS_10M, *_RATINGS), "movies.dat": _MOVIES},
)
_COLUMNS_LATEST = _without_users("userId", "movieId")
LATEST = Release(
    "ml-latest",
    _COLUMNS_LATEST,
    {
        "ratings.csv": FileFormat(
            {n: k for n, k in _COLUMNS_LATEST.kinds.items() if n != "genres"}
        ),
        "movies.csv": FileFormat({n: _COLUMNS_LATEST.kinds[n] for n in ("movieId", "genres")}),
    },
)
RELEASES = (ML_10M, ML_1M, ML_100K, LATEST)  # the first with all files: 10M's are some of 1M's


def release_of(files: list[Path]) -> Release:
    """The release of these files; a single one is the joined CSV of 1M."""
    names = set(map(_name, files))
    return next((each for each in RELEASES if names <= each.formats.keys()), ML_1M)


def find(source: Path, source_format: str | None = None) -> list[Path]:
    """Ratings, users (if they are there) and movies, or one CSV file, known by its name or header.

    source: their folder, or one of the files.

    Raises:  DataFileNotFoundError; DataFormatError: nothing is recognised, or two things are.
    """
    if source_format not in (None, "raw", "csv"):
        raise ValueError(f"source_format is {source_format!r}; use 'raw' or 'csv'")
    if source.is_file():
        if not any(_name(source) in each.formats for each in RELEASES):
            return [source]
        source = source.parent
    csv = [*source.glob("*.csv"), *source.glob("*.csv.gz")]
    tables = {*CSV_NAMES, *(_name(file) for file in csv if _has_columns(file))}
    sets = [tuple(each.formats) for each in (ML_1M, ML_100K, LATEST)]
    sets = sets if source_format != "csv" else []
    sets += [(name,) for name in sorted(tables)] if source_format != "raw" else []
    choose = "pass the right folder or file, or `source_format='raw'`"
    fetch = f"fetch MovieLens from {PAGE} and pass its folder"
    return find_files(source, sets, fetch, ("users.dat", "u.user"), choose)


def _has_columns(file: Path) -> bool:
    try:
        return set(read_header(file)) == set(CSV_COLUMNS)
    except DataError:
        return False  # somebody else's file
