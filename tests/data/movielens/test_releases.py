"""The releases of MovieLens: equal rows give equal tables, whichever files they are written in."""

import gzip

import pytest

from hamur.data import detect, load_movielens, load_movielens_pair
from hamur.data.descriptions import DOMAINS
from hamur.errors import (
    DataError,
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    JoinError,
    UnknownDomainError,
)
from tests.support.caches import assert_same
from tests.support.lines import get_line, set_line
from tests.support.movielens_raw import write_release

GENRES = ("Action", "Adventure")
WITHOUT_AGES = {"ml-10m": "users.dat is missing", "ml-latest": "no users' ages"}


@pytest.fixture
def released(movielens_folder, tmp_path):
    """release -> the folder of the generated rows as that release has them."""
    return lambda name: write_release(movielens_folder, tmp_path / name, name)


@pytest.mark.parametrize("name", ["ml-100k", *WITHOUT_AGES])
def test_a_pair_of_genres_is_the_same_from_every_release(released, name):
    expected = load_movielens_pair(released("ml-1m"), GENRES)
    folder = released(name)
    packed = folder.with_name("packed")
    packed.mkdir()
    for path in folder.iterdir():
        (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    for path in (folder, sorted(folder.iterdir())[0], packed):  # or one of the files
        pair = load_movielens_pair(path, GENRES)
        assert_same([pair.source, *pair.target], [expected.source, *expected.target])
        assert pair.names.keys() == expected.names.keys()
        for key, values in expected.names.items():
            assert pair.names[key].tolist() == values.tolist()


def test_half_stars_above_three_are_positive_and_movies_may_lack_genres(released):
    folder = released("ml-latest")
    lines = (folder / "movies.csv").read_text().splitlines()
    listed = [f"{line.rpartition(',')[0]},(no genres listed)" for line in lines[1::2]]
    (folder / "movies.csv").write_text("\n".join([lines[0], *listed, *lines[2::2]]) + "\n")
    ratings = [line.split(",") for line in (folder / "ratings.csv").read_text().split()[1:]]
    rated = {(int(u), int(m)): float(r) for u, m, r, _ in ratings}
    pair = load_movielens_pair(folder, ("(no genres listed)", "Action"))
    table, names = pair.source, pair.names
    for (user, item, _), label in zip(table.sparse.tolist(), table.labels[:, 0].tolist()):
        if item:
            key = int(names["user"][user]), int(names["source_item"][item])
            assert label == (rated[key] > 3)
    assert set(rated.values()) >= {2.5, 3.5} and len(table)


def test_domains_of_100k_are_those_of_1m(released, tmp_path):
    """The codes of 1M are ages of their own groups, so that all is equal, the dense age too."""
    options = dict(cache_dir=tmp_path / "cache")
    folder = released("ml-100k")
    splits, schema = load_movielens(folder, **options)
    expected, known = load_movielens(released("ml-1m"), **options)
    assert_same(splits, expected)
    assert schema.fields == known.fields and schema.domain_names == known.domain_names
    assert schema.name == "ml-100k" and detect.load(folder)[1].name == "ml-100k"
    multi = [load_movielens(f, genres="multi", **options)[0] for f in (folder, tmp_path / "ml-1m")]
    assert_same(*multi)
    for row, (age, domain) in enumerate({24: 0, 34: 1, 99: 2, 7: 0, 26: 1, 35: 2}.items(), 1):
        user, _, *rest = get_line(folder / "u.user", row).split("|")
        set_line(folder / "u.user", row, "|".join([user, str(age), *rest]))
        changed, _ = load_movielens(folder, **options)
        found = {d for t in changed for d in t.domain[t.group == int(user)]}
        assert found == {domain}, tuple(DOMAINS)[domain]


@pytest.mark.parametrize(
    ("release", "name", "line", "text", "error", "column", "value"),
    [
        ("ml-100k", "u.data", 7, "1\t99999\t0\t9", DataValueError, "rating", 0),
        ("ml-100k", "u.data", 7, "1\t99999\t3\t9", JoinError, "movie_id", [99999]),
        ("ml-100k", "u.user", 3, "3|x|F|other|02138", DataValueError, "age", "x"),
        ("ml-100k", "u.user", 3, "3|130|F|other|02138", UnknownDomainError, "age", 130),
        ("ml-100k", "u.item", 4, "4|T|||x" + "|1" * 18 + "|2", DataValueError, "Western", 2),
        ("ml-100k", "u.item", 4, "4|T|||x|1", DataFormatError, None, "4|T|||x|1"),
        ("ml-10m", "ratings.dat", 7, "1::99999::5.5::9", DataValueError, "rating", 5.5),
        ("ml-10m", "ratings.dat", 7, "1::99999::-1::9", DataValueError, "rating", -1.0),
        ("ml-latest", "ratings.csv", 7, "1,99999,0.7,9", DataValueError, "rating", 0.7),
        ("ml-latest", "ratings.csv", 7, "1,99999,3.5,9", JoinError, "movieId", [99999]),
        ("ml-latest", "movies.csv", 7, "7,T", DataFormatError, None, "7,T"),
    ],
)
def test_bad_rows_name_file_line_and_column(
    released, tmp_path, release, name, line, text, error, column, value
):
    path = released(release) / name
    set_line(path, line, text)
    with pytest.raises(DataError, match=r"Remedy: ") as caught:
        if release == "ml-100k":
            load_movielens(path.parent, cache_dir=tmp_path / "cache")
        else:
            load_movielens_pair(path.parent, GENRES)
    found = caught.value
    assert type(found) is error
    assert (found.file, found.line, found.column, found.value) == (path, line, column, value)


@pytest.mark.parametrize("name", WITHOUT_AGES)
def test_releases_without_ages_have_no_age_domains(released, name):
    folder = released(name)
    for load in (load_movielens, detect.load):
        with pytest.raises(DataFileNotFoundError, match=WITHOUT_AGES[name]) as caught:
            load(folder)
        assert "users' ages" in str(caught.value)
        assert "run_amazon_cross_domain.py --genres Drama,Comedy" in caught.value.remedy
    released("ml-100k").joinpath("u.user").unlink()
    folder = folder.with_name("ml-100k")
    with pytest.raises(DataFileNotFoundError, match=r"u\.user is missing beside u\.data, u\.item"):
        load_movielens(folder)
    load_movielens_pair(folder, GENRES)
