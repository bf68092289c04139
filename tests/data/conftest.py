"""Generated files that the tests of the data side share; copied where a test edits them."""

import csv
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from hamur.data import synthetic
from hamur.data.descriptions import CSV_COLUMNS
from hamur.data.synthetic.amazon import make_amazon_pair

# No test may fail because the machine is busy.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# Mutated lines of a format: few in every run, the many of the acceptance list by make test-slow.
FUZZED = (200, pytest.param(10_000, marks=pytest.mark.slow))


def pytest_generate_tests(metafunc):
    if "num_mutated" in metafunc.fixturenames:
        metafunc.parametrize("num_mutated", FUZZED)


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk():
    """fsync returns at once in this process: no test cuts the power, and it took half of the time.

    That it is called for every file of a cache before COMPLETE is a test of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def movielens_folder(tmp_path_factory) -> Path:
    """The three raw files, 2,000 ratings."""
    folder = tmp_path_factory.mktemp("ml") / "raw"
    synthetic.make_movielens(folder, rows=2_000, seed=1)
    return folder


@pytest.fixture(scope="session")
def ali_folder(tmp_path_factory) -> Path:
    """The three processed files, 2,000 impressions, with the names of the full data."""
    folder = tmp_path_factory.mktemp("ali") / "csv"
    synthetic.make_ali_ccp(folder, rows=2_000, seed=1)
    for part in ("train", "val", "test"):
        (folder / f"ali_ccp_{part}_sample.csv").rename(folder / f"ali_ccp_{part}.csv")
    return folder


@pytest.fixture(scope="session")
def amazon_generated(tmp_path_factory):
    """(folder, GroundTruth by category) of a plain pair of 150 users."""
    folder = tmp_path_factory.mktemp("amazon") / "raw"
    sizes = dict(extra_users=0.2, items=(150, 100), compressed=False)
    return folder, make_amazon_pair(folder, 150, seed=1, **sizes)


@pytest.fixture
def amazon_folder(amazon_generated, tmp_path) -> Path:
    return Path(shutil.copytree(amazon_generated[0], tmp_path / "raw"))


@pytest.fixture
def movielens_copy(movielens_folder, tmp_path) -> Path:
    return Path(shutil.copytree(movielens_folder, tmp_path / "ml"))


@pytest.fixture
def ali_copy(ali_folder, tmp_path) -> Path:
    return Path(shutil.copytree(ali_folder, tmp_path / "ali"))


@pytest.fixture
def set_cell():
    """set_cell(path, line, column, value) in a CSV file with a header."""

    def put(path: Path, line: int, column: str, value: str) -> None:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        rows[line - 1][rows[0].index(column)] = value
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    return put


def join_movielens(raw: Path, target: Path, columns=CSV_COLUMNS) -> Path:
    """The public joined CSV of three raw files, written row by row."""
    users = dict(line.split("::", 1) for line in (raw / "users.dat").read_text().splitlines())
    text = (raw / "movies.dat").read_text(encoding="latin-1")
    movies = dict(line.split("::", 1) for line in text.splitlines())
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for line in (raw / "ratings.dat").read_text().splitlines():
            user, movie, rating, time = line.split("::")
            cells = [user, movie, rating, time, *movies[movie].split("::")]
            row = dict(zip(CSV_COLUMNS, cells + users[user].split("::")))
            writer.writerow([row[name] for name in columns])
    return target


@pytest.fixture
def joined():
    return join_movielens
