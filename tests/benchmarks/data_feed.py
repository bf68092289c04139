"""Rows a second and peak memory of epochs that read a prepared cache of Ali-CCP.

    python tests/benchmarks/data_feed.py CACHE              # the feeding alone, no model
    python tests/benchmarks/data_feed.py CACHE --memory     # the same rows loaded first
    python tests/benchmarks/data_feed.py CACHE --model mlp_adp --epochs 2 [--memory]

--like OTHER takes the sizes of the model from another cache, one of more rows, so that the memory
of two numbers of rows differs by the rows alone and not by their vocabularies.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workers import peak_mib

from hamur.data import DomainBatches, load_ali_ccp


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--memory", action="store_true", help="load the training rows first")
    parser.add_argument("--model", help="train it; without it nothing but the batches is made")
    parser.add_argument("--like", type=Path, help="cache whose vocabularies size the model")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4096)
    return parser.parse_args(argv)


def feed(options, train, num_domains) -> list[float]:
    """Seconds of each epoch."""
    batches = DomainBatches(train, options.batch, 2022, num_domains=num_domains)
    seconds = []
    for number in range(options.epochs):
        start = time.perf_counter()
        rows = sum(int(batch.weight.sum()) for batch in batches.epoch(number))
        seconds.append(time.perf_counter() - start)
        assert rows == len(train)
    return seconds


def fit(options, train, valid, schema) -> list[float]:
    """Seconds of each epoch's training; the first holds the compilation."""
    from hamur import models, training

    trainer = training.Trainer(
        training.supervised_step,
        epochs=options.epochs,
        batch_size=options.batch,
        patience=None,
        quiet=True,
    )
    run = trainer.fit(models.RANKING[options.model](schema), train, valid)
    return [row["seconds"] for row in run.history]


def main(argv=None):
    options = parse(argv)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    (train, valid, _), schema = load_ali_ccp(options.cache)
    opened, at_first = time.perf_counter() - start, peak_mib()
    if options.memory:
        train = train.take(np.arange(len(train)))
    if options.like is not None:
        _, schema = load_ali_ccp(options.like)
    if options.model is None:
        seconds = feed(options, train, schema.num_domains)
    else:
        seconds = fit(options, train, valid, schema)
    figures = {
        "rows": len(train),
        "held in memory": options.memory,
        "model": options.model,
        "opened in seconds": round(opened, 3),
        "rows/s": [round(len(train) / each) for each in seconds],
        "peak MiB when open": round(at_first),
        "peak MiB": round(peak_mib()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
