"""MovieLens-1M cut by genre into a pair of domains, against a reference with dictionaries."""

import pytest

from hamur.data import load_movielens_pair
from hamur.errors import EmptySplitError
from tests.support.pair_reference import Reference, assert_equal, listed


def test_movielens_is_cut_by_the_first_genre(movielens_folder):
    genres = ("Action", "Adventure")
    pair = load_movielens_pair(movielens_folder, genres)
    text = (movielens_folder / "movies.dat").read_text(encoding="latin-1")
    movies = dict(line.split("::")[::2] for line in text.splitlines())
    rows = [line.split("::") for line in (movielens_folder / "ratings.dat").read_text().split()]
    sides = [
        [(int(u), int(m), int(r), int(t), n) for n, (u, m, r, t) in enumerate(rows)
         if movies[m].split("|")[0] == genre]
        for genre in genres
    ]  # fmt: skip
    names = {int(m): (g.split("|") + ["others"])[1] for m, g in movies.items()}
    assert_equal(pair, Reference(*sides, names, names))
    assert pair.target_schema.name == "Action-Adventure"


def test_movielens_pair_from_the_joined_csv_and_unknown_genres(movielens_folder, joined, tmp_path):
    genres = ("Action", "Adventure")
    one = load_movielens_pair(movielens_folder, genres)
    two = load_movielens_pair(joined(movielens_folder, tmp_path / "ml-1m.csv"), genres)
    assert listed(one.target.train) == listed(two.target.train)
    with pytest.raises(EmptySplitError, match=r"first genre is 'Opera'.*Drama.*name two of these"):
        load_movielens_pair(movielens_folder, ("Drama", "Opera"))
    table = (tmp_path / "ml-1m.csv").read_text().splitlines(keepends=True)
    (tmp_path / "one.csv").write_text("".join(table[:1] + [x for x in table if ",Drama" in x]))
    with pytest.raises(EmptySplitError, match=r"'Comedy'; .*movies of two genres"):
        load_movielens_pair(tmp_path / "one.csv", ("Drama", "Comedy"))
