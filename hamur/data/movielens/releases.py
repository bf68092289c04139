"""The releases of MovieLens: which of them a folder holds, see `hamur.data.descriptions`.

1M is also the public joined ml-1m.csv; 20M, 25M and 32M have the files of latest.
"""

from pathlib import Path

from hamur.data.descriptions import (
    CSV_COLUMNS,
    LATEST,
    ML_1M,
    ML_100K,
    RELEASES,
    Description,
    plain_name,
)
from hamur.data.loading import find_files
from hamur.data.text.lines import read_header
from hamur.errors import DataError

PAGE = "https://grouplens.org/datasets/movielens"
CSV_NAMES = ("ml-1m.csv", "ml-1m-sample.csv")


def release_of(files: list[Path]) -> Description:
    """The release of these files; a single one is the joined CSV of 1M."""
    names = set(map(plain_name, files))
    return next((each for each in RELEASES if names <= each.formats.keys()), ML_1M)


def find(source: Path, source_format: str | None = None) -> list[Path]:
    """Ratings, users (if they are there) and movies, or one CSV file, known by its name or header.

    source: their folder, or one of the files.

    Raises:  DataFileNotFoundError; DataFormatError: nothing is recognised, or two things are.
    """
    if source_format not in (None, "raw", "csv"):
        raise ValueError(f"source_format is {source_format!r}; use 'raw' or 'csv'")
    if source.is_file():
        if not any(plain_name(source) in each.formats for each in RELEASES):
            return [source]
        source = source.parent
    csv = [*source.glob("*.csv"), *source.glob("*.csv.gz")]
    tables = {*CSV_NAMES, *(plain_name(file) for file in csv if _has_columns(file))}
    sets = [tuple(each.formats) for each in (ML_1M, ML_100K, LATEST)]
    sets = sets if source_format != "csv" else []
    sets += [(name,) for name in sorted(tables)] if source_format != "raw" else []
    choose = "pass the right folder or file, or `source_format='raw'`"
    fetch = f"fetch MovieLens from {PAGE} and pass its folder"
    return find_files(source, sets, fetch, ("users.dat", "u.user"), choose)


def _has_columns(file: Path) -> bool:
    try:
        return set(read_header(file)) == set(CSV_COLUMNS)
    except DataError:
        return False  # somebody else's file
