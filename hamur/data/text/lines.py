"""Delimited text files as blocks of whole, well-formed lines: encoding, header, number of fields.

The fields of every line are counted with array operations, since readers written in C fill up a
short line silently.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hamur.data.text.bad_rows import MAX_LINE_BYTES, PACKED, SKIP_REMEDY, BadRows
from hamur.data.text.blocks import (
    ENCODING_REMEDY,
    check_line_lengths,
    checked_begin,
    line_blocks,
    open_text,
)
from hamur.data.text.cells import MISSING_WORDS
from hamur.errors import DataFormatError, EmptySplitError, TruncatedFileError

BLOCK_BYTES = 16 << 20
SEPARATORS = ("::", ",", "\t", ";", "|")
# Stands for a separator of several characters, which a C reader cannot take.
_UNIT = b"\x1f"


@dataclass(frozen=True)
class FileFormat:
    """How a file is written.

    kinds: column -> kind, for the columns to read.  "int" and "float" are required; "category" is
        a whole number that may be missing; "text" is any text, "code" any text in which 1.0 and 1
        are the same and words like NaN are missing, "id" the same for required names; "number" is a
        "float" that may be missing; "time" is a whole number of any unit, or an ISO date or time.
        Whole numbers may be written as 1.0 or 1e3, and True and False are 1 and 0.
    names: all columns of a file without header; None takes them from the header.
    time_unit: "s", "ms", "us" or "ns" of the times; None: of any, ISO times become seconds.
    separators: column of "text" -> what joins the values of its lists, where it may hold lists.
    missing: what means a missing cell of a "code", "id" or "number" besides an empty one; a word
        that is a number means that number, however it is written.
    multiline: a quoted cell may hold line ends; its row has the number of its first line.
    """

    kinds: dict[str, str]
    separator: str = ","
    names: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    quoted: bool = True
    time_unit: str | None = None
    separators: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = MISSING_WORDS
    multiline: bool = False

    def __post_init__(self):
        try:
            usable = codecs.lookup(self.encoding)._is_text_encoding
        except LookupError:
            usable = False
        if not usable:
            raise ValueError(f"`encoding` is {self.encoding!r}; use one of Python, as 'utf-16'")

    @property
    def coding(self) -> str:
        """The encoding of the blocks, see `open_text`."""
        return _coding(self.encoding)

    @property
    def mark(self) -> bytes:
        """The one byte between the fields of a well-formed block."""
        return self.separator.encode() if len(self.separator) == 1 else _UNIT


def first_line(path: Path, encoding: str = "utf-8") -> bytes:
    """Of a text table, without line end; a byte order mark is ignored."""
    with open_text(path, encoding) as file:
        first = file.readline(MAX_LINE_BYTES + 1)
    if not first.strip():
        raise EmptySplitError("the file is empty", file=path, remedy="check how it was made")
    check_line_lengths(path, first, 0, MAX_LINE_BYTES)
    return checked_begin(path, first).rstrip(b"\r\n")


def separator_of(path: Path, names: Sequence[str] | None = None, encoding: str = "utf-8") -> str:
    """The separator by the first line alone: the one that makes as many fields as there are names
    (of a file without header), else "::", else the most frequent outside quotes."""
    first = re.sub(r'"[^"]*"', "", first_line(path, encoding).decode("utf-8", "replace"))
    counts = {mark: first.count(mark) for mark in SEPARATORS}
    fits = [mark for mark, count in counts.items() if names and count == len(names) - 1]
    if fits or counts["::"]:
        return fits[0] if fits else "::"
    return max(counts, key=counts.get) if any(counts.values()) else ","


def read_header(path: Path, separator: str = ",", encoding: str = "utf-8") -> list[str]:
    """The column names in the first line of a text table."""
    first = first_line(path, encoding)
    text = first.decode(_coding(encoding), "backslashreplace")
    if len(separator) > 1:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:
        raise DataFormatError(
            "no header: a column name too long, or a CR in the line",
            file=path,
            line=1,
            value=_shown(first),
            expected="column names, and LF or CR LF at the end of every line",
            remedy="write the file again with LF line ends",
        ) from None


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


def whole_lines(
    path: Path, skip_header: bool, max_line: int, encoding: str = "utf-8"
) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines, see `line_blocks`, and the number of their first line.

    Raises:  DataFormatError: UTF-16 or NUL bytes; a line too long.
    """
    packed, line = path.stat().st_size if path.suffix in PACKED else None, 1
    with open_text(path, encoding) as file:
        blocks = line_blocks(file, path, BLOCK_BYTES, max_line=max_line, packed=packed)
        for block, _, lines in blocks:
            if line == 1 and skip_header:
                block = block.partition(b"\n")[2]
            if block:
                yield block, 2 if line == 1 and skip_header else line
            line = lines + 1


