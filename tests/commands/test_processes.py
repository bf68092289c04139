"""Many runs in processes: how each ended is told, cores are divided, none outlives the command."""

import json
import signal
import subprocess
import sys
import time

import pytest

from hamur.commands import processes
from hamur.commands.processes import Task, seconds_left
from tests.support.processes import act, tasks


def test_runs_that_fail_are_told_and_the_others_go_on(tmp_path, capsys):
    todo = tasks(tmp_path, good="exit 0 done", bad="exit 3 the loss is nan", after="exit 0 done")
    failed = processes.run(todo, act, at_once=1)
    assert {name: str(each) for name, each in failed.items()} == {
        "bad": "exit code 3: the loss is nan"
    }
    assert (tmp_path / "after.txt").read_text() == "a first line\ndone\n"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "(1 of 3, " in lines[0] and lines[2].endswith("(3 of 3)")
    assert lines[1].startswith("bad: failed, exit code 3: the loss is nan (2 of 3")


@pytest.mark.skipif(len(processes.cores(1)[0]) < 2, reason="needs two cores to divide them")
def test_runs_at_once_have_cores_of_their_own(tmp_path):
    processes.run(tasks(tmp_path, a="cores", b="cores"), act, at_once=2, quiet=True)
    own = [json.loads((tmp_path / f"{name}.txt").read_text()) for name in "ab"]
    assert own[0] and own[1] and sorted(own[0] + own[1]) == processes.cores(1)[0]


def test_more_runs_at_once_than_cores_are_refused():
    count = len(processes.cores(1)[0])
    with pytest.raises(ValueError, match=f"--jobs is {count + 1}, but there are {count} cores"):
        processes.run([], act, at_once=count + 1)


@pytest.mark.skipif(sys.platform != "linux", reason="an orphan ends its run elsewhere")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_does_not_outlive_the_command(number, tmp_path):
    command = [sys.executable, "-m", "tests.support.processes", str(tmp_path)]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    beat = tmp_path / "pid"
    await_true(lambda: beat.exists() and beat.read_text())
    child = int(beat.read_text())
    parent.send_signal(number)
    assert parent.communicate(timeout=30)[1] == ""  # such as of a semaphore that is lost
    await_true(lambda: not running(child))


def await_true(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(process: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked for."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_time_left_is_that_of_runs_of_the_same_kind():
    a, b, c = (Task(name, None, None, name) for name in "abc")
    assert seconds_left({}, [a], {}, 1) is None
    known = {"a": [10.0, 14.0], "b": [40.0]}
    assert seconds_left(known, [a, b], {}, 1) == 12 + 40
    assert seconds_left(known, [a, a, a], {b: 10.0}, 2) == (30 + 3 * 12) / 2
    assert seconds_left(known, [a], {b: 0.0}, 2) == 40  # the longest one cannot be divided
    assert seconds_left(known, [c], {a: 99.0}, 1) == pytest.approx((10 + 14 + 40) / 3)
