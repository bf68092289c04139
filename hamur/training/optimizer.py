"""Adam as CTR models are trained with it: coupled L2 or decoupled decay, PyTorch's placement of
epsilon."""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from hamur import kernels
from hamur.kernels.cells import adam_kernel
from hamur.layers.collectives import GradientMean
from hamur.models.protocol import ParameterGroup

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
DECAYS = ("coupled", "decoupled")


class Adam(nn.Cell):
    """Adam (arXiv 1412.6980) with bias correction.

        g <- g + l2 w                     (decay "coupled": the penalised groups)
        m <- b1 m + (1-b1) g;   v <- b2 v + (1-b2) g^2
        w <- w - lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + eps sqrt(1-b2^t))
        w <- w (1 - lr l2)                (decay "decoupled": the decayed groups)

    The factor on eps places it beside the bias-corrected sqrt(v), as the paper and PyTorch do and
    MindSpore's ``nn.Adam`` does not.  The fused kernel takes eps as an input, so it costs nothing.

    groups: what ``parameter_groups`` of a model gives; weight_decay: l2 above, of tables
        embedding_decay (None = weight_decay).
    lazy: the gradient of an embedding table is a RowTensor (`InstanceEmbedding.lazy`), and a step
        touches the rows of its batch only, fillers included: w, m and v of every other row stay as
        they are, where Adam would go on moving w by the remembered m.  No decay on the table.  With
        uniform ids, 4096 rows of 24 fields and E = 16 on 2 cores, gather and update of a table of
        10 million rows take 95 ms in place of 194 (and as much again for L2), of 1.3 million 70 in
        place of 45: an option for large tables.

    summed_tables: the gradients of tables are sums over the workers already (`GatheredRows`).

    Inputs:  gradients, one per entry of ``parameters``; learning_rate scalar tensor; terms: None,
        or what ``decay_terms`` returned before the forward pass.  (A parameter that is read before
        and after something was written is copied by the runtime, which for a large embedding table
        costs as much as its update; so a compiled step reads the terms first.)
    Raises:  ValueError: an unknown kind of decay.
    """

    def __init__(
        self, groups: Sequence[ParameterGroup], weight_decay=0.0, decay="coupled",
        embedding_decay=None, lazy=False, summed_tables=False,
    ):  # fmt: skip
        super().__init__()
        if decay not in DECAYS:
            raise ValueError(f"Adam: decay is {decay!r}; valid values are {', '.join(DECAYS)}.")
        self.coupled = decay == "coupled"
        embedding_decay = weight_decay if embedding_decay is None else embedding_decay
        parameters, decays, by_rows, summed = [], [], [], []
        for group in groups:
            rate = 0.0
            if group.table:
                rate = 0.0 if lazy else embedding_decay
            elif group.penalised if self.coupled else group.decayed:
                rate = weight_decay
            parameters += group.parameters
            decays += [float(rate)] * len(group.parameters)
            by_rows += [lazy and group.table] * len(group.parameters)
            summed += [summed_tables and group.table] * len(group.parameters)
        self.parameters = ParameterTuple(parameters)
        self.decays, self.by_rows, self.summed = tuple(decays), tuple(by_rows), tuple(summed)
        self.first = self.parameters.clone(prefix="adam_first", init="zeros")
        self.second = self.parameters.clone(prefix="adam_second", init="zeros")
        self.beta1_power, self.beta2_power = (
            Parameter(Tensor(1.0, ms.float32), name=f"beta{i}_power", requires_grad=False)
            for i in (1, 2)
        )
        self.update = ops.Adam()
        self.fused = None
        if kernels.enabled():
            self.fused = adam_kernel(len(decays) - sum(by_rows))
            constants = [BETA1, BETA2, EPSILON, not self.coupled]
            self.constants = Tensor(np.array(constants, np.float32))
            own = [rate for rate, rows in zip(decays, by_rows) if not rows]
            self.fused_decays = Tensor(np.array(own, np.float32))
        self.update_rows = ops.FusedSparseLazyAdam().set_device("CPU") if lazy else None

    def gradient_mean(self, scale=None):
        """The cell that makes gradients of the whole batch of those of the workers."""
        return GradientMean(self.parameters, self.summed, self.by_rows, scale)

    def state(self):
        """The optimiser's own parameters, without those that it updates."""
        return [*self.first, *self.second, self.beta1_power, self.beta2_power]

    def restart(self):
        """Forget all steps."""
        for parameter in [*self.first, *self.second]:
            parameter.set_data(ops.zeros_like(parameter))
        for power in (self.beta1_power, self.beta2_power):
            power.set_data(Tensor(1.0, ms.float32))

    def decay_terms(self):
        """l2 w of each parameter, () if decay is decoupled."""
        terms = ()
        if self.coupled and self.fused is None:
            for number in range(len(self.decays)):
                terms = terms + (self.parameters[number] * self.decays[number],)
        return terms

    def construct(self, gradients, learning_rate, terms=None):
        if self.fused is not None:
            return self.update_all(gradients, learning_rate)
        if terms is None:
            terms = self.decay_terms()
        power1 = self.beta1_power * BETA1
        power2 = self.beta2_power * BETA2
        epsilon = EPSILON * ops.sqrt(1.0 - power2)
        done = ()
        for number in range(len(self.decays)):
            parameter, gradient = self.parameters[number], gradients[number]
            decay = self.decays[number]
            if decay > 0.0 and self.coupled:
                gradient = gradient + terms[number]
            if decay > 0.0 and not self.coupled:
                smaller = ops.assign(parameter, parameter * (1.0 - learning_rate * decay))
                gradient = ops.depend(gradient, smaller)
            state = (parameter, self.first[number], self.second[number])
            rates = (power1, power2, learning_rate, BETA1, BETA2, epsilon)
            if self.by_rows[number]:
                step = self.update_rows(*state, *rates, gradient.values, gradient.indices)
            else:
                step = self.update(*state, *rates, gradient)
            done = done + (step,)
        done = ops.depend(ops.assign(self.beta1_power, power1), done)
        return ops.depend(ops.assign(self.beta2_power, power2), done)

    def update_all(self, gradients, learning_rate):
        """The same by the fused kernel, in place.  Each gradient is an input of it, so that it runs
        when the step has read all parameters."""
        inputs, rows = (), ()
        for number in range(len(self.decays)):
            state = (self.parameters[number], self.first[number], self.second[number])
            if self.by_rows[number]:
                rows = rows + ((state, gradients[number]),)
            else:
                inputs = inputs + state + (gradients[number],)
        powers = self.beta1_power, self.beta2_power
        done = self.fused(self.constants, learning_rate, self.fused_decays, *powers, *inputs)
        power1, power2 = ops.depend(powers[0], done), ops.depend(powers[1], done)
        epsilon = EPSILON * ops.sqrt(1.0 - power2)
        for state, gradient in rows:
            rates = (power1, power2, learning_rate, BETA1, BETA2, epsilon)
            step = self.update_rows(*state, *rates, gradient.values, gradient.indices)
            done = ops.depend(done, step)
        return done
