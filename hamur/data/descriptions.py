"""Known tables: how their files are written and what their columns mean.

    ml-1m         ratings.dat, users.dat, movies.dat       ml-100k      u.data, u.user, u.item
    ml-10m        ratings.dat, movies.dat                  ml-latest    ratings.csv, movies.csv
    kuairand      log_*.csv, user_features_*.csv, video_features_basic_*.csv, or the processed set
    amazon-2018, amazon-2023      ratings of a category    amazon-3, douban, mind: processed sets

A rating of MovieLens is a whole number from 1 to 5, in 10M and later half a star to five; users
have ages in 1M, of seven groups, and in 100K, in years.  What is known only after a click, such as
play_time_ms, is no feature.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import FLAGS, Columns, MultiColumn
from hamur.data.domains import Domain
from hamur.data.label_rules import parse_label
from hamur.data.own_columns import with_roles
from hamur.data.splits import Split
from hamur.data.table_rows import Join
from hamur.data.text import checks
from hamur.data.text.bad_rows import BadRows
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import Rows, column_names
from hamur.errors import DataError


@dataclass(frozen=True)
class Description:
    """A known table.

    formats: of its files, by name or pattern: that of the rows ("": any name, so the files alone
    are not known), then those of feature tables; keys: of these; genres: (movies, their BadRows) ->
    movies with the column genres, where that has another form.
    """

    name: str
    columns: Columns
    formats: dict[str, FileFormat]
    keys: tuple[str, ...] = ()
    genres: Callable[[Rows, BadRows], Rows] | None = None

    def format_of(self, file: Path) -> FileFormat | None:
        """Of the file of this name, plain or packed; None: it has another name."""
        name = plain_name(file)
        forms = (form for known, form in self.formats.items() if fnmatch(name, known or "*"))
        return next(forms, None)

    def key_of(self, file: Path) -> str | None:
        """Of a feature table."""
        patterns = zip(list(self.formats)[1:], self.keys)
        return next((key for known, key in patterns if fnmatch(plain_name(file), known)), None)

    def joins(self, files: list[Path]) -> list[Join]:
        """Of the files of MovieLens after the ratings: users if they are there, movies."""
        user, movie = self.columns.key
        users = [Join(file, user, self.format_of(file)) for file in files[1:-1]]
        return users + [Join(f, movie, self.format_of(f), self.genres) for f in files[1:][-1:]]

    def table(self, names: Collection[str]) -> Columns:
        """The description of a table that has these of the known columns."""
        now, known = self.columns, DESCRIPTIONS[self.name].columns
        # What was added to the known ones stays, so that a wrong name is told.
        lost = {*known.names, *known.values, *(spec.column for spec in known.multi)} - {*names}
        return replace(
            with_roles(now, ignore=lost),
            labels={n: r for n, r in now.labels.items() if parse_label(r)[0] not in lost},
            ignore=tuple(name for name in now.ignore if name not in lost),
            values={name: v for name, v in now.values.items() if name not in lost},
            transforms=now.transforms,
            domain=None if now.domain and now.domain.column in lost else now.domain,
            group=None if now.group in lost else now.group,
            time=None if now.time in lost else now.time,
            key=(),
        )


def plain_name(file: Path) -> str:
    """Without the ending of a packed file."""
    return file.name.removesuffix(".gz").removesuffix(".zst")


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
    split=Split("random", 2022),
)
_RATINGS = ("user_id", "movie_id", "rating", "timestamp")
CSV_COLUMNS = (*_RATINGS, "title", "genres", "gender", "age", "occupation", "zip")
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_HALF_STARS = tuple(np.arange(0.5, 5.5, 0.5).tolist())


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


def _half_stars(user: str, movie: str) -> Columns:
    """Of a release without users."""
    return Columns(
        {user: "int", movie: "int", "rating": "float", "timestamp": "int", "genres": "text"},
        {"like": "rating > 3"},
        (user, movie),
        multi=(MultiColumn("genres"),),
        ignore=("title",),
        values={"rating": _HALF_STARS},
        key=(user, movie),
        group=user,
        time="timestamp",
    )


_MOVIES = _format(COLUMNS, "movie_id", "title", "genres", encoding="latin-1")
ML_1M = Description(
    "ml-1m",
    COLUMNS,
    {
        "ratings.dat": _format(COLUMNS, *_RATINGS),
        "users.dat": _format(COLUMNS, "user_id", "gender", "age", "occupation", "zip"),
        "movies.dat": _MOVIES,
    },
    COLUMNS.key,
)
_COLUMNS_100K = replace(
    COLUMNS,
    kinds=COLUMNS.kinds | {"occupation": "text"},
    ignore=("title", "released", "released_on_video", "url"),
    domain=Domain("age", dict(zip(DOMAINS, map(tuple, _YEARS)))),
)
_MOVIES_100K = replace(COLUMNS, kinds={"movie_id": "int"} | dict.fromkeys(_GENRES_100K, "int"))
ML_100K = Description(
    "ml-100k",
    _COLUMNS_100K,
    {
        "u.data": _format(COLUMNS, *_RATINGS, separator="\t"),
        "u.user": _format(
            *(_COLUMNS_100K, "user_id", "age", "gender", "occupation", "zip"), separator="|"
        ),
        "u.item": _format(
            *(_MOVIES_100K, "movie_id", *_COLUMNS_100K.ignore, *_GENRES_100K),
            separator="|",
            encoding="latin-1",
        ),
    },
    COLUMNS.key,
    _genres_of_flags,
)
_COLUMNS_10M = _half_stars("user_id", "movie_id")
ML_10M = Description(
    "ml-10m",
    _COLUMNS_10M,
    # Its titles are UTF-8, of which nothing is read, and those of a 1M without users are not.
    {"ratings.dat": _format(_COLUMNS_10M, *_RATINGS), "movies.dat": _MOVIES},
    _COLUMNS_10M.key[1:],
)
_COLUMNS_LATEST = _half_stars("userId", "movieId")
LATEST = Description(
    "ml-latest",
    _COLUMNS_LATEST,
    {
        "ratings.csv": FileFormat(
            {n: k for n, k in _COLUMNS_LATEST.kinds.items() if n != "genres"}
        ),
        "movies.csv": FileFormat({n: _COLUMNS_LATEST.kinds[n] for n in ("movieId", "genres")}),
    },
    _COLUMNS_LATEST.key[1:],
)


def _columns(
    domain: Domain,
    label: str,
    sparse: tuple[str, ...],
    dense: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
) -> Columns:
    """The user is the first sparse column; cells that print whole numbers as 1.0 are the number."""
    kinds = dict.fromkeys((*sparse, domain.column), "code") | dict.fromkeys(dense, "float")
    kinds |= {label: "int"}
    return Columns(
        kinds, {label: label}, sparse, dense, domain=domain, group=sparse[0], ignore=ignore
    )


_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
KUAIRAND = _columns(
    Domain("tab", {f"tab={tab}": (tab,) for tab in "01246"}, drop_others=True),
    label="is_click",
    sparse=(
        *("user_id", "video_id"),
        *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"),
        *(f"{count}_range" for count in _COUNTS),
        *(f"onehot_feat{n}" for n in range(18)),
        *("video_type", "visible_status", "server_width", "server_height"),
    ),
    dense=_COUNTS,
    ignore=("play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time"),
)
_CATEGORIES = ("Beauty", "Clothing_Shoes_and_Jewelry", "Health_and_Personal_Care")
AMAZON_3 = _columns(
    Domain("domain_indicator", {name: (str(n),) for n, name in enumerate(_CATEGORIES)}),
    label="label",
    sparse=("user", "item"),
)
DOUBAN = _columns(
    Domain("domain", {name: (name,) for name in ("book", "music", "movie")}),
    label="rating",
    sparse=("user_id", "item_id", "living_place", "time_bin"),
    ignore=("join_time",),
)
# The public converter numbers Book 0, Movie 1, Music 2.
_NUMBERED = Domain("domain_id", {"book": ("0",), "music": ("2",), "movie": ("1",)})
DOUBAN_NUMBERED = _columns(_NUMBERED, "rating", DOUBAN.sparse, ignore=DOUBAN.ignore)
MIND = _columns(
    Domain("Category", {name: (name,) for name in ("news", "lifestyle", "sports", "finance")}),
    label="label",
    sparse=("User_ID", "News_ID", "SubCategory"),
)
# Name of a set -> its descriptions, and the names of its files.
SETS = {
    "kuairand": ((KUAIRAND,), ("kuairand.csv", "kuairand_sample.csv")),
    "amazon-3": ((AMAZON_3,), ("amazon.csv", "amazon_sample.csv")),
    "douban": ((DOUBAN, DOUBAN_NUMBERED), ("douban.csv", "douban_sample.csv")),
    "mind": ((MIND,), ("mind_all.csv", "mind_sample.csv")),
}
_AFTER = ("is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter")
_KEPT = ("author_id", "music_id", "tag")  # of a video
LOGS = replace(
    KUAIRAND,
    kinds=KUAIRAND.kinds | dict.fromkeys(_KEPT, "code") | {"time_ms": "time"},
    sparse=KUAIRAND.sparse + _KEPT,
    domain=Domain("tab"),
    time="time_ms",
    ignore=(*KUAIRAND.ignore, *_AFTER, "long_view", "is_rand", "date", "hourmin"),
)
_LOG_FILES = ("log_*.csv", "user_features_*.csv", "video_features_basic_*.csv")


def _amazon(user: str, item: str) -> Columns:
    kinds = {user: "id", item: "id", "rating": "float", "timestamp": "time"}
    like = {"like": "rating > 3"}
    return Columns(kinds, like, (user, item), group=user, time="timestamp")


_AMAZON_2018 = FileFormat({}, names=("item", "user", "rating", "timestamp"))
RELEASES = (ML_10M, ML_1M, ML_100K, LATEST)  # the first with all files: 10M's are some of 1M's
_ALL = (
    *RELEASES,
    Description("kuairand", LOGS, {name: FileFormat({}) for name in _LOG_FILES}, LOGS.sparse[:2]),
    Description("amazon-2018", _amazon("user", "item"), {"": _AMAZON_2018}),
    Description("amazon-2023", _amazon("user_id", "parent_asin"), {}),
    *(Description(name, SETS[name][0][0], {}) for name in ("amazon-3", "douban", "mind")),
)
DESCRIPTIONS = {each.name: each for each in _ALL}


def known(files: Sequence[Path]) -> Description | None:
    """The description of these files, the rows first, by their names and the first line; None of
    files that nobody described."""
    rows, *joined = files
    for each in _ALL:
        pattern = next(iter(each.formats), "")
        if fnmatch(plain_name(rows), pattern) and all(map(each.key_of, joined)):
            return each if _fits(rows, each) else None
    return None


def _fits(file: Path, described: Description) -> bool:
    form = described.format_of(file)
    try:
        first = column_names(file, form.separator, form.encoding)
    except (DataError, OSError):
        return False  # told by the reader
    if form.names is not None:
        return len(first) == len(form.names)
    return {described.columns.group, *described.columns.label_columns} <= set(first)
