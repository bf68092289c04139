"""MovieLens-1M from its official address, checked; and what to fetch by hand for the other sets.

    download_ml1m(dest)      dest/ml-1m/{ratings,users,movies}.dat and README
    instructions(dataset)    what to fetch where, for archives behind a login

A cut connection is resumed at the byte where it ended.  Nothing but the four known files leaves the
archive, and none of them gets its name before its checksum is right.
"""

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

from hamur.data.errors import ChecksumError, DownloadError
from hamur.data.text.fetch import check_protocol, fetch

OFFICIAL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
ARCHIVE = "ml-1m.zip"
ARCHIVE_MD5 = "c4d9eecfca2ab87c1945afe126590906"
# Bytes and md5 of the archive's files.
FILES = {
    "ratings.dat": (24_594_131, "a89aa3591bc97d6d4e0c89459ff39362"),
    "users.dat": (134_368, "681c0711d0d4548cd3d4718a49c2dcd8"),
    "movies.dat": (171_308, "ef9fd9ff8d1b33faf73e2122c371e910"),
    "README": (5_577, "6a3f626147ec67b732a69beccae0aaa8"),
}
TERMS = """\
MovieLens-1M, GroupLens, University of Minnesota: for research; no redistribution and no commercial
use without permission; no endorsement may be implied.  https://grouplens.org/datasets/movielens/1m
Please cite: F. M. Harper, J. A. Konstan: The MovieLens Datasets, ACM TiiS 5(4), article 19, \
2015."""
_CHUNK = 1 << 16
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before another try
_LARGEST = 64 << 20  # bytes that an archive may declare for one file

_BY_HAND = {
    "ali-ccp": (
        "https://tianchi.aliyun.com/dataset/408",
        "sample_train.tar.gz and sample_test.tar.gz, or the four files "
        "sample_skeleton_{train,test}.csv and common_features_{train,test}.csv",
        "a login and the acceptance of an agreement",
    ),
    "aliexpress": (
        "https://tianchi.aliyun.com/dataset/74690",
        "aliexpress_NL_datasets.zip, and those of ES, FR, US and RU as you need them",
        "a login",
    ),
    "amazon": (
        "https://jmcauley.ucsd.edu/data/amazon",
        "reviews_<Category>_5.json.gz and meta_<Category>.json.gz of two categories, "
        "such as Books and Toys_and_Games",
        "a browser",
    ),
}


def instructions(dataset: str, folder: str | Path) -> str:
    """Which files to fetch from where, and that they belong into `folder`."""
    page, what, needs = _BY_HAND[dataset]
    return (
        f"{dataset} cannot be fetched by a program: its page {page} asks for {needs}. "
        f"Fetch {what}, put them into {folder} as they are, and run the command again with "
        f"--raw {folder}."
    )


def download_ml1m(
    dest: str | Path,
    url: str = OFFICIAL,
    retries: int = 4,
    timeout: float = 30.0,
    quiet: bool = False,
    waits: tuple[float, ...] = _WAITS,
    archive_md5: str = ARCHIVE_MD5,
    files: dict[str, tuple[int, str]] = FILES,
) -> Path:
    """The folder dest/ml-1m with the four files, fetched unless they are there and right.

    timeout, waits: seconds; the system's proxies are used.  archive_md5, files: what the archive
    and its files must be (bytes, md5); other values serve another archive of this layout.
    Raises:  ValueError: another protocol than https (http to this machine itself is allowed);
        DownloadError; ChecksumError: the wrong file is kept as <name>.bad.
    """
    dest = Path(dest).expanduser()
    folder = dest / "ml-1m"
    if all(_is_right(folder / name, *entry) for name, entry in files.items()):
        return folder
    check_protocol(url)
    if not quiet:
        print(TERMS, file=sys.stderr)
    dest.mkdir(parents=True, exist_ok=True)
    archive = dest / ARCHIVE
    if not (archive.exists() and _md5(archive) == archive_md5):
        part = archive.with_name(archive.name + ".part")
        fetch(url, part, retries, timeout, waits, quiet)
        _check_md5(part, archive, archive_md5)
        os.replace(part, archive)
    return extract(archive, folder, files)


def extract(archive: Path, folder: Path, files: dict[str, tuple[int, str]] = FILES) -> Path:
    """`folder` with the known files of the archive, all of them or none.

    Raises:  DownloadError: no such archive, or a file is missing in it or too large;
        ChecksumError.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            # By base name: a path inside the archive never decides where a file is written.
            members = {Path(item.filename).name: item for item in packed.infolist()}
            for name, (_, md5) in files.items():
                _extract_one(packed, archive, members.get(name), temporary / name)
                _check_md5(temporary / name, folder.with_name(name), md5)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise DownloadError(
            f"the archive cannot be unpacked ({error})",
            file=archive,
            remedy="delete it and fetch it again",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _extract_one(packed: zipfile.ZipFile, archive: Path, member, target: Path) -> None:
    if member is None or member.file_size > _LARGEST:
        raise DownloadError(
            "the archive lacks the file" if member is None else "the file is too large",
            file=archive,
            column=target.name,
            expected=f"a file of at most {_LARGEST} bytes",
            remedy="delete the archive and fetch it again",
        )
    with packed.open(member) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, _CHUNK)


def _is_right(path: Path, size: int, md5: str) -> bool:
    return path.is_file() and path.stat().st_size == size and _md5(path) == md5


def _check_md5(path: Path, name: Path, md5: str) -> None:
    """Raises ChecksumError, with the file kept as <name>.bad."""
    found = _md5(path)
    if found == md5:
        return
    size = path.stat().st_size
    bad = name.with_name(name.name + ".bad")
    os.replace(path, bad)
    raise ChecksumError(
        f"md5 of {size} bytes is wrong",
        file=bad,
        value=found,
        expected=md5,
        remedy="fetch it again; if it stays wrong, download the archive from its page by hand",
    )


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
