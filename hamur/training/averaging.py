"""An exponential moving average of the weights (Polyak averaging), evaluated in their place."""

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

EVERY = 4  # steps between two updates: the average is smooth on a scale of hundreds of steps


class WeightAverage(nn.Cell):
    """average <- d average + (1 - d) w, for all parameters, running statistics included.

    decay is that of one step; update t, made every ``EVERY`` steps, moves the average by

        max(1 - decay^EVERY, 2 / (2 + t))

    so that a run shorter than the horizon 1/(1 - decay) averages its own later part.  The average
    starts as a copy of the weights at the end of the first epoch (before, they move too fast to be
    averaged).
    """

    def __init__(self, model, decay):
        super().__init__(auto_prefix=False)
        if not 0.0 < decay < 1.0:
            raise ValueError(f"`averaging` must lie in (0, 1), got {decay}.")
        self.weights = ParameterTuple(list(model.get_parameters()))
        self.average = self.weights.clone(prefix="average", init="same")
        self.updates = Parameter(Tensor(0.0, ms.float32), name="updates", requires_grad=False)
        self.least_rate = float(1.0 - decay**EVERY)

    def construct(self):
        rate = ops.maximum(2.0 / (2.0 + self.updates), Tensor(self.least_rate, ms.float32))
        done = (ops.assign_add(self.updates, Tensor(1.0, ms.float32)),)
        for number in range(len(self.weights)):
            average = self.average[number]
            done = done + (ops.assign_add(average, (self.weights[number] - average) * rate),)
        return ops.depend(Tensor(0, ms.int32), done)

    def state(self):
        """The average's own parameters, without the weights that it follows."""
        return [*self.average, self.updates]

    def snapshot(self):
        """{name of the weight: copy of its average}."""
        pairs = zip(self.weights, self.average)
        return {weight.name: average.asnumpy().copy() for weight, average in pairs}

    def restart(self):
        """Start from the present weights."""
        for average, weight in zip(self.average, self.weights):
            average.set_data(Tensor(weight.asnumpy().copy()))

    def exchange(self):
        """Swap weights and average; a second call swaps back."""
        for average, weight in zip(self.average, self.weights):
            own = weight.asnumpy().copy()
            weight.set_data(Tensor(average.asnumpy().copy()))
            average.set_data(Tensor(own))
