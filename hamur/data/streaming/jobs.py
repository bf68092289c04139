"""Long preparations as stages of jobs: resumable, on all cores, the same bytes every time.

A stage is a list of independent `Job`s.  A job is a function at the top level of a module, because
it may run in another process:

    work(folder: Path, *args) -> dict        JSON values only: the job's report

It writes what it makes into `folder`, tells `advance(n)` how far it is, and looks at nothing but
its arguments and the folders of earlier jobs (`Workspace.path(name)`, passed as an argument).  The
folder gets its final name when all is written and synced: a job is either not done or done
completely.  A later run finds the folder and takes the report from it, so the result depends on
neither workers, nor their order, nor interruptions.
"""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hamur.errors import CacheError, DataError
from hamur.files import lock, read_json, sync, write_json

REPORT = "report.json"
MAX_WORKERS = 4
_TICK = 0.2  # seconds between looks at the workers
_PARENT_CHECK = 1.0  # seconds
_progress = None  # how far the jobs of a stage are; shared by all processes
_given_up = threading.Event()  # what the jobs in threads of this process do is of no use any more


@dataclass(frozen=True)
class Job:
    """name: unique, also the folder below the workspace; size: its share of the stage's bar."""

    name: str
    work: Callable[..., dict]
    args: tuple = ()
    size: int = 1


def advance(amount: int) -> None:
    """Called by a job as it goes: the bar moves by this much of the job's size."""
    if _given_up.is_set():
        raise CancelledError
    if _progress is not None:
        with _progress.get_lock():
            _progress.value += amount


def run_job(folder: Path, work: Callable[..., dict], args: tuple) -> dict:
    """The job's report, once its folder is complete."""
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        report = json.dumps(work(temporary, *args))
        files = {str(path.relative_to(temporary)): _sum(path) for path in _files(temporary)}
        told = {"report": json.loads(report), "files": files}
        (temporary / REPORT).write_text(json.dumps(told), encoding="utf-8")
        for path in temporary.rglob("*"):
            sync(path)
        try:
            os.rename(temporary, folder)
        except OSError:  # a worker that outlived its killed parent was first, with equal files
            if not (folder / REPORT).exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return json.loads(report)  # as a later run would read it


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != REPORT]


