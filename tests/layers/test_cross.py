"""CrossNetwork: a number by hand, the oracle, errors."""

import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers import CrossNetwork
from hamur.layers.routing import combine, dispatch
from tests.support.networks import layout_of
from tests.support.oracle import cross_network


def crossed(network, x, layout):
    return combine(network(dispatch(Tensor(x), layout), layout), layout).asnumpy()


def test_one_layer_by_hand():
    """x = (2, 3), w = (1, -1), b = (0.5, 0): x0 (x . w) + b + x = (-2, -3) + (0.5, 0) + (2, 3)."""
    network = CrossNetwork(np.random.default_rng(0), 2, 1)
    network.weight.set_data(Tensor(np.array([[[1.0, -1.0]]], np.float32)))
    network.bias.set_data(Tensor(np.array([[[0.5, 0.0]]], np.float32)))
    x = np.array([[2.0, 3.0]], np.float32)
    np.testing.assert_allclose(crossed(network, x, layout_of([0])), [[0.5, 0.0]], atol=1e-6)


@pytest.mark.parametrize("num_layers", [1, 2, 7])
@pytest.mark.parametrize("num_domains", [1, 3, 10])
def test_equals_the_recursion(num_domains, num_layers):
    random = np.random.default_rng(1)
    quotas = tuple(int(q) for q in random.integers(1, 9, num_domains))
    domain = np.repeat(np.arange(num_domains, dtype=np.int32), quotas)
    x = random.normal(0.0, 0.5, (len(domain), 5)).astype(np.float32)
    network = CrossNetwork(random, 5, num_layers, num_domains)
    bias = random.normal(0.0, 0.5, (num_domains, num_layers, 5)).astype(np.float32)
    network.bias.set_data(Tensor(bias))
    weight = network.weight.asnumpy()
    found = crossed(network, x, layout_of(domain, None, quotas, num_domains))
    for d in range(num_domains):
        mine = domain == d
        expected = cross_network(x[mine].astype(np.float64), weight[d], bias[d])
        np.testing.assert_allclose(found[mine], expected, atol=1e-5, rtol=1e-5)


def test_no_layer_is_an_error():
    with pytest.raises(ValueError, match="num_layers"):
        CrossNetwork(np.random.default_rng(0), 4, 0)
