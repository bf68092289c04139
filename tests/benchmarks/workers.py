"""One process a contestant, each with its own memory and threads; a step runs when asked for.

A worker is started with a function that prepares it and returns a step; afterwards it answers
`step`, so that two of them can alternate while the machine's speed drifts, and `ask`.
"""

import multiprocessing
import resource
import time
import traceback


class Worker:
    """A process that takes steps when asked.

    prepare(*arguments) -> (step function without arguments, dict of facts that can be sent).
    Attributes: facts, with "compile_seconds" of the first step added, and "error" if none came.
    """

    def __init__(self, prepare, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, prepare, arguments), daemon=True)
        self.process.start()
        other.close()
        self.facts = self._receive()

    def step(self) -> float:
        """Seconds of one step."""
        self.pipe.send("step")
        return self._receive()

    def peak_mib(self) -> float:
        """Peak resident memory of the process so far."""
        return self.ask(_peak)

    def ask(self, function, *arguments):
        """function(step, *arguments), called in the process."""
        self.pipe.send((function, arguments))
        return self._receive()

    def close(self) -> None:
        self.pipe.close()
        self.process.join(timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _receive(self):
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise RuntimeError("a worker died; it may have run out of memory") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _peak(_):
    return peak_mib()


def _serve(pipe, prepare, arguments):
    try:
        step, facts = prepare(*arguments)
        start = time.perf_counter()
        step()
        pipe.send({**facts, "compile_seconds": time.perf_counter() - start})
        while True:
            order = pipe.recv()
            if order != "step":
                function, arguments = order
                pipe.send(function(step, *arguments))
                continue
            start = time.perf_counter()
            step()
            pipe.send(time.perf_counter() - start)
    except EOFError:
        return
    except Exception:
        pipe.send(traceback.format_exc())
