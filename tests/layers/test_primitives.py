"""Softplus and cross entropy: values and two derivatives, at 0 and far out."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers.primitives import cross_entropies, softplus

X = np.array([-1000.0, -50.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 50.0, 1000.0])


def slope_of(x):
    return ms.grad(softplus)(x)


def test_softplus_and_its_derivatives_equal_those_of_the_formula():
    x = Tensor(X.astype(np.float32))
    first, second = ms.jit(slope_of), ms.jit(ms.grad(slope_of))
    slope = 1 / (1 + np.exp(-np.clip(X, -700, 700)))
    np.testing.assert_allclose(softplus(x).asnumpy(), np.logaddexp(0, X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(first(x).asnumpy(), slope, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(second(x).asnumpy(), slope * (1 - slope), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_logit_of_zero_is_pulled_towards_its_label(label):
    labels = Tensor(np.array([label], np.float32))
    gradient = ms.jit(ms.grad(cross_entropies))(Tensor(np.zeros(1, np.float32)), labels)
    assert gradient.asnumpy()[0] == pytest.approx(0.5 - label)
