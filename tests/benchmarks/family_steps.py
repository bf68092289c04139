"""A training step of each multi-task model and of CoNet, as the example scripts train them.

    python tests/benchmarks/family_steps.py [--models pomoe metaheac conet] [--profile]

One line a model: milliseconds of an update, rows a second, kernels.  Random rows of the published
sizes; a process per model.  An update of metaheac takes two batches.
"""

import argparse
import statistics
from functools import partial

import contestants
import numpy as np
from preference_step import schema_of, table_of
from profile_step import kernels_of, number_line, print_profile
from train_step import machine
from workers import Worker

from hamur.models import MULTI_TASK

CROSS_DOMAIN = ("conet", "conet_biao")  # of the second the lower step alone
PAIR = (20_000, 12_000, 100_000)  # users, target items, source items


def multi_task(name, preset):
    """A step of a multi-task model at the recipe's batch."""
    contestants.graph_mode()
    from hamur import metrics, training
    from hamur.commands.multi_task_config import BATCH_SIZE, TaskConfig
    from hamur.commands.task_problem import Problem, build, task_trainer
    from hamur.data.table import Splits

    table, schema = table_of(2 * BATCH_SIZE), schema_of()
    config = TaskConfig(model_name=name, preset=preset, batch_size=BATCH_SIZE)
    entropy = metrics.label_entropy(table.labels, schema.labels)
    config = config.resolved("benchmark", len(table))
    problem = Problem(config, Splits(table, table, table), schema, entropy)
    model, batches = build(problem), [table.take(np.arange(BATCH_SIZE) + d) for d in range(2)]
    trainer = task_trainer(problem, model)
    optimizer = training.Adam(model.parameter_groups(), trainer.weight_decay)
    step = trainer.step(model, optimizer, None, config.seed)
    rows = 2 * BATCH_SIZE if name == "metaheac" else BATCH_SIZE
    number = 0

    def run():
        nonlocal number
        for _ in range(rows // BATCH_SIZE):
            loss = step(batches[number % 2], trainer.learning_rate, number)
            number += 1
        return float(loss.asnumpy())

    return run, {"rows": rows}


def cross_domain(name):
    """A lower step of CoNet or BIAO with the preparation of its batch."""
    contestants.graph_mode()
    from bilevel_step import Ours, make_pair

    from hamur.commands.cross_domain_config import CrossDomainConfig

    config = CrossDomainConfig(model_name=name, seed=1).resolved()
    return partial(Ours(make_pair(*PAIR), config).lower, 1), {"rows": config.batch_size}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=[*MULTI_TASK, *CROSS_DOMAIN])
    parser.add_argument("--preset", default="pareto", help="of the multi-task models")
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--steps", type=int, default=100, help="timed steps")
    parser.add_argument("--profile", action="store_true", help="print the dearest kernels too")
    options = parser.parse_args(argv)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"multi-task preset {options.preset}; milliseconds: median (fastest)")
    print(f"{'model':13s}  {'rows':>5s}  {'ms':>15s}  {'rows/s':>8s}  {'first s':>7s}  kernels")
    for name in options.models:
        start = (cross_domain, name)
        if name not in CROSS_DOMAIN:
            start = (multi_task, name, options.preset)
        with Worker(*start) as worker:
            for _ in range(options.warmup):
                worker.step()
            seconds = [worker.step() for _ in range(options.steps)]
            kernels, facts = worker.ask(kernels_of), worker.facts
        median = statistics.median(seconds)
        times, speed = f"{1e3 * median:.2f} ({1e3 * min(seconds):.2f})", facts["rows"] / median
        print(f"{name:13s}  {facts['rows']:5d}  {times:>15s}  {speed:8,.0f}", end="  ")
        print(f"{facts['compile_seconds']:7.1f}  {number_line(kernels, 4)}", flush=True)
        if options.profile:
            print_profile(kernels)


if __name__ == "__main__":
    main()