def text_lines(path: Path, max_line: int) -> Iterator[tuple[int, str]]:
    """(number from 1, text without line end) of every line of a file in UTF-8."""
    for block, number in whole_lines(path, False, max_line):
        texts = block.removesuffix(b"\n").split(b"\n")
        check_encoding(path, block, np.arange(number, number + len(texts)), "utf-8")
        yield from enumerate((text.decode() for text in texts), number)


def check_separator(path: Path, block: bytes, file_format: FileFormat, fields: int) -> None:
    """Raises DataFormatError when the first line has no separator at all."""
    first = block.partition(b"\n")[0]
    if fields > 1 and first and file_format.separator.encode() not in first:
        _raise_separator(path, _shown(first), file_format.separator, fields)


def well_formed(
    block: bytes,
    numbers: np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> tuple[bytes, np.ndarray]:
    """The lines with the right number of fields, separated by `file_format.mark`, and their
    numbers; the others go to `bad_rows`.
    Raises:  TruncatedFileError: the last line is short and has no line end.
    """
    if file_format.mark != file_format.separator.encode():
        block = block.replace(file_format.separator.encode(), file_format.mark)
    separators = _separators_per_line(block, file_format)
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

    def error(row: int) -> DataFormatError:
        fields = f"{separators[row] + 1 if texts[row] else 0} fields"
        return DataFormatError(
            fields if separators[row] >= 0 else "a quote that does not end with its cell",
            file=bad_rows.path,
            line=int(numbers[row]),
            value=original(row),
            expected=f"{len(names)}: {file_format.separator.join(names)}",
            remedy=SKIP_REMEDY,
        )

    good = bad_rows.add_where(wrong, numbers, "wrong number of fields", error)
    return b"".join(texts[row] + b"\n" for row in np.flatnonzero(good)), numbers[good]


def _separators_per_line(block: bytes, file_format: FileFormat) -> np.ndarray:
    """Separators outside quotes in every line, (lines,); -1: quotes that are not closed in it."""
    data = np.frombuffer(block, np.uint8)
    marks = np.flatnonzero(data == file_format.mark[0])
    ends = np.flatnonzero(data == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(data))
    if not file_format.quoted or b'"' not in block:
        return np.diff(np.searchsorted(marks, ends), prepend=0)
    quotes = np.flatnonzero(data == ord('"'))
    line = np.searchsorted(ends, quotes)
    first = np.searchsorted(line, line)  # of the same line
    opening = (np.arange(len(quotes)) - first) % 2 == 0
    # As CSV writers set them: at both ends of a cell, doubled inside.  Then the number of quotes so
    # far is odd inside a quoted cell and even outside, and even at the end of the line.
    beside = np.where(opening, quotes - 1, np.minimum(quotes + 1, len(data) - 1))
    bounds = np.zeros(256, bool)
    bounds[[*file_format.mark, *b'"\n']] = True
    usual = (beside < 0) | (beside == quotes) | bounds[data[beside]]
    last = np.append(line[1:] != line[:-1], True)
    odd = np.unique(line[~usual | (last & opening)])
    closed = quotes[~np.isin(line, odd)] if len(odd) else quotes
    separators = marks[np.searchsorted(closed, marks) % 2 == 0]
    separators = np.diff(np.searchsorted(separators, ends), prepend=0)
    starts = np.append(0, ends + 1)
    for row in odd:
        text = block[starts[row] : ends[row]].decode("latin-1")
        separators[row] = strict_separators(text, file_format.mark.decode())
    return separators


def strict_separators(text: str, mark: str) -> int:
    """The separators of a line with unusual quotes; -1: not closed, or followed by text."""
    try:
        rows = list(csv.reader([text, ""], delimiter=mark, strict=True))
    except csv.Error:
        return -1
    return len(rows[0]) - 1 if len(rows) == 2 else -1


def check_encoding(path: Path, block: bytes, numbers: np.ndarray, encoding: str) -> None:
    """Raises DataFormatError naming the first line that is not text of this encoding."""
    if block.isascii() or encoding == "latin-1":  # in which every byte is a character
        return
    try:
        block.decode(encoding)
    except UnicodeDecodeError as error:
        about = dict(value=block[error.start : error.start + 1], expected=f"{encoding} text")
        _raise_encoding(path, block, numbers, error.start, f"not {encoding} text", **about)


def check_bytes(path: Path, block: bytes, numbers: np.ndarray, file_format: FileFormat) -> None:
    """Raises DataFormatError naming the line of a NUL byte, or of the mark of a long separator."""
    for byte, name in ((b"\0", "a NUL byte"), (_UNIT, "the control character 0x1F")):
        if byte in block and (byte != _UNIT or file_format.mark == _UNIT):
            _raise_encoding(path, block, numbers, block.index(byte), name, expected="plain text")


def _raise_encoding(path: Path, block: bytes, numbers: np.ndarray, at: int, problem, **about):
    line = int(numbers[block.count(b"\n", 0, at)])
    raise DataFormatError(problem, file=path, line=line, remedy=ENCODING_REMEDY, **about) from None


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


def _coding(encoding: str) -> str:
    return "latin-1" if encoding == "latin-1" else "utf-8"


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
