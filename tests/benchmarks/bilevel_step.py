"""Cost of bi-level training, and its speed against a PyTorch restatement of the public loop.

    python tests/benchmarks/bilevel_step.py [--users 20000] [--rounds 5]
    python tests/benchmarks/bilevel_step.py --real FLAGS of run_amazon_cross_domain.py

One round is `interval` lower steps of 64 rows and one upper update, ours and theirs in turn, so
that their ratio holds on a machine whose speed drifts.  Prints the share of an upper update in the
time of a round (goal: at most 10 %), training rows a second, the ratio (goal: at least 3), and the
share of preparing batches in a lower step (goal: at most 25 %).  Random rows of the stated sizes.

With --real, CoNet alone and BIAO train in turn on the pair that the flags name, and their times a
lower step are compared, BIAO's with its share of an upper update (goal: at most 2).
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mindspore as ms
import numpy as np

from hamur.commands.cross_domain import build_model, row_rules
from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.cross_domain_data import load
from hamur.commands.script import from_flags
from hamur.data.cross_domain import Interactions
from hamur.data.cross_domain.collate import CrossDomainBatches, CrossDomainRows
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.encode import Codes
from hamur.training.bilevel.step import bilevel_step
from hamur.training.optimizer import Adam

BATCH, WARM_UP = 64, 60


def make_pair(users, target_items, source_items, categories=(60, 100), seed=0):
    """A pair of random rows: 5 to 13 target rows a user, 8 to 28 source rows."""
    rng = np.random.default_rng(seed)
    domains = []
    for name, items, kinds, fewest, most in (
        ("Target", target_items, categories[0], 5, 13),
        ("Source", source_items, categories[1], 8, 28),
    ):
        counts = rng.integers(fewest, most, users)
        user = np.repeat(np.arange(users, dtype=np.int32), counts)
        item = rng.integers(0, items, len(user)).astype(np.int32)
        domains.append(
            Interactions(
                name,
                Codes(user, np.arange(users)),
                Codes(item, np.arange(items)),
                Codes((np.arange(items) % kinds).astype(np.int32), np.arange(kinds)),
                np.arange(len(user)),
                rng.integers(1, 6, len(user)).astype(np.float32),
                10**9 + 86_400 * rng.integers(0, 999, len(user)),
            )
        )
    return join_pair(domains[1], domains[0], JoinRules(vocabulary="all"))


class Ours:
    def __init__(self, pair, config):
        size = config.batch_size
        rows = CrossDomainRows(pair, row_rules(config))
        model = build_model(config, rows.sizes)
        optimizer = Adam(model.parameter_groups(), decay="decoupled")
        # Upper updates are called for, and timed, one by one.
        options = dataclasses.replace(config.bilevel_options(), interval=10**9, descent_step=100)
        self.step = bilevel_step(model, optimizer, None, 1, rows, options, size)
        self.rate, self.number = config.learning_rate, 0
        histories = self.step.upper is not None
        self.batches = self.endless(CrossDomainBatches(rows, size, 1, histories))

    def endless(self, batches):
        for epoch in itertools.count(1):
            yield from batches.epoch(epoch)

    def lower(self, steps):
        """(seconds, seconds of preparing batches)."""
        started, prepared = time.perf_counter(), 0.0
        for _ in range(steps):
            begin = time.perf_counter()
            batch = next(self.batches)
            prepared += time.perf_counter() - begin
            loss = self.step(batch, self.rate, self.number)
            self.number += 1
        loss.asnumpy()
        return time.perf_counter() - started, prepared

    def upper(self):
        started = time.perf_counter()
        self.step.upper.update(0.0, self.rate)
        return time.perf_counter() - started


class Theirs:
    def __init__(self, pair):
        from tests.benchmarks.torch_bilevel import PublicLoop, PublicRows

        train, source = pair.target.train, pair.source
        rows = [
            (*ids, float(label)) for ids, label in zip(train.sparse.tolist(), train.labels[:, 0])
        ]
        users = pair.num_users + 1
        pools, histories = ([[] for _ in range(users)] for _ in range(2))
        for (user, item, category), label, when in zip(
            source.sparse.tolist(), source.labels[:, 0].tolist(), source.time.tolist()
        ):
            if when < pair.valid_time[user]:
                pools[user].append((item, category, float(label)))
                if label:
                    histories[user].append((item, category))
        target = [[] for _ in range(users)]
        for user, item, category, label in rows:
            if label:
                target[user].append((item, category))
        sizes = (*pair.target_schema.vocab_sizes, *pair.source_schema.vocab_sizes[1:])
        self.loop = PublicLoop(sizes, PublicRows(rows, pools, histories, target), BATCH)

    def lower(self, steps):
        started = time.perf_counter()
        for _ in range(steps):
            self.loop.lower()
        return time.perf_counter() - started

    def upper(self):
        started = time.perf_counter()
        self.loop.upper()
        return time.perf_counter() - started


def compare(pair, options, rounds, steps, with_torch):
    """Medians over rounds, in milliseconds a step and an update."""
    config = CrossDomainConfig(seed=1, batch_size=BATCH, **options).resolved()
    ours, theirs = Ours(pair, config), Theirs(pair) if with_torch else None
    ours.lower(WARM_UP)
    for _ in range(2):
        ours.upper()
    if theirs:
        theirs.lower(10)
    times = []
    for _ in range(rounds):
        lower, prepared = ours.lower(steps)
        row = {"lower": lower / steps, "prepared": prepared / steps, "upper": ours.upper()}
        if theirs:
            count = max(10, steps // 4)
            row |= {"torch_lower": theirs.lower(count) / count, "torch_upper": theirs.upper()}
        times.append(row)
    median = {name: 1e3 * statistics.median(row[name] for row in times) for name in times[0]}
    round_ms = 100 * median["lower"] + median["upper"]
    median |= {
        "upper_share": median["upper"] / round_ms,
        "preparing_share": median["prepared"] / median["lower"],
        "rows_per_second": 1e3 * 100 * BATCH / round_ms,
    }
    if theirs:
        whole = 100 * median["torch_lower"] + median["torch_upper"]
        median["torch_rows_per_second"] = 1e3 * 100 * BATCH / whole
        median["ratio"] = whole / round_ms
        median["ratio_without_upper"] = median["torch_lower"] / median["lower"]
    return median


def compare_with_conet(flags, rounds=7, steps=100):
    """Medians on a real pair; flags: those of the script."""
    config = from_flags(CrossDomainConfig, flags, __doc__).resolved()
    plain = dataclasses.replace(config, arm="uniform", model_name="conet", use_meta=False)
    pair, _ = load(config)
    conet, biao = (Ours(pair, each) for each in (plain, config))
    for each in (conet, biao):
        each.lower(WARM_UP)
    for _ in range(3):
        biao.upper()
    times = []
    for _ in range(rounds):
        row = {"conet": conet.lower(steps)[0] / steps, "lower": biao.lower(steps)[0] / steps}
        times.append(row | {"upper": biao.upper()})
    median = {name: 1e3 * statistics.median(row[name] for row in times) for name in times[0]}
    steps_per_update = config.bilevel_options().fitted(
        len(pair.target.train), config.batch_size
    ).interval  # fmt: skip
    whole = median["lower"] + median["upper"] / steps_per_update
    for name, value in (("conet", median["conet"]), ("biao", whole)):
        median[f"{name}_rows_per_second"] = 1e3 * config.batch_size / value
    return median | {"interval": steps_per_update, "ratio": whole / median["conet"]}


FORMS = {
    "corrected": {},
    "neumann, all parameters": dict(
        estimator="neumann", hyper_scope="all", upper_batchsize=64, row_normalise=False
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--target_items", type=int, default=12_000)
    parser.add_argument("--source_items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="lower steps timed a round")
    parser.add_argument("--no_torch", action="store_true")
    parser.add_argument("--real", nargs=argparse.REMAINDER, help="flags of the script")
    args = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    if args.real:
        found = compare_with_conet(args.real)
        print(json.dumps({k: round(v, 4) for k, v in found.items()}))
        return
    pair = make_pair(args.users, args.target_items, args.source_items)
    for number, name in enumerate(FORMS):
        with_torch = number == 0 and not args.no_torch
        found = compare(pair, FORMS[name], args.rounds, args.steps, with_torch)
        print(json.dumps({"form": name} | {k: round(v, 4) for k, v in found.items()}), flush=True)


if __name__ == "__main__":
    main()
