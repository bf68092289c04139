"""The genres of a movie, "Action|Comedy" in the file, as one id or as a list."""

import numpy as np
import pandas as pd

from hamur.data.encode import Codes, factorise
from hamur.data.multi_valued import RawMultiValued

GENRES = ("first", "multi")
MAX_GENRES = 6  # of a movie of MovieLens-1M


def first_genre(genres: pd.Categorical) -> Codes:
    """(N,) the first name of each text."""
    first, _ = _names([text.split("|")[:1] for text in genres.categories])
    return first.take(genres.codes)


def all_genres(genres: pd.Categorical) -> RawMultiValued:
    """N lists of all names; movies with the same text share one."""
    names, lengths = _names([text.split("|") for text in genres.categories])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return RawMultiValued(names, offsets, np.asarray(genres.codes), MAX_GENRES)


def _names(lists: list[list[str]]) -> tuple[Codes, list[int]]:
    """The names of all lists, one behind the other, and the lengths of the lists."""
    names, position = np.unique([name for names in lists for name in names], return_inverse=True)
    return factorise(pd.Categorical.from_codes(position, names)), list(map(len, lists))
