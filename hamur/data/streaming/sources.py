"""Big text files as blocks of whole lines: plain, gzip-compressed, or members of a tar archive.

A plain file can be read in ranges by several processes; a compressed one only from its beginning.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hamur.data.errors import DataFileNotFoundError, DataFormatError, TruncatedFileError
from hamur.data.streaming.jobs import advance
from hamur.data.text.lines import without_byte_order_mark

BLOCK_BYTES = 8 << 20
RANGE_BYTES = 64 << 20
_TORN = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.ReadError)


@dataclass(frozen=True)
class Source:
    """path: the file on disk; member: of the tar archive; name: how messages call it."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def plain(self) -> bool:
        return self.member is None and self.path.suffix != ".gz"

    @property
    def size(self) -> int:
        """Bytes on disk, compressed or not; of a tar member the bytes it unpacks to."""
        if self.member is None:
            return self.path.stat().st_size
        with tarfile.open(self.path, "r:*") as archive:
            return archive.getmember(self.member).size

    def ranges(
        self, size: int = RANGE_BYTES, lines: int | None = None
    ) -> list[tuple[int, int | None]]:
        """(start, stop) of the parts that can be read independently; (0, None) for all of it.

        lines: only so many from the beginning.  Raises:  ValueError: of a compressed file.
        """
        if not self.plain:
            if lines is not None:
                raise ValueError(f"only a plain file can be cut after {lines} lines: {self.name}")
            return [(0, None)]
        total = self.size if lines is None else self._end_of_line(lines)
        return [(at, min(at + size, total)) for at in range(0, total, size)] or [(0, None)]

    def _end_of_line(self, number: int) -> int:
        with self.path.open("rb") as file:
            for _ in zip(range(number), file):
                pass
            return file.tell()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The unpacked bytes.  Raises TruncatedFileError where the archive ends early."""
        try:
            if self.member is not None:
                with tarfile.open(self.path, "r:*") as archive:
                    yield archive.extractfile(self.member)
            elif self.plain:
                with self.path.open("rb") as file:
                    yield file
            else:
                with gzip.open(self.path, "rb") as file:
                    yield file
        except _TORN as error:
            raise TruncatedFileError(
                f"the compressed file is damaged or ends early ({error})",
                file=self.name,
                expected="a complete archive",
                remedy="fetch the file again and compare its size with the page's",
            ) from None


def find_sources(folder: Path, names: Sequence[str], page: str) -> list[Source]:
    """For each base name the file, its .gz form, or the member of a tar archive in this folder.

    Raises:  DataFileNotFoundError: a name is nowhere; says what is there and where to get it.
    """
    found = {p.name.removesuffix(".gz"): Source(p) for p in sorted(folder.glob("*.csv*"))}
    if any(name not in found for name in names):
        for archive in sorted((*folder.glob("*.tar.gz"), *folder.glob("*.tgz"))):
            with tarfile.open(archive, "r:*") as members:
                for member in members.getmembers():
                    found.setdefault(Path(member.name).name, Source(archive, member.name))
    missing = [name for name in names if name not in found]
    if missing:
        present = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else []
        raise DataFileNotFoundError(
            f"{', '.join(missing)} not found",
            file=folder,
            value=f"files: {', '.join(present) or 'none'}",
            expected="each of " + ", ".join(names) + " as .csv, .csv.gz or in a .tar.gz",
            remedy=f"fetch them from {page} and put them into this folder",
        )
    return [found[name] for name in names]


def blocks_of_lines(
    source: Source, start: int = 0, stop: int | None = None, size: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Blocks of the whole lines that begin in [start, stop).

    Without byte order mark and CR; only the file's last line may lack its line end, and one blank
    line at the end of the file is left out.  Moves the progress of the running job.
    """
    with source.open() as file:
        position = start
        if start:
            file.seek(start - 1)
            position = start - 1 + len(file.readline())
        rest, at_begin, packed = b"", start == 0, 0
        while stop is None or position < stop:
            wanted = size if stop is None else min(size, stop - position)
            chunk = file.read(wanted)
            if len(chunk) == wanted == (stop or 0) - position and not chunk.endswith(b"\n"):
                chunk += file.readline()  # the last line that begins before `stop`
            position += len(chunk)
            before, packed = packed, position - start if source.plain else _packed(file, position)
            advance(packed - before)
            if at_begin:
                chunk, at_begin = _text(source, chunk), False
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            at_end = len(chunk) < wanted or (stop is not None and position >= stop)
            block, rest = (whole + newline + rest, b"") if at_end else (whole + newline, rest)
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n")
            if block.endswith(b"\n\n") or block == b"\n":  # is the blank line the last one?
                if not at_end:
                    block, rest = block[:-1], b"\n" + rest
                elif not file.read(1):
                    block = block[:-1]
            if block:
                yield block
            if at_end:
                return


def _packed(file: BinaryIO, position: int) -> int:
    """How many bytes on disk were read for `position` unpacked ones."""
    return file.fileobj.tell() if isinstance(file, gzip.GzipFile) else position


def _text(source: Source, start: bytes) -> bytes:
    if b"\0" in start[:4096] and start[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise DataFormatError(
            f"a NUL byte at byte {start.index(0)}",
            file=source.name,
            expected="plain text",
            remedy="convert the file to UTF-8, or fetch it again",
        )
    return without_byte_order_mark(Path(source.name), start)
