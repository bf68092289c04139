"""MovieLens-1M cut by the first genre of its movies into a pair of domains, e.g. Drama -> Comedy.

A pair of real data that everybody can have; see `hamur.data.cross_domain` for what a pair is.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import Columns, Join, read_file
from hamur.data.cross_domain.dataset import CrossDomainData, Interactions
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.cross_domain.tables import interactions_of
from hamur.data.errors import EmptySplitError
from hamur.data.movielens import load as movielens
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.reader import Rows

_ROLES = {"user": "user_id", "item": "movie_id", "rating": "rating", "timestamp": "timestamp"}
_COLUMNS = Columns(
    kinds={name: movielens.COLUMNS.kinds[name] for name in (*_ROLES.values(), "genres")},
    labels={},
    sparse=(),
    values=movielens.COLUMNS.values,
    key=movielens.COLUMNS.key,
)


def load_movielens_pair(
    path: str | Path | None = None,
    genres: tuple[str, str] = ("Drama", "Comedy"),
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
) -> CrossDomainData:
    """MovieLens-1M cut in two by the first genre of the movies: (source, target).

    Users are those who rated movies of both; a movie's category is its second genre, "others" if
    it has one only.  path: as in `load_movielens`.  The label is rating > 3.
    Raises:  DataError; EmptySplitError: no rating of a genre.
    """
    policy = Policy(on_bad_rows, max_bad_fraction)
    source = movielens.SAMPLE if path is None else Path(path).expanduser()
    bad_rows = [BadRows(file, policy) for file in movielens.find_sources(source)]
    joins = [Join(bad_rows[-1], "movie_id", movielens.MOVIES)] if len(bad_rows) > 1 else []
    rows = read_file(bad_rows[0], _COLUMNS, movielens.RATINGS if joins else None, joins)
    names = rows.columns["genres"]
    parts = [name.split("|") for name in names.categories]
    first = np.array([part[0] for part in parts])[names.codes]
    second = np.array([part[1] if len(part) > 1 else "others" for part in parts])[names.codes]
    domains = [
        _domain(source, rows, genre, first, second, first_line=2 if len(bad_rows) == 1 else 1)
        for genre in genres
    ]
    return join_pair(
        *domains,
        JoinRules(split, split_seed, vocabulary),
        {"files": {each.path.name: each.counts() for each in bad_rows}},
    )


def _domain(
    source: Path, rows: Rows, genre: str, first: np.ndarray, second: np.ndarray, first_line: int
) -> Interactions:
    """The ratings of movies whose first genre it is; first, second (N,): genres of the rows."""
    of_genre = np.flatnonzero(first == genre)
    if not len(of_genre):
        raise EmptySplitError(
            f"no rating of a movie whose first genre is {genre!r}",
            file=source,
            expected="one of " + ", ".join(np.unique(first)),
            remedy="name two of these genres",
        )
    columns = {role: rows.columns[name][of_genre] for role, name in _ROLES.items()}
    columns["category"] = pd.Categorical(second[of_genre])
    return interactions_of(genre, Rows(columns, rows.lines[of_genre]), first_line)
