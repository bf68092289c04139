"""A finished piece of a long preparation: done once, whatever happens to the process.

`run_job` gives a job a folder of a temporary name, and renames it when everything is written and
synced: a job is either not done or done completely.
"""

import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hamur.files import sync

REPORT = "report.json"
_PARENT_CHECK = 1.0  # seconds
_progress = None  # how far the jobs of a stage are; shared by all processes


@dataclass(frozen=True)
class Job:
    """name: unique, also the folder below the workspace; work(folder, *args) -> JSON values, a
    function at the top level of a module; size: its share of the stage's bar."""

    name: str
    work: Callable[..., dict]
    args: tuple = ()
    size: int = 1


def advance(amount: int) -> None:
    """Called by a job as it goes: the bar moves by this much of the job's size."""
    if _progress is not None:
        with _progress.get_lock():
            _progress.value += amount


def run_job(folder: Path, work: Callable[..., dict], args: tuple) -> dict:
    """The job's report, once its folder is complete."""
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        report = work(temporary, *args)
        (temporary / REPORT).write_text(json.dumps(report), encoding="utf-8")
        for path in temporary.rglob("*"):
            sync(path)
        _publish(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return json.loads(json.dumps(report))  # as a later run would read it


def _publish(temporary: Path, folder: Path) -> None:
    """Renames.  A worker that outlived its killed parent may have been first, with equal files."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / REPORT).exists():
            raise
        shutil.rmtree(temporary)


def new_progress():
    """A counter that the jobs of this process and of its workers move."""
    return multiprocessing.get_context("spawn").Value("q", 0)


def share_progress(progress, parent: int | None = None) -> None:
    """What `advance` moves from now on.  parent: the process whose end ends this worker too."""
    global _progress
    _progress = progress
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # A worker whose parent was killed waits for work that never comes.
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os._exit(1)
