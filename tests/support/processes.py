"""What the processes of `hamur.commands.processes` do in its tests; imports nothing large."""

import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from hamur.commands import processes


def act(words: str) -> int:
    """Words: 'exit 3 some text', 'cores', or 'beat FILE', which writes to the file until killed."""
    kind, _, rest = words.partition(" ")
    if kind == "exit":
        code, _, text = rest.partition(" ")
        print("a first line\n" + text, file=sys.stderr)
        return int(code)
    if kind == "cores":
        print(sorted(os.sched_getaffinity(0)))
        return 0
    tqdm.get_lock()  # as a training does
    while True:
        Path(rest).write_text(str(os.getpid()))
        time.sleep(0.01)


def tasks(folder: Path, **words: str) -> list[processes.Task]:
    """A task per name."""
    return [processes.Task(name, folder / f"{name}.txt", each) for name, each in words.items()]


if __name__ == "__main__":
    beating = tasks(Path(sys.argv[1]), run=f"beat {sys.argv[1]}/pid")
    processes.run(beating, act, 1, quiet=True)
