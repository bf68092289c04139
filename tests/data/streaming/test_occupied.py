"""What lies where a cache is to be: foreign files, leftovers of killed writers, damaged jobs."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hamur.commands.prepare_data import main_prepare
from hamur.data.cache import open_cache
from hamur.data.movielens.load import DATASET as MOVIELENS
from hamur.data.streaming import jobs
from hamur.data.streaming.jobs import Workspace
from hamur.data.streaming.prepare import prepare
from hamur.errors import CacheError
from tests.support.caches import content
from tests.support.faults import assert_ours

SCRIPT = "examples/prepare_data.py"


def test_overwrite_removes_nothing_that_it_did_not_write(movielens_copy, tmp_path, capsys):
    out, saved = tmp_path / "out", tmp_path / "out" / "runs" / "mlp-7" / "metrics.json"
    flags = ["--dataset", "ml-1m", "--raw", str(movielens_copy), "--out", str(out), "--quiet"]
    assert main_prepare(SCRIPT, "", flags) == 0
    saved.parent.mkdir(parents=True)
    saved.write_text("{}")
    old = content(out)
    capsys.readouterr()
    flags += ["--split", "temporal", "--overwrite"]
    assert main_prepare(SCRIPT, "", flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{saved}: " in error and "move it out" in error
    assert content(out) == old
    saved.unlink()
    assert main_prepare(SCRIPT, "", flags) == 0
    assert open_cache(out)[1].split["rule"] == "temporal"


def test_a_damaged_output_is_told_and_made_again(movielens_copy, tmp_path):
    out = prepare(MOVIELENS, movielens_copy, tmp_path / "out", quiet=True).folder
    old, path = content(out), out / "train" / "dense.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CacheError, match=f"{path}: the output exists, but the file has changed"):
        prepare(MOVIELENS, movielens_copy, out, quiet=True)
    assert prepare(MOVIELENS, movielens_copy, out, quiet=True, overwrite=True).folder == out
    assert content(out) == old


def test_what_killed_writers_left_is_removed_by_the_next(movielens_copy, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, left = platform.node(), []
    for name in (f"tmp-{ended.pid}-1-{here}", f"old-{ended.pid}-2-{here}"):
        left.append(tmp_path / f"out.{name}")
    for name in (f"tmp-{os.getpid()}-9-{here}", f"tmp-{ended.pid}-1-elsewhere"):
        left.append(tmp_path / f"out.{name}")
    left.append(tmp_path / f"other.tmp-{ended.pid}-1-{here}")
    for folder in left:
        (folder / "train").mkdir(parents=True)
    prepare(MOVIELENS, movielens_copy, tmp_path / "out", quiet=True)
    assert [folder.exists() for folder in left] == [False, False, True, True, True]


def test_the_work_of_a_complete_output_is_removed_by_the_same_command(
    movielens_copy, tmp_path, monkeypatch
):
    """Ended between the output's appearance and the removal of its work folder."""
    out, work = tmp_path / "out", tmp_path / "out.work"

    def killed(folder, **options):
        if folder == work:
            raise KeyboardInterrupt
        return removed(folder, **options)

    removed = shutil.rmtree
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(jobs.shutil, "rmtree", killed)
        prepare(MOVIELENS, movielens_copy, out, quiet=True)
    assert out.is_dir() and (work / "progress.json").exists()
    before, mark = content(out), work / "foreign.txt"
    mark.touch()
    prepare(MOVIELENS, movielens_copy, out, quiet=True)
    assert mark.exists()
    mark.unlink()
    with jobs.lock(work / "lock"):
        prepare(MOVIELENS, movielens_copy, out, quiet=True)
        assert work.exists()
    prepare(MOVIELENS, movielens_copy, out, quiet=True)
    assert not work.exists() and content(out) == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed", "report"])
def test_a_finished_job_whose_files_are_damaged_is_done_again(tmp_path, damage):
    def work(folder: Path) -> dict:
        (folder / "rows.bin").write_bytes(bytes(range(100)))
        return {"rows": 100}

    def interrupted() -> Workspace:
        with pytest.raises(KeyboardInterrupt), Workspace(tmp_path / "out", {}, quiet=True) as space:
            assert space.run("reading", [jobs.Job("one", work)]) == [{"rows": 100}]
            assert (space.path("one") / "rows.bin").read_bytes() == bytes(range(100))
            raise KeyboardInterrupt
        return space

    assert (interrupted().done, interrupted().reused) == (1, 1)
    folder = interrupted().path("one")
    damages = {"flipped": b"\xff" + bytes(range(1, 100)), "cut": b"\x00"}
    if damage == "removed":
        (folder / "rows.bin").unlink()
    elif damage == "report":
        (folder / jobs.REPORT).write_text('{"rows": 100')
    else:
        (folder / "rows.bin").write_bytes(damages[damage])
    space = interrupted()
    assert (space.done, space.reused) == (1, 0)


def test_a_torn_workspace_is_one_line(tmp_path):
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work" / "progress.json").write_text('{"dataset": "ml')
    with (
        pytest.raises(CacheError, match=r"progress.json:1: no JSON.*delete that folder") as told,
        Workspace(tmp_path / "out", {}, quiet=True),
    ):
        pass
    assert_ours(told.value)
