"""Peak memory and time of a command and everything it starts: `python peak_memory.py COMMAND ...`.

The peak is the largest sum of resident sizes that was seen, looked at 20 times a second; pages that
processes share count once for each of them.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

INTERVAL = 0.05


def resident(root: int) -> int:
    """Bytes of a process and its descendants."""
    children: dict[int, list[int]] = {}
    sizes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(
                line.split(":", 1) for line in (folder / "status").read_text().splitlines()
            )
        except OSError:  # it has just ended
            continue
        pid = int(folder.name)
        children.setdefault(int(status["PPid"]), []).append(pid)
        sizes[pid] = int(status.get("VmRSS", "0 kB").split()[0]) * 1024
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += sizes.get(pid, 0)
        waiting += children.get(pid, [])
    return total


def measure(command: list[str]) -> dict:
    """exit code, seconds, peak_mib."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(INTERVAL)
    seconds = time.perf_counter() - start
    return {"exit": process.returncode, "seconds": round(seconds, 2), "peak_mib": peak >> 20}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
