"""Rows a second and peak memory of one epoch of training batches: `measure_feed.py CACHE [memory]`.

Without a model: what the data side alone gives and takes.  "memory" loads the table first.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hamur.data import DomainBatches, load_ali_ccp


def peak() -> int:
    """Peak resident MiB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    start = time.perf_counter()
    (train, _, _), schema = load_ali_ccp(sys.argv[1])
    opened, at_first = time.perf_counter() - start, peak()
    if "memory" in sys.argv[2:]:
        train = train.take(np.arange(len(train)))
    batches = DomainBatches(train, 4096, 2022, num_domains=schema.num_domains)
    start = time.perf_counter()
    rows = sum(int(batch.weight.sum()) for batch in batches.epoch(1))
    seconds = time.perf_counter() - start
    print(
        f"{rows:,} rows: opened in {opened:.2f} s; an epoch {rows / seconds:,.0f} rows/s; "
        f"peak {at_first} MiB when open, {peak()} MiB after the epoch"
    )
