"""MovieLens-1M from its official address, checked; and what to fetch by hand for the other sets.

    download_ml1m(dest)      dest/ml-1m/{ratings,users,movies}.dat and README
    instructions(dataset)    what to fetch where, for archives behind a login

A cut connection is resumed at the byte where it ended.  Nothing but the four known files leaves the
archive, and none of them gets its name before its checksum is right.
"""

import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

from tqdm import tqdm

from hamur.data.schema import ChecksumError, DownloadError

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
Please cite: F. M. Harper, J. A. Konstan: The MovieLens Datasets, ACM TiiS 5(4), article 19, 2015."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CHUNK = 1 << 16
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before another try
_LONGEST_WAIT = 60.0
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
    _check_protocol(url)
    if not quiet:
        print(TERMS, file=sys.stderr)
    dest.mkdir(parents=True, exist_ok=True)
    archive = dest / ARCHIVE
    if not (archive.exists() and _md5(archive) == archive_md5):
        part = archive.with_name(archive.name + ".part")
        _fetch(url, part, retries, timeout, waits, quiet)
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


class _Failure(Exception):
    """A try that may be repeated, after so many seconds if the server says so."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def _fetch(
    url: str, part: Path, retries: int, timeout: float, waits: tuple[float, ...], quiet: bool
) -> None:
    """The whole of `url` in `part`, of which the beginning may be there already."""
    for attempt in range(retries):
        try:
            _try(url, part, timeout, quiet)
            return
        except _Failure as failure:
            reason, wait = str(failure), failure.wait
        if attempt + 1 < retries:
            time.sleep(waits[min(attempt, len(waits) - 1)] if wait is None else wait)
    host = urllib.parse.urlsplit(url).hostname
    raise DownloadError(
        f"could not reach {host} after {retries} tries ({reason})",
        remedy=f"download {url} yourself and pass --raw <folder> or --zip <file>",
    )


def _try(url: str, part: Path, timeout: float, quiet: bool) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "hamur"} | ({"Range": f"bytes={have}-"} if have else {})
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            _judge(error, url, part)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _failure(error) from None
    with answer:
        if have and not (answer.status == 206 and _begins_at(answer, have)):
            have = 0  # the server sends the file from its beginning
        _receive(answer, part, have, quiet)


def _failure(error: Exception) -> _Failure:
    return _Failure(str(getattr(error, "reason", error)) or type(error).__name__)


def _begins_at(answer, position: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {position}-")


def _receive(answer, part: Path, have: int, quiet: bool) -> None:
    if have == 0 and answer.status == 206:
        raise _Failure("the server sent a part that was not asked for")
    length = answer.headers.get("Content-Length")
    expected = None if length is None else have + int(length)
    with (
        part.open("ab" if have else "wb") as file,
        tqdm(
            total=expected, initial=have, unit="B", unit_scale=True, desc=ARCHIVE, disable=quiet
        ) as bar,
    ):
        while chunk := _read(answer):
            file.write(chunk)  # a full disk is no reason to try again
            bar.update(len(chunk))
    size = part.stat().st_size
    if expected is not None and size < expected:
        raise _Failure(f"the connection ended at byte {size} of {expected}")


def _read(answer) -> bytes:
    try:
        return answer.read1(_CHUNK)  # what has arrived, so that a cut loses nothing
    except (OSError, http.client.HTTPException) as error:
        raise _failure(error) from None


def _judge(error: urllib.error.HTTPError, url: str, part: Path) -> None:
    """Raises what an answer of 4xx or 5xx means."""
    if error.code == 416:  # what we have is no beginning of the file
        part.unlink(missing_ok=True)
        raise _Failure("the server refuses to go on where the download stopped", wait=0.0)
    if error.code == 429 or error.code >= 500:
        raise _Failure(f"HTTP {error.code}", _retry_after(error))
    raise DownloadError(
        f"the server answers HTTP {error.code} for {url}",
        remedy="check the address, or download the archive yourself and pass --zip <file>",
    )


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    text = error.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_WAIT) if text.isdigit() else None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, new_url):
        _check_protocol(new_url)
        return super().redirect_request(request, file, code, message, headers, new_url)


def _check_protocol(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise DownloadError(
        "only https is used", value=url, remedy="use the https address of the archive"
    )


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
