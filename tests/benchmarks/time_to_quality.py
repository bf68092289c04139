"""Seconds from a command's start to the epoch whose validation AUC passes a target: ours with its
recipe against the public code's mathematics in PyTorch with its own, on MovieLens-1M.

    python tests/benchmarks/time_to_quality.py path/to/ml-1m --seeds 1 2 3 --public_limit 1800

Ours is the example script, a process of its own with empty caches: its start, reading and encoding
the data, and compilation count.  The public form (`torch_training.py`) trains on the same split for
`--public_limit` seconds at most.  As our preset `official` computes the same function to rounding,
it is also trained by our code, to count the epochs that the public recipe needs; these times the
measured seconds of a public epoch are a product, printed as such.  The commands run one at a time.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

from train_step import machine

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parents[1] / "examples" / "run_movielens_rank_multi_domain.py"
PUBLIC = HERE / "torch_training.py"
EPOCH = re.compile(r"epoch +(\d+) .*valid auc ([\d.]+)")
PROGRESS = re.compile(r"(\d+) of (\d+) rows in ([\d.]+) s")


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset_path", help="the folder of ratings.dat, users.dat and movies.dat")
    parser.add_argument("--model_name", default="mlp_adp")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--targets", nargs="+", type=float, default=[0.8080, 0.8150])
    parser.add_argument("--epochs", type=int, default=20, help="of our two trainings, at most")
    parser.add_argument("--own_limit", type=float, default=900, help="seconds of one of those")
    parser.add_argument("--public_limit", type=float, default=1800, help="seconds, each seed")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    options.targets.sort()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    results = []
    for seed in options.seeds:
        common = ["--dataset_path", options.dataset_path, "--model_name", options.model_name]
        common += ["--seed", str(seed)]
        epochs = ["--epochs", str(options.epochs), "--patience", str(options.epochs)]
        own = [str(SCRIPT), *common, *epochs, "--preset"]
        ours = run([*own, "best"], options, options.own_limit)
        recipe = run([*own, "official"], options, options.own_limit)
        public = run([str(PUBLIC), *common], options, options.public_limit)
        results.append({"seed": seed, "ours": ours, "official": recipe, "public": public})
        print_seed(results[-1], options.targets)
    print_summary(results, options.targets)
    if options.json:
        content = {"machine": machine(), "options": vars(options) | {"json": None}}
        options.json.write_text(json.dumps(content | {"results": results}, indent=1) + "\n")


def run(command, options, limit):
    """Run a Python command until all targets are passed, it ends, or so many seconds are over.

    Returns {"epochs": [(number, AUC, seconds since the start)], "seconds": of the whole,
    "epoch_seconds": median of the epochs after the first with validation, or where there is none an
    estimate from the first one's rows, without validation, or None}.
    """
    epochs, partial = [], None
    with tempfile.TemporaryDirectory() as folder:
        if command[0] == str(SCRIPT):
            command = [*command, "--save_dir", f"{folder}/run"]
        caches = {"HAMUR_CACHE": f"{folder}/hamur", "XDG_CACHE_HOME": folder}
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=os.environ | caches
        )
        timer = threading.Timer(limit, process.kill)
        timer.start()
        with process:
            for line in process.stdout:
                seconds = time.perf_counter() - start
                if match := PROGRESS.search(line):
                    done, rows, passed = map(float, match.groups())
                    partial = passed * rows / done
                if match := EPOCH.search(line):
                    epochs.append((int(match[1]), float(match[2]), seconds))
                    if epochs[-1][1] >= options.targets[-1]:
                        break
            whole = time.perf_counter() - start
            timer.cancel()
            process.kill()
    if not epochs and whole < limit:
        sys.exit(f"{' '.join(command)} ended without an epoch")
    ends = [seconds for _, _, seconds in epochs]
    spans = [after - before for before, after in pairwise(ends)]
    epoch_seconds = statistics.median(spans) if spans else partial
    return {"epochs": epochs, "seconds": whole, "epoch_seconds": epoch_seconds}


def reached(found, target):
    """(epoch, seconds) of the first epoch that passes, or None."""
    return next(((n, seconds) for n, auc, seconds in found["epochs"] if auc >= target), None)


def public_seconds(result, target):
    """(measured seconds or None, product or None) of the public form to a target."""
    measured, epochs = reached(result["public"], target), reached(result["official"], target)
    epoch = result["public"]["epoch_seconds"]
    product = epochs[0] * epoch if epochs and epoch else None
    return measured[1] if measured else None, product


def print_seed(result, targets):
    print(f"\nseed {result['seed']}: best AUC of the epochs that were run:", end=" ")
    for name in ("ours", "official", "public"):
        found = result[name]
        aucs = [auc for _, auc, _ in found["epochs"]]
        best = f"{max(aucs):.5f}" if aucs else "none"
        print(f"{name} {best} in {len(aucs)} epochs, {found['seconds']:.0f} s", end="; ")
    epoch = result["public"]["epoch_seconds"]
    print("a public epoch takes", f"{epoch:.0f} s" if epoch else "longer than was measured")
    print("target  ours, s (epoch)   public, s, measured    x        product: epochs x s     x")
    for target in targets:
        mine = reached(result["ours"], target)
        cells = [f"{mine[1]:.1f} ({mine[0]})" if mine else "not reached"]
        measured, product = public_seconds(result, target)
        limit = result["public"]["seconds"]
        cells.append(f"{measured:.0f}" if measured else f"not within {limit:.0f}")
        cells.append(factor(measured or limit, mine, at_least=measured is None))
        epochs = reached(result["official"], target)
        count = epochs[0] if epochs else f"> {len(result['official']['epochs'])}"
        cells.append(f"{count} x {epoch:.0f} = {product:.0f}" if product else f"{count} epochs")
        cells.append(factor(product, mine))
        print("{:.4f}  {:<17s} {:<22s} {:<8s} {:<23s} {}".format(target, *cells), flush=True)


def factor(seconds, mine, at_least=False):
    if not seconds or not mine:
        return ""
    return f"{'> ' if at_least else ''}{seconds / mine[1]:.1f}"


def print_summary(results, targets):
    """Medians over the seeds: ours to the highest target against the public form to each."""
    mine = [found[1] for result in results if (found := reached(result["ours"], targets[-1]))]
    if len(mine) < len(results):
        print(f"\nours passed {targets[-1]} with {len(mine)} of {len(results)} seeds")
        return
    print(f"\nours to {targets[-1]:.4f}: {statistics.median(mine):.1f} s, median of the seeds")
    for target in targets:
        figures = [public_seconds(result, target) for result in results]
        for name, values in zip(("measured", "product"), zip(*figures)):
            if None not in values:
                ratio = statistics.median(theirs / own for theirs, own in zip(values, mine))
                print(f"  the public form to {target:.4f}, {name}: {ratio:.1f} times as long")


if __name__ == "__main__":
    main()
