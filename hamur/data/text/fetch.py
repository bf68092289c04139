"""One file over https, in as many tries as it takes, resumed where a connection ended."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from hamur.data.errors import DownloadError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CHUNK = 1 << 16
_LONGEST_WAIT = 60.0  # seconds


class _Failure(Exception):
    """A try that may be repeated, after so many seconds if the server says so."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def fetch(
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
            total=expected, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=quiet
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
        check_protocol(new_url)
        return super().redirect_request(request, file, code, message, headers, new_url)


def check_protocol(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise DownloadError(
        "only https is used", value=url, remedy="use the https address of the archive"
    )
