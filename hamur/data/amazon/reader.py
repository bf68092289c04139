"""Amazon 2014 on disk: reviews, a JSON object per line, and meta data, a Python literal per line.

    reviews_<Category>_5.json[.gz]   reviewerID asin overall unixReviewTime, and texts we leave out
    meta_<Category>.json[.gz]        asin categories, and much that we leave out

Files are streamed and parsed line by line; nothing in them is ever executed.
"""

import ast
import gzip
import json
import re
import warnings
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data import errors
from hamur.data.cross_domain.dataset import Interactions
from hamur.data.cross_domain.tables import (
    EARLIEST,
    LATEST,
    expected_time,
    interactions_of,
    without_repeated,
)
from hamur.data.encode import MISSING, Codes
from hamur.data.streaming.jobs import advance
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.reader import Rows

PAGE = "https://jmcauley.ucsd.edu/data/amazon"
OFFICIAL = ("Books", "Toys_and_Games")
FILES = ("reviews_{}_5.json", "meta_{}.json")  # plain or .gz
OTHERS = "others"
RATINGS = (1, 2, 3, 4, 5)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ASIN = re.compile(rb"""['"]asin['"]\s*:\s*['"]([A-Za-z0-9_.-]+)['"]""")
_ROWS_AT_ONCE = 65_536
_MAX_LINE = 1 << 24  # bytes: more is no line of such a file


def categories_in(folder: Path) -> list[str]:
    """Categories whose reviews are there.  Raises DataFileNotFoundError, DataFormatError."""
    if not folder.is_dir():
        raise errors.DataFileNotFoundError(
            "no such folder",
            file=folder,
            expected="a folder of reviews_<Category>_5.json.gz and meta_<Category>.json.gz",
            remedy=f"fetch two categories from {PAGE} and pass their folder",
        )
    names = {path.name.removesuffix(".gz") for path in folder.glob("reviews_*_5.json*")}
    if not names:
        raise _no_pair(folder, "no reviews_<Category>_5.json", f"fetch them from {PAGE}")
    return sorted(name.removeprefix("reviews_").removesuffix("_5.json") for name in names)


def choose_pair(folder: Path, pair: tuple[str, str] | None) -> tuple[str, str]:
    """The two categories to load.  Raises DataFileNotFoundError, DataFormatError, ValueError."""
    categories = categories_in(folder)
    if pair is not None:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(f"pair is {pair!r}; use two different categories, source first")
        return tuple(pair)
    if set(OFFICIAL) <= set(categories):
        return OFFICIAL
    if len(categories) != 2:
        raise _no_pair(folder, ", ".join(categories), "name them: pair=(source, target)")
    return tuple(categories)


def _no_pair(folder: Path, value: str, remedy: str) -> errors.DataFormatError:
    problem, expected = "not one pair of categories", "the reviews of two categories"
    return errors.DataFormatError(
        problem, file=folder, value=value, expected=expected, remedy=remedy
    )


def files_of(folder: Path, category: str) -> list[Path]:
    """Reviews and meta data, plain or .gz.  Raises DataFileNotFoundError, DataFormatError."""
    return [_plain_or_gz(folder, name.format(category)) for name in FILES]


def _plain_or_gz(folder: Path, name: str) -> Path:
    files = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if len(files) == 2:
        raise errors.DataFormatError(
            "ambiguous: plain and compressed",
            file=files[0],
            value=files[1].name,
            expected="one of them",
            remedy="remove one of the two",
        )
    if not files:
        present = sorted(path.name for path in folder.iterdir())[:8]
        raise errors.DataFileNotFoundError(
            "no such file, plain or .gz",
            file=folder / name,
            value=f"files: {', '.join(present) or 'none'}",
            remedy=f"fetch it from {PAGE}",
        )
    return files[0]


def read_reviews(path: Path, name: str, bad_rows: BadRows) -> Interactions:
    """The reviews of one category in file order; their items have no categories yet.

    Raises:  DataFormatError, DataValueError, DuplicateRowError through `bad_rows`.
    """
    users: dict[str, int] = {}  # name -> code, by first appearance
    items: dict[str, int] = {}
    chunks, rows = [], []
    for number, (user, item, rating, time) in parsed(path, _review, bad_rows):
        user, item = users.setdefault(user, len(users)), items.setdefault(item, len(items))
        rows.append((user, item, rating, time, number))
        if len(rows) == _ROWS_AT_ONCE:
            chunks.append(np.array(rows, np.int64))
            rows = []
    chunks.append(np.array(rows, np.int64).reshape(-1, 5))
    user, item, rating, time, line = np.concatenate(chunks).T
    columns = {
        "user": pd.Categorical.from_codes(user, list(users)),
        "item": pd.Categorical.from_codes(item, list(items)),
        "rating": rating,
        "timestamp": time,
    }
    rows = without_repeated(Rows(columns, line), "reviewerID", bad_rows)
    bad_rows.raise_if_any()
    return interactions_of(name, rows, first_line=1)


