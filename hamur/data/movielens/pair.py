"""MovieLens cut by the first genre of its movies into a pair of domains, e.g. Drama -> Comedy.

A pair of real data that everybody can have; see `hamur.data.cross_domain` for what a pair is.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import Columns
from hamur.data.cross_domain.dataset import CrossDomainData
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.cross_domain.tables import interactions_of
from hamur.data.movielens import releases
from hamur.data.movielens.load import SAMPLE
from hamur.data.sample import path_or_sample
from hamur.data.table_rows import read_file
from hamur.data.text.bad_rows import MAX_LINE_MIB, BadRows, Policy, counts_by_file
from hamur.data.text.reader import Rows
from hamur.errors import EmptySplitError

ROLES = ("user", "item", "rating", "timestamp")


def load_movielens_pair(
    path: str | Path | None = None,
    genres: tuple[str, str] = ("Drama", "Comedy"),
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
) -> CrossDomainData:
    """MovieLens cut in two by the first genre of the movies: (source, target).

    Users are those who rated movies of both; a movie's category is its second genre, "others" if
    it has one only.  path: the folder of any release, see `releases`, or as in `load_movielens`.
    The label is rating > 3.
    Raises:  DataError; EmptySplitError: no rating of a genre.
    """
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    source = path_or_sample(path, SAMPLE)
    files = releases.find(source)
    release, bad_rows = releases.release_of(files), [BadRows(file, policy) for file in files]
    file_format = release.format_of(files[0])
    columns = _described(release.columns)
    partners = [join.read(columns, bad_rows[-1]) for join in release.joins(files)[-1:]]
    rows = read_file(bad_rows[0], columns, file_format, partners)
    first_line = 1 if file_format and file_format.names else 2
    names = rows.columns["genres"]
    parts = [name.split("|") for name in names.categories]
    first = np.array([part[0] for part in parts])[names.codes]
    second = np.array([part[1] if len(part) > 1 else "others" for part in parts])[names.codes]
    roles = dict(zip((*release.columns.key, "rating", "timestamp"), ROLES))
    rows = Rows({role: rows.columns[name] for name, role in roles.items()}, rows.lines)
    domains = []
    for genre in genres:
        found = _of_genre(source, rows, genre, first, second)
        domains.append(interactions_of(genre, found, first_line))
    return join_pair(
        *domains,
        JoinRules(split, split_seed, vocabulary),
        {"files": counts_by_file(bad_rows)},
    )


def _described(columns: Columns) -> Columns:
    """What a pair takes of the columns of a release."""
    names = *columns.key, "rating", "timestamp", "genres"
    kinds = {name: columns.kinds[name] for name in names}
    return Columns(kinds, {}, (), values=columns.values, key=columns.key)


def _of_genre(source: Path, rows: Rows, genre: str, first: np.ndarray, second: np.ndarray) -> Rows:
    """The ratings of movies whose first genre it is; first, second (N,): genres of the rows."""
    names = np.unique(first)
    if genre not in names:
        one = "use a set with movies of two genres"
        raise EmptySplitError(
            f"no rating of a movie whose first genre is {genre!r}",
            file=source,
            expected="one of " + ", ".join(names),
            remedy="name two of these with `genres`" if len(names) > 1 else one,
        )
    found = rows.keep(first == genre)
    return Rows(found.columns | {"category": pd.Categorical(second[first == genre])}, found.lines)
