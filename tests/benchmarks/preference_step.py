"""Time of POMoE at the published size: a training step against the public code's mathematics in
PyTorch, more preferences against one, and a whole front against one point; and a front's memory.

    python tests/benchmarks/preference_step.py

Every contestant has a process of its own and takes turns with the one it is compared with, so that
a ratio holds on a machine whose speed drifts.  "plain" builds the instance and multiplies it, as
the public code does; "factored" (what "auto" picks here) multiplies one-hots with embedded weights.
Inputs are random numbers of the published shape.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
from peak_memory import resident
from train_step import PAUSE, machine
from workers import Worker

FIELDS = (10, 4, 7, 2, 3, 5, 51, 9, 8, 3, 3, 3, 3, 3, 3, 3)  # of the order of the public sample
NUM_DENSE, EXPERTS, WIDTH = 63, 6, 17 * 128
RATES = (0.2, 0.05)
MIB = 2**20
SPARE_MIB = 200  # that an evaluation may take beyond model, batch and result


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=15, help="timed pairs")
    parser.add_argument("--warmup", type=int, default=10, help="untimed steps of each")
    parser.add_argument("--rows", type=int, default=20_480, help="rows of the evaluation")
    parser.add_argument("--passes", type=int, default=5, help="timed pairs of the evaluation")
    parser.add_argument("--only", nargs="*", default=["train", "preferences", "front", "memory"])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args(argv)


def random_arrays(rows, seed=0):
    """sparse (N, 16) int32, dense (N, 63), labels (N, 2) float32."""
    rng = np.random.default_rng(seed)
    sparse = np.stack([rng.integers(0, v, rows) for v in FIELDS], axis=1).astype(np.int32)
    click = rng.random(rows) < RATES[0]
    bought = click & (rng.random(rows) < RATES[1] / RATES[0])
    labels = np.stack([click, bought], axis=1).astype(np.float32)
    return sparse, rng.random((rows, NUM_DENSE), np.float32), labels


def table_of(rows):
    from hamur.data.table import Table

    sparse, dense, labels = random_arrays(rows)
    domain, weight = np.zeros(rows, np.int32), np.ones(rows, np.float32)
    return Table(sparse, dense, labels, domain, weight=weight)


def schema_of():
    from hamur.data.schema import FieldSpec, Schema

    fields = [FieldSpec(f"categorical_{i + 1}", "sparse", v) for i, v in enumerate(FIELDS)]
    fields += [FieldSpec(f"numerical_{i + 1}", "dense") for i in range(NUM_DENSE)]
    return Schema("aliexpress", tuple(fields), ("click", "conversion"))


def make_model(preset, form):
    import mindspore as ms

    from hamur import models

    ms.set_context(mode=ms.GRAPH_MODE)
    return models.MULTI_TASK["pomoe"](schema_of(), preset=preset, first_layer=form)


def ours(preset, form, number, batch):
    """A training step as the trainer makes it: masks, coefficients, copies to the device."""
    from hamur import training

    table = table_of(batch)
    model = make_model(preset, form)
    published = preset == "official"
    options = training.PreferenceOptions(
        (0.5, 0.2),
        1000,
        scalarisation="official" if published else "linear",
        sampler="dirichlet" if published else "annealed",
        dirichlet_alpha=(1.0, 1.2) if published else None,
        number=number,
    )
    optimizer = training.Adam(model.parameter_groups(), 1e-6)
    step = training.preference_step(model, optimizer, None, 1, options)
    counter = iter(range(10**9))
    return partial(_sync, step, table, counter), {"rows": batch}


def _sync(step, table, counter):
    return float(step(table, 3e-4, next(counter)).asnumpy())


def public(batch):
    from torch_pomoe import public_step

    return public_step(FIELDS, random_arrays(batch))


def products(form, batch):
    """The matrix products of one published step alone, forward and both gradients, in NumPy."""
    first = WIDTH if form == "plain" else sum(FIELDS) + NUM_DENSE
    shapes = [(batch, first, EXPERTS * 512), *[(batch, 512, 256)] * EXPERTS]
    shapes += [(batch, 256, 128), (batch, 128, 64)] * 2
    if form == "factored":  # the weights of each field, embedded
        shapes += [(size, 128, EXPERTS * 512) for size in (*FIELDS, NUM_DENSE)]
    rng = np.random.default_rng(0)
    pairs = [(rng.random((m, k), np.float32), rng.random((k, n), np.float32)) for m, k, n in shapes]

    def step():
        for x, w in pairs:
            y = x @ w
            y @ w.T
            x.T @ y

    return step, {"rows": batch}


def front(number, form, rows):
    """One pass over a table that gives the logits of so many preferences; the facts say what the
    process held before the first one, and what that may add."""
    from hamur.training.prediction import graph_mode, predictor_of
    from hamur.training.preference.samplers import evaluation_preferences

    model, table = make_model("pareto", form), table_of(rows)
    predictor, preferences = predictor_of(model), evaluation_preferences(2, number)

    def step():
        with graph_mode():
            predictor.logits(table, preferences)

    numbers = sum(parameter.size for parameter in model.get_parameters())
    numbers += predictor.batch_size * (len(FIELDS) + NUM_DENSE) + rows * number * 2
    before, allowed = resident(os.getpid()) / MIB, 4 * numbers / MIB + SPARE_MIB
    return step, {"rows": rows, "before_mib": before, "allowed_mib": allowed}


def evaluation_memory(number, form, rows):
    """MiB that a first evaluation, compilation included, added to a process that held model and
    table; and model + batch + result + 200 MiB."""
    with Worker(front, number, form, rows) as worker:
        added = worker.peak_mib() - worker.facts["before_mib"]
        return {"added_mib": added, "allowed_mib": worker.facts["allowed_mib"]}


def duel(first, second, pairs, warmup):
    """Medians in ms of both, the median of their ratio (second over first), and peak MiB."""
    with Worker(*first) as one, Worker(*second) as other:
        for _ in range(warmup):
            one.step()
            other.step()
        times = []
        for _ in range(pairs):
            times.append((after_pause(one), after_pause(other)))
        return {
            "first_ms": 1e3 * statistics.median(t[0] for t in times),
            "second_ms": 1e3 * statistics.median(t[1] for t in times),
            "ratio": statistics.median(t[1] / t[0] for t in times),
            "peak_mib": (one.peak_mib(), other.peak_mib()),
        }


def after_pause(worker):
    """Seconds of one step, the other contestant's threads having come to rest."""
    time.sleep(PAUSE)
    return worker.step()


