"""A preparation that is killed, runs out of disk, or finds something in its way."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hamur.commands.prepare_data import main_prepare
from hamur.data import load_ali_ccp, load_movielens, synthetic
from hamur.data.ali_ccp import raw as ali_ccp_raw
from hamur.data.ali_ccp.raw import DATASET as ALI_CCP
from hamur.data.cache import open_cache
from hamur.data.streaming import jobs
from hamur.data.streaming.jobs import Workspace
from hamur.data.streaming.prepare import prepare
from hamur.data.streaming.statistics import as_table
from hamur.errors import CacheError, DataError, LeakageError
from tests.support.caches import content

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "examples" / "prepare_data.py"
RANGE_BYTES = 200_000
CHILD = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
if __name__ == "__main__":
    from hamur.data.ali_ccp.raw import DATASET, Options
    from hamur.data.streaming.jobs import Workspace
    from hamur.data.streaming.prepare import prepare
    from hamur.interrupts import Interrupted, run
    raw, out, workers, moment, number = sys.argv[1:]
    known, wait = [], Workspace._wait

    def until_the_moment(self, task, bar):
        known.append(wait(self, task, bar))
        if len(known) == int(moment):
            os.kill(os.getpid(), int(number))
        return known[-1]

    Workspace._wait = until_the_moment
    options = Options(range_bytes={RANGE_BYTES})
    options = dict(options=options, workers=int(workers), quiet=True)
    try:
        run(lambda: prepare(DATASET, raw, out, **options), "child.py", "", compiles=False)
    except Interrupted as stop:
        sys.exit(stop.exit_code)
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "ali"
    synthetic.make_ali_ccp_raw(
        folder, 3_000, 4, test_rows=1_500, min_domain_rows=40, min_positives=2
    )
    return folder


@pytest.fixture(scope="module")
def reference(raw, tmp_path_factory):
    """An uninterrupted preparation."""
    return run(raw, tmp_path_factory.mktemp("reference") / "out")


def run(raw: Path, out: Path, overwrite=False, allow_leakage=(), **options):
    options = ali_ccp_raw.Options(range_bytes=RANGE_BYTES, **options)
    more = dict(workers=1, quiet=True, overwrite=overwrite, allow_leakage=allow_leakage)
    return prepare(ALI_CCP, raw, out, options, **more)


def finished(tmp_path: Path) -> set[Path]:
    """Finished jobs' reports; os.walk, unlike rglob, lets a worker rename folders meanwhile."""
    folders = os.walk(tmp_path / "out.work")
    return {
        Path(where) / "report.json"
        for where, _, names in folders
        if "report.json" in names and ".tmp-" not in where
    }


