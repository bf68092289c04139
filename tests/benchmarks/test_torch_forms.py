"""The timed restatements compute what our models compute: equal losses before and after a step, and
equal scores of the trained models, so that running statistics have moved alike."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is an optional extra")

import torch
from torch_forms import TorchStep
from torch_plan import plan_of

from hamur.layers import AdapterConfig
from tests.support import networks
from tests.support.networks import eager  # noqa: F401

QUOTAS = (9, 12, 10)  # above min_domain_rows, where routed PyTorch has no other rule


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
    expected = networks.supervised_steps(model, batch, 2, 1e-2, weight_decay=1e-3)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    if form == "factored":  # one run of the hyper-network, for the time alone: other statistics
        return
    theirs.training = False
    with torch.no_grad():
        scores = theirs.logits(*(torch.from_numpy(part) for part in arguments[:3]))
    np.testing.assert_allclose(scores, networks.logits(model, batch), atol=2e-4)
