"""A run on synthetic random rows: epoch time against step time, validation speed, peak memory.

    python tests/benchmarks/epoch.py --model mlp_adp --preset best
    python tests/benchmarks/epoch.py --batch 40960                    # memory at the published size

Prints how much longer an epoch of `Trainer` takes than its steps alone (feeding, shuffling and the
bookkeeping of the loop), rows a second of a prediction pass, and the process's peak memory.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import contestants
import numpy as np
from shapes import SHAPES
from workers import peak_mib


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="mlp_adp")
    parser.add_argument("--preset", default="best")
    parser.add_argument("--shape", default="ml-1m", choices=SHAPES)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=800_000, help="training rows; validation: 1/8")
    parser.add_argument(
        "--epochs", type=int, default=3, help="the first, with compilation, is left out"
    )
    parser.add_argument("--steps", type=int, default=100, help="timed steps on one batch")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args(argv)


def random_table(shape, rows, seed):
    """Rows in random order, domains in the shares of the data set."""
    from hamur.data.table import Table

    shares = np.array(shape.domain_rows) / sum(shape.domain_rows)
    quotas = np.maximum(1, np.floor(shares * rows)).astype(int)
    arrays = shape.arrays(tuple(quotas.tolist()), seed)
    arrays["labels"] = arrays["labels"][:, None]
    order = np.random.default_rng(seed).permutation(len(arrays["domain"]))
    return Table(**arrays).take(order)


def main(argv=None):
    options = parse(argv)
    shape = SHAPES[options.shape]
    model = contestants.build(shape, options.model, options.preset)
    from hamur import training

    train, valid = (
        random_table(shape, n, s) for s, n in enumerate((options.rows, options.rows // 8))
    )
    trainer = training.Trainer(
        training.supervised_step,
        epochs=options.epochs,
        batch_size=options.batch,
        patience=None,
        quiet=True,
    )
    history = trainer.fit(model, train, valid).history
    peak = peak_mib()
    epoch = statistics.median(row["seconds"] for row in history[1:])
    start = time.perf_counter()
    training.predict(model, valid)  # compiles
    first = time.perf_counter() - start
    start = time.perf_counter()
    training.predict(model, valid)
    predicted = time.perf_counter() - start
    step = step_seconds(shape, options)
    steps = -(-len(train) // options.batch)
    report = {
        "epoch_seconds": epoch,
        "steps": steps,
        "step_ms": 1e3 * step,
        "epoch_over_steps": epoch / (steps * step),
        "training_rows_per_second": len(train) / epoch,
        "prediction_rows_per_second": len(valid) / predicted,
        "first_prediction_seconds": first,
        "peak_mib": peak,
    }
    print(f"{options.model}, preset {options.preset}, batch {options.batch}, synthetic random rows")
    for name, value in report.items():
        print(f"  {name:28s} {value:12,.2f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def step_seconds(shape, options):
    """Median time of a step on one batch that stays in memory."""
    step, _ = contestants.ours(shape, options.model, options.preset, options.batch)
    seconds = []
    for _ in range(2 * options.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[options.steps :])


if __name__ == "__main__":
    main()