def alive(group: int) -> bool:
    """Whether a process of this group still runs."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, own = stat.read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state != "Z":
                return True
    return False


def killed_at(moment: int, workers: int, number: int, tmp_path: Path, raw: Path) -> None:
    """A preparation that a signal ends once it knows of so many finished jobs; its workers, busy
    with others, end too, after SIGKILL left to themselves."""
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    command = [sys.executable, str(child), str(raw), str(tmp_path / "out")]
    command += [str(workers), str(moment), str(int(number))]
    process = subprocess.Popen(command, start_new_session=True)
    assert process.wait() == (-number if number == signal.SIGKILL else 128 + number)
    while alive(process.pid):
        time.sleep(0.05)


def test_killed_runs_continue_to_the_same_bytes(raw, reference, tmp_path):
    """Signals at four moments: nothing half-made appears, nothing finished is done again."""
    total = reference.jobs_done
    before: dict[Path, int] = {}
    kill, term = signal.SIGKILL, signal.SIGTERM
    for share, workers, number in ((0.1, 1, kill), (0.4, 2, kill), (0.5, 2, term), (0.7, 1, kill)):
        killed_at(int(share * total), workers, number, tmp_path, raw)
        assert not (tmp_path / "out").exists()
        stamps = {path: path.stat().st_mtime_ns for path in finished(tmp_path)}
        assert len(stamps) >= int(share * total)
        assert {path: stamps[path] for path in before} == before
        before = stamps
    made = run(raw, tmp_path / "out")
    assert made.jobs_reused == len(before) and made.jobs_done + made.jobs_reused == total
    assert content(tmp_path / "out") == content(reference.folder)
    assert not (tmp_path / "out.work").exists()


def test_finished_output_is_found_and_nothing_is_done(raw, reference):
    again = run(raw, reference.folder)
    assert again.jobs_done == 0 and again.stats == reference.stats


def test_other_options_need_overwrite_and_replace_only_when_complete(raw, tmp_path, caplog):
    out = tmp_path / "out"
    run(raw, out)
    old = content(out)
    with pytest.raises(CacheError, match="`overwrite=True`"):
        run(raw, out, split="hash")
    with pytest.raises(DataError):
        run(raw, out, overwrite=True, split="hash", domain_map={1: 0, 2: 1, 3: 2})
    assert content(out) == old
    run(raw, out, overwrite=True, split="hash")
    assert open_cache(out)[1].split["rule"] == "hash"
    assert "building the cache again" in caplog.text and "have changed" in caplog.text


def test_a_folder_that_is_no_cache_is_never_deleted(raw, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(CacheError, match="no cache"):
        run(raw, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_two_writers_are_told_apart(tmp_path):
    with (
        Workspace(tmp_path / "out", {"source": 1}, quiet=True),
        pytest.raises(CacheError, match=f"process {os.getpid()} is preparing"),
    ):
        Workspace(tmp_path / "out", {"source": 1}, quiet=True).__enter__()


def test_an_interrupted_preparation_of_other_files_is_not_continued(tmp_path):
    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path / "out", {"source": 1}, quiet=True):
        raise KeyboardInterrupt
    with pytest.raises(CacheError, match=r"another source is here.*Remedy: delete"):
        Workspace(tmp_path / "out", {"source": 2}, quiet=True).__enter__()


def command(raw: Path, out: Path, capsys) -> tuple[int, str]:
    """Exit code and standard error of the script's function, in this process."""
    flags = ("--dataset", "ali-ccp", "--raw", str(raw), "--out", str(out), "--quiet")
    code = main_prepare(str(SCRIPT), "", flags)
    return code, capsys.readouterr().err


