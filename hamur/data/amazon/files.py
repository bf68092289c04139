"""Amazon 2014 on disk: reviews, one JSON object a line, and meta data, one Python literal a line.

    reviews_<Category>_5.json[.gz]   reviewerID asin overall unixReviewTime, and texts we leave out
    meta_<Category>.json[.gz]        asin categories, and much that we leave out

Files are streamed and parsed line by line; nothing in them is ever executed.
"""

import re
from pathlib import Path

import numpy as np

from hamur.data.amazon.lines import parsed
from hamur.data.cross_domain.checks import EARLIEST, LATEST, expected_time, first_of_equal
from hamur.data.cross_domain.dataset import Interactions
from hamur.data.encode import MISSING, Codes
from hamur.data.errors import DataValueError
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows

OTHERS = "others"
_ROWS_AT_ONCE = 65_536
RATINGS = (1, 2, 3, 4, 5)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read_reviews(path: Path, name: str, bad_rows: BadRows) -> Interactions:
    """The reviews of one category in file order, without categories of their items.

    Raises:  DataFormatError, DataValueError, DuplicateRowError through `bad_rows`.
    """
    users, items = _Names(), _Names()
    chunks, rows = [], []
    for number, (user, item, rating, time) in parsed(path, _review, bad_rows):
        rows.append((users.code(user), items.code(item), rating, time, number))
        if len(rows) == _ROWS_AT_ONCE:
            chunks.append(np.array(rows, np.int64))
            rows = []
    chunks.append(np.array(rows, np.int64).reshape(-1, 5))
    if not sum(map(len, chunks)):
        bad_rows.raise_if_any()
    user, item, rating, time, line = np.concatenate(chunks).T
    good = first_of_equal(
        (user, item, rating, time), line, "reviewerID", lambda row: users.name(user[row]), bad_rows
    )
    bad_rows.raise_if_any()
    reviews = Interactions(
        name,
        users.codes(user),
        items.codes(item),
        Codes(np.full(len(items), MISSING, np.int32), np.empty(0, "U1")),
        line - 1,
        rating.astype(np.float32),
        time,
    )
    return reviews if good.all() else reviews.take(np.flatnonzero(good))


def _review(path: Path, number: int, record: dict) -> tuple[str, str, int, int]:
    """reviewerID, asin, overall, unixReviewTime."""

    def bad(column: str, expected: str) -> DataValueError:
        missing = column not in record
        return DataValueError(
            "missing" if missing else "not a usable value",
            file=path,
            line=number,
            column=column,
            **({} if missing else {"value": record[column]}),
            expected=expected,
            remedy=SKIP_REMEDY,
        )

    user, item = record.get("reviewerID"), record.get("asin")
    for column, value in (("reviewerID", user), ("asin", item)):
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise bad(column, "a name of letters and digits")
    rating, time = record.get("overall"), record.get("unixReviewTime")
    if type(rating) not in (int, float) or rating not in RATINGS:
        raise bad("overall", "one of 1, 2, 3, 4, 5")
    if type(time) is not int or not EARLIEST <= time <= LATEST:
        raise bad("unixReviewTime", expected_time(time))
    return user, item, int(rating), time


class _Names:
    """Text -> codes by first appearance, while a file is read."""

    def __init__(self):
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, name: str) -> int:
        return self._codes.setdefault(name, len(self._codes))

    def name(self, code: int) -> str:
        return list(self._codes)[code]

    def codes(self, column: np.ndarray) -> Codes:
        """The column with codes in ascending order of the names."""
        values = np.array(list(self._codes), dtype=str) if self._codes else np.empty(0, "U1")
        order = np.argsort(values)
        rank = np.empty(len(values), np.int32)
        rank[order] = np.arange(len(values))
        return Codes(rank[column], values[order])


def read_categories(
    path: Path, items: np.ndarray, bad_rows: BadRows, strict: bool = False
) -> tuple[Codes, np.ndarray]:
    """The category of each of these items: second element of its first path; and the rank (number
    of categories,) of the categories by their first line.

    items (n,): asins, ascending.  Items whose first path is shorter, or that have none, are
    "others"; items without a line are missing (-1).  strict: parse the lines of other items too,
    which then count in the rank.
    """
    wanted = {item: position for position, item in enumerate(items.tolist())}
    found: dict[str, int] = {}
    codes = np.full(len(items), MISSING, np.int64)
    for _, (asin, category) in parsed(path, _meta, bad_rows, None if strict else wanted):
        number = found.setdefault(category, len(found))
        if asin in wanted and codes[wanted[asin]] == MISSING:
            codes[wanted[asin]] = number
    bad_rows.raise_if_any()
    values = np.array(list(found), dtype=str) if found else np.empty(0, "U1")
    order = np.argsort(values)
    rank = np.full(len(values) + 1, MISSING, np.int32)
    rank[order] = np.arange(len(values))
    return Codes(rank[codes], values[order]), order


def _meta(path: Path, number: int, record: dict) -> tuple[str, str]:
    """asin and category."""
    asin, paths = record.get("asin"), record.get("categories", [])
    for column, value, right, expected in (
        ("asin", asin, isinstance(asin, str) and bool(_NAME.fullmatch(asin)), "a product number"),
        ("categories", paths, _is_paths(paths), "a list of lists of names"),
    ):
        if not right:
            raise DataValueError(
                "not a usable value",
                file=path,
                line=number,
                column=column,
                value=value,
                expected=expected,
                remedy=SKIP_REMEDY,
            )
    return asin, paths[0][1] if paths and len(paths[0]) > 1 else OTHERS


def _is_paths(paths) -> bool:
    return isinstance(paths, list) and all(
        isinstance(path, list) and all(isinstance(name, str) for name in path) for path in paths
    )
