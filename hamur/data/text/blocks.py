"""Files as blocks of whole lines, in bounded memory whatever they hold.

A line has a limit, and so has what a packed file may expand to.
"""

import codecs
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hamur.data.text.bad_rows import MAX_LINE_BYTES, unpacked
from hamur.errors import DataError, DataFormatError, TruncatedFileError

# A packed file of more unpacked bytes than both is no data: CSV files reach 20:1 to 200:1.
EXPANSION, EXPANDED_BYTES = 500, 256 << 20
RECODED_BYTES = 1 << 20  # at once
ENCODING_REMEDY = "convert the file to UTF-8 (movies.dat: latin-1), or name its `encoding`"
# How packed content begins -> what it is, and what to do with such a file.
_PACKED = {
    b"\x1f\x8b": ("gzip-compressed, but its name does not end in .gz", "rename it to end in .gz"),
    b"PK\x03\x04": ("a zip archive", "unpack it and pass the plain file"),
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TORN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
TORN += (tarfile.TarError, zipfile.BadZipFile)


@contextmanager
def open_text(path: Path, encoding: str = "utf-8") -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if it is a .gz or .zst, in UTF-8 unless it is in Latin-1.

    Raises:  TruncatedFileError, see below; DataFormatError: not text of this encoding.
    """
    with refuse_damaged(path), unpacked(path) as file:
        plain = encoding in ("utf-8", "latin-1")
        yield file if plain else io.BufferedReader(_Recoded(file, path, encoding))


class _Recoded(io.RawIOBase):
    """Text of any encoding as UTF-8."""

    def __init__(self, file: BinaryIO, path: Path, encoding: str):
        self._file, self._path, self._encoding = file, path, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._lines, self._rest, self._ended = 0, b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._rest and not self._ended:
            self._rest = self._next()
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def _next(self) -> bytes:
        chunk = self._file.read(RECODED_BYTES)
        self._ended = not chunk
        try:
            text = self._decoder.decode(chunk, self._ended)
        except UnicodeError as error:
            at = getattr(error, "start", 0)
            before = getattr(error, "object", b"")[:at].decode(self._encoding, "ignore")
            raise DataFormatError(
                f"not {self._encoding} text",
                file=self._path,
                line=self._lines + before.count("\n") + 1,
                value=getattr(error, "object", b"")[at : at + 1],
                expected=f"{self._encoding} text",
                remedy="name the encoding of the file with `encoding`, or convert it to UTF-8",
            ) from None
        self._lines += text.count("\n")
        return text.encode("utf-8", "replace")


@contextmanager
def refuse_damaged(name: str | Path) -> Iterator[None]:
    """Raises TruncatedFileError where a packed file cannot be read."""
    try:
        yield
    except (*TORN, OSError) as error:
        system = getattr(error, "errno", None) is not None  # Arrow's errors have no number
        if isinstance(error, DataError) or (system and not isinstance(error, TORN)):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TruncatedFileError(
            f"the compressed file is damaged or ends early ({reason})",
            file=name,
            expected="a complete archive",
            remedy="fetch the file again and compare its size with the page's",
        ) from None


def line_blocks(
    file: BinaryIO,
    path: Path,
    size: int,
    start: int = 0,
    stop: int | None = None,
    max_line: int = MAX_LINE_BYTES,
    packed: int | None = None,
) -> Iterator[tuple[bytes, int, int]]:
    """Blocks of the whole lines that begin in [start, stop), the position in the file by then, and
    the lines by then.

    Without byte order mark and CR; only the file's last line may lack its line end, and one blank
    line at the end of the file is left out.  A block may be empty.
    packed: bytes on disk of a packed file.
    Raises:  DataFormatError: a line of more than max_line bytes; a packed file that expands to
        more than any data; UTF-16.
    """
    position, lines, rest = start, 0, []  # rest: pieces of the last line read so far
    if start:
        position = _next_line(file, start - 1, max_line)
    while stop is None or position < stop:
        wanted = size if stop is None else min(size, stop - position)
        chunk = file.read(wanted)
        at_begin, at_end = position == 0, len(chunk) < wanted
        if len(chunk) == wanted == (stop or 0) - position and not chunk.endswith(b"\n"):
            chunk += file.readline(max_line + 1)  # the last line that begins before `stop`
        position += len(chunk)
        check_expansion(path, position, packed)
        if at_begin:
            chunk = checked_begin(path, chunk)
        at_end = at_end or (stop is not None and position >= stop)
        cut = len(chunk) if at_end else chunk.rfind(b"\n") + 1
        if cut or at_end:
            block, rest = b"".join((*rest, chunk[:cut])), [chunk[cut:]]
        else:
            block, rest = b"", [*rest, chunk]
        check_line_lengths(path, block, lines, max_line, sum(map(len, rest)))
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if block.endswith(b"\n\n") or block == b"\n":  # is the blank line the last one?
            if not at_end:
                block, rest = block[:-1], [b"\n", *rest]
            elif not file.read(1):
                block = block[:-1]
        lines += count_lines(block) if block else 0
        yield block, position, lines
        if at_end:
            return


def count_lines(block: bytes) -> int:
    """The lines of a block, of which the last may lack its line end."""
    return block.count(b"\n") + (not block.endswith(b"\n"))


def _next_line(file: BinaryIO, position: int, max_line: int) -> int:
    """The position of the line that begins after `position`."""
    file.seek(position)
    while piece := file.readline(max_line):
        position += len(piece)
        if piece.endswith(b"\n"):
            break
    return position


def long_line(block: bytes, most: int) -> int:
    """Where the first line of more than `most` bytes begins, or -1.

    Among so many bytes of such a line there is no line end, so that few places are looked at.
    """
    at = 0
    while len(block) - at > most:
        end = block.rfind(b"\n", at, at + most + 1)
        if end < 0:
            return at
        at = end + 1
    return -1


def check_line_lengths(path: Path, block: bytes, lines: int, max_line: int, rest: int = 0) -> None:
    """Raises DataFormatError naming the first line of a block that is longer than max_line bytes.

    lines: before the block; rest: bytes read so far of a line behind it.
    """
    at = long_line(block, max_line)
    if at < 0 and rest <= max_line:
        return
    at = len(block) if at < 0 else at
    end = block.find(b"\n", at)
    length = f"{end - at:,}" if end >= 0 else f"at least {rest or len(block) - at:,}"
    raise DataFormatError(
        f"a line of {length} bytes",
        file=path,
        line=lines + block.count(b"\n", 0, at) + 1,
        expected=f"at most {max_line:,} bytes",
        remedy="correct the file, or allow longer lines with `max_line_mib`",
    )


def check_expansion(path: Path, unpacked: int, packed: int | None) -> None:
    """Raises DataFormatError where a file of `packed` bytes has given more than any data can."""
    if packed is not None and unpacked > max(EXPANDED_BYTES, EXPANSION * packed):
        raise DataFormatError(
            f"{packed:,} bytes on disk unpack to more than {EXPANSION} times as many",
            file=path,
            value=f"{unpacked:,} bytes so far",
            expected="a packed table",
            remedy="fetch the file again; if it is right, unpack it and pass the plain file",
        )


def checked_begin(path: Path, start: bytes) -> bytes:
    """The beginning of a file without its byte order mark.

    Raises:  DataFormatError: packed content, UTF-16, NUL bytes."""
    for begin, (what, remedy) in _PACKED.items():
        if start.startswith(begin):
            if str(path).endswith(".gz"):
                what, remedy = "packed twice", "unpack it once"
            raise DataFormatError(
                f"the file is {what}", file=path, expected="plain text", remedy=remedy
            )
    marked = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    if marked or b"\0" in start[:4096]:
        what, at = ("a UTF-16 byte order mark", 0) if marked else ("a NUL byte", start.index(0))
        problem = f"{what} at byte {at}"
        raise DataFormatError(problem, file=path, expected="plain text", remedy=ENCODING_REMEDY)
    return start.removeprefix(_BYTE_ORDER_MARK)
