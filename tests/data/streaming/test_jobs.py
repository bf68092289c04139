"""Jobs in threads, and the ranges of a file that they read."""

import time
from pathlib import Path

import pytest

from hamur.data.streaming import sources
from hamur.data.streaming.jobs import Job, Workspace, advance
from hamur.data.streaming.sources import Source


def test_an_error_ends_the_jobs_of_other_threads(tmp_path):
    ended = []

    def endless(folder: Path) -> dict:
        for _ in range(1_000):
            advance(1)
            time.sleep(0.01)
        ended.append(folder)
        return {}

    def failing(folder: Path) -> dict:
        raise ValueError("a bad row")

    with (
        pytest.raises(ValueError, match="a bad row"),
        Workspace(tmp_path / "out", {}, workers=2, quiet=True, threads=True) as space,
    ):
        space.run("reading", [Job("failing", failing), Job("endless", endless)])
    assert not ended
    assert [path.name for path in (space.folder / "jobs").iterdir()] == []
    advance(1)  # nothing is given up any more


@pytest.mark.parametrize("content, largest", [(b"", 40), (b"x" * 7, 40), (b"x" * 999, 40)])
def test_ranges_cover_a_file_and_small_files_have_several(tmp_path, monkeypatch, content, largest):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 5)
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    ranges = Source(path).ranges(largest)
    starts, stops = zip(*ranges)
    assert starts == (0, *stops[:-1]) and stops[-1] in (len(content), None)
    if content:
        sizes = [stop - start for start, stop in ranges]
        assert max(sizes) <= largest and all(size >= 5 for size in sizes[:-1])
        assert len(ranges) == (2 if len(content) == 7 else 25)
