"""Signals to a command, in processes of their own; with MindSpore in commands/test_scripts.py."""

import signal
import subprocess
import sys

import pytest

from hamur import interrupts

CHILD = """
import os, signal, sys, time
from hamur.interrupts import Interrupted, ending_loop, run

def work():
    if place == "before the loop":
        ask(sys.maxsize)
    with ending_loop() as check:
        for step in range(3):
            check()
            ask(step)
    ask(sys.maxsize)

def ask(step):
    print(step, flush=True)  # and the parent sends
    time.sleep(0.2 if step < 2 else 60)

place, compiles = sys.argv[1], sys.argv[2] == "True"
try:
    run(work, "child", "child: ended", compiles)
except Interrupted as stop:
    print("unwound", flush=True)
    sys.exit(stop.exit_code)
"""


def started(place, compiles, *before):
    """A process at its first step."""
    command = [*before, sys.executable, "-c", CHILD, place, str(compiles)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, **pipes)
    process.stdout.readline()
    return process


def signalled(place, compiles, numbers):
    """Exit code, standard output and error of a process that gets these signals."""
    process = started(place, compiles)
    for number in numbers:
        process.send_signal(number)
        if len(numbers) > 1:  # equal ones that wait together are one
            process.stderr.readline()
    output, error = process.communicate(timeout=60)
    return process.returncode, output, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_counts_at_the_next_step_of_a_loop_and_elsewhere_at_once(number):
    code = 128 + number
    warning = f"child: {number.name}; a second signal ends it at once\n"
    assert signalled("in the loop", True, [number]) == (code, "unwound\n", warning)
    assert signalled("before the loop", True, [number]) == (code, "", "child: ended\n")
    assert signalled("before the loop", False, [number]) == (code, "unwound\n", "")


def test_a_second_signal_ends_a_loop_at_once():
    numbers = [signal.SIGINT, signal.SIGTERM]
    assert signalled("in the loop", True, numbers)[:2] == (128 + signal.SIGTERM, "")


def test_a_signal_that_the_process_ignores_stays_ignored():
    """As SIGINT in the background of a shell script."""
    process = started("in the loop", True, "sh", "-c", """trap '' INT; exec "$@" """, "sh")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "unwound\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_work_gives_its_errors_and_leaves_no_handler():
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]

    def fail():
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        interrupts.run(fail, "test", "")
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
