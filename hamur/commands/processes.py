"""Many trainings, each in a process of its own, several at a time.

A process has its own peak memory and cores of its own (the kernels and MindSpore take as many
threads as they may use cores), what it prints goes to a file, and it ends with this process,
whatever ends that one.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
REFRESH = 1.0  # seconds, of the time left on a terminal


class Task(NamedTuple):
    """A run: its name, the file for what it prints, and the argument of the function; kind: what
    takes about as long as other runs of its kind."""

    name: str
    output: Path
    argument: object
    kind: str = ""


class Failure(NamedTuple):
    """How a run ended that is not done: its exit code, and its last line."""

    code: int
    text: str

    def __str__(self) -> str:
        how = f"exit code {self.code}" if self.code > 0 else f"killed by signal {-self.code}"
        return f"{how}: {self.text}"


def cores(at_once: int) -> list[list[int]]:
    """The cores of this process in as many parts, of equal size or one more; all of them in each
    where the system cannot bind a process.

    Raises:  ValueError: more parts than cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [[]] * at_once
    own = sorted(os.sched_getaffinity(0))
    if at_once > len(own):
        raise ValueError(f"--jobs is {at_once}, but there are {len(own)} cores for them.")
    return [own[n * len(own) // at_once : (n + 1) * len(own) // at_once] for n in range(at_once)]


def run(
    tasks: Sequence[Task],
    function: Callable[[object], int],
    at_once: int,
    known: Mapping[str, Iterable[float]] = {},
    quiet: bool = False,
) -> dict[str, Failure]:
    """Call function(argument) for every task, in a process; returns those that failed, by name.

    function: at the top level of a module; its result is the exit code.  known: seconds of earlier
    runs by kind, for the time that is left.
    Raises:  ValueError: more at once than cores; KeyboardInterrupt: after a signal, and no process
        is left then.
    """
    free, waiting, running, failures = cores(at_once), list(tasks), {}, {}
    progress = Progress(tasks, at_once, known, quiet)
    context = multiprocessing.get_context("spawn")
    try:
        while waiting or running:
            while waiting and free:
                task, own = waiting.pop(0), free.pop(0)
                task.output.parent.mkdir(parents=True, exist_ok=True)
                arguments = (function, task.argument, own, task.output, os.getpid())
                process = context.Process(target=_work, args=arguments, name=task.name)
                process.start()
                running[process.sentinel] = task, process, own
                progress.begin(task)
            for sentinel in wait(list(running), REFRESH if progress.live else None):
                task, process, own = running.pop(sentinel)
                process.join()
                free.insert(0, own)
                if process.exitcode:
                    failures[task.name] = Failure(process.exitcode, last_line(task.output))
                progress.end(task, failures.get(task.name))
            progress.show()
    finally:
        for _, process, _ in running.values():
            process.kill()  # its state of the last epoch is on disk
            process.join()
        progress.bar.close()
    return failures


def end_with(parent: int) -> None:
    """End this process with its parent, of that number, whatever ends that one."""
    if sys.platform == "linux":  # elsewhere an orphan ends its run, and keeps others out meanwhile
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended before that call
            os._exit(1)


def _work(
    function: Callable[[object], int],
    argument: object,
    own: Sequence[int],
    output: Path,
    parent: int,
) -> None:
    """What a process does."""
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: for the parent, which ends us
    if own:
        os.sched_setaffinity(0, own)
    tqdm.set_lock(threading.RLock())  # not tqdm's semaphore: of a killed run Python tells its loss
    with output.open("w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.exit(function(argument))


def last_line(path: Path) -> str:
    """The last line of what a run printed, without its progress bars."""
    with suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in reversed(text.splitlines()):
            if line.strip():
                return line.strip()
    return "it printed nothing"


class Progress:
    """One line: finished runs, running ones, time left.  Where stderr is no terminal, a line per
    finished run."""

    def __init__(self, tasks: Sequence[Task], at_once: int, known: Mapping, quiet: bool):
        self.waiting, self.running, self.at_once = list(tasks), {}, at_once
        self.seconds = {kind: list(values) for kind, values in known.items()}
        form = "{n_fmt} of {total_fmt} runs {bar:16}{postfix}"
        self.bar = tqdm(total=len(tasks), bar_format=form, disable=quiet or None)
        self.live, self.quiet = not self.bar.disable, quiet
        self.done = 0

    def begin(self, task: Task) -> None:
        self.waiting.remove(task)
        self.running[task] = time.monotonic()
        self.show()

    def end(self, task: Task, failure: Failure | None) -> None:
        seconds = time.monotonic() - self.running.pop(task)
        self.done += 1
        if failure is None:
            self.seconds.setdefault(task.kind, []).append(seconds)
        self.bar.update()
        if failure is not None or not self.quiet:
            how = f"failed, {failure}" if failure else f"{seconds:.0f} s"
            count = f"{self.done} of {self.bar.total}"
            left = f", {self.left()} left" if self.waiting or self.running else ""
            tqdm.write(f"{task.name}: {how} ({count}{left})", file=sys.stderr)

    def left(self) -> str:
        """The time that is left, as text: '?' before the first run has ended."""
        now = time.monotonic()
        elapsed = {task: now - start for task, start in self.running.items()}
        left = seconds_left(self.seconds, self.waiting, elapsed, self.at_once)
        return "?" if left is None else tqdm.format_interval(left)

    def show(self) -> None:
        if self.live:
            names = ", ".join(task.name for task in self.running)
            self.bar.set_postfix_str(f"{names}, {self.left()} left")


def seconds_left(
    seconds: Mapping[str, Sequence[float]],
    waiting: Iterable[Task],
    elapsed: Mapping[Task, float],
    at_once: int,
) -> float | None:
    """Until all have ended; None where no run is known.

    A run takes the mean of those of its kind, or else of all; seconds: of finished ones by kind.
    """
    everything = [value for values in seconds.values() for value in values]
    if not everything:
        return None

    def expected(task: Task) -> float:
        own = seconds.get(task.kind) or everything
        return sum(own) / len(own)

    begun = [max(0.0, expected(task) - time) for task, time in elapsed.items()]
    return max([*begun, (sum(begun) + sum(map(expected, waiting))) / at_once])
