"""Amazon reviews and meta data, an object per line, of one of three releases, see `GENERATIONS`.

Files are streamed and parsed line by line; nothing in them is ever executed.
"""

import ast
import gzip
import json
import re
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from hamur import errors
from hamur.data.cross_domain.dataset import Interactions
from hamur.data.cross_domain.tables import interactions_of, without_repeated
from hamur.data.encode import MISSING, Codes
from hamur.data.streaming.jobs import advance
from hamur.data.text import times
from hamur.data.text.bad_rows import MAX_LINE_BYTES, SKIP_REMEDY, BadRows
from hamur.data.text.blocks import TORN, check_expansion, check_line_lengths
from hamur.data.text.cells import MAX_CELL
from hamur.data.text.reader import Rows

OTHERS = "others"
RATINGS = (1, 2, 3, 4, 5)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ROWS_AT_ONCE = 65_536
_LITERAL = 16  # parsing a Python literal needs up to 500 bytes for each of its own


@dataclass(frozen=True)
class Generation:
    """A release by the keys of its objects.

    reviews: keys of user, item, rating and time; meta: of item and categories.
    per_second: units of the time; nested: the categories are a list of paths, of which the first
    counts, and not one path; quotes: those around a key.
    """

    year: int
    reviews: tuple[str, str, str, str]
    meta: tuple[str, str]
    per_second: int = 1
    nested: bool = False
    quotes: str = '"'  # JSON has no such quote inside a text


_EARLY = ("reviewerID", "asin", "overall", "unixReviewTime")
_LATE = ("user_id", "parent_asin", "rating", "timestamp")
GENERATIONS = (
    Generation(2014, _EARLY, ("asin", "categories"), nested=True, quotes="'\""),
    Generation(2018, _EARLY, ("asin", "category")),
    Generation(2023, _LATE, ("parent_asin", "categories"), per_second=1000),
)


def generation_of(reviews: Path, meta: Path, max_line: int) -> Generation:
    """The release whose keys both files have; 2014 and 2018 differ in the meta data only.

    Raises:  DataFormatError: a key that no line has, or a line of more than max_line bytes;
        EmptySplitError; TruncatedFileError.
    """
    found = _with_keys(reviews, {each: each.reviews for each in GENERATIONS}, max_line)
    return _with_keys(meta, {each: each.meta for each in found}, max_line)[0]


def _with_keys(
    path: Path, keys: dict[Generation, tuple[str, ...]], max_line: int
) -> list[Generation]:
    """The generations all of whose keys are in the first lines; one line is enough as a rule."""
    seen, problem = {}, None
    with closing(read_lines(path, max_line)) as lines:
        for number, line, ended in lines:
            try:
                seen |= parse(path, number, line, ended, max_line)
            except errors.DataError as error:  # counted when the file is read
                problem = problem or error
            if found := [each for each, names in keys.items() if seen.keys() >= set(names)]:
                return found
    if not seen:
        raise problem
    expected = [f"{', '.join(names)} ({each.year})" for each, names in keys.items()]
    raise errors.DataFormatError(
        "no line has the keys that are needed",
        file=path,
        value=", ".join(list(seen)[:20]),
        expected=" or ".join(expected),
        remedy="pass the complete reviews and meta data of one release, as published",
    )


def read_reviews(path: Path, name: str, bad_rows: BadRows, generation: Generation) -> Interactions:
    """The reviews of one category in file order; their items have no categories yet.

    Raises:  DataFormatError, DataValueError, DuplicateRowError through `bad_rows`.
    """
    users: dict[str, int] = {}  # name -> code, by first appearance
    items: dict[str, int] = {}
    chunks, rows = [], []
    for number, (user, item, rating, time) in parsed(path, partial(_review, generation), bad_rows):
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
    rows = without_repeated(Rows(columns, line), generation.reviews[0], bad_rows)
    bad_rows.raise_if_any()
    return interactions_of(name, rows, first_line=1)


def read_categories(
    path: Path,
    items: np.ndarray,
    bad_rows: BadRows,
    generation: Generation,
    strict: bool = False,
) -> Codes:
    """The category of each of these items: second element of its (first) path.

    items (n,): asins, ascending.  Items whose first path is shorter, or that have none, are
    "others"; items without a line are missing (-1).  strict: parse the lines of other items too.
    """
    wanted = {item: position for position, item in enumerate(items.tolist())}
    item, quotes = generation.meta[0], generation.quotes
    numbers: dict[str, int] = {}
    codes = np.full(len(items), MISSING, np.int64)
    shown = rf"[{quotes}]{item}[{quotes}]\s*:\s*[{quotes}]([A-Za-z0-9_.-]+)[{quotes}]".encode()
    unparsed = None if strict else (re.compile(shown), wanted)
    for _, (asin, category) in parsed(path, partial(_meta, generation), bad_rows, unparsed):
        number = numbers.setdefault(category, len(numbers))
        if asin in wanted and codes[wanted[asin]] == MISSING:
            codes[wanted[asin]] = number
    bad_rows.raise_if_any()
    values = np.array(list(numbers), dtype=str) if numbers else np.empty(0, "U1")
    order = np.argsort(values)
    rank = np.full(len(values) + 1, MISSING, np.int32)
    rank[order] = np.arange(len(values))
    return Codes(rank[codes], values[order])