def contests(options):
    """(name, first, second, timed pairs): the figure is second over first."""
    batch, rows, steps = options.batch, options.rows, options.steps
    found = []
    if "train" in options.only:
        if importlib.util.find_spec("torch") is not None:
            for form in ("factored", "plain"):
                name = f"public code's mathematics in PyTorch / ours, published, {form}"
                found.append((name, (ours, "official", form, 1, batch), (public, batch), steps))
            name = "public code's mathematics in PyTorch / ours, pareto, 8 preferences, factored"
            found.append((name, (ours, "pareto", "factored", 8, batch), (public, batch), steps))
        else:
            print("PyTorch is not installed: its contests are left out")
        for form in ("factored", "plain"):
            name = f"ours, published, {form} / its matrix products alone"
            found.append((name, (products, form, batch), (ours, "official", form, 1, batch), steps))
    if "preferences" in options.only:
        for form, number in (("plain", 8), ("plain", 16), ("factored", 8), ("factored", 16)):
            name = f"a step of {number} preferences / of 1, {form}"
            one, many = ((ours, "pareto", form, r, batch) for r in (1, number))
            found.append((name, one, many, steps))
        name = "a step of 8 preferences, factored / of 1, plain"
        one, many = (ours, "pareto", "plain", 1, batch), (ours, "pareto", "factored", 8, batch)
        found.append((name, one, many, steps))
    if "front" in options.only:
        for form in ("plain", "factored"):
            name = f"a front of 25 points / 1 point, {form}"
            found.append((name, (front, 1, form, rows), (front, 25, form, rows), options.passes))
        name = "a front of 25 points, factored / 1 point, plain"
        one, many = (front, 1, "plain", rows), (front, 25, "factored", rows)
        found.append((name, one, many, options.passes))
    return found


def main(argv=None):
    options = parse(argv)
    start, results = time.time(), {}
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"batch {options.batch}, evaluation rows {options.rows}, random data, published sizes")
    for name, first, second, pairs in contests(options):
        results[name] = figures = duel(first, second, pairs, min(options.warmup, 2 * pairs))
        times = f"{figures['second_ms']:8.1f} ms / {figures['first_ms']:8.1f} ms"
        print(f"{figures['ratio']:6.2f}  {times}  {name}", flush=True)
    if "memory" in options.only:
        for number, form in ((1, "plain"), (25, "plain"), (25, "factored")):
            name = f"memory of a front of {number} points, {form}"
            results[name] = figures = evaluation_memory(number, form, options.rows)
            print("{added_mib:.0f} MiB of {allowed_mib:.0f}".format(**figures), name, flush=True)
    print(f"{time.time() - start:.0f} s")
    if options.json:
        content = {"machine": machine(), "batch": options.batch, "results": results}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
