"""Milliseconds of a training step: ours, PyTorch restatements of it, and the bare matrix products.

    python tests/benchmarks/train_step.py --model mlp_adp --preset paper --shape ml-1m

Every contestant has a process of its own; ours alternates with each of the others turn by turn,
so that a ratio compares neighbouring turns and holds on a machine whose speed drifts. Within a turn
a contestant trains as it would alone: the first step, which finds the caches full of the other's
data, is not timed. Inputs are random numbers with the sizes of the data sets. Without PyTorch our
own figures are printed.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import contestants
from shapes import SHAPES, uniform_domains
from workers import Worker

FORMS = ("public", "factored", "routed")
PAUSE = 0.02  # seconds between two contestants: idle threads of the last one stop spinning
FAST_WARMUP = 20
TURN = 5  # timed steps of a turn; 1 for the public form


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="mlp_adp")
    parser.add_argument("--preset", default="best", help="of our model and of factored and routed")
    parser.add_argument("--shape", default="ml-1m", choices=SHAPES)
    parser.add_argument("--domains", type=int, help="MovieLens sizes with so many equal domains")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=12, help="turns beside a fast form")
    parser.add_argument("--slow_turns", type=int, default=5, help="turns beside the public form")
    parser.add_argument("--warmup", type=int, default=100, help="untimed steps of ours")
    parser.add_argument("--forms", nargs="*", default=[*FORMS, "products"])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    shape = uniform_domains(options.domains) if options.domains else SHAPES[options.shape]
    arguments = (shape, options.model, options.preset, options.batch)
    plans = {}
    for preset in {options.preset, "official"} if options.forms else ():
        with Worker(contestants.plan, shape, options.model, preset, options.batch) as worker:
            plans[preset] = worker.facts["plan"]
    results = {}
    with Worker(contestants.ours, *arguments) as ours:
        for _ in range(options.warmup):
            ours.step()
        own_times = [ours.step() for _ in range(options.turns * TURN)]
        results["ours"] = {**ours.facts, "peak_mib": ours.peak_mib()}
        for form in options.forms:
            if form != "products" and importlib.util.find_spec("torch") is None:
                print(f"PyTorch is not installed: form {form!r} is left out")
                continue
            start = contestant(form, plans, options.preset, shape)
            public = form == "public"
            turns = options.slow_turns if public else options.turns
            warmup = 1 if public else min(FAST_WARMUP, options.warmup)
            results[form], mine = duel(ours, start, turns, 1 if public else TURN, warmup)
            own_times += mine
        results["ours"] |= summary(own_times)
    report = {"options": options_of(options), "machine": machine(), "results": results}
    print_table(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def contestant(form, plans, preset, shape):
    """The arguments of a Worker. The public form is always the authors' own mathematics."""
    if form == "products":
        return contestants.bare_products, plans[preset]
    return contestants.torch_form, plans["official" if form == "public" else preset], form, shape


def duel(ours, start, turns, steps, warmup):
    """Alternate our turns with another's, of ``steps`` timed steps; returns (its figures, our times
    beside it)."""
    with Worker(*start) as other:
        for _ in range(warmup):
            other.step()
        own_times, other_times, ratios = [], [], []
        for _ in range(turns):
            mine, theirs = turn(ours, TURN), turn(other, steps)
            own_times += mine
            other_times += theirs
            ratios.append(statistics.median(theirs) / statistics.median(mine))
        figures = {**other.facts, **summary(other_times)}
        figures |= {"ratio": statistics.median(ratios), "ratio_range": (min(ratios), max(ratios))}
        return {**figures, "peak_mib": other.peak_mib()}, own_times


def turn(worker, steps):
    """Seconds of each timed step of a turn."""
    time.sleep(PAUSE)
    worker.step()
    return [worker.step() for _ in range(steps)]


def summary(seconds):
    return {"median_ms": 1e3 * statistics.median(seconds), "fastest_ms": 1e3 * min(seconds)}


def options_of(options):
    return {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}


def machine():
    """What a reader must know to compare: no names, no paths."""
    found = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    for package in ("mindspore", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def print_table(report):
    options, results = report["options"], report["results"]
    ours = results["ours"]
    domains = len(ours["quotas"])
    print(f"\n{options['model']}, preset {options['preset']}, shape {options['shape']}:", end=" ")
    print(f"{ours['rows']} rows a step in {domains} domains of synthetic random data,", end=" ")
    print(f"{ours['parameters']:,} + {ours['embedding_parameters']:,} parameters")
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    header = ("", "ms median", "fastest", "rows/s", "x ours", "first step s", "peak MiB")
    rows = [header]
    for name, r in results.items():
        ratio = f"{r['ratio']:.2f}" if "ratio" in r else "1"
        speed = f"{1e3 * r['rows'] / r['median_ms']:,.0f}"
        times = (f"{r['median_ms']:.1f}", f"{r['fastest_ms']:.1f}", speed)
        rows.append((name, *times, ratio, f"{r['compile_seconds']:.1f}", f"{r['peak_mib']:,.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print(row[0].ljust(widths[0]), *cells, sep="  ")
    if "products" in results:
        print("products: the bare matrix products of our step, forward and backward; a bound")


if __name__ == "__main__":
    main()
