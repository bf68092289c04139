"""Adam, compiled, against the oracle: both places of epsilon, both kinds of decay."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from hamur.training import Adam
from tests.support import oracle

NAMES = ("embedding.table", "tower.dense.weight", "cells.0.w_ul", "norm.gamma", "output.bias")
DECAYED = NAMES[:3]


class Steps(nn.Cell):
    """One update with given gradients."""

    def __init__(self, optimizer):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer

    def construct(self, gradients, learning_rate):
        return self.optimizer(gradients, learning_rate)


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
@pytest.mark.parametrize("eps", ["corrected", "uncorrected"])
def test_five_updates_equal_the_oracle(decay, eps):
    random = np.random.default_rng(0)
    start = {name: random.normal(0, 0.1, (4, 3)).astype(np.float32) for name in NAMES}
    # From gradients that epsilon swallows to ordinary ones.
    scales = 10.0 ** np.arange(-9, 3, 1).reshape(4, 3)
    parameters = [Parameter(Tensor(values), name=name) for name, values in start.items()]
    step = Steps(Adam(parameters, weight_decay=1e-2, decay=decay, epsilon=eps))
    expected = oracle.Adam(weight_decay=1e-2, decay=decay, eps_place=eps, decayed=DECAYED)
    params = {name: values.astype(np.float64) for name, values in start.items()}
    for _ in range(5):
        gradients = {
            name: (random.normal(0, 1, (4, 3)) * scales).astype(np.float32) for name in NAMES
        }
        params = expected.update(params, gradients)
        step(tuple(Tensor(g) for g in gradients.values()), Tensor(1e-3, ms.float32))
    for parameter in parameters:
        np.testing.assert_allclose(
            parameter.asnumpy(), params[parameter.name], atol=2e-7, err_msg=parameter.name
        )


@pytest.mark.parametrize(("eps", "move"), [("uncorrected", 2.4e-4), ("corrected", 9.1e-4)])
def test_a_tiny_gradient_shows_where_epsilon_stands(eps, move):
    """Gradient 1e-7, learning rate 1e-3, first step: published figures of both forms."""
    parameter = Parameter(Tensor(np.zeros((1,), np.float32)), name="weight")
    step = Steps(Adam([parameter], epsilon=eps))
    step((Tensor(np.full(1, 1e-7, np.float32)),), Tensor(1e-3, ms.float32))
    assert -parameter.asnumpy()[0] == pytest.approx(move, rel=0.01)


@pytest.mark.parametrize("option", ["decay", "epsilon"])
def test_unknown_options_list_the_known_ones(option):
    with pytest.raises(ValueError, match="valid values"):
        Adam([Parameter(Tensor([0.0]), name="w")], **{option: "other"})
