"""MovieLens-1M from its official address, checked; and what to fetch by hand for the other sets.

    download_ml1m(dest)      dest/ml-1m/{ratings,users,movies}.dat and README
    instructions(dataset)    what to fetch where, for archives behind a login

Nothing but the four known files leaves the archive, and neither the archive nor a file gets its
name before its checksum is right.
"""

import hashlib
import os
import shutil
import sys
import urllib.parse
import zipfile
import zlib
from pathlib import Path

from hamur.errors import ChecksumError, DownloadError

PAGE = "https://grouplens.org/datasets/movielens/1m"
OFFICIAL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
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
# Page, what it asks for, files.
_BY_HAND = {
    "ali-ccp": (
        *("https://tianchi.aliyun.com/dataset/408", "a login and the acceptance of an agreement"),
        "sample_train.tar.gz and sample_test.tar.gz, or the four files "
        "sample_skeleton_{train,test}.csv and common_features_{train,test}.csv",
    ),
    "aliexpress": (
        *("https://tianchi.aliyun.com/dataset/74690", "a login"),
        "aliexpress_NL_datasets.zip, and those of ES, FR, US and RU as you need them",
    ),
    "amazon": (
        *("https://jmcauley.ucsd.edu/data/amazon", "a browser"),
        "reviews_<Category>_5.json.gz and meta_<Category>.json.gz of two categories, "
        "such as Books and Toys_and_Games",
    ),
}


def instructions(dataset: str, folder: str | Path) -> str:
    """Which files to fetch from where, and that they belong into `folder`."""
    page, needs, what = _BY_HAND[dataset]
    return (
        f"{dataset} cannot be fetched by a program: its page {page} asks for {needs}. "
        f"Fetch {what}, put them into {folder} as they are, and pass that folder as `raw`."
    )


def download_ml1m(
    dest: str | Path,
    url: str = OFFICIAL,
    retries: int = 4,
    timeout: float = 30.0,
    quiet: bool = False,
    archive_md5: str = ARCHIVE_MD5,
    files: dict[str, tuple[int, str]] = FILES,
) -> Path:
    """The folder dest/ml-1m with the four files, fetched unless they are there and right.

    timeout: seconds; retries: tries; the system's proxies are used.  archive_md5, files: what the
    archive and its files must be (bytes, md5); other values serve another archive of this layout.
    Raises:  DownloadError: no answer, or another protocol than https (http to this machine itself
        is allowed); ChecksumError: something else was sent.
    """
    dest = Path(dest).expanduser()
    folder = dest / "ml-1m"
    if all(_is_right(folder / name, *entry) for name, entry in files.items()):
        return folder
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise DownloadError(
            "only https is used", value=url, remedy="use the https address of the archive"
        )
    if not quiet:
        print(TERMS, file=sys.stderr)
    return extract(_fetch(url, dest, archive_md5, retries, timeout, quiet), folder, files)


def _fetch(url: str, dest: Path, md5: str, retries: int, timeout: float, quiet: bool) -> Path:
    """The archive in `dest`; pooch gives it its name once all of it is there and right."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the terms and the bar say it
    source = pooch.create(
        dest, "", registry={ARCHIVE: f"md5:{md5}"}, urls={ARCHIVE: url}, retry_if_failed=retries - 1
    )
    downloader = pooch.HTTPDownloader(timeout=timeout, progressbar=not quiet)
    by_hand = f"download {url} yourself and pass its folder as `raw`, or `zip=FILE`; page: {PAGE}"
    try:
        return Path(source.fetch(ARCHIVE, downloader=downloader))
    except requests.RequestException as error:
        host = urllib.parse.urlsplit(url).hostname
        reason = getattr(error.args[0] if error.args else None, "reason", error)
        raise DownloadError(
            f"could not fetch {ARCHIVE} from {host} in {retries} tries ({reason})", remedy=by_hand
        ) from None
    except ValueError as error:  # pooch has no class of its own for a wrong hash
        raise ChecksumError(
            f"{url} sent another file: {error}", expected=md5, remedy=by_hand
        ) from None


def extract(archive: Path, folder: Path, files: dict[str, tuple[int, str]] = FILES) -> Path:
    """`folder` with the known files of the archive, all of them or none.

    Raises:  DownloadError: no such archive, or a file is missing in it; ChecksumError.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            # By base name: a path inside the archive never decides where a file is written.
            members = {Path(item.filename).name: item for item in packed.infolist()}
            for name, (size, md5) in files.items():
                if name not in members:
                    raise KeyError(f"no {name} in it")
                content = packed.read(members[name]) if members[name].file_size == size else b""
                if _md5(content) != md5:
                    raise ChecksumError(
                        f"{name} of {members[name].file_size} bytes is not the official file",
                        file=archive,
                        value=_md5(content),
                        expected=f"{size} bytes of md5 {md5}",
                        remedy=f"fetch the archive again from {PAGE}",
                    )
                (temporary / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        raise DownloadError(
            f"the archive cannot be unpacked ({error})",
            file=archive,
            remedy="delete it and fetch it again",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _is_right(path: Path, size: int, md5: str) -> bool:
    return path.is_file() and path.stat().st_size == size and _md5(path.read_bytes()) == md5


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
