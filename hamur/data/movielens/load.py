"""MovieLens-1M and -100K: does a user like a movie?  Domains are age groups.

    label   rating > 3                      domain  age up to 24 -> 0, 25 to 34 -> 1, from 35 -> 2
    sparse  user_id movie_id gender occupation zip cate_id (first genre) domain_indicator
            or, with genres="multi", all genres of the movie in the place of cate_id
    dense   age, scaled to [0, 1]

Age is a feature, defines the domain, and the domain is a feature once more, as in the public code.
Title and timestamp are no features; the timestamp is kept as `time`.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from hamur.config import encoding_flag
from hamur.data import build_tables, cache, descriptions
from hamur.data.build_tables import Encoding
from hamur.data.columns import MultiColumn
from hamur.data.loading import load_tables
from hamur.data.movielens import releases
from hamur.data.multi_valued import pooled_by
from hamur.data.raw_columns import RawColumns
from hamur.data.sample import path_or_sample
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.streaming.prepare import DataSet
from hamur.data.table import Splits
from hamur.data.table_source import TableSource, read_tables
from hamur.data.text.bad_rows import MAX_LINE_MIB, Policy
from hamur.errors import DataFileNotFoundError, StatsMismatchError

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "ml-1m-sample"
SPLITS = ("random", "temporal", "user_temporal")
GENRES = ("first", "multi")
MAX_GENRES = 6  # of a movie of MovieLens-1M and -100K

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
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: tuple[str, ...] = (),
    check_statistics: bool = True,
    cache_dir: str | Path | None = None,
    genres: str | None = None,
    pool_weight: str | None = None,
) -> tuple[Splits, Schema]:
    """The three splits and their schema, memory-mapped from a cache that is built when needed.

    path: the folder of ratings.dat, users.dat and movies.dat, of u.data, u.user and u.item
        (MovieLens-100K), or of ml-1m.csv or ml-1m-sample.csv, or such a CSV file, or a cache that
        examples/prepare_data.py made; None is the bundled sample of generated rows.
    split: "random" (default, 8:1:1 by split_seed), "temporal" (8:1:1 by time; mostly users never
        seen before) or "user_temporal" (the last tenth of each user's ratings, and the one
        before).
    fit_on: "all" fits vocabularies and scaler on all rows and has no 'unknown': for comparison
        with the public code only.
    source_format: "raw" or "csv", needed where a folder holds both.
    on_bad_rows: "error" stops at the first bad row, "skip" leaves bad rows out and counts them in
        schema.split["files"].  max_line_mib: a longer line of text makes a file unusable.
    check_statistics: a complete official file must have the published counts.
    cache_dir: None is $HAMUR_CACHE or the user's cache folder.
    genres: "first" (default) makes a movie's first genre the field cate_id, "multi" takes all of
        them as the multi-valued field `genres`, of whose embeddings models take the mean.
    pool_weight: "uniform" or "value", how the entries of a multi-valued field count; genres all
        have the value 1.
    Raises:  DataError, of the kind that `hamur.errors` names.
    """
    options = Options(
        split or "random",
        split_seed,
        fit_on,
        Policy(on_bad_rows, max_bad_fraction, max_line_mib),
        tuple(allow_leakage),
        check_statistics,
        genres or "first",
    )
    root = path_or_sample(path, SAMPLE)
    if cache.is_cache(root):
        asked = dict(split=split, fit_on=None if fit_on == "train" else fit_on, genres=genres)
        asked["seed"] = None if split_seed == Options.split_seed else split_seed
        loaded = cache.open_prepared(root, "load_movielens", **asked)
    else:
        loaded = load_tables(_source(find_sources(root, source_format), options, root), cache_dir)
    return build_tables.check_classes(*pooled_by(*loaded, pool_weight))


@dataclass(frozen=True)
class Options:
    """What the tables depend on besides the files; see `load_movielens`."""

    split: str = encoding_flag("random", "rule that divides the rows", choices=SPLITS)
    split_seed: int = encoding_flag(2022, "seed of the split", at_least=0)
    fit_on: str = encoding_flag(
        "train",
        "rows that vocabularies and scalers are fitted on",
        choices=("train", "all"),
        aliases=("vocab", "vocabulary"),
    )
    policy: Policy = field(default_factory=Policy)
    allow_leakage: tuple[str, ...] = ()
    check_statistics: bool = True
    genres: str = encoding_flag(
        "first",
        "keep the first genre of a movie, or all, to average the embeddings (multi)",
        choices=GENRES,
    )

    def __post_init__(self):
        if self.genres not in GENRES:
            raise ValueError(f"`genres` is {self.genres!r}; use one of {GENRES}")
        if self.split not in SPLITS:
            raise ValueError(f"`split` is {self.split!r}; use one of {SPLITS}")


def _source(files: list[Path], options: Options, root: Path) -> TableSource:
    """The three raw files, of which users and movies are joined to the ratings, or one CSV."""
    release = releases.release_of(files)
    split = Split(options.split, options.split_seed if options.split == "random" else None)
    multi = release.columns.multi
    if options.genres == "multi":
        multi = (MultiColumn("genres", "genres", max_len=MAX_GENRES),)
    return TableSource(
        release.name,
        root,
        tuple(files[:1]),
        dataclasses.replace(release.columns, multi=multi, split=split),
        Encoding(fit_on=options.fit_on, allow_leakage=options.allow_leakage),
        options.policy,
        notes={"source": None, "genres": options.genres},
        file_format=release.format_of(files[0]),
        joins=release.joins(files),
        check=partial(_check_statistics, files[0].parent) if options.check_statistics else None,
    )


def build(space, files: list[Path], options: Options) -> tuple:
    """For `prepare`: seconds and less than 1 GiB, so in one piece and in memory."""
    root = files[0].parent if len(files) > 1 else files[0]
    source = _source(files, options, root)
    return read_tables(source, source.digest())


def find_sources(source: Path, source_format: str | None = None) -> list[Path]:
    """The three raw files in the order ratings, users, movies, or one CSV file.

    Raises:  DataFileNotFoundError: a file is missing, or the release has no ages of its users;
        DataFormatError: nothing is recognised, or two things are.
    """
    files = releases.find(source, source_format)
    if len(files) == 2:
        ratings, movies = (file.name.removesuffix(".gz") for file in files)
        users = {"ratings.dat": "users.dat", "u.data": "u.user"}.get(ratings)
        problem = f"{users} is missing" if users else "there are no users' ages"
        raise DataFileNotFoundError(
            f"{problem} beside {ratings}, {movies}",
            file=source,
            expected="the users' ages, which make the domains, as in MovieLens-1M and -100K",
            remedy="cut the set by genre instead, as examples/run_amazon_cross_domain.py --genres "
            f"Drama,Comedy does, or fetch MovieLens-1M from {releases.PAGE}",
        )
    return files


DATASET = DataSet(
    descriptions.ML_1M.name, Options, find_sources, build, user="user_id", item="movie_id"
)


def _check_statistics(folder: Path, raw: RawColumns) -> None:
    users = len(raw.sparse["user_id"].values)
    if (len(raw.domain), users) != (OFFICIAL_ROWS, OFFICIAL_USERS):
        return  # a subset or generated rows: nothing is known about it
    liked = raw.labels["like"]
    for d, expected in OFFICIAL.items():
        rows = raw.domain == d
        ids = [len(np.unique(raw.sparse[name].codes[rows])) for name in ("user_id", "movie_id")]
        counts = (int(rows.sum()), int(liked[rows].sum()), *ids)
        if counts != expected:
            raise StatsMismatchError(
                f"domain {d}: rows, rows with rating > 3, users and movies",
                file=folder,
                value=counts,
                expected=str(expected),
                remedy="fetch the files again, or `check_statistics=False` for an edited copy",
            )