@pytest.fixture
def small_files():
    """A limit on the size of files stands for the disk: parts of 200 kB cannot be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(raw, tmp_path, capsys, small_files):
    code, error = command(raw, tmp_path / "out", capsys)
    assert code == 2 and "Remedy: make room" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mounted(tmp_path):
    """mounted(options) -> the folder of a file system in memory with these mount options."""
    folder = tmp_path / "mount"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this process may not mount a file system")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True)


def test_a_disk_that_fills_up_is_one_clear_line(raw, mounted, capsys):
    """Not at once, as above: after some parts have been written."""
    folder = mounted("size=400k")
    code, error = command(raw, folder / "out", capsys)
    assert code == 2 and "Remedy: make room" in error and error.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_a_read_only_target_is_one_clear_line(raw, mounted, capsys):
    folder = mounted("ro")
    code, error = command(raw, folder / "out", capsys)
    assert code == 2 and error.count("\n") == 1 and str(folder) in error
    assert "Read-only" in error


def test_an_unusable_target_is_one_clear_line(raw, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, error = command(raw, tmp_path / "file" / "out", capsys)
    assert code == 2 and error.count("\n") == 1 and "file" in error


def test_every_file_is_on_disk_before_a_cache_is_complete(raw, tmp_path, monkeypatch):
    """In the order of the calls: all files and folders synced, then COMPLETE, then the new name."""
    calls: list[Path] = []
    for module in ("streaming.jobs", "cache"):
        monkeypatch.setattr(f"hamur.data.{module}.sync", calls.append)
    touch = Path.touch
    monkeypatch.setattr(Path, "touch", lambda path: (calls.append(path), touch(path)))
    run(raw, tmp_path / "out")
    last = next(n for n, path in enumerate(calls) if path.name == "COMPLETE")
    folder = calls[last].parent
    synced = {str(path.relative_to(folder)) for path in calls[:last] if folder in path.parents}
    there = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert synced == there - {"COMPLETE"}
    jobs_done = {path.parent for path in calls if path.name == "report.json"}
    assert len(jobs_done) > 40 and all(".tmp-" in path.name for path in jobs_done)


def test_script_prepares_movielens_and_training_reads_the_cache(movielens_folder, tmp_path):
    out = tmp_path / "out"
    flags = ("--dataset", "ml-1m", "--raw", str(movielens_folder), "--out", str(out), "--verify")
    run = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "total" in run.stdout and "ratings.dat: 2,000 rows read, 2,000 kept" in run.stdout
    splits, _schema = load_movielens(out)
    expected, _ = load_movielens(movielens_folder, cache_dir=tmp_path / "cache")
    assert np.array_equal(splits.train.sparse, expected.train.sparse)
    stats = json.loads((out / "stats.json").read_text())
    assert [stats["splits"][part]["rows"] for part in stats["splits"]] == [1600, 200, 200]
    with pytest.raises(ValueError, match="prepare it again"):
        load_movielens(out, split="temporal")


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--min_count", "3"), "--min_count does not apply to --dataset ml-1m"),
        (("--expect", "all"), "--expect is 'all'; known are none"),
        (("--split", "sideways"), "split is 'sideways'"),
    ],
)
def test_wrong_flags_are_one_line(movielens_folder, tmp_path, flags, message, capsys):
    base = ("--dataset", "ml-1m", "--raw", str(movielens_folder), "--out", str(tmp_path / "out"))
    try:
        code = main_prepare(str(SCRIPT), "", [*base, *flags])
    except SystemExit as ended:  # the parser's own way out
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1


def test_statistics_count_what_the_tables_hold(reference):
    splits, schema = open_cache(reference.folder)
    for part, table in splits._asdict().items():
        told = reference.stats["splits"][part]
        assert told["rows"] == len(table)
        assert told["click_positives"] == int(table.labels[:, 0].sum())
        users = np.unique(table.sparse[:, 0])
        assert told["users"] == (users > 0).sum()
        for d in range(3):
            rows = table.domain[:] == d
            items = np.unique(table.sparse[:, schema.sparse_names.index("205")][rows])
            assert told["domains"][str(d)]["rows"] == rows.sum()
            assert told["domains"][str(d)]["items"] == (items > 0).sum()
    text = as_table(reference.stats)
    assert "sample_skeleton_train.csv: 3,000 rows read" in text


def test_a_column_that_knows_the_label_stops_the_preparation(raw, tmp_path):
    """The value of field 508 is the click itself in these files."""
    for path in raw.glob("*.csv"):
        lines = path.read_text().splitlines()
        if path.name.startswith("sample_skeleton"):
            for i, line in enumerate(lines):
                head, _, features = line.rpartition(",")
                kept = [f for f in features.split("\x01") if not f.startswith("508\x02")]
                value = 1 + int(head.split(",")[1])
                lines[i] = head + "," + "\x01".join([*kept, f"508\x029050000\x03{value}.0"])
        (tmp_path / path.name).write_text("\n".join(lines) + "\n")
    with pytest.raises(LeakageError, match="D508"):
        run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    made = run(tmp_path, tmp_path / "out", allow_leakage=("D508",))
    assert len(load_ali_ccp(made.folder)[0].train) > 2_500


def test_a_job_that_a_dying_worker_finished_first_is_taken_over(tmp_path):
    """The worker of a killed run and the new run's may reach the same rename."""

    def work(temporary: Path) -> dict:
        first = tmp_path / "job"
        first.mkdir()
        (first / jobs.REPORT).write_text('{"rows": 3}')
        return {"rows": 3}

    assert jobs.run_job(tmp_path / "job", work, ()) == {"rows": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["job"]
