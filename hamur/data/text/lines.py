"""Delimited text files as blocks of whole, well-formed lines: encoding, header, number of fields.

The fields of every line are counted with array operations, since readers written in C fill up a
short line silently.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hamur.data.errors import DataFormatError, EmptySplitError, TruncatedFileError
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows

BLOCK_BYTES = 16 << 20
SEPARATORS = ("::", ",", "\t", ";", "|")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Stands for a separator of several characters, which a C reader cannot take.
_UNIT = b"\x1f"
_ENCODING_REMEDY = "convert the file to UTF-8 (movies.dat: latin-1), or fetch it again"


@dataclass(frozen=True)
class FileFormat:
    """How a file is written.

    kinds: column -> kind, for the columns to read.  "int" and "float" are required; "category" is
        a whole number that may be missing; "text" is any text, "code" any text in which 1.0 and 1
        are the same and words like NaN are missing, "id" the same for required names; "time" is a
        whole number of any unit, or an ISO date or time.
    names: all columns of a file without header; None takes them from the header.
    time_unit: "s", "ms", "us" or "ns" of the times; None: of any, ISO times become seconds.
    separators: column of "text" -> what joins the values of its lists, where it may hold lists.
    """

    kinds: dict[str, str]
    separator: str = ","
    names: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    quoted: bool = True
    time_unit: str | None = None
    separators: dict[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> bytes:
        """The one byte between the fields of a well-formed block."""
        return self.separator.encode() if len(self.separator) == 1 else _UNIT


def read_header(path: Path, separator: str = ",") -> list[str]:
    """The column names in the first line of a text table; a byte order mark is ignored."""
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    if not first.strip():
        raise EmptySplitError("the file is empty", file=path, remedy="check how it was made")
    first = _checked_begin(path, first).rstrip(b"\r\n")
    if len(separator) > 1:
        return _shown(first).split(separator)
    return next(csv.reader([_shown(first)], delimiter=separator), [])


def check_header(path: Path, header: list[str], expected: tuple[str, ...]) -> None:
    """Raises DataFormatError naming missing, surplus and doubled columns; any order is fine."""
    if len(header) == 1 and expected[0] in header[0]:
        _raise_separator(path, header[0], ",", len(expected))
    problems = {
        "missing": [name for name in expected if name not in header],
        "surplus": [name for name in header if name not in expected],
        "doubled": sorted({name for name in header if header.count(name) > 1}),
    }
    problems = {kind: names for kind, names in problems.items() if names}
    if problems:
        text = "; ".join(f"{kind} column {', '.join(map(repr, v))}" for kind, v in problems.items())
        raise DataFormatError(
            f"{text} in the header",
            file=path,
            line=1,
            column=next(iter(problems.values()))[0],
            value=",".join(header),
            expected=f"the columns {','.join(expected)} in any order",
            remedy="add, remove or rename the columns",
        )


def whole_lines(path: Path, skip_header: bool) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines, see `line_blocks`, and the number of their first line.

    Raises:  DataFormatError: UTF-16 or NUL bytes.
    """
    line = 1
    with path.open("rb") as file:
        for block, _ in line_blocks(file, path, BLOCK_BYTES):
            lines = block.count(b"\n")
            if line == 1 and skip_header:
                block = block.partition(b"\n")[2]
            if block:
                yield block, 2 if line == 1 and skip_header else line
            line += lines


def line_blocks(
    file: BinaryIO, path: Path, size: int, start: int = 0, stop: int | None = None
) -> Iterator[tuple[bytes, int]]:
    """Blocks of the whole lines that begin in [start, stop), and the position in the file by then.

    Without byte order mark and CR; only the file's last line may lack its line end, and one blank
    line at the end of the file is left out.  A block may be empty.
    """
    position, rest = start, b""
    if start:
        file.seek(start - 1)
        position = start - 1 + len(file.readline())
    while stop is None or position < stop:
        wanted = size if stop is None else min(size, stop - position)
        chunk = file.read(wanted)
        at_begin, at_end = position == 0, len(chunk) < wanted
        if len(chunk) == wanted == (stop or 0) - position and not chunk.endswith(b"\n"):
            chunk += file.readline()  # the last line that begins before `stop`
        position += len(chunk)
        if at_begin:
            chunk = _checked_begin(path, chunk)
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        at_end = at_end or (stop is not None and position >= stop)
        block, rest = (whole + newline + rest, b"") if at_end else (whole + newline, rest)
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if block.endswith(b"\n\n") or block == b"\n":  # is the blank line the last one?
            if not at_end:
                block, rest = block[:-1], b"\n" + rest
            elif not file.read(1):
                block = block[:-1]
        yield block, position
        if at_end:
            return


