"""Weights on disk: predictions after loading are those before saving, to the last bit."""

import numpy as np
import pytest

from hamur import training
from hamur.data.table import Table
from hamur.layers import AdapterConfig
from hamur.training.checkpoint import load_weights, restore, save_weights, snapshot
from tests.support import networks


def random_table(rows=50):
    batch = networks.make_batch(np.random.default_rng(4).integers(0, 3, rows))
    return Table(batch["sparse"], batch["dense"], batch["labels"][:, None], batch["domain"])


@pytest.mark.filterwarnings("ignore:norm_inference")  # what official promises to say
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("mlp_adp", AdapterConfig.official),
        ("mlp_adp", AdapterConfig.best),
        ("dcn_md_adp", AdapterConfig.paper),
        ("wd_md_adp", AdapterConfig.best),
    ]
    + networks.slow(
        [
            ("mlp_adp", AdapterConfig.paper),
            ("dcn_md_adp", AdapterConfig.official),
            ("dcn_md_adp", AdapterConfig.best),
            ("wd_md_adp", AdapterConfig.paper),
            ("wd_md_adp", AdapterConfig.official),
        ]
    ),
)
def test_a_loaded_model_predicts_the_same_bits(name, preset, tmp_path):
    trained = networks.randomise(networks.make_model(name, preset()))
    networks.logits(trained, networks.make_batch(networks.sorted_domains(20, 9, 12)), training=True)
    before = training.predict(trained, random_table())
    save_weights(tmp_path / "model.safetensors", snapshot(trained))
    loaded = networks.make_model(name, preset(), seed=6)
    assert np.abs(training.predict(loaded, random_table()) - before).max() > 1e-3
    restore(loaded, load_weights(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(training.predict(loaded, random_table()), before)


FOREIGN = {
    "another model": ("mlp", AdapterConfig.paper(), 3),
    "another preset": ("mlp_adp", AdapterConfig.official(), 3),
    "another number of domains": ("mlp_adp", AdapterConfig.paper(), 4),
}


@pytest.mark.parametrize("other", FOREIGN)
def test_a_foreign_checkpoint_is_refused_before_anything_changes(other):
    model = networks.make_model("mlp_adp", AdapterConfig.paper())
    before = networks.arrays(model)
    with pytest.raises(ValueError, match="belongs to another model"):
        restore(model, snapshot(networks.make_model(*FOREIGN[other])))
    for key, values in networks.arrays(model).items():
        np.testing.assert_array_equal(values, before[key])
