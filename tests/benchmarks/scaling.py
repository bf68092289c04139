"""What several workers exchange, on paper and measured.

    python tests/benchmarks/scaling.py                                  # on paper
    msrun --worker_num 2 --local_worker_num 2 --join True tests/benchmarks/scaling.py

On paper: bytes that a worker sends in a step, milliseconds of its exchanges, and the share of its
time that it computes, for 4,096 rows per worker.  Measured: milliseconds per step of `Trainer`, of
this many workers on random rows of the shape; the first worker prints.
"""

import argparse
import math
import os

import contestants
from epoch import random_table
from shapes import SHAPES

BYTES = 4
WORKERS = (2, 8, 64, 512)
GBIT = (10, 100)  # per second
LATENCY = 50e-6  # seconds of a message between two hosts


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="mlp_adp")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--shape", default="ali-ccp", choices=SHAPES)
    parser.add_argument("--rows", type=int, default=4096, help="of a step; on paper of a worker")
    parser.add_argument("--steps", type=int, default=30, help="of an epoch that is measured")
    parser.add_argument("--measured", action="store_true", help="also without msrun")
    parser.add_argument("--compute_ms", type=float, default=180.0, help="of a step of one process")
    return parser.parse_args(argv)


def sent(number, table, parameters, rows):
    """(bytes with the whole table, bytes with the rows that were read): of one worker in a step,
    both in rings.  table (V, E); rows: that a worker reads."""
    summed = 2 * (number - 1) / number  # of a tensor that is summed
    height, width = table
    whole = summed * (height * width + parameters) * BYTES
    by_rows = (number - 1) * rows * (width + 1) * BYTES + summed * parameters * BYTES
    return whole, by_rows


def seconds(number, sent_bytes, gbit, small):
    """Of the exchanges of a step: the large ones in a ring, 2 (N - 1) messages, and so many small
    ones in trees of 2 log2(N) messages."""
    messages = 2 * (number - 1) + small * 2 * math.ceil(math.log2(number))
    return sent_bytes * 8 / (gbit * 1e9) + messages * LATENCY


def small_exchanges(model):
    """Of a step: the sums of every batch norm, forwards and backwards, of the loss and its weights,
    and whether a signal came."""
    from hamur.layers.norm import DomainBatchNorm

    norms = sum(isinstance(cell, DomainBatchNorm) for _, cell in model.cells_and_names())
    return 2 * norms + 3


def on_paper(options):
    shape = SHAPES[options.shape]
    model = contestants.build(shape, options.model, options.preset)
    table = model.embedding.table.shape
    numbers = sum(each.size for each in model.trainable_params()) - table[0] * table[1]
    read = options.rows * model.embedding.offsets.shape[1]
    small = small_exchanges(model)
    print(f"table {table[0]:,} x {table[1]}, other parameters {numbers:,}, rows read {read:,}")
    print(f"{small} small exchanges per step\n")
    heads = [f"{way}, {gbit} Gbit/s" for way in ("table", "rows") for gbit in GBIT]
    print("| workers | MB, table | MB, rows | " + " | ".join(heads) + " |")
    print("|---" * (3 + len(heads)) + "|")
    for number in WORKERS:
        both = sent(number, table, numbers, read)
        cells = []
        for amount in both:
            for gbit in GBIT:
                exchange = seconds(number, amount, gbit, small)
                share = 1 / (1 + exchange / (options.compute_ms / 1e3))
                cells.append(f"{exchange * 1e3:,.0f} ms, {share:.0%}")
        megabytes = " | ".join(f"{amount / 1e6:,.1f}" for amount in both)
        print(f"| {number} | {megabytes} | " + " | ".join(cells) + " |")


def measured(options):
    from hamur import training, workers

    shape = SHAPES[options.shape]
    model = contestants.build(shape, options.model, options.preset)
    train = random_table(shape, options.rows * options.steps, 0)
    trainer = training.Trainer(
        training.supervised_step, epochs=3, batch_size=options.rows, quiet=True
    )
    run = trainer.fit(model, train, random_table(shape, 10_000, 1))
    if workers.rank() == 0:
        rate = run.rows_per_second
        print(
            f"{workers.count()} workers, {options.model}, {options.shape}, {options.rows} rows: "
            f"{options.rows / rate * 1e3:.1f} ms a step, {rate:,.0f} rows/s",
            flush=True,
        )


def main(argv=None):
    from hamur import workers

    options = parse(argv)
    if options.measured or workers.ROLE in os.environ:
        measured(options)
    else:
        on_paper(options)


if __name__ == "__main__":
    main()
