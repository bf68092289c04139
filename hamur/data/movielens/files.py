"""MovieLens-1M on disk: how its files are written, and which of them a folder holds."""

from pathlib import Path

from hamur.data.errors import DataError, DataFileNotFoundError, DataFormatError
from hamur.data.text.lines import FileFormat, check_header, read_header

PAGE = "https://grouplens.org/datasets/movielens/1m"

RATINGS = FileFormat(
    kinds={"user_id": "int", "movie_id": "int", "rating": "int", "timestamp": "int"},
    separator="::",
    names=("user_id", "movie_id", "rating", "timestamp"),
    quoted=False,
)
USERS = FileFormat(
    kinds={
        "user_id": "int",
        "gender": "text",
        "age": "int",
        "occupation": "category",
        "zip": "text",  # 662 start with 0 and 66 hold a dash: as numbers they would merge
    },
    separator="::",
    names=("user_id", "gender", "age", "occupation", "zip"),
    quoted=False,
)
MOVIES = FileFormat(
    kinds={"movie_id": "int", "genres": "text"},
    separator="::",
    names=("movie_id", "title", "genres"),
    encoding="latin-1",
    quoted=False,
)
RAW_FILES = {"ratings.dat": RATINGS, "users.dat": USERS, "movies.dat": MOVIES}
HEADER = "user_id,movie_id,rating,timestamp,title,genres,gender,age,occupation,zip"
CSV_COLUMNS = tuple(HEADER.split(","))
USER_FIELDS = ("gender", "occupation", "zip")
CSV = FileFormat({**RATINGS.kinds, **USERS.kinds, "genres": "text"})
CSV_NAMES = ("ml-1m.csv", "ml-1m-sample.csv")


def find_files(source: Path, source_format: str | None = None) -> list[Path]:
    """The three raw files in the order ratings, users, movies, or one CSV file.

    Raises:  DataFileNotFoundError; DataFormatError: nothing is recognised, or two things are.
    """
    if source_format not in (None, "raw", "csv"):
        raise ValueError(f"source_format is {source_format!r}; use 'raw' or 'csv'")
    if source.is_file():
        return [_checked_csv(source)]
    if not source.is_dir():
        similar = sorted(p.name for p in source.parent.glob("*")) if source.parent.is_dir() else []
        raise DataFileNotFoundError(
            "no such file or folder",
            file=source,
            value=f"beside it: {', '.join(similar[:8]) or 'nothing'}",
            expected="a folder of ratings.dat, users.dat and movies.dat, or ml-1m.csv",
            remedy=f"fetch MovieLens-1M from {PAGE} and pass its folder",
        )
    raw = [source / name for name in RAW_FILES if (source / name).is_file()]
    found: dict[str, list[Path]] = {str(file.name): [file] for file in _csv_files(source)}
    if raw:
        found[" + ".join(file.name for file in raw)] = raw
    if source_format is not None:
        wanted = {k: v for k, v in found.items() if (v == raw) == (source_format == "raw")}
        found = wanted
    if len(found) != 1:
        _raise_unrecognised(source, found)
    (files,) = found.values()
    if files[0].suffix != ".dat":
        return [_checked_csv(files[0])]
    for name in RAW_FILES:
        if not (source / name).is_file():
            raise DataFileNotFoundError(
                f"{name} is missing beside {', '.join(file.name for file in raw)}",
                file=source / name,
                remedy=f"unpack the whole archive of {PAGE}",
            )
    return raw


def _csv_files(folder: Path) -> list[Path]:
    """CSV files of this data set: by name, or under any name by their header."""
    return [f for f in sorted(folder.glob("*.csv")) if f.name in CSV_NAMES or _is_ours(f)]


def _is_ours(file: Path) -> bool:
    try:
        return set(read_header(file)) == set(CSV_COLUMNS)
    except DataError:
        return False  # somebody else's file


def _checked_csv(file: Path) -> Path:
    check_header(file, read_header(file), CSV_COLUMNS)
    return file


def _raise_unrecognised(source: Path, found: dict) -> None:
    names = sorted(p.name for p in source.iterdir())[:8]
    what = "ambiguous: " + " and ".join(sorted(found)) if found else "not recognised"
    raise DataFormatError(
        what,
        file=source,
        value=f"files: {', '.join(names) or 'none'}",
        expected="either ratings.dat, users.dat and movies.dat, or one of " + ", ".join(CSV_NAMES),
        remedy="pass the right folder or file, or say source_format='raw' or 'csv'"
        if found
        else f"pass the folder of MovieLens-1M ({PAGE})",
    )
