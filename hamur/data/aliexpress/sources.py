"""The raw files of AliExpress at each stage of unpacking.

Per country: aliexpress_<CC>_datasets.zip, the {cc}_{user,item}_{train,test}.zip that it holds, or
the csv files in those.  Zip files are read where they lie, one inside the other.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hamur.data.aliexpress.files import COUNTRIES, PAGE, PARTS, check_found
from hamur.data.errors import DataFileNotFoundError, DataFormatError, TruncatedFileError
from hamur.data.streaming.sources import Source

SIDES = ("user", "item")
_RAW = re.compile(
    r"[a-z]{2}_(user|item)_(train|test)\.(csv|csv\.gz|zip)|aliexpress_[A-Z]{2}_datasets\.zip"
)
_PROCESSED = re.compile(r"(aliexpress_)?(train|test)(_sample)?\.csv")
_TORN = (zipfile.BadZipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class ZipSource:
    """A file in a zip file, or in a zip file in a zip file: path, and the names on the way.

    Read from its beginning only, as `sources.Source` reads compressed files.
    """

    path: Path
    members: tuple[str, ...]
    plain = False

    @property
    def name(self) -> str:
        return "/".join((str(self.path), *self.members))

    @property
    def size(self) -> int:
        """Unpacked bytes."""
        with self._archive() as archive:
            return archive.getinfo(self.members[-1]).file_size

    def ranges(self, size: int = 0, lines: int | None = None) -> list[tuple[int, int | None]]:
        return [(0, None)]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The unpacked bytes.  Raises TruncatedFileError where an archive is damaged."""
        try:
            with self._archive() as archive, archive.open(self.members[-1]) as file:
                yield file
        except _TORN as error:
            raise _torn(self.name, error) from None

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            for member in self.members[:-1]:
                inner = stack.enter_context(archive.open(member))
                archive = stack.enter_context(zipfile.ZipFile(inner))
            yield archive


def _torn(name: str, error: Exception) -> TruncatedFileError:
    return TruncatedFileError(
        f"the archive is damaged or ends early ({error})",
        file=name,
        expected="a complete zip file",
        remedy="fetch the file again and compare its size with the page's",
    )


@dataclass(frozen=True)
class RawFile:
    country: str
    part: str
    side: str
    source: Source | ZipSource

    @property
    def path(self) -> Path:
        return self.source.path


def holds_raw(folder: Path) -> bool:
    """Whether raw files are there, packed or not.

    Raises:  DataFormatError: beside processed files, so that it is open which ones are meant.
    """
    raw = [name for each in _folders(folder) for name in _names(each) if _RAW.fullmatch(name)]
    processed = [n for each in _folders(folder) for n in _names(each) if _PROCESSED.fullmatch(n)]
    if raw and processed:
        raise DataFormatError(
            "ambiguous: raw and processed files of AliExpress stand there",
            file=folder,
            value=f"{raw[0]} and {processed[0]}",
            expected="one kind",
            remedy="keep the two in folders of their own and pass one of them",
        )
    return bool(raw)


def _folders(folder: Path) -> list[Path]:
    below = sorted(p for p in folder.glob("AliExpress_*") if p.is_dir())
    return [folder, *below] if folder.is_dir() else []


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def find(folder: Path) -> list[RawFile]:
    """The four files of every country in a folder, at any stage of unpacking; a folder of folders
    AliExpress_<CC> will do.

    Raises:  DataFileNotFoundError: a country's file is missing; DataFormatError: no country, or
        one file in two folders.
    """
    found: dict[str, Source | ZipSource] = {}
    for each in _folders(folder):
        inside: dict[str, Source | ZipSource] = {}
        for path in sorted(each.iterdir()):
            for name, source in _inside(path):
                inside.setdefault(name, source)  # unpacked (.csv) sorts before its .zip
        for name in sorted(found.keys() & inside.keys()):
            raise DataFormatError(
                f"ambiguous: {name} stands there twice",
                file=folder,
                value=f"{found[name].name} and {inside[name].name}",
                expected="one set of files a country",
                remedy="keep the sets in folders of their own and pass one of them",
            )
        found |= inside
    chosen = []
    for country in COUNTRIES:
        names = {
            (part, side): f"{country.lower()}_{side}_{part}.csv" for part in PARTS for side in SIDES
        }
        missing = [name for name in names.values() if name not in found]
        if len(missing) == len(names):
            continue
        if missing:
            raise DataFileNotFoundError(
                f"{', '.join(missing)} not found, plain or in a .zip",
                file=folder,
                expected=", ".join(names.values()),
                remedy=f"fetch aliexpress_{country}_datasets.zip from {PAGE} into this folder",
            )
        chosen += [RawFile(country, *key, found[name]) for key, name in names.items()]
    check_found(folder, chosen)
    return chosen


def _inside(path: Path) -> Iterator[tuple[str, Source | ZipSource]]:
    """(base name, source) of the csv files that a file is or holds."""
    if path.suffix == ".csv" or path.name.endswith(".csv.gz"):
        yield path.name.removesuffix(".gz"), Source(path)
    elif path.suffix == ".zip" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                yield from _members(path, archive, ())
        except _TORN as error:
            raise _torn(str(path), error) from None


def _members(
    path: Path, archive: zipfile.ZipFile, before: tuple[str, ...]
) -> Iterator[tuple[str, ZipSource]]:
    for member in archive.namelist():
        if member.endswith(".csv"):
            yield Path(member).name, ZipSource(path, (*before, member))
        elif member.endswith(".zip") and not before:
            with archive.open(member) as file, zipfile.ZipFile(file) as inner:
                yield from _members(path, inner, (member,))
