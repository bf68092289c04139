"""Milliseconds of a training step: ours, PyTorch restatements of it, and the bare matrix products.

    python tests/benchmarks/train_step.py --models mlp_adp dcn_md --batches 64 512 2048 4096 8192

Every contestant has a process of its own; ours alternates with each of the others turn by turn,
so that a ratio compares neighbouring turns and holds on a machine whose speed drifts. Within a turn
a contestant trains as it would alone: the first step, which finds the caches full of the other's
data, is not timed. Inputs are random numbers with the sizes of the data sets. Without PyTorch our
own figures are printed. With several batch sizes, the line "fixed" has the cost of a step of no
rows: the intercept of the line through the medians that minimises the relative errors.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import contestants
import numpy as np
from profile_step import by_kind, kernels_of, number_line, print_profile
from shapes import SHAPES, uniform_domains
from workers import Worker

FORMS = ("public", "factored", "routed")
PAUSE = 0.02  # seconds between two contestants: idle threads of the last one stop spinning
FAST_WARMUP = 20
TURN = 5  # timed steps of a turn; 1 for the public form


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=["mlp_adp"])
    parser.add_argument("--preset", default="best", help="of our model and of factored and routed")
    parser.add_argument("--shape", default="ml-1m", choices=SHAPES)
    parser.add_argument("--domains", type=int, help="MovieLens sizes with so many equal domains")
    parser.add_argument(
        "--batches", nargs="+", type=int, help="rows of a step; default: those of the preset"
    )
    parser.add_argument("--turns", type=int, default=12, help="turns beside a fast form")
    parser.add_argument("--slow_turns", type=int, default=5, help="turns beside the public form")
    parser.add_argument("--warmup", type=int, default=100, help="untimed steps of ours")
    parser.add_argument("--forms", nargs="*", default=[*FORMS, "products"])
    parser.add_argument("--profile", action="store_true", help="print the dearest kernels too")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    if importlib.util.find_spec("torch") is None and set(FORMS) & set(options.forms):
        print("PyTorch is not installed: its forms are left out")
        options.forms = [form for form in options.forms if form not in FORMS]
    shape = uniform_domains(options.domains) if options.domains else SHAPES[options.shape]
    print_head(options, shape)
    points = []
    for model in options.models:
        plans = plans_of(shape, model, {options.preset, "official"}) if options.forms else {}
        mine = []
        for rows in options.batches or [recipe_rows(options.preset)]:
            point, kernels = measure(options, shape, model, rows, plans)
            mine.append(point)
            print_line(model, f"{point['rows']:,}", point["results"])
            if options.profile:
                print_profile(kernels)
        if len(mine) > 1:
            print_line(model, "fixed", fixed_costs(mine))
        print(f"{model:10s} kernels of a step, {number_line(kernels)}")
        points += mine
    if options.json:
        content = {"options": options_of(options), "machine": machine(), "points": points}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def recipe_rows(preset):
    """Rows of a step in the recipe that the example scripts train with."""
    from hamur.commands.ranking import PRESETS

    return PRESETS[preset]["batch_size"]


def plans_of(shape, model, presets):
    """{preset: Plan}; their quotas are still to be set."""
    plans = {}
    for preset in presets:
        with Worker(contestants.plan, shape, model, preset) as worker:
            plans[preset] = worker.facts["plan"]
    return plans


def measure(options, shape, model, rows, plans):
    """(the figures of all contestants, the kernels of our step) at one batch size."""
    quotas = shape.quotas(rows)
    plans = {preset: replace(plan, quotas=quotas) for preset, plan in plans.items()}
    results = {}
    with Worker(contestants.ours, shape, model, options.preset, rows) as ours:
        for _ in range(options.warmup):
            ours.step()
        own_times = [ours.step() for _ in range(options.turns * TURN)]
        results["ours"] = {**ours.facts, "peak_mib": ours.peak_mib()}
        for form in options.forms:
            start = contestant(form, plans, options.preset, shape)
            public = form == "public"
            turns = options.slow_turns if public else options.turns
            warmup = 1 if public else min(FAST_WARMUP, options.warmup)
            results[form], mine = duel(ours, start, turns, 1 if public else TURN, warmup)
            own_times += mine
        results["ours"] |= summary(own_times)
        kernels = ours.ask(kernels_of)
    numbers, times = by_kind(kernels)
    kinds = {kind: (numbers[kind], milliseconds) for kind, milliseconds in times.items()}
    point = {"model": model, "rows": sum(quotas), "results": results, "kernels_and_ms": kinds}
    return point, kernels


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


def fixed_costs(points):
    """Results of a step of no rows, by extrapolation."""
    rows, results = [point["rows"] for point in points], {}
    for name in points[0]["results"]:
        results[name] = {}
        for figure in ("median_ms", "fastest_ms"):
            times = np.array([point["results"][name][figure] for point in points])
            results[name][figure] = float(np.polyfit(rows, times, 1, w=1 / times)[1])
        results[name]["ratio"] = results[name]["median_ms"] / results["ours"]["median_ms"]
    return results


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


def print_head(options, shape):
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"preset {options.preset}, shape {options.shape}, {shape.num_domains} domains,", end=" ")
    print("synthetic random data")
    print("milliseconds of a step: median (fastest), and x = their median over ours", end="")
    if "products" in options.forms:
        print("; products: the bare matrix products of our step, a bound", end="")
    columns = [f"{'ours':>15s}  {'rows/s':>8s}  first s    MiB"]
    columns += [f"{form:>17s}      x" for form in options.forms]
    print(f"\n{'model':10s}  {'rows':>6s}  {'  '.join(columns)}", flush=True)


def print_line(model, rows, results):
    """One line of the table; "first s" is our first step with its compilation, MiB our peak."""
    cells = []
    for name, r in results.items():
        times = f"{r['median_ms']:.1f} ({r['fastest_ms']:.1f})"
        if name == "ours":
            cells.append(f"{times:>15s}")
            speed = f"{1e3 * r['rows'] / r['median_ms']:,.0f}" if "rows" in r else ""
            first = f"{r['compile_seconds']:.1f}" if "rows" in r else ""
            peak = f"{r['peak_mib']:,.0f}" if "rows" in r else ""
            cells.append(f"{speed:>8s}  {first:>7s}  {peak:>5s}")
        else:
            cells.append(f"{times:>17s}  {r['ratio']:5.2f}")
    print(f"{model:10s}  {rows:>6s}  {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
