"""Milliseconds of a request to an exported POMoE of the published size.

    python tests/benchmarks/preference_requests.py

Requests of 1, 64 and 1,024 rows with one new preference each, and with a new preference for every
row, to the MindIR and to the ONNX.  Random rows, median and fastest of --requests after a warm-up.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from preference_step import make_model, random_arrays

ROWS = (1, 64, 1024)
WARM_UP = 3


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=20, help="timed requests of each kind")
    return parser.parse_args(argv)


def milliseconds(scorer, rows, preferences):
    """Median and fastest of requests of these rows (sparse, dense), one per preference."""
    times = []
    for preference in preferences:
        started = time.perf_counter()
        scorer(*rows, preference)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[WARM_UP:]), min(times[WARM_UP:])


def main(argv=None):
    from hamur import training

    number = WARM_UP + parse(argv).requests
    sparse, dense, _ = random_arrays(max(ROWS))
    draws = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.mindir"
        training.export(make_model("pareto", "auto"), path, path.with_suffix(".onnx"))
        scorers = training.load_mindir(path), training.load_onnx(path.with_suffix(".onnx"))
    print(f"{'':>6}  {'rows':>5}  {'a preference':>18}  {'one for each row':>18}   ms")
    for scorer in scorers:
        for rows in ROWS:
            head = sparse[:rows], dense[:rows]
            found = [
                milliseconds(scorer, head, draws.dirichlet((1, 1), size).astype(np.float32))
                for size in (number, (number, rows))
            ]
            told = "  ".join(f"{median:9.2f} {fastest:8.2f}" for median, fastest in found)
            print(f"{scorer.path.suffix[1:]:>6}  {rows:>5}  {told}", flush=True)


if __name__ == "__main__":
    main()
