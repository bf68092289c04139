"""MovieLens-1M cut by the first genre of its movies into a pair of domains, e.g. Drama -> Comedy.

A pair of real data that everybody can have; see `hamur.data.cross_domain` for what a pair is.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import Columns, Join, read_file
from hamur.data.cross_domain.dataset import CrossDomainData, Interactions
from hamur.data.cross_domain.join import join_pair
from hamur.data.cross_domain.tables import item_categories
from hamur.data.encode import factorise
from hamur.data.errors import EmptySplitError
from hamur.data.movielens import load as movielens
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.reader import Rows

_KINDS = ("user_id", "movie_id", "rating", "timestamp", "genres")
_COLUMNS = Columns(
    kinds={name: movielens.COLUMNS.kinds[name] for name in _KINDS},
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
    id_order: str = "value",
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
    rows, names = _read_movielens(bad_rows)
    parts = [name.split("|") for name in names.categories]
    first = np.array([part[0] for part in parts])[names.codes]
    second = np.array([part[1] if len(part) > 1 else "others" for part in parts])[names.codes]
    domains = []
    for genre in genres:
        chosen = np.flatnonzero(first == genre)
        if not len(chosen):
            raise EmptySplitError(
                f"no rating of a movie whose first genre is {genre!r}",
                file=source,
                expected="one of " + ", ".join(np.unique(first)),
                remedy="name two of these genres",
            )
        columns = {name: column[chosen] for name, column in rows.columns.items()}
        item = factorise(columns["movie_id"])
        domains.append(
            Interactions(
                genre,
                factorise(columns["user_id"]),
                item,
                item_categories(item, pd.Categorical(second[chosen])),
                rows.lines[chosen] - (2 if len(bad_rows) == 1 else 1),
                columns["rating"].astype(np.float32),
                columns["timestamp"],
            )
        )
    return join_pair(
        *domains,
        split=split,
        split_seed=split_seed,
        vocabulary=vocabulary,
        id_order=id_order,
        found={"files": {each.path.name: each.counts() for each in bad_rows}},
    )


def _read_movielens(bad_rows: list[BadRows]) -> tuple[Rows, pd.Categorical]:
    """user_id, movie_id, rating, timestamp of every rating, and the genres of its movie."""
    joins = [Join(bad_rows[-1], "movie_id", movielens.MOVIES)] if len(bad_rows) > 1 else []
    rows = read_file(bad_rows[0], _COLUMNS, movielens.RATINGS if joins else None, joins)
    return rows, rows.columns["genres"]
