"""Adam, compiled, against the oracle: the place of epsilon, both kinds of decay."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from hamur.layers.parameters import spared, table
from hamur.models import parameter_groups
from hamur.training import Adam
from tests.support import oracle

KINDS = {"embedding": table, "kernel": lambda v, name: Parameter(Tensor(v), name=name), "b": spared}


class Steps(nn.Cell):
    """One update with given gradients."""

    def __init__(self, optimizer):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer

    def construct(self, gradients, learning_rate):
        return self.optimizer(gradients, learning_rate)


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_five_updates_equal_the_oracle(decay):
    random = np.random.default_rng(0)
    start = {name: random.normal(0, 0.1, (4, 3)).astype(np.float32) for name in KINDS}
    # From gradients that epsilon swallows to ordinary ones.
    scales = 10.0 ** np.arange(-9, 3, 1).reshape(4, 3)
    parameters = [KINDS[name](values, name) for name, values in start.items()]
    step = Steps(Adam(parameter_groups(parameters), weight_decay=1e-2, decay=decay))
    expected = oracle.Adam(weight_decay=1e-2, decay=decay, decayed=("embedding", "kernel"))
    params = {name: values.astype(np.float64) for name, values in start.items()}
    for _ in range(5):
        gradients = {
            name: (random.normal(0, 1, (4, 3)) * scales).astype(np.float32) for name in KINDS
        }
        params = expected.update(params, gradients)
        step(
            tuple(Tensor(gradients[p.name]) for p in step.optimizer.parameters),
            Tensor(1e-3, ms.float32),
        )
    for parameter in parameters:
        np.testing.assert_allclose(
            parameter.asnumpy(), params[parameter.name], atol=2e-7, err_msg=parameter.name
        )


def test_a_tiny_gradient_shows_where_epsilon_is_added():
    """Gradient 1e-7, learning rate 1e-3, first step: 9.1e-4, where nn.Adam moves 2.4e-4."""
    parameter = Parameter(Tensor(np.zeros((1,), np.float32)), name="weight")
    step = Steps(Adam(parameter_groups([parameter])))
    step((Tensor(np.full(1, 1e-7, np.float32)),), Tensor(1e-3, ms.float32))
    assert -parameter.asnumpy()[0] == pytest.approx(9.1e-4, rel=0.01)


def test_an_unknown_decay_lists_the_known_ones():
    with pytest.raises(ValueError, match="valid values are coupled, decoupled"):
        Adam([], decay="other")
