"""What the workers of the benchmark run: our step, PyTorch's in three forms, the bare products."""

import os

os.environ.setdefault("GLOG_v", "3")  # before MindSpore is imported: no C++ log

import numpy as np
from workers import peak_mib

import hamur.data.table

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-5


def graph_mode():
    import mindspore as ms

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)


def build(shape, name, preset):
    from hamur import models

    graph_mode()
    return models.RANKING[name](shape.schema(), preset=preset)


def ours(shape, name, preset, rows):
    """The training step as `Trainer` runs it, on one batch."""
    base = peak_mib()
    model = build(shape, name, preset)
    from hamur import models, training

    quotas = shape.quotas(rows)
    batch = shape.arrays(quotas)
    batch["labels"] = batch["labels"][:, None]
    table = hamur.data.table.Table(**batch, weight=np.ones(sum(quotas), np.float32))
    routed = model.batches == "quota"
    optimizer = training.Adam(model.parameter_groups(), WEIGHT_DECAY)
    step = training.supervised_step(model, optimizer, quotas if routed else None, 0)
    number = 0

    def run():
        nonlocal number
        number += 1
        return float(step(table, LEARNING_RATE, number).asnumpy())

    facts = {"rows": sum(quotas), "quotas": quotas, "before_mib": base}
    return run, {**facts, **models.parameter_counts(model)}


def plan(shape, name, preset):
    """A worker that only hands over the plan, without rows, so that the parent never loads
    MindSpore."""
    from torch_plan import plan_of

    return (lambda: None), {"plan": plan_of(name, build(shape, name, preset), quotas=())}


def torch_form(plan, form, shape):
    base = peak_mib()
    import torch
    from torch_forms import TorchStep

    step = TorchStep(plan, form, LEARNING_RATE, WEIGHT_DECAY)
    batch = shape.arrays(plan.quotas)
    facts = {"rows": sum(plan.quotas), "threads": torch.get_num_threads(), "before_mib": base}
    return (lambda: step(**batch)), facts


def bare_products(plan):
    """The matrix products of our step alone."""
    base = peak_mib()
    from matrix_products import compiled_products, forward_products, multiply_adds

    sees_all = plan.tower_rows == "all"
    shapes = forward_products(plan.arrays, plan.quotas, plan.places, sees_all)
    facts = {"products": 3 * len(shapes), "multiply_adds": multiply_adds(shapes)}
    return compiled_products(shapes), {**facts, "rows": sum(plan.quotas), "before_mib": base}