def read_categories(
    path: Path, items: np.ndarray, bad_rows: BadRows, strict: bool = False
) -> Codes:
    """The category of each of these items: second element of its first path.

    items (n,): asins, ascending.  Items whose first path is shorter, or that have none, are
    "others"; items without a line are missing (-1).  strict: parse the lines of other items too.
    """
    wanted = {item: position for position, item in enumerate(items.tolist())}
    numbers: dict[str, int] = {}
    codes = np.full(len(items), MISSING, np.int64)
    for _, (asin, category) in parsed(path, _meta, bad_rows, None if strict else wanted):
        number = numbers.setdefault(category, len(numbers))
        if asin in wanted and codes[wanted[asin]] == MISSING:
            codes[wanted[asin]] = number
    bad_rows.raise_if_any()
    values = np.array(list(numbers), dtype=str) if numbers else np.empty(0, "U1")
    order = np.argsort(values)
    rank = np.full(len(values) + 1, MISSING, np.int32)
    rank[order] = np.arange(len(values))
    return Codes(rank[codes], values[order])


def _review(path: Path, number: int, record: dict) -> tuple[str, str, int, int]:
    """reviewerID, asin, overall, unixReviewTime."""
    user, item = record.get("reviewerID"), record.get("asin")
    for column, value in (("reviewerID", user), ("asin", item)):
        if not _is_name(value):
            raise _error(path, number, record, column, "a name of letters and digits")
    rating, time = record.get("overall"), record.get("unixReviewTime")
    if type(rating) not in (int, float) or rating not in RATINGS:
        raise _error(path, number, record, "overall", "one of 1, 2, 3, 4, 5")
    if type(time) is not int or not EARLIEST <= time <= LATEST:
        raise _error(path, number, record, "unixReviewTime", expected_time(time))
    return user, item, int(rating), time


def _meta(path: Path, number: int, record: dict) -> tuple[str, str]:
    """asin and category."""
    asin, paths = record.get("asin"), record.get("categories", [])
    if not _is_name(asin):
        raise _error(path, number, record, "asin", "a product number")
    if not isinstance(paths, list) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in paths
    ):
        raise _error(path, number, record, "categories", "a list of lists of names")
    return asin, paths[0][1] if paths and len(paths[0]) > 1 else OTHERS


def _is_name(value) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _error(
    path: Path, number: int, record: dict, column: str, expected: str
) -> errors.DataValueError:
    missing = column not in record
    return errors.DataValueError(
        "missing" if missing else "not a usable value",
        file=path,
        line=number,
        column=column,
        **({} if missing else {"value": record[column]}),
        expected=expected,
        remedy=SKIP_REMEDY,
    )


def parsed(
    path: Path, take: Callable, bad_rows: BadRows, wanted: Container[str] | None = None
) -> Iterator[tuple[int, tuple]]:
    """(number, what `take` takes from the record) of every usable line.

    wanted: lines that show another asin at once are not parsed.
    """
    with closing(read_lines(path)) as lines:
        for number, line, ended in lines:
            bad_rows.rows_read += 1
            quick = _ASIN.search(line) if wanted is not None and ended else None
            if quick and quick[1].decode() not in wanted:
                continue
            try:
                values = take(path, number, parse(path, number, line, ended))
            except errors.TruncatedFileError:
                raise
            except errors.DataError as error:
                bad_rows.add(number, error.column or "no object", error)
                if bad_rows.policy.on_bad_rows == "error":
                    return  # a later line cannot be the first bad one
                continue
            yield number, values


def read_lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """(number from 1, line without line end, whether it had one); a blank last line is left out.

    Raises:  TruncatedFileError: a .gz that ends early or is damaged; EmptySplitError.
    """
    number = moved = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while True:
            try:
                line = file.readline(_MAX_LINE)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise errors.TruncatedFileError(
                    f"the compressed file ends early or is damaged ({error}); the last complete "
                    f"line is {number}",
                    file=path,
                    line=number + 1,
                    remedy="fetch the file again",
                ) from None
            if not line:
                break
            number += 1
            if number % _ROWS_AT_ONCE == 0:
                at = file.fileobj.tell() if path.suffix == ".gz" else file.tell()
                advance(at - moved)
                moved = at
            text = line.rstrip(b"\r\n")
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if not text and not file.peek(1):
                break
            yield number, text, line.endswith(b"\n")
    if not number:
        raise errors.EmptySplitError("the file is empty", file=path, remedy="fetch it again")


def parse(path: Path, number: int, line: bytes, ended: bool) -> dict:
    """The record of a line: JSON, or else a Python literal.

    Raises:  DataFormatError; TruncatedFileError: the last line, which has no line end.
    """
    expected = "one object {...} per line"
    try:
        text = line.decode()
        try:
            record = json.loads(text)
        except ValueError:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in product texts
                record = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        reason = str(error).splitlines()[0][:60] if str(error) else type(error).__name__
        raise (errors.DataFormatError if ended else errors.TruncatedFileError)(
            f"neither a JSON object nor a literal ({reason})",
            file=path,
            line=number,
            value=line[:200].decode("utf-8", "backslashreplace"),
            expected=expected,
            remedy=SKIP_REMEDY if ended else "the file ends inside this line: fetch it again",
        ) from None
    if not isinstance(record, dict):
        raise errors.DataFormatError(
            "no object", file=path, line=number, value=record, expected=expected, remedy=SKIP_REMEDY
        )
    return record
