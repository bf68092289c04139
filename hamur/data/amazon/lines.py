"""Lines of the Amazon files: streamed, and each parsed without executing anything."""

import ast
import gzip
import json
import re
import warnings
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import closing
from pathlib import Path

from hamur.data.errors import (
    DataError,
    DataFormatError,
    EmptySplitError,
    TruncatedFileError,
)
from hamur.data.streaming.jobs import advance
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows

_ASIN = re.compile(rb"""['"]asin['"]\s*:\s*['"]([A-Za-z0-9_.-]+)['"]""")
_CHUNK = 65_536
_LONGEST = 1 << 24  # bytes of one line: more is no line of such a file


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line) from 1, without line end; a blank last line is left out.

    Raises:  TruncatedFileError: a .gz that ends early or is damaged; EmptySplitError.
    """
    number = moved = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while True:
            try:
                line = file.readline(_LONGEST)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise TruncatedFileError(
                    f"the compressed file ends early or is damaged ({error}); the last complete "
                    f"line is {number}",
                    file=path,
                    line=number + 1,
                    remedy="fetch the file again",
                ) from None
            if not line:
                break
            number += 1
            if number % _CHUNK == 0:
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
        raise EmptySplitError("the file is empty", file=path, remedy="fetch it again")


def parse(path: Path, number: int, line: bytes, ended: bool) -> dict:
    """The record of a line: JSON, or else a Python literal.

    Raises:  DataFormatError; TruncatedFileError: the last line, which has no line end.
    """
    try:
        text = line.decode()
        try:
            record = json.loads(text)
        except ValueError:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes in product texts
                record = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        kind = DataFormatError if ended else TruncatedFileError
        raise kind(
            f"neither a JSON object nor a literal ({_reason(error)})",
            file=path,
            line=number,
            value=line[:200].decode("utf-8", "backslashreplace"),
            expected="one object {...} a line",
            remedy=SKIP_REMEDY if ended else "the file ends inside this line: fetch it again",
        ) from None
    if not isinstance(record, dict):
        raise DataFormatError(
            "no object",
            file=path,
            line=number,
            value=record,
            expected="one object {...} a line",
            remedy=SKIP_REMEDY,
        )
    return record


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:60] if str(error) else type(error).__name__


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
                found = take(path, number, parse(path, number, line, ended))
            except TruncatedFileError:
                raise
            except DataError as error:
                bad_rows.add(number, error.column or "no object", error, line)
                if bad_rows.policy.on_bad_rows == "error":
                    return  # a later line cannot be the first bad one
                continue
            yield number, found
