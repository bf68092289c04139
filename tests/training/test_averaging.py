"""The moving average of the weights, against NumPy."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from hamur.training.averaging import EVERY, WeightAverage
from hamur.training.checkpoint import snapshot
from tests.support.runs import assert_equal_arrays


class Weights(nn.Cell):
    """Two parameters, one of them a running statistic."""

    def __init__(self):
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((4, 3), np.float32)), name="weight")
        self.mean = Parameter(Tensor(np.zeros(5, np.float32)), name="mean", requires_grad=False)


def draw(model, random):
    for parameter in model.get_parameters():
        values = random.normal(0, 1, parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(values))
    return snapshot(model)


@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9999])
def test_averages_equal_the_recurrence(decay):
    random, model = np.random.default_rng(1), Weights()
    average = WeightAverage(model, decay)
    expected = draw(model, random)
    average.restart()
    for t in range(12):
        weights = draw(model, random)
        average()
        rate = max(1 - decay**EVERY, 2 / (2 + t))
        expected = {k: v + rate * (weights[k] - v) for k, v in expected.items()}
    found = average.snapshot()
    assert found.keys() == expected.keys() == {"weight", "mean"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_constant_weights_are_their_own_average():
    model = Weights()
    weights = draw(model, np.random.default_rng(2))
    average = WeightAverage(model, 0.9)
    average.restart()
    for _ in range(3):
        average()
    for name, values in average.snapshot().items():
        np.testing.assert_allclose(values, weights[name], atol=1e-7)


def test_exchange_swaps_and_a_second_one_swaps_back():
    random, model = np.random.default_rng(3), Weights()
    draw(model, random)
    average = WeightAverage(model, 0.9)
    average.restart()
    averaged, weights = average.snapshot(), draw(model, random)
    average.exchange()
    assert_equal_arrays(snapshot(model), averaged)
    average.exchange()
    assert_equal_arrays(snapshot(model), weights)
    assert_equal_arrays(average.snapshot(), averaged)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_decay_lies_between_zero_and_one(decay):
    with pytest.raises(ValueError, match=r"`averaging` must lie in \(0, 1\)"):
        WeightAverage(Weights(), decay)