def _sum(path: Path) -> list[int]:
    """Size and CRC-32, which is quick and sees what a dying disk does."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return [size, crc]


def finished_report(folder: Path) -> dict | None:
    """The report of the job that finished in this folder; None where it, or a file, is damaged."""
    try:
        told = read_json(folder / REPORT, {"report": dict, "files": {str: [int]}})
        right = all(_sum(folder / name) == sums for name, sums in told["files"].items())
        return told["report"] if right else None
    except (OSError, ValueError):
        return None


def _share_progress(progress, parent: int | None = None) -> None:
    """What `advance` moves from now on.  parent: the process whose end ends this worker too."""
    global _progress
    _progress = progress
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it without a word; the parent speaks
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # A worker whose parent was killed waits for work that never comes.
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os._exit(1)


class Workspace:
    """The folder `<out>.work` of one preparation, locked while it is open (`with`).

    fingerprint: JSON values of everything that the result depends on: source files and options.
    workers: jobs at a time, in processes of their own; 1 does them in this one.
    threads: in threads of this process instead.  They start at once, but jobs that are interpreted
        Python for the most part would wait for each other.
    Attributes: done, reused: jobs of this run, and jobs found finished.
    Raises:  CacheError: another process works on the same output, or the folder is of an
        interrupted preparation of other files or options.  OSError: the folder cannot be written;
        what was written so far is removed then, so that a full disk is not left full.
    """

    def __init__(
        self,
        out: Path,
        fingerprint: dict,
        workers: int = 1,
        quiet: bool = False,
        threads: bool = False,
    ):
        self.out, self.workers, self.quiet, self.threads = Path(out), workers, quiet, threads
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.folder = self.out.with_name(self.out.name + ".work")
        self.done = self.reused = 0
        self._pool: Executor | None = None
        self._progress = multiprocessing.get_context("spawn").Value("q", 0)

    def __enter__(self) -> "Workspace":
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            # The system frees the lock of a process that dies, so there are no stale ones.
            self._lock = lock(self.folder / "lock")
        except BlockingIOError as holder:
            raise CacheError(
                f"process {holder} is preparing the same output",
                file=self.folder,
                remedy="wait for it, or choose another `out` or another `cache_dir`",
            ) from None
        try:
            self._claim()
        except BaseException:
            self._lock.close()
            raise
        _share_progress(self._progress)
        return self

    def _claim(self) -> None:
        state = self.folder / "progress.json"
        if not state.exists():
            write_json(state, self.fingerprint)
            return
        remedy = "delete that folder to begin again"
        before = read_json(state, dict, remedy, CacheError)
        if before != self.fingerprint:
            changed = [k for k, value in self.fingerprint.items() if before.get(k) != value]
            raise CacheError(
                f"an interrupted preparation with another {' and '.join(changed)} is here",
                file=self.folder,
                remedy=f"{remedy}, or repeat the old command",
            )
        for where, names, _ in os.walk(self.folder):  # rglob fails when a dying worker deletes
            for name in names:
                if ".tmp-" in name:
                    shutil.rmtree(os.path.join(where, name), ignore_errors=True)

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is not None:
            _given_up.set()  # where nothing failed, no job is left
            self._pool.shutdown(cancel_futures=True)
            _given_up.clear()
        # Worth continuing is what was interrupted; bad data must change before another attempt.
        useless = isinstance(error, (OSError, DataError)) and not isinstance(error, CacheError)
        try:
            if kind is None or useless:
                shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            _share_progress(None)
            self._lock.close()

    def path(self, name: str) -> Path:
        """Where the finished job of this name has its files."""
        return self.folder / "jobs" / name

    def run(
        self,
        title: str,
        jobs: Sequence[Job],
        unit: str = "row",
        settle: Callable[[int, dict], str | None] | None = None,
    ) -> list[dict]:
        """The reports of all jobs, in their order; finished ones are not done again.

        settle: called with the number and the report of every job in this order, as early as
        possible; it raises to end the preparation, or returns a text for the end of the bar.
        """
        bar = tqdm(
            total=sum(job.size for job in jobs),
            desc=title,
            unit=unit,
            unit_scale=True,
            disable=True if self.quiet else None,
            mininterval=0.5,
        )
        self._progress.value = 0
        tasks = [self._start(job, bar) for job in jobs]
        reports = []
        try:
            with bar:
                for number, task in enumerate(tasks):
                    reports.append(self._wait(task, bar))
                    if settle is not None:
                        bar.set_postfix_str(settle(number, reports[-1]) or "", refresh=False)
        except BrokenProcessPool:
            raise CacheError(
                "a worker process died; the system may have ended it for want of memory",
                file=self.folder,
                remedy="run the command again, with one worker if it happens once more",
            ) from None
        finally:
            for task in tasks:
                if isinstance(task, Future):
                    task.cancel()
        return reports

    def _start(self, job: Job, bar: tqdm) -> Future | dict | Callable[[], dict]:
        """The report of a finished job, or what will give it."""
        path = self.path(job.name)
        if (report := finished_report(path)) is not None:
            self.reused += 1
            bar.update(job.size)
            return report
        shutil.rmtree(path, ignore_errors=True)
        self.done += 1
        if self.workers == 1:
            return lambda: run_job(path, job.work, job.args)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers) if self.threads else self._processes()
        return self._pool.submit(run_job, path, job.work, job.args)

    def _processes(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.workers,
            multiprocessing.get_context("spawn"),
            initializer=_share_progress,
            initargs=(self._progress, os.getpid()),
        )

    def _wait(self, task: Future | dict | Callable[[], dict], bar: tqdm) -> dict:
        report = task() if callable(task) else task
        while isinstance(report, Future):
            wait([report], timeout=_TICK)
            self._show(bar)
            if report.done():
                report = report.result()
        self._show(bar)
        return report

    def _show(self, bar: tqdm) -> None:
        with self._progress.get_lock():
            moved, self._progress.value = self._progress.value, 0
        bar.update(moved)


def remove_work(out: Path, fingerprint: dict) -> None:
    """Removes the work folder of an output that is complete, of a run that was ended meanwhile;
    not that of another process, or of other options, and nothing that none of them wrote."""
    left = Workspace(out, fingerprint)
    ours = {"lock", "progress.json", "jobs", "cache"}
    with suppress(CacheError, OSError):
        if left.folder.is_dir() and ours.issuperset(os.listdir(left.folder)):
            with left:
                pass  # a preparation that is done removes its folder


def default_workers(size: int, least: int = 64 << 20) -> int:
    """Jobs at a time for input of this many bytes: one for little, else one per core up to 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 1 if size < least else max(1, min(cores, MAX_WORKERS))
