"""Train models for some steps, in one process or as a worker of msrun, and keep what they became.

    python -m tests.support.worker_steps FOLDER NAME,NAME

Writes FOLDER/NAME.npz: the weights, and the loss of each epoch.  A name may have a form, as in
mlp_adp-official, mlp_adp-lazy or mlp_adp-rows.
"""

import sys
from pathlib import Path

import mindspore as ms
import numpy as np

from hamur import models, training, workers
from hamur.layers import collectives
from hamur.training.checkpoint import snapshot
from tests.conftest import make_tiny_schema
from tests.contract.test_contract import cross_domain, multi_task, ranking

STEPS = 20
FAMILIES = {
    ranking: (models.RANKING, 90),  # rows of a batch, of 600 and fewer
    multi_task: (models.MULTI_TASK, 75),
    cross_domain: (models.CROSS_DOMAIN, 18),
}


def train(name, folder, **changes):
    """Train the model of this name; the first worker writes."""
    base, _, form = name.partition("-")
    family = next(each for each, (known, _) in FAMILIES.items() if base in known)
    case, size = family(base), FAMILIES[family][1]
    options = case.options | dict(seed=7, batch_size=size, patience=None, quiet=True)
    options |= dict(epochs=-(-STEPS * size // len(case.train))) | changes
    if form == "rows":  # exchanged whatever the size of the table
        collectives.rows_are_smaller = lambda *sizes: True
    if form == "lazy":
        options |= dict(embeddings="lazy", weight_decay=0.0)
    seed = 5 + workers.rank()  # the initial values of the first one count
    if form in ("official", "paper"):
        sizes = dict(embed_dim=4, hidden_dims=(10, 6), preset=form)
        model = models.RANKING[base](make_tiny_schema(), seed=seed, **sizes)
    else:
        model = case.make(seed)
    run = training.Trainer(options.pop("step"), **options).fit(model, case.train, case.valid)
    if workers.rank() == 0:
        losses = np.array([row["loss"] for row in run.history if "loss" in row])
        np.savez(Path(folder) / f"{name}.npz", losses=losses, **snapshot(model))


if __name__ == "__main__":
    ms.set_device("CPU")
    for each in sys.argv[2].split(","):
        train(each, sys.argv[1])
