"""Parameters with their initial values, and what the optimiser may ask about them.

A layer says here which of its parameters are an embedding table and which weight decay spares
(biases, scales and shifts of norms); `hamur.models.protocol.parameter_groups` collects it.
"""

import numpy as np
from mindspore import Parameter, Tensor


def uniform_init(rng, shape, fan_in) -> Tensor:
    """Uniform in +-1/sqrt(fan_in), float32, as dense layers start in the public code."""
    bound = 1.0 / np.sqrt(fan_in)
    return Tensor(rng.uniform(-bound, bound, shape).astype(np.float32))


def kernel(rng, shape, fan_in, name="weight") -> Parameter:
    """The matrix of a product, uniform in +-1/sqrt(fan_in)."""
    return Parameter(uniform_init(rng, shape, fan_in), name=name)


def bias(rng, shape, fan_in, name="bias") -> Parameter:
    """A bias, uniform in +-1/sqrt(fan_in); weight decay spares it."""
    return spared(uniform_init(rng, shape, fan_in), name)


def spared(value, name) -> Parameter:
    """A parameter that weight decay spares: a bias, or the scale or shift of a norm."""
    parameter = Parameter(Tensor(value), name=name)
    parameter.decayed = False
    return parameter


def table(value, name="table") -> Parameter:
    """The rows of an embedding: they have a decay of their own and may be updated row by row."""
    parameter = Parameter(Tensor(value), name=name)
    parameter.is_table = True
    return parameter
