"""Train the public form restated in PyTorch on MovieLens-1M, with its own recipe.

    python tests/benchmarks/torch_training.py --dataset_path path/to/ml-1m --seed 1

Rows, split, vocabularies and initial weights are those of our preset `official` (the authors' start
and sizes), and so is the recipe: Adam, learning rate 1e-3, L2 1e-5 on all parameters, no schedule.
Batches are rows in random order.  After each epoch the AUC of the validation rows is printed. They
are scored as the public code does: with running statistics, but in the cells those of the batch.
"""

import argparse
import time

import contestants
import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch_forms import TorchStep
from torch_plan import plan_of

from hamur import models
from hamur.commands.ranking import PRESETS
from hamur.data import load_movielens
from hamur.data.batches import gather

RECIPE = PRESETS["official"]
REPORT_EVERY = 10  # steps


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset_path", required=True)
    parser.add_argument("--model_name", default="mlp_adp")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=RECIPE["batch_size"])
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    contestants.graph_mode()
    splits, schema = load_movielens(options.dataset_path)
    model = models.RANKING[options.model_name](schema, preset="official", seed=options.seed)
    plan = plan_of(options.model_name, model, quotas=(0,) * schema.num_domains)
    step = TorchStep(plan, "public", RECIPE["learning_rate"], RECIPE["weight_decay"])
    torch.manual_seed(options.seed)
    generator, rows = np.random.default_rng(options.seed), len(splits.train)
    for epoch in range(1, options.epochs + 1):
        start, losses = time.perf_counter(), []
        for number, batch in enumerate(batches(splits.train, options, generator.permutation(rows))):
            losses.append(step(*batch))
            if number % REPORT_EVERY == 0:
                done = min((number + 1) * options.batch_size, rows)
                print(f"{done} of {rows} rows in {time.perf_counter() - start:.3f} s", flush=True)
        auc = validate(step, splits.valid, options)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch:3d}  loss {np.mean(losses):.5f}", end="  ")
        print(f"valid auc {auc:.5f}  {seconds:.1f} s", flush=True)


def batches(table, options, order):
    """(sparse, dense, domain, labels) of each batch."""
    size = options.batch_size
    plan = (order[start : start + size] for start in range(0, len(order), size))
    for batch in gather(table, ((rows, np.ones(len(rows), bool)) for rows in plan), None):
        yield batch.sparse, batch.dense, batch.domain, batch.labels[:, 0].copy()


@torch.no_grad()
def validate(step, table, options):
    """AUC of all rows."""
    step.training = False
    scores = []
    for *inputs, _ in batches(table, options, np.arange(len(table))):
        scores.append(step.logits(*map(torch.from_numpy, inputs)).numpy())
    step.training = True
    return roc_auc_score(table.labels[:, 0], np.concatenate(scores))


if __name__ == "__main__":
    main()
