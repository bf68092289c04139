"""The adapter is alive: its start, the spread of its units, and why cells of ones are not."""

import numpy as np
import pytest

from hamur import models
from hamur.layers import AdapterConfig
from tests.models.test_sizes import schema_of
from tests.support import networks, oracle

RANK, UNITS = 4, 5


@pytest.mark.parametrize("dataset", ["ml-1m", "ali-ccp"])
@pytest.mark.parametrize("name", networks.ADAPTED)
def test_cells_start_near_the_identity_with_live_units(name, dataset):
    """1,000 random rows, published sizes: a of order 1, h' - h small, no unit saturated."""
    schema = schema_of(dataset)
    model = models.RANKING[name](schema, preset="paper")
    domain = np.random.default_rng(0).integers(0, schema.num_domains, 1000)
    rows = networks.make_batch(domain, 1, schema.vocab_sizes[:-1], schema.num_dense)
    network, params = networks.network_of(name, model), networks.arrays(model)
    result = oracle.forward(network, params, **networks.inputs(rows), training=True)
    assert result.cells
    for cell in result.cells:
        units = oracle.sigmoid(cell["a"])
        assert 0.3 <= cell["a"].std() <= 1.5
        assert cell["change"].std() < 0.3
        assert units.min() > 1e-6
        assert units.max() < 1 - 1e-6


def column_spread(matrices):
    """Largest distance between any two columns of (S, K, M), the least over S."""
    columns = np.swapaxes(matrices, 1, 2)  # (S, M, K)
    distances = np.linalg.norm(columns[:, :, None] - columns[:, None], axis=-1)
    return distances.max(axis=(1, 2)).min()


@pytest.mark.parametrize("name", networks.ADAPTED)
def test_paper_cells_learn_from_the_first_step(name):
    model = networks.make_model(name, AdapterConfig.paper())
    batch = networks.make_batch(networks.sorted_domains(20, 12, 16))
    _, gradients = networks.loss_and_gradients(model, batch)
    w_ul = next(values for key, values in gradients.items() if key.endswith("w_ul"))
    assert (np.linalg.norm(w_ul, axis=(1, 2)) > 0).all()


@pytest.mark.slow
def test_units_differ_after_a_hundred_steps(compiled):
    model = networks.make_model("mlp_adp", AdapterConfig.paper())
    batch = networks.make_batch(networks.sorted_domains(60, 30, 30), seed=3)
    assert np.isfinite(networks.supervised_steps(model, batch, 100)).all()
    params = networks.arrays(model)
    w_ur = next(values for key, values in params.items() if key.endswith("w_ur"))
    assert column_spread(w_ur) > 1e-3
    network = networks.network_of("mlp_adp", model)
    for cell in oracle.forward(network, params, **networks.inputs(batch)).cells:
        assert np.ptp(oracle.sigmoid(cell["a"]), axis=1).max() > 1e-3


@pytest.mark.slow
def test_cells_of_ones_are_saturated_and_stay_equal(compiled):
    """Public start: every sigmoid is 1, no gradient reaches u0 and v0, the units never part."""
    config = AdapterConfig.official(rank=40)  # a sum over 40 x 40 non-negative entries saturates
    model = networks.make_model("mlp_adp", config, hidden_dims=(10, 30))
    rows = networks.make_batch(networks.sorted_domains(60, 30, 30), seed=3)
    network = networks.network_of("mlp_adp", model)
    cells = oracle.forward(
        network, networks.arrays(model), **networks.inputs(rows), training=True
    ).cells
    for cell in cells:
        assert (oracle.sigmoid(cell["a"]).astype(np.float32) == 1.0).all()
    _, gradients = networks.loss_and_gradients(model, rows)
    for key in ("w_ul", "w_ur"):
        name = next(each for each in gradients if each.endswith(key))
        assert np.abs(gradients[name]).max() == 0.0
    networks.supervised_steps(model, rows, 60)
    params = networks.arrays(model)
    v0 = next(values for key, values in params.items() if key.endswith("w_ur"))
    columns = v0[0].T
    assert np.abs(columns - columns[0]).max() <= 1e-5
