"""The downloader against a server on this machine: what it does when things go wrong."""

import hashlib
import http.server
import io
import threading
import time
import zipfile
from contextlib import contextmanager

import pytest

from hamur.data.errors import ChecksumError, DownloadError
from hamur.data.text import download
from hamur.data.text import fetch as fetching
from hamur.data.text.download import download_ml1m, extract, instructions

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
HALF = len(ARCHIVE) // 2


class Server(http.server.ThreadingHTTPServer):
    """Answers with one script entry a request: a function of the handler; the last one stays."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.ranges = list(script), []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/ml-1m.zip"

    def handle_error(self, request, client_address):
        pass  # a client that gave up is part of the test


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        answer = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        answer(self)

    def log_message(self, *_):
        pass

    def send(self, code, body=b"", length=None, **headers):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def whole(handler):
    handler.send(200, ARCHIVE)


def cut(handler):
    """Half of the body, then the connection ends."""
    handler.send(200, ARCHIVE[:HALF], length=len(ARCHIVE))
    handler.close_connection = True


def from_range(handler):
    begin = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    size = len(ARCHIVE)
    handler.send(206, ARCHIVE[begin:], Content_Range=f"bytes {begin}-{size - 1}/{size}")


def error(code, **headers):
    return lambda handler: handler.send(code, **headers)


@contextmanager
def serving(*script):
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fetch(folder, url, **changed):
    md5 = hashlib.md5(ARCHIVE).hexdigest()
    options = dict(timeout=5, quiet=True, waits=(0.0,), archive_md5=md5, files=FILES) | changed
    return download_ml1m(folder, url, **options)


def found(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_good_connection_gives_the_four_files(tmp_path, capsys):
    with serving(whole) as server:
        folder = fetch(tmp_path, server.url, quiet=False)
    assert folder == tmp_path / "ml-1m" and found(folder) == CONTENT
    assert server.ranges == [None]
    said = capsys.readouterr()
    assert "no redistribution" in said.err and "Harper" in said.err and said.out == ""


def test_files_that_are_right_are_not_fetched_again(tmp_path):
    with serving(whole) as server:
        fetch(tmp_path, server.url)
        fetch(tmp_path, server.url)
        assert len(server.ranges) == 1
        (tmp_path / "ml-1m" / "users.dat").write_bytes(b"edited")
        fetch(tmp_path, server.url)  # from the archive, which is still there
    assert len(server.ranges) == 1 and found(tmp_path / "ml-1m") == CONTENT


def test_a_slow_server_is_waited_for(tmp_path):
    def slowly(handler):
        handler.send(200, ARCHIVE[:HALF], length=len(ARCHIVE))
        handler.wfile.flush()
        time.sleep(0.2)
        handler.wfile.write(ARCHIVE[HALF:])

    with serving(slowly) as server:
        fetch(tmp_path, server.url)
    assert len(server.ranges) == 1


def test_a_server_that_stops_sending_is_tried_again_where_it_stopped(tmp_path):
    def silent(handler):
        handler.send(200, ARCHIVE[:HALF], length=len(ARCHIVE))
        handler.wfile.flush()
        time.sleep(0.6)

    with serving(silent, from_range) as server:
        fetch(tmp_path, server.url, timeout=0.2)
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_unavailable_twice_then_fine(tmp_path):
    with serving(error(503), error(503), whole) as server:
        fetch(tmp_path, server.url)
    assert len(server.ranges) == 3


def test_a_cut_connection_goes_on_at_the_byte_where_it_stopped(tmp_path):
    with serving(cut, from_range) as server:
        folder = fetch(tmp_path, server.url)
    assert server.ranges == [None, f"bytes={HALF}-"] and found(folder) == CONTENT


def test_a_later_run_goes_on_as_well(tmp_path):
    with serving(cut) as server, pytest.raises(DownloadError, match=f"byte {HALF} of"):
        fetch(tmp_path, server.url, retries=1)
    assert (tmp_path / "ml-1m.zip.part").stat().st_size == HALF
    with serving(from_range) as server:
        fetch(tmp_path, server.url)
    assert server.ranges == [f"bytes={HALF}-"]


def test_a_server_without_ranges_begins_again(tmp_path):
    with serving(cut, whole) as server:
        folder = fetch(tmp_path, server.url)
    assert len(server.ranges) == 2 and found(folder) == CONTENT


def test_a_part_at_another_place_is_not_appended(tmp_path):
    def elsewhere(handler):
        size = len(ARCHIVE)
        handler.send(206, ARCHIVE[5:], Content_Range=f"bytes 5-{size - 1}/{size}")

    with serving(cut, elsewhere, whole) as server:
        folder = fetch(tmp_path, server.url)
    assert found(folder) == CONTENT


def test_a_refused_range_begins_again(tmp_path):
    (tmp_path / "ml-1m.zip.part").write_bytes(b"x" * 2 * len(ARCHIVE))
    with serving(error(416), whole) as server:
        folder = fetch(tmp_path, server.url)
    assert server.ranges[1] is None and found(folder) == CONTENT


def test_not_found_is_not_tried_again(tmp_path):
    with serving(error(404)) as server, pytest.raises(DownloadError, match=r"404.*Remedy: .*--zip"):
        fetch(tmp_path, server.url)
    assert len(server.ranges) == 1


def test_retry_after_is_honoured(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(fetching.time, "sleep", slept.append)
    with serving(error(429, Retry_After="7"), error(503, Retry_After="900"), whole) as server:
        fetch(tmp_path, server.url)
    assert slept == [7.0, 60.0]


def test_no_server_says_what_to_do(tmp_path):
    with serving(whole) as server:
        url = server.url
    with pytest.raises(
        DownloadError, match=r"could not reach 127\.0\.0\.1 after 3 tries"
    ) as caught:
        fetch(tmp_path, url, retries=3)
    assert f"download {url} yourself and pass --raw <folder> or --zip <file>" in str(caught.value)


def test_wrong_archive_is_kept_as_bad_and_not_unpacked(tmp_path):
    with (
        serving(lambda h: h.send(200, ARCHIVE[:-1] + b"?")) as server,
        pytest.raises(ChecksumError, match="md5 of") as caught,
    ):
        fetch(tmp_path, server.url)
    assert caught.value.value != hashlib.md5(ARCHIVE).hexdigest()
    assert hashlib.md5(ARCHIVE).hexdigest() in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["ml-1m.zip.bad"]


def test_wrong_file_in_the_archive_leaves_no_folder(tmp_path):
    wrong = archive(CONTENT | {"users.dat": b"1::F::1::1::12346\n"})
    md5 = hashlib.md5(wrong).hexdigest()
    with (
        serving(lambda h: h.send(200, wrong)) as server,
        pytest.raises(ChecksumError, match="users"),
    ):
        fetch(tmp_path, server.url, archive_md5=md5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ml-1m.zip", "users.dat.bad"]


def test_redirects_stay_with_https(tmp_path):
    with serving(whole) as other:
        with serving(error(302, Location=other.url)) as server:
            fetch(tmp_path / "a", server.url)
        away = error(302, Location="http://example.org/ml-1m.zip")
        with serving(away) as server, pytest.raises(DownloadError, match="only https"):
            fetch(tmp_path / "b", server.url)
    with pytest.raises(DownloadError, match="only https"):
        fetch(tmp_path / "c", "http://example.org/ml-1m.zip")


def test_paths_inside_an_archive_do_not_decide_where_files_go(tmp_path):
    path = tmp_path / "in" / "a.zip"
    path.parent.mkdir()
    path.write_bytes(archive(prefix="../../outside/"))
    folder = extract(path, tmp_path / "in" / "ml-1m", FILES)
    assert found(folder) == CONTENT and [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("data", [b"no zip at all", archive()[:-40], archive({"README": b"x"})])
def test_unusable_archives_are_named(tmp_path, data):
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(DownloadError, match=r"a\.zip.*Remedy: delete"):
        extract(path, tmp_path / "ml-1m", FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_file_declared_too_large_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_LARGEST", 1000)
    path = tmp_path / "a.zip"
    path.write_bytes(ARCHIVE)
    with pytest.raises(DownloadError, match=r"ratings\.dat.*too large"):
        extract(path, tmp_path / "ml-1m", FILES)


@pytest.mark.parametrize("dataset", ["ali-ccp", "aliexpress", "amazon"])
def test_what_to_fetch_by_hand(dataset):
    text = instructions(dataset, "some/folder")
    assert "https://" in text and "--raw some/folder" in text and "\n" not in text
