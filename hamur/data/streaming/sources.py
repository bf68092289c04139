"""Big text files as blocks of whole lines: plain, compressed, or members of archives.

A plain file can be read in ranges by several processes; a packed one only from its beginning.
"""

import gzip
import itertools
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hamur.data.errors import DataFileNotFoundError, TruncatedFileError
from hamur.data.streaming.jobs import advance
from hamur.data.text.lines import line_blocks

BLOCK_BYTES = 8 << 20
_TORN = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.ReadError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Source:
    """path: the file on disk, .csv, .csv.gz or an archive; members: the names on the way to the
    file inside a .tar.gz, a .zip or a .zip in a .zip."""

    path: Path
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return "/".join((str(self.path), *self.members))

    @property
    def base(self) -> str:
        """The name of the unpacked file."""
        return Path(self.name).name.removesuffix(".gz")

    @property
    def plain(self) -> bool:
        return not self.members and self.path.suffix != ".gz"

    @property
    def size(self) -> int:
        """Bytes on disk, compressed or not; of a member the bytes it unpacks to."""
        if not self.members:
            return self.path.stat().st_size
        with ExitStack() as stack:
            archive = self._archive(stack)
            if isinstance(archive, tarfile.TarFile):
                return archive.getmember(self.members[-1]).size
            return archive.getinfo(self.members[-1]).file_size

    def ranges(self, size: int, lines: int | None = None) -> list[tuple[int, int | None]]:
        """(start, stop) of the parts that can be read independently; (0, None) for all of it.

        lines: only so many from the beginning.  Raises:  ValueError: of a compressed file.
        """
        if not self.plain:
            if lines is not None:
                raise ValueError(f"only a plain file can be cut after {lines} lines: {self.name}")
            return [(0, None)]
        total = self.size
        if lines is not None:
            with self.path.open("rb") as file:
                total = sum(map(len, itertools.islice(file, lines)))
        return [(at, min(at + size, total)) for at in range(0, total, size)] or [(0, None)]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The unpacked bytes.  Raises TruncatedFileError where they end early."""
        with refuse_damaged(self.name), ExitStack() as stack:
            if not self.members:
                yield stack.enter_context((Path.open if self.plain else gzip.open)(self.path, "rb"))
                return
            archive = self._archive(stack)
            tar = isinstance(archive, tarfile.TarFile)
            member = (archive.extractfile if tar else archive.open)(self.members[-1])
            yield stack.enter_context(member)

    def _archive(self, stack: ExitStack) -> tarfile.TarFile | zipfile.ZipFile:
        if self.path.suffix != ".zip":
            return stack.enter_context(tarfile.open(self.path, "r:*"))
        archive = stack.enter_context(zipfile.ZipFile(self.path))
        for member in self.members[:-1]:
            inner = stack.enter_context(archive.open(member))
            archive = stack.enter_context(zipfile.ZipFile(inner))
        return archive


@contextmanager
def refuse_damaged(name: str) -> Iterator[None]:
    """Raises TruncatedFileError where a packed file cannot be read."""
    try:
        yield
    except _TORN as error:
        raise TruncatedFileError(
            f"the compressed file is damaged or ends early ({error})",
            file=name,
            expected="a complete archive",
            remedy="fetch the file again and compare its size with the page's",
        ) from None


def sources_in(folder: Path, needed: Sequence[str] = ()) -> dict[str, Source]:
    """Base name -> the .csv file in a folder: plain, else .gz, else a member of an archive.

    needed: archives are opened only where one of these is missing.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    plain_last = (p for p in reversed(paths) if p.name.endswith((".csv", ".csv.gz")))
    sources = {path.name.removesuffix(".gz"): Source(path) for path in plain_last}
    if needed and all(name in sources for name in needed):
        return sources
    for path in paths:
        if path.name.endswith((".tar.gz", ".tgz", ".zip")):
            with refuse_damaged(str(path)):
                for members in _members(path):
                    sources.setdefault(Path(members[-1]).name, Source(path, members))
    return sources


def _members(path: Path) -> Iterator[tuple[str, ...]]:
    if path.suffix != ".zip":
        with tarfile.open(path, "r:*") as archive:
            yield from ((member.name,) for member in archive.getmembers())
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".csv"):
                yield (name,)
            elif name.endswith(".zip"):
                with archive.open(name) as file, zipfile.ZipFile(file) as inner:
                    yield from ((name, each) for each in inner.namelist() if each.endswith(".csv"))


def take(files: dict[str, Source], names: Sequence[str], folder: Path, remedy: str) -> list[Source]:
    """The files of these base names.  Raises:  DataFileNotFoundError: some are not there."""
    missing = [name for name in names if name not in files]
    if missing:
        present = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else []
        raise DataFileNotFoundError(
            f"{', '.join(missing)} not found",
            file=folder,
            value=f"files: {', '.join(present) or 'none'}",
            expected=f"each of {', '.join(names)} as .csv, .csv.gz, in a .tar.gz or a .zip",
            remedy=remedy,
        )
    return [files[name] for name in names]


def count_lines(block: bytes) -> int:
    """The lines of a block, of which the last may lack its line end."""
    return block.count(b"\n") + (not block.endswith(b"\n"))


def blocks_of_lines(
    source: Source, start: int = 0, stop: int | None = None, size: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Blocks of the whole lines that begin in [start, stop).

    Without byte order mark and CR; only the file's last line may lack its line end, and one blank
    line at the end of the file is left out.  Moves the progress of the running job.
    """
    with source.open() as file:
        read = 0
        for block, position in line_blocks(file, Path(source.name), size, start, stop):
            before, read = read, position - start if source.plain else _packed(file, position)
            advance(read - before)
            if block:
                yield block


def _packed(file: BinaryIO, position: int) -> int:
    """How many bytes on disk were read for `position` unpacked ones."""
    return file.fileobj.tell() if isinstance(file, gzip.GzipFile) else position
