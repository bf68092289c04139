"""Big text files as blocks of whole lines: plain, compressed, or members of archives.

A plain file can be read in ranges by several processes; a packed one only from its beginning.
"""

import gzip
import stat
import struct
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hamur.data.streaming.jobs import advance
from hamur.data.text.blocks import TORN, line_blocks, open_text, refuse_damaged
from hamur.errors import DataFileNotFoundError, DataFormatError

BLOCK_BYTES = 8 << 20
RANGES = 8  # of a small file at most, of at least a block: enough for all workers


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

        size: the largest part; those of a small file are smaller, so that all workers have some.
        lines: only so many from the beginning.  Raises:  ValueError: of a compressed file.
        """
        if not self.plain:
            if lines is not None:
                raise ValueError(f"only a plain file can be cut after {lines} lines: {self.name}")
            return [(0, None)]
        total = self.size
        if lines is not None:
            total = 0
            with self.path.open("rb") as file:
                while lines and (piece := file.readline(BLOCK_BYTES)):
                    total += len(piece)
                    lines -= piece.endswith(b"\n")
        size = min(size, max(BLOCK_BYTES, -(-total // RANGES)))
        return [(at, min(at + size, total)) for at in range(0, total, size)] or [(0, None)]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The unpacked bytes.  Raises TruncatedFileError where they end early."""
        with refuse_damaged(self.name), ExitStack() as stack:
            if not self.members:
                yield stack.enter_context(open_text(self.path))
                return
            with _refuse_unreadable(self.name):
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
def _refuse_unreadable(name: str) -> Iterator[None]:
    """Raises DataFormatError where an archive cannot be opened for another reason than damage that
    its library has an error for: it is encrypted, or its header says what cannot be."""
    try:
        yield
    except (DataFormatError, FileNotFoundError, PermissionError, *TORN):
        raise
    except (OSError, ValueError, RuntimeError, LookupError, ArithmeticError, struct.error) as error:
        raise DataFormatError(
            f"the archive cannot be read ({(str(error).splitlines() or [repr(error)])[0]})",
            file=name,
            expected="plain files in a .tar.gz or .zip, without a password",
            remedy="fetch the archive again, or unpack it and pass the folder",
        ) from None


def sources_in(folder: Path, names: Collection[str]) -> dict[str, Source]:
    """Base name -> the .csv file in a folder: plain, else .gz, else a member of an archive.

    names: of the files that are looked for; archives are opened only where one is missing.
    Raises:  TruncatedFileError, DataFormatError: an archive that cannot be read, or holds one of
        these names twice, or as something else than a plain file.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    plain_last = (p for p in reversed(paths) if p.name.endswith((".csv", ".csv.gz")))
    sources = {path.name.removesuffix(".gz"): Source(path) for path in plain_last}
    if all(name in sources for name in names):
        return sources
    for path in paths:
        if path.name.endswith((".tar.gz", ".tgz", ".zip")):
            with refuse_damaged(path), _refuse_unreadable(str(path)):
                sources = _members_of(path, names) | sources
    return sources


def _members_of(path: Path, names: Collection[str]) -> dict[str, Source]:
    """Base name -> the member of an archive, for those with these base names."""
    found: dict[str, Source] = {}
    for members, plain in _members(path):
        source, inside = Source(path, members), PurePosixPath(members[-1])
        if inside.name not in names:
            continue
        problem = None if plain else "a folder, a link or a device"
        if inside.is_absolute() or ".." in inside.parts:
            problem = "outside of the archive by its path"
        if inside.name in found:
            problem = f"in the archive twice, also as {found[inside.name].members[-1]}"
        if problem:
            raise DataFormatError(
                f"the member is {problem}",
                file=source.name,
                expected="one plain file of this name",
                remedy="fetch the archive again, or unpack it and pass the folder",
            )
        found[inside.name] = source
    return found


def _members(path: Path) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The names on the way to each member of an archive, and whether it is a plain file."""
    if path.suffix != ".zip":
        with tarfile.open(path, "r:*") as archive:
            yield from (((member.name,), member.isfile()) for member in archive)
            while archive.fileobj.read(BLOCK_BYTES):  # the checksum is compared at the end only
                pass
        return
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith(".zip"):
                with archive.open(info) as file, zipfile.ZipFile(file) as inner:
                    for each in inner.infolist():
                        yield (info.filename, each.filename), _is_plain(each)
            else:
                yield (info.filename,), _is_plain(info)


def _is_plain(info: zipfile.ZipInfo) -> bool:
    return not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)


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


def blocks_of_lines(
    source: Source, start: int, stop: int | None, max_line: int
) -> Iterator[tuple[bytes, int]]:
    """Blocks of the whole lines that begin in [start, stop), see `line_blocks`, and the lines by
    then.  Moves the progress of the running job."""
    packed = None if source.plain else source.path.stat().st_size
    with source.open() as file:
        read, path = 0, Path(source.name)
        for block, position, lines in line_blocks(
            file, path, BLOCK_BYTES, start, stop, max_line, packed
        ):
            before, read = read, position - start if source.plain else _packed(file, position)
            advance(read - before)
            if block:
                yield block, lines


def _packed(file: BinaryIO, position: int) -> int:
    """How many bytes on disk were read for `position` unpacked ones."""
    return file.fileobj.tell() if isinstance(file, gzip.GzipFile) else position
