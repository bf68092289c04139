"""A training step of every multi-domain model and control: against `mlp`, and with 50 domains.

    python tests/benchmarks/ranking_models.py [--models star m2m] [--batch 4096] [--profile]

Random inputs of MovieLens's sizes; each model alternates turn by turn with `mlp`, and with itself
at 50 equally frequent domains, so that ratios hold on a machine whose speed drifts.
"""

import argparse

import contestants
from profile_step import kernels_of, number_line, print_profile
from shapes import uniform_domains
from train_step import FAST_WARMUP, TURN, duel, machine, recipe_rows, summary
from workers import Worker

from hamur.models import RANKING


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=list(RANKING))
    parser.add_argument("--preset", default="best")
    parser.add_argument("--batch", type=int, help="rows of a step; default: those of the preset")
    parser.add_argument("--many", type=int, default=50, help="domains of the second column")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--profile", action="store_true", help="print the dearest kernels too")
    options = parser.parse_args(argv)
    rows = options.batch or recipe_rows(options.preset)
    few, many = uniform_domains(3), uniform_domains(options.many)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"preset {options.preset}, synthetic random data; milliseconds: median (fastest)")
    head = f"x D=3  {'D=' + str(options.many):>15s}"
    print(f"{'model':15s} {'D=3':>15s}  {'rows/s':>8s}  x mlp  {head}  {'MiB':>5s}  kernels")
    for name in options.models:
        with Worker(contestants.ours, few, name, options.preset, rows) as mine:
            for _ in range(5 * FAST_WARMUP):
                mine.step()
            mlp, times = duel(mine, start(few, "mlp", options, rows), *plan(options))
            wide, more = duel(mine, start(many, name, options, rows), *plan(options))
            kernels, figures = mine.ask(kernels_of), summary(times + more)
            speed = 1e3 * mine.facts["rows"] / figures["median_ms"]
            print(f"{name:15s} {milliseconds(figures):>15s}  {speed:8,.0f}", end="  ")
            print(f"{1 / mlp['ratio']:5.2f}  {wide['ratio']:5.2f}", end="  ")
            print(f"{milliseconds(wide):>15s}  {mine.peak_mib():5,.0f}", end="  ")
            print(number_line(kernels, 4), flush=True)
        if options.profile:
            print_profile(kernels)


def start(shape, name, options, rows):
    return contestants.ours, shape, name, options.preset, rows


def plan(options):
    """The turns of a duel, its steps and its warm-up."""
    return options.turns, TURN, FAST_WARMUP


def milliseconds(figures):
    return f"{figures['median_ms']:.2f} ({figures['fastest_ms']:.2f})"


if __name__ == "__main__":
    main()