def check_separator(path: Path, block: bytes, file_format: FileFormat, fields: int) -> None:
    """Raises DataFormatError when the first line has no separator at all."""
    first = block.partition(b"\n")[0]
    if fields > 1 and first and file_format.separator.encode() not in first:
        _raise_separator(path, _shown(first), file_format.separator, fields)


def well_formed(
    block: bytes, first_line: int, file_format: FileFormat, names: Sequence[str], bad_rows: BadRows
) -> tuple[bytes, np.ndarray]:
    """The lines with the right number of fields, and their numbers.

    Their fields are separated by `file_format.mark`.  The others go to `bad_rows`.
    Raises:  TruncatedFileError: the last line is short and has no line end.
    """
    if file_format.mark != file_format.separator.encode():
        block = block.replace(file_format.separator.encode(), file_format.mark)
    separators = _separators_per_line(block, file_format)
    numbers = np.arange(first_line, first_line + len(separators))
    wrong = separators != len(names) - 1
    if not wrong.any():
        return block, numbers
    texts = block.split(b"\n")

    def original(row: int) -> str:
        return _shown(texts[row].replace(file_format.mark, file_format.separator.encode()))

    if texts[-1] and separators[-1] < len(names) - 1:
        path, last = bad_rows.path, int(numbers[-1])
        at = f", at byte {path.stat().st_size}" if path.is_file() else ""  # no archive's member
        raise TruncatedFileError(
            f"the file ends inside this line{at}; the last complete line is {last - 1}",
            file=path,
            line=last,
            value=original(-1),
            expected=f"{len(names)} fields and a line end",
            remedy="fetch or write the file again",
        )
    for row in np.flatnonzero(wrong):
        error = DataFormatError(
            f"{separators[row] + 1 if texts[row] else 0} fields",
            file=bad_rows.path,
            line=int(numbers[row]),
            value=original(row),
            expected=f"{len(names)}: {file_format.separator.join(names)}",
            remedy=SKIP_REMEDY,
        )
        bad_rows.add(numbers[row], "wrong number of fields", error)
    good = (texts[row] + b"\n" for row in np.flatnonzero(~wrong))
    return b"".join(good), numbers[~wrong]


def _separators_per_line(block: bytes, file_format: FileFormat) -> np.ndarray:
    """Separators outside quotes in every line, (lines,)."""
    data = np.frombuffer(block, np.uint8)
    marks = np.flatnonzero(data == file_format.mark[0])
    ends = np.flatnonzero(data == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(data))
    if file_format.quoted and b'"' in block:
        # Inside quotes the number of quotes so far is odd; a doubled quote does not change that.
        quotes = np.flatnonzero(data == ord('"'))
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    return np.diff(np.searchsorted(marks, ends), prepend=0)


def check_encoding(path: Path, block: bytes, numbers: np.ndarray, encoding: str) -> None:
    """Raises DataFormatError naming the first line that is not text of this encoding."""
    if block.isascii() or encoding == "latin-1":  # in which every byte is a character
        return
    try:
        block.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataFormatError(
            f"not {encoding} text",
            file=path,
            line=int(numbers[block.count(b"\n", 0, error.start)]),
            value=block[error.start : error.start + 1],
            expected=f"{encoding} text",
            remedy=_ENCODING_REMEDY,
        ) from None


def check_no_nul(path: Path, block: bytes, first_line: int) -> None:
    """Raises DataFormatError naming the line of a NUL byte."""
    if b"\0" in block:
        at = block.index(b"\0")
        raise DataFormatError(
            "a NUL byte",
            file=path,
            line=first_line + block.count(b"\n", 0, at),
            expected="plain text",
            remedy=_ENCODING_REMEDY,
        )


def _checked_begin(path: Path, start: bytes) -> bytes:
    """The beginning of a file without its byte order mark."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _encoding_error(path, "a UTF-16 byte order mark", 0)
    if b"\0" in start[:4096]:
        raise _encoding_error(path, "a NUL byte", start.index(0))
    return start.removeprefix(_BYTE_ORDER_MARK)


def _encoding_error(path: Path, what: str, at: int) -> DataFormatError:
    return DataFormatError(
        f"{what} at byte {at}", file=path, expected="plain text", remedy=_ENCODING_REMEDY
    )


def _raise_separator(path: Path, first: str, separator: str, fields: int) -> None:
    seen = [mark for mark in SEPARATORS if mark in first]
    raise DataFormatError(
        "wrong separator" + (f": {seen[0]!r} seen" if seen else ""),
        file=path,
        line=1,
        value=first,
        expected=f"{fields} fields separated by {separator!r}",
        remedy=f"write the file with {separator!r} between the fields",
    )


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
