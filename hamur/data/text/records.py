"""Rows of several lines: quoted cells with line ends, put into one line each."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hamur.data.text.blocks import count_lines
from hamur.data.text.lines import FileFormat, strict_separators
from hamur.errors import DataFormatError

LINE_END = b"\x1e"  # stands for one inside a cell


def records(
    blocks: Iterable[tuple[bytes, int]],
    file_format: FileFormat,
    fields: int,
    path: Path,
    max_line: int,
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Blocks of whole lines and the number of their first one -> blocks of rows, a line each, and
    the numbers of their first lines.

    A quote that is not closed in its line is closed in the next line with an odd number of quotes
    if all between is a row of so many fields; otherwise it is a bad row of one line.
    Raises:  DataFormatError: such a row where a cell holds the character that stands for its end.
    """
    rest, first, blocks = b"", 1, iter(blocks)
    following = next(blocks, None)
    while following is not None:
        (block, line), following = following, next(blocks, None)
        if rest:
            block, line = rest + block, first
        most = max_line if following is not None else 0
        block, spans, rest = _spans(block, file_format.mark.decode(), fields, most)
        starts = np.ones(count_lines(block) if block else 0, bool)
        if spans:
            if LINE_END in block:
                raise DataFormatError(
                    "the control character 0x1E beside cells of several lines",
                    file=path,
                    line=line + block.count(b"\n", 0, block.index(LINE_END)),
                    expected="plain text",
                    remedy="remove it, or the line ends in quoted cells",
                )
            data = np.frombuffer(block, np.uint8).copy()
            ends = np.flatnonzero(data == ord("\n"))
            for begin, end in spans:
                starts[begin + 1 : end + 1] = False
                data[ends[begin:end]] = LINE_END[0]
            block = data.tobytes()
        if block:
            yield block, line + np.flatnonzero(starts)
        first = line + len(starts)


def _spans(
    block: bytes, mark: str, fields: int, most: int
) -> tuple[bytes, list[tuple[int, int]], bytes]:
    """The block, the first and last lines of its rows of several, and what belongs to the next
    block: from the last quote that is open, up to `most` bytes."""
    data = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(data == ord('"')) if b'"' in block else ()
    if not len(quotes):
        return block, [], b""
    ends = np.flatnonzero(data == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(data))
    odd = np.flatnonzero(np.bincount(np.searchsorted(ends, quotes), minlength=len(ends)) % 2)
    starts, spans, place = np.append(0, ends + 1), [], 0
    while place < len(odd):
        line = odd[place]
        text = block[starts[line] : ends[line]].decode("latin-1")
        place += 1
        if strict_separators(text, mark) >= 0:
            continue  # a quote inside a cell without quotes
        if place == len(odd):
            if len(block) - starts[line] <= most:
                return block[: starts[line]], spans, block[starts[line] :]
            break
        text = block[starts[line] : ends[odd[place]]].replace(b"\n", LINE_END).decode("latin-1")
        if strict_separators(text, mark) == fields - 1:
            spans.append((int(line), int(odd[place])))
            place += 1
    return block, spans, b""
