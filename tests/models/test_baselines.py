"""Models of others and the controls: NumPy oracle, gradients, published sizes, laws.

The laws of batches, domains and fillers are those of `test_batch_laws`, where these models are
listed too; the contract tests are those of every model.
"""

import functools

import numpy as np
import pytest

from hamur import models
from hamur.data.table import Splits, drop_fields
from hamur.layers import AdapterConfig
from tests.models import test_against_oracle as against
from tests.models.test_sizes import schema_of
from tests.support import networks, oracle

PRESETS = {"paper": AdapterConfig.paper, "best": AdapterConfig.best}
# Parameters without embeddings at MovieLens-1M's sizes and three domains; embeddings: 211,664.
COUNTS = {
    "single_domain": 188_931,
    "domain_feature": 62_977,
    "sharedbottom": 18_019,
    "mmoe": 7_077,
    "ple": 14_501,
    "epnet": 43_925,
    "ppnet": 218_019,
    "star": 105_837,
    "sarnet": 32_279,
    "m3oe": 93_425,
    "m2m": 37_969,
    "adasparse": 18_898,
    "adaptdhm": 46_084,
}


@functools.cache
def trained_once(name, preset):
    """(model, parameters before, batch, loss, gradients) of one training-mode pass."""
    model = networks.randomise(networks.make_model(name, PRESETS[preset]()))
    before, batch = networks.arrays(model), against.filled_batch()
    loss, gradients = networks.loss_and_gradients(model, batch)
    networks.restore(model, before)
    return model, before, batch, loss, gradients


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", models.BASELINES)
def test_logits_and_running_statistics(name, preset):
    model, before, batch, *_ = trained_once(name, preset)
    networks.restore(model, before)
    against.assert_equal_to_oracle(name, model, batch)


@pytest.mark.parametrize("name", models.BASELINES)
def test_logits_of_an_adapter_variant(name):
    model = networks.randomise(networks.make_model(f"{name}_adp", AdapterConfig.paper()))
    against.assert_equal_to_oracle(f"{name}_adp", model, against.filled_batch())


@pytest.mark.parametrize("name", models.BASELINES)
def test_loss_and_gradients(name):
    model, before, batch, loss, gradients = trained_once(name, "paper")
    expected = oracle.batch_loss(networks.network_of(name, model), before, **batch)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert set(gradients) == {p.name for p in model.trainable_params()}
    if name == "single_domain":  # whose gradient is that of each domain's mean loss
        weights = [batch["weight"][batch["domain"] == d].sum() for d in range(3)]
        mean = batch | {"weight": batch["weight"] / np.array(weights)[batch["domain"]]}
        gradients = {key: gradient / 3 for key, gradient in gradients.items()}
        batch = mean
    # What a model holds constant stays while a parameter moves.
    before = before | {f"held.{key}": value for key, value in before.items()}
    against.assert_gradients(name, model, before, batch, gradients)


@pytest.mark.parametrize("name", models.BASELINES)
def test_parameter_counts(name):
    counts = models.parameter_counts(models.RANKING[name](schema_of("ml-1m")))
    assert counts["parameters"] == COUNTS[name]
    copies = 3 if name == "single_domain" else 1
    assert counts["embedding_parameters"] == copies * 211_664
    models.RANKING[name](schema_of("ali-ccp"))


@pytest.mark.parametrize("name", models.BASELINES)
def test_the_public_code_of_hamur_has_none_of_them(name):
    with pytest.raises(ValueError, match=f"does not have {name}; use paper or best"):
        models.RANKING[name](schema_of("ml-1m"), preset="official")


def test_m3oe_of_one_domain_is_its_expert():
    """No other experts to average, and nothing for their weight to learn."""
    model = networks.randomise(networks.make_model("m3oe", AdapterConfig.paper(), num_domains=1))
    batch = networks.make_batch(np.zeros(9, np.int32))
    against.assert_equal_to_oracle("m3oe", model, batch)
    _, gradients = networks.loss_and_gradients(model, batch)
    assert gradients["theta"][0] == pytest.approx(0.0, abs=1e-7)
    assert np.abs(gradients["theta"][1]) > 1e-7


def test_m3oe_with_one_tower_keeps_the_experts_of_all_domains():
    config = AdapterConfig.paper(backbone="shared")
    model = networks.randomise(networks.make_model("m3oe", config))
    against.assert_equal_to_oracle("m3oe", model, against.filled_batch())


def test_m3oe_adds_blocks_of_one_width():
    with pytest.raises(ValueError, match=r"bottom_dims\[2\] columns.*got bottom_dims=\(9, 7, 6\)"):
        networks.make_model("m3oe", AdapterConfig.paper(), bottom_dims=(9, 7, 6))


def test_sharedbottom_without_the_domain_column_has_the_benchmarks_size():
    """What `--drop domain_indicator` trains."""
    schema, table = schema_of("ml-1m"), networks.table_of(networks.make_batch([0]))
    _, smaller = drop_fields(Splits(*[table] * 3), schema, [schema.domain_field])
    counts = models.parameter_counts(models.RANKING["sharedbottom"](smaller))
    assert counts["parameters"] == 15_971
