"""All genres of a movie as a list (genres="multi") in the place of its first one."""

from pathlib import Path

import numpy as np
import pytest

from hamur.data import cache, load_movielens


def genres_of_rows(raw: Path) -> list[list[str]]:
    """The genres of every rating, by row of ratings.dat."""
    lines = (raw / "movies.dat").read_text(encoding="latin-1").splitlines()
    genres = {line.split("::")[0]: line.split("::")[2].split("|") for line in lines}
    return [genres[line.split("::")[1]] for line in (raw / "ratings.dat").read_text().splitlines()]


@pytest.fixture(scope="module")
def loaded(movielens_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return *load_movielens(movielens_folder, cache_dir=folder, genres="multi"), folder


def test_every_row_has_the_ids_of_all_its_genres(movielens_folder, loaded):
    splits, schema, _ = loaded
    names = genres_of_rows(movielens_folder)
    known = sorted({name for row in splits.train.row_id for name in names[row]})
    assert schema.sparse_names[-2:] == ("zip", "domain_indicator")
    (spec,) = schema.multi
    assert (spec.name, spec.vocab_size, spec.max_len) == ("genres", len(known) + 1, 6)
    assert max(map(len, names)) > 1
    for table in splits:
        own = table.validate(schema).multi_valued[0].take(np.arange(len(table)))
        for row, (begin, end) in enumerate(zip(own.offsets, own.offsets[1:])):
            ids = [known.index(n) + 1 for n in names[table.row_id[row]] if n in known]
            assert own.ids[begin:end].tolist() == (ids or [0])
        assert (own.values == 1).all()
        assert len(table.multi_valued[0].offsets) - 1 < len(names) / 4  # one list for equal genres


def test_the_cache_gives_the_same_lists_mapped(movielens_folder, loaded):
    splits, schema, folder = loaded
    again, schema_again = load_movielens(movielens_folder, cache_dir=folder, genres="multi")
    assert schema == schema_again and schema.split["genres"] == "multi"
    (made,) = folder.iterdir()
    cache.open_cache(made, verify=True)
    for a, b in zip(splits, again):
        for name in ("ids", "values", "offsets", "rows"):
            stored = getattr(b.multi_valued[0], name)
            assert isinstance(stored, np.memmap)
            np.testing.assert_array_equal(getattr(a.multi_valued[0], name), stored)


def test_the_joined_file_gives_the_same_lists(movielens_folder, loaded, joined, tmp_path):
    file = joined(movielens_folder, tmp_path / "ml-1m.csv")
    splits, schema = load_movielens(file, cache_dir=tmp_path / "cache", genres="multi")
    assert schema.fields == loaded[1].fields
    for a, b in zip(splits, loaded[0]):
        index = np.arange(len(a))
        for name in ("ids", "offsets"):
            ours, theirs = (getattr(each.multi_valued[0].take(index), name) for each in (a, b))
            np.testing.assert_array_equal(ours, theirs)


def test_fit_on_all_has_no_unknown_genre(movielens_folder, tmp_path):
    options = dict(cache_dir=tmp_path, genres="multi", fit_on="all")
    splits, schema = load_movielens(movielens_folder, **options)
    names = genres_of_rows(movielens_folder)
    known = sorted({name for row in names for name in row})
    assert schema.multi[0].vocab_size == len(known)
    own = splits.test.multi_valued[0].take(np.arange(3))
    expected = [known.index(name) for row in splits.test.row_id[:3] for name in names[row]]
    assert own.ids.tolist() == expected
