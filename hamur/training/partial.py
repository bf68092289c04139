"""Training of some numbers of a model while all others stay, to the bit."""

from collections.abc import Callable, Mapping

import numpy as np
from mindspore import Tensor, nn, ops


def train_only(model, parts: Mapping[str, np.ndarray]) -> Callable:
    """Leave only `parts` of a ranking model to train; returns what makes its step of any other.

    parts: {parameter: bool array of its shape}.  Other parameters get no gradient, norms without
    running statistics among the parts normalise by those that they have, and what is not of a part
    is put back after each step, whatever decay did to it.
    Raises:  ValueError: no such part.
    """
    if not parts:
        raise ValueError("nothing of the model is to be trained: it has no such parameters.")
    for parameter in model.get_parameters():
        parameter.requires_grad = parameter.requires_grad and parameter.name in parts
    model.still = tuple(
        cell
        for _, cell in model.cells_and_names()
        if hasattr(cell, "mean") and hasattr(cell, "variance") and cell.mean.name not in parts
    )
    kept = _Kept([(p, parts[p.name]) for p in model.get_parameters() if p.name in parts])

    def wrapped(make_step: Callable) -> Callable:
        def make(*arguments):
            step = make_step(*arguments)

            def partial_step(batch, learning_rate, number):
                loss = step(batch, learning_rate, number)
                kept()
                return loss

            return partial_step

        return make

    return wrapped


class _Kept(nn.Cell):
    """Puts back what is not trained, as it is now."""

    def __init__(self, parts):
        super().__init__(auto_prefix=False)
        parts = [(parameter, part) for parameter, part in parts if not part.all()]
        self.parameters = tuple(parameter for parameter, _ in parts)
        self.parts = tuple(Tensor(part) for _, part in parts)
        self.start = tuple(Tensor(parameter.asnumpy().copy()) for parameter, _ in parts)

    def construct(self):
        done = ()
        for number in range(len(self.parts)):
            parameter = self.parameters[number]
            value = ops.select(self.parts[number], parameter, self.start[number])
            done = done + (ops.assign(parameter, value),)
        return done