def _review(of: Generation, path: Path, number: int, record: dict) -> tuple[str, str, int, int]:
    """User, item, rating, time in seconds."""
    of_user, of_item, of_rating, of_time = of.reviews
    user, item = record.get(of_user), record.get(of_item)
    for column, value in ((of_user, user), (of_item, item)):
        if not _is_name(value):
            raise _error(path, number, record, column, "a name of letters and digits")
    rating, time = record.get(of_rating), record.get(of_time)
    if type(rating) not in (int, float) or rating not in RATINGS:
        raise _error(path, number, record, of_rating, "one of 1, 2, 3, 4, 5")
    if type(time) is not int or not times.EARLIEST <= time // of.per_second <= times.LATEST:
        unit = "s" if of.per_second == 1 else "ms"
        raise _error(path, number, record, of_time, times.expected(time, unit))
    return user, item, int(rating), time // of.per_second


def _meta(of: Generation, path: Path, number: int, record: dict) -> tuple[str, str]:
    """Item and category."""
    of_item, of_categories = of.meta
    item, names = record.get(of_item), record.get(of_categories, [])
    if not _is_name(item):
        raise _error(path, number, record, of_item, "a product number")
    paths = names if of.nested else [names]
    if not isinstance(paths, list) or not all(map(_is_path, paths)):
        form = "a list of lists of names" if of.nested else "a list of names"
        raise _error(path, number, record, of_categories, form)
    return item, paths[0][1] if paths and len(paths[0]) > 1 else OTHERS


def _is_path(names) -> bool:
    return isinstance(names, list) and all(map(_is_text, names))


def _is_text(value) -> bool:
    """Whether it is a text, not too long, that can be written: no NUL, no half of a surrogate."""
    try:
        return isinstance(value, str) and len(value) <= MAX_CELL and b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


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
    path: Path,
    take: Callable,
    bad_rows: BadRows,
    wanted: tuple[re.Pattern, Container[str]] | None = None,
) -> Iterator[tuple[int, tuple]]:
    """(number, what `take` takes from the record) of every usable line.

    wanted: lines in which the pattern finds another item at once are not parsed.
    """
    shown, items = wanted or (None, ())
    max_line = bad_rows.policy.max_line
    with closing(read_lines(path, max_line)) as lines:
        for number, line, ended in lines:
            bad_rows.rows_read += 1
            quick = shown.search(line) if shown and ended else None
            if quick and quick[1].decode() not in items:
                continue
            try:
                values = take(path, number, parse(path, number, line, ended, max_line))
            except errors.TruncatedFileError:
                raise
            except errors.DataError as error:
                bad_rows.add(number, error.column or "no object", error)
                if bad_rows.policy.on_bad_rows == "error":
                    return  # a later line cannot be the first bad one
                continue
            yield number, values


def read_lines(path: Path, max_line: int) -> Iterator[tuple[int, bytes, bool]]:
    """(number from 1, line without line end, whether it had one); a blank last line is left out.

    Raises:  TruncatedFileError: a .gz that ends early or is damaged; EmptySplitError;
        DataFormatError: a line of more than max_line bytes, a .gz that expands to no data.
    """
    number = moved = 0
    packed = path.stat().st_size if path.suffix == ".gz" else None
    with gzip.open(path) if packed is not None else path.open("rb") as file:
        while True:
            try:
                line = file.readline(max_line + 2)
            except TORN as error:
                raise errors.TruncatedFileError(
                    f"the compressed file ends early or is damaged ({error}); the last complete "
                    f"line is {number}",
                    file=path,
                    line=number + 1,
                    remedy="fetch the file again",
                ) from None
            if not line:
                break
            text = line.rstrip(b"\r\n")
            if len(text) > max_line:
                check_line_lengths(path, text, number, max_line)
            number += 1
            if number % _ROWS_AT_ONCE == 0:
                check_expansion(path, file.tell(), packed)
                at = file.tell() if packed is None else file.fileobj.tell()
                advance(at - moved)
                moved = at
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if not text and not file.peek(1):
                break
            yield number, text, line.endswith(b"\n")
    if not number:
        raise errors.EmptySplitError("the file is empty", file=path, remedy="fetch it again")


def parse(
    path: Path, number: int, line: bytes, ended: bool, max_line: int = MAX_LINE_BYTES
) -> dict:
    """The record of a line: JSON, or else a Python literal, which may be a part of max_line long.

    Raises:  DataFormatError; TruncatedFileError: the last line, which has no line end.
    """
    expected = "one object {...} per line"
    try:
        text = line.decode()
        try:
            record = json.loads(text)
        except ValueError as error:
            if len(line) > max_line // _LITERAL:
                raise errors.DataFormatError(
                    f"no JSON ({error}), and too long for a Python literal: {len(line):,} bytes",
                    file=path,
                    line=number,
                    expected=f"JSON, or a literal of at most {max_line // _LITERAL:,} bytes",
                    remedy="correct the row, or allow longer lines with `max_line_mib`",
                ) from None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in product texts
                record = ast.literal_eval(text.strip())
    except errors.DataError:
        raise
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
