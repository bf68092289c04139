"""Numbers that move in training without a gradient: adasparse's steepness."""

import numpy as np
from mindspore import Tensor

from hamur.layers import AdapterConfig
from hamur.layers.routing import single_layout
from tests.models import test_against_oracle as against
from tests.support import networks


def test_small_factors_of_adasparse_are_exactly_zero():
    """After a long training: a steepness at which many factors fall below 0.01."""
    model = networks.randomise(networks.make_model("adasparse", AdapterConfig.paper()))
    model.alpha.set_data(Tensor(np.full(1, 12.0, np.float32)))
    x = Tensor(np.random.default_rng(3).normal(size=(40, 9)).astype(np.float32))
    layout = single_layout(None, Tensor(np.ones(40, np.float32)))
    factors = model.pruners[2]((x,), model.alpha, layout)[0].asnumpy()
    assert 0.1 < np.mean(factors == 0) < 0.9
    assert factors[factors > 0].min() > 0.01 and factors.max() > 1.99
    against.assert_equal_to_oracle("adasparse", model, against.filled_batch())
