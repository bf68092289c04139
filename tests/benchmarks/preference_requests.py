"""Milliseconds of a request to a served POMoE of the published size.

    python tests/benchmarks/preference_requests.py

Requests of 1, 64 and 1,024 rows with one preference: kept, and met for the first time (its features
are computed); and with a new preference for every row.  Random rows, median of --requests after a
warm-up.  The first call compiles.
"""

import argparse
import statistics
import time

import numpy as np
from preference_step import make_model, random_arrays

ROWS = (1, 64, 1024)
WARM_UP = 3


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=20, help="timed requests of each kind")
    return parser.parse_args(argv)


def median_ms(cache, rows, preferences):
    """Median milliseconds of requests of these rows (sparse, dense), one a preference."""
    times = []
    for preference in preferences:
        started = time.perf_counter()
        cache(*rows, preference)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[WARM_UP:])


def main(argv=None):
    from hamur.training.preference.serving import PreferenceCache

    options = parse(argv)
    cache = PreferenceCache(make_model("pareto", "auto"), capacity=100_000)
    sparse, dense, _ = random_arrays(max(ROWS))
    draws = np.random.default_rng(1)
    started = time.perf_counter()
    cache(sparse[:1], dense[:1], [0.5, 0.5])
    print(f"first call, with compilation: {time.perf_counter() - started:.1f} s")
    print(f"{'rows':>5}  {'kept':>8}  {'new':>8}  {'a preference a row':>18}   ms")
    number = WARM_UP + options.requests
    for rows in ROWS:
        head = sparse[:rows], dense[:rows]
        kept = median_ms(cache, head, [[0.5, 0.5]] * number)
        new = median_ms(cache, head, draws.dirichlet((1.0, 1.0), number))
        each = median_ms(cache, head, draws.dirichlet((1.0, 1.0), (number, rows)))
        print(f"{rows:>5}  {kept:8.2f}  {new:8.2f}  {each:18.2f}")


if __name__ == "__main__":
    main()
