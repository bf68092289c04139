"""Milliseconds of a request of raw rows: in Python, by exported graphs, over HTTP; and under load.

    python tests/benchmarks/serving.py --run RUN [--mindir DIR] [--onnx DIR]

RUN is the folder of a trained model; DIR are exports of it, which are made if they are not given.
Every figure is of a process of its own.  Rows are drawn from the values that the model knows.
"""

import argparse
import contextlib
import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MAX_ROWS = 1_000  # of a request of the run of random sizes
SIZES = (1, 100)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--run", help="folder of a trained model", required=True)
    parser.add_argument("--mindir", help="folder of its export as MindIR")
    parser.add_argument("--onnx", help="folder of its export as ONNX")
    parser.add_argument("--requests", type=int, default=1000, help="timed requests of each kind")
    parser.add_argument("--seconds", type=float, default=60, help="of the load")
    parser.add_argument("--clients", type=int, default=16, help="of the load")
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # measures this folder, prints JSON
    return parser.parse_args(argv)


def random_rows(encoders, number: int, seed: int) -> list[dict]:
    """Rows of known values."""
    places = np.random.default_rng(seed).integers(0, 2**31, number)
    return [encoders.example(int(place)) for place in places]


def milliseconds(score, requests) -> np.ndarray:
    """Of each of the requests."""
    times = []
    for rows in requests:
        started = time.perf_counter()
        score(rows)
        times.append(1e3 * (time.perf_counter() - started))
    return np.array(times)


def told(times) -> dict:
    return {"p50": np.percentile(times, 50), "p99": np.percentile(times, 99), "max": times.max()}


def figures(score, encoders, requests: int) -> dict:
    """Of warm calls: {rows: milliseconds}, and of requests of random sizes."""
    rows, random = random_rows(encoders, MAX_ROWS, seed=1), np.random.default_rng(2)
    of_sizes = {}
    for size in SIZES:
        milliseconds(score, [rows[:size]] * 10)
        begins = random.integers(0, MAX_ROWS - size + 1, requests)
        of_sizes[size] = told(milliseconds(score, [rows[b : b + size] for b in begins]))
    several = [rows[: 1 + size] for size in random.integers(0, MAX_ROWS, requests)]
    return of_sizes | {"random": told(milliseconds(score, several))}


def measure_inside(options) -> None:
    """The figures of a predictor in this process, as JSON."""
    import hamur

    model, started = hamur.load(options.inside), time.perf_counter()
    model.warm_up(MAX_ROWS)
    seconds = time.perf_counter() - started
    found = figures(model.predict, model.encoders, options.requests)
    print(json.dumps({"warm_up": seconds} | found))


def in_process(folder, requests: int, run) -> dict:
    command = [sys.executable, __file__, "--inside", str(folder), "--run", str(run)]
    done = subprocess.run([*command, "--requests", str(requests)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def server(folder):
    """The URL and the process of a server that is warm."""
    command = [sys.executable, "-m", "hamur.serving", "--model", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        port = re.search(r"port (\d+)", process.stdout.readline())[1]
        process.stdout.readline()  # ready
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


def resident_mib(process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) >> 10


def under_load(url: str, process, rows: list[dict], clients: int, seconds: float) -> dict:
    """Clients that send one request of 1 to 100 rows after the other."""
    times, errors, until = queue.SimpleQueue(), queue.SimpleQueue(), time.monotonic() + seconds

    def client(number):
        random = np.random.default_rng(number)
        with httpx.Client(base_url=url, timeout=30) as http:
            while time.monotonic() < until:
                body = {"rows": rows[: random.integers(1, 101)]}
                started = time.perf_counter()
                try:
                    http.post("/predict", json=body).raise_for_status()
                    times.put(1e3 * (time.perf_counter() - started))
                except httpx.HTTPError as error:
                    errors.put(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    before = resident_mib(process)
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    middle = resident_mib(process)
    for thread in threads:
        thread.join()
    after, number = resident_mib(process), times.qsize()
    found = told(np.array([times.get() for _ in range(number)]))
    found |= {"requests": number, "errors": [errors.get() for _ in range(errors.qsize())]}
    return found | {"rss_mib": (before, middle, after)}


def line(name: str, found: dict) -> str:
    cells = [f"{found[key][p]:.2f}" for key in map(str, SIZES) for p in ("p50", "p99")]
    cells += [f"{found['random'][p]:.1f}" for p in ("p50", "max")]
    return f"| {name} | {' | '.join(cells)} | {found.get('warm_up', 0):.0f} |"


def exported(run, kind: str, folder: Path) -> Path:
    command = [sys.executable, "examples/export_model.py", "--run", str(Path(run).absolute())]
    command += ["--out", str(folder), "--format", kind]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return folder


def main(argv=None):
    options = parse(argv)
    if options.inside:
        return measure_inside(options)
    with tempfile.TemporaryDirectory() as temporary:
        given = {"MindIR": options.mindir, "ONNX": options.onnx}
        folders = {"Python predictor": options.run}
        for name, folder in given.items():
            kind = name.lower()
            folders[name] = folder or exported(options.run, kind, Path(temporary, kind))
        print("| milliseconds | 1 row, p50 | p99 | 100 rows, p50 | p99 | 1 to 1,000 rows, p50 "
              "| slowest | warm-up, s |\n" + "|---" * 8 + "|")  # fmt: skip
        for name, folder in folders.items():
            print(line(name, in_process(folder, options.requests, options.run)), flush=True)
        for name in given:
            measure_server(name, folders[name], options)


def measure_server(name, folder, options):
    import hamur

    encoders = hamur.load(folder).encoders
    with server(folder) as (url, process), httpx.Client(base_url=url, timeout=60) as http:

        def score(rows):
            http.post("/predict", json={"rows": rows}).raise_for_status()

        found = json.loads(json.dumps(figures(score, encoders, options.requests)))
        print(line(f"HTTP, {name}", found), flush=True)
        rows = random_rows(encoders, 100, seed=3)
        found = under_load(url, process, rows, options.clients, options.seconds)
        cells = (len(found["errors"]), *(round(found[key], 1) for key in ("p50", "p99", "max")))
        cells = (found["requests"], *cells, ", ".join(map(str, found["rss_mib"])) + " MiB")
        print("load: | " + " | ".join(map(str, (name, *cells))) + " |", flush=True)
        print("\n".join(sorted(set(found["errors"]))), end="")


if __name__ == "__main__":
    main()
