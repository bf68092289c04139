"""SIGINT and SIGTERM: what they end, and how the two are told apart.

From the first compiled call on MindSpore turns SIGINT into a SIGTERM to the own process, in each
call anew.  A handler cannot tell the two apart then.  A thread that waits for both can, and the
system offers the signals of a process to its main thread first: so a command does its work in a
second thread, and the main thread waits.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STACK = 64 << 20  # bytes, of which only what is used takes memory; compilers recurse deeply
_work = None  # of the command that runs


class Interrupted(KeyboardInterrupt):
    """This signal ended a command."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as shells report it


class _Work(threading.Thread):
    """The thread of a command's work; `stop` is what a signal to its process does."""

    def __init__(self, function: Callable[[], object], name: str, text: str, compiles: bool):
        super().__init__(name=name, daemon=True)
        self.function, self.text, self.compiles = function, text, compiles
        self.waiter = threading.get_ident()
        self.ignored = [n for n in SIGNALS if signal.getsignal(n) == signal.SIG_IGN]
        self.received = self.error = None
        self.loops, self.ended = 0, False

    def run(self):
        try:
            self.function()
        except BaseException as error:
            self.error = error
        self.ended = True
        signal.pthread_kill(self.waiter, signal.SIGTERM)  # wakes it

    def stop(self, number: int, frame=None) -> None:
        if self.ended or number in self.ignored:
            return
        first, self.received = self.received is None, number
        if first and self.loops:
            text = f"{self.name}: {signal.Signals(number).name}; a second signal ends it at once"
            print(text, file=sys.stderr, flush=True)
            return
        for child in multiprocessing.active_children():
            child.kill()  # its parent would wait for it
        if first and not self.compiles:
            raise Interrupted(number)
        print(self.text, file=sys.stderr, flush=True)
        os._exit(128 + number)  # an exception could crash what compiles

    def check(self) -> None:
        if self.received is not None:
            raise KeyboardInterrupt


def run(function: Callable[[], object], name: str, text: str, compiles: bool = True) -> None:
    """Call the function such that SIGINT or SIGTERM ends it.

    In an epoch loop, see `ending_loop`, a first signal is a KeyboardInterrupt at the next step.
    Elsewhere it ends the process, with 128 + its number as exit code, and so does a second one.
    name: of the command; text: for stderr when the process ends here.  compiles: whether MindSpore
    may run; where not, a first signal raises `Interrupted`, and what was begun can be undone.
    Off the main thread, or inside another call, nothing is changed; a signal that the process
    ignores, as SIGINT in the background of a shell script, stays ignored.
    Raises:  Interrupted: in the place of a KeyboardInterrupt that a signal made.
    """
    global _work
    main = threading.current_thread() is threading.main_thread()
    if _work is not None or not main or not hasattr(signal, "sigwait"):  # Windows
        return function()
    _work = work = _Work(function, name, text, compiles)
    try:
        with _handlers(work.stop):
            _wait(work) if compiles else function()
    finally:
        _work = None
    if work.received and isinstance(work.error, KeyboardInterrupt):
        raise Interrupted(work.received)
    if work.error is not None:
        raise work.error


def _wait(work: _Work) -> None:
    """Start the work, and take the signals until it has ended."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    before = threading.stack_size(STACK)
    work.start()
    threading.stack_size(before)
    while not work.ended:
        work.stop(signal.sigwait(SIGNALS))
    work.join()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def ending_loop() -> Iterator[Callable[[], None]]:
    """What an epoch loop calls before each step: it raises KeyboardInterrupt once SIGINT or SIGTERM
    came.  Until then the signals do nothing; in Python's main thread, a second one raises
    KeyboardInterrupt at once."""
    if _work is not None:
        _work.loops += 1
        try:
            yield _work.check
        finally:
            _work.loops -= 1
        return
    received = []

    def note(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    def check():
        if received:
            raise KeyboardInterrupt

    with _handlers(note):
        yield check


@contextmanager
def keyboard() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt inside, where MindSpore makes a SIGTERM of it, and afterwards
    what it was before.  A program with a handler of SIGTERM keeps that."""
    own = signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    with _handlers(None if own else signal.default_int_handler):
        yield


@contextmanager
def _handlers(handler: Callable | None) -> Iterator[None]:
    """This handler of both signals, where Python lets us: in the main thread.  Afterwards those
    from before, None or not: MindSpore leaves its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if handler is not None:
        for number in SIGNALS:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            if old is not None:  # one that was not set from Python
                signal.signal(number, old)
