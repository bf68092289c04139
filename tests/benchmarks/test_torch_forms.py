"""The timed restatements compute what our models compute: equal losses before and after a step."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is an optional extra")

import mindspore as ms
from torch_forms import TorchStep
from torch_plan import plan_of

from hamur import training
from hamur.data.table import Table
from hamur.layers import AdapterConfig
from tests.support import networks

QUOTAS = (9, 12, 10)  # above min_domain_rows, where routed PyTorch has no other rule


def two_losses(model, batch):
    """Losses of two steps of ours."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    labels, weight = batch["labels"][:, None], np.ones(len(batch["domain"]), np.float32)
    table = Table(batch["sparse"], batch["dense"], labels, batch["domain"], weight=weight)
    quotas = QUOTAS if model.batches == "quota" else None
    optimizer = training.Adam(model.parameter_groups(), weight_decay=1e-3)
    step = training.supervised_step(model, optimizer, quotas, 0)
    losses = [float(step(table, 1e-2, number).asnumpy()) for number in range(2)]
    ms.set_context(mode=ms.GRAPH_MODE)
    return losses


@pytest.mark.parametrize(
    ("config", "form"),
    [
        (AdapterConfig.paper(), "routed"),
        (AdapterConfig.best(embedding_dropout=0.0), "routed"),
        (AdapterConfig.official(), "public"),
        (AdapterConfig.official(), "factored"),
    ],
    ids=["paper routed", "best routed", "official public", "official factored"],
)
@pytest.mark.parametrize("name", networks.MODELS)
def test_restatement_takes_the_same_steps(name, config, form):
    model = networks.randomise(networks.make_model(name, config))
    batch = networks.make_batch(networks.sorted_domains(*QUOTAS))
    theirs = TorchStep(plan_of(name, model, QUOTAS), form, 1e-2, 1e-3)
    arguments = [batch[part] for part in ("sparse", "dense", "domain", "labels")]
    found = [theirs(*arguments) for _ in range(2)]
    np.testing.assert_allclose(found, two_losses(model, batch), atol=2e-4)
