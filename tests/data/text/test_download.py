"""The download of MovieLens-1M against a server on this machine: what happens when things fail."""

import hashlib
import http.server
import io
import threading
import zipfile
from contextlib import contextmanager

import pooch.core
import pytest

from hamur.data.text.download import download_ml1m, extract, instructions
from hamur.errors import ChecksumError, DownloadError

# requests leaves the connection of a refused answer to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
CONTENT = {
    "ratings.dat": b"1::2::3::4\n" * 20_000,
    "users.dat": b"1::F::1::1::12345\n",
    "movies.dat": "1::Café::Drama\n".encode("latin-1"),
    "README": b"read me\n",
}
FILES = {name: (len(data), hashlib.md5(data).hexdigest()) for name, data in CONTENT.items()}


def archive(content=CONTENT, prefix="ml-1m/") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, data in content.items():
            packed.writestr(zipfile.ZipInfo(prefix + name), data)
    return buffer.getvalue()


ARCHIVE = archive()


@contextmanager
def serving(*answers):
    """Each answer is (code, body, declared length) of one request; the last one stays."""
    script = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests += 1
            code, body, length = script.pop(0) if len(script) > 1 else script[0]
            self.send_response(code)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.handle_error = 0, lambda *_: None
    server.url = f"http://127.0.0.1:{server.server_address[1]}/ml-1m.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


WHOLE = (200, ARCHIVE, len(ARCHIVE))
CUT = (200, ARCHIVE[: len(ARCHIVE) // 2], len(ARCHIVE))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)


def fetch(folder, url, **changed):
    md5 = hashlib.md5(ARCHIVE).hexdigest()
    return download_ml1m(
        folder, url, **dict(timeout=5, quiet=True, archive_md5=md5, files=FILES) | changed
    )


def found(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_good_connection_gives_the_four_files_once(tmp_path, capsys):
    with serving(WHOLE) as server:
        folder = fetch(tmp_path, server.url, quiet=False)
        said = capsys.readouterr()
        assert folder == tmp_path / "ml-1m" and found(folder) == CONTENT
        assert "no redistribution" in said.err and "Harper" in said.err and said.out == ""
        fetch(tmp_path, server.url)
        (folder / "users.dat").write_bytes(b"edited")
        fetch(tmp_path, server.url)  # from the archive, which is still there
    assert server.requests == 1 and found(folder) == CONTENT


@pytest.mark.parametrize("failure", [(503, b"", 0), CUT, (200, ARCHIVE[:-1] + b"?", len(ARCHIVE))])
def test_a_failed_try_is_repeated_and_leaves_nothing(tmp_path, failure):
    with serving(failure, failure, WHOLE) as server:
        assert found(fetch(tmp_path, server.url)) == CONTENT
    assert server.requests == 3
    with serving(failure) as server, pytest.raises((DownloadError, ChecksumError)) as caught:
        fetch(tmp_path / "again", server.url, retries=2)
    assert server.requests == 2 and not list((tmp_path / "again").iterdir())
    text = str(caught.value)
    assert "Remedy: download http" in text and "`zip=FILE`" in text and "grouplens.org" in text
    assert "\n" not in text


def test_wrong_bytes_and_no_server_are_named(tmp_path):
    wrong = (200, ARCHIVE[:-1] + b"?", len(ARCHIVE))
    with (
        serving(wrong) as server,
        pytest.raises(ChecksumError, match=hashlib.md5(ARCHIVE).hexdigest()),
    ):
        fetch(tmp_path, server.url, retries=1)
    with pytest.raises(DownloadError, match=r"could not fetch ml-1m\.zip from 127\.0\.0\.1 in 3"):
        fetch(tmp_path, server.url, retries=3)


def test_wrong_file_in_the_archive_leaves_no_folder(tmp_path):
    for changed in (b"1::F::1::1::12346\n", b"1"):
        path = tmp_path / "a.zip"
        path.write_bytes(archive(CONTENT | {"users.dat": changed}))
        with pytest.raises(ChecksumError, match=r"a\.zip: users\.dat of \d+ bytes is not"):
            extract(path, tmp_path / "ml-1m", FILES)
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_only_https_leaves_this_machine(tmp_path):
    with pytest.raises(DownloadError, match="only https"):
        fetch(tmp_path, "http://example.org/ml-1m.zip")


def test_paths_inside_an_archive_do_not_decide_where_files_go(tmp_path):
    path = tmp_path / "in" / "a.zip"
    path.parent.mkdir()
    path.write_bytes(archive(prefix="../../outside/"))
    folder = extract(path, tmp_path / "in" / "ml-1m", FILES)
    assert found(folder) == CONTENT and [p.name for p in tmp_path.iterdir()] == ["in"]


def encrypted():
    data, entry = bytearray(archive()), -1
    while (entry := data.find(b"PK\x01\x02", entry + 1)) >= 0:
        data[entry + 8] |= 1  # a flag of the directory
    return bytes(data)


@pytest.mark.parametrize(
    "data", [b"no zip at all", archive()[:-40], archive({"README": b"x"}), encrypted()]
)
def test_unusable_archives_are_named(tmp_path, data):
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(DownloadError, match=r"a\.zip.*Remedy: delete"):
        extract(path, tmp_path / "ml-1m", FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("dataset", ["ali-ccp", "aliexpress", "amazon"])
def test_what_to_fetch_by_hand(dataset):
    text = instructions(dataset, "some/folder")
    assert "https://" in text and "some/folder" in text and "`raw`" in text and "\n" not in text
