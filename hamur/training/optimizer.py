"""Adam as CTR models are trained with it: coupled L2 or decoupled decay, PyTorch's placement of
epsilon."""

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam(nn.Cell):
    """Adam (arXiv 1412.6980) with bias correction.

        g <- g + l2 w                                   (decay "coupled": every parameter)
        m <- b1 m + (1-b1) g;   v <- b2 v + (1-b2) g^2
        w <- w - lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + eps_t)
        w <- w (1 - lr l2)                              (decay "decoupled": embeddings and dense
        kernels)

    eps_t = eps sqrt(1-b2^t) places eps beside the bias-corrected sqrt(v), as the paper and PyTorch
    do (``epsilon="corrected"``); eps_t = eps is the form of MindSpore's ``nn.Adam``
    (``"uncorrected"``).  The fused kernel takes eps as an input, so both cost the same.

    lazy: the gradient of the embedding table is a RowTensor (`InstanceEmbedding.lazy`), and a step
        touches the rows of its batch only, fillers included: w, m and v of every other row stand
        still, where Adam would go on moving w by the remembered m.  No decay on the table.  With
        uniform ids, 4096 rows of 24 fields and E = 16 on 2 cores, gather and update of a table of
        10 million rows take 95 ms in place of 194 (and as much again for L2), of 1.3 million 70 in
        place of 45: an option for large tables.

    Inputs:  gradients, one a parameter; learning_rate scalar tensor; terms: None, or what
        ``decay_terms`` returned before the forward pass.  (A parameter that is read before and
        after something was written is copied by the runtime, which for a large embedding table
        costs as much as its update; so a compiled step reads the terms first.)
    """

    def __init__(
        self,
        parameters,
        weight_decay=0.0,
        decay="coupled",
        epsilon="corrected",
        embedding_decay=None,
        lazy=False,
    ):
        super().__init__()
        for name, value, valid in (
            ("decay", decay, ("coupled", "decoupled")),
            ("epsilon", epsilon, ("corrected", "uncorrected")),
        ):
            if value not in valid:
                raise ValueError(f"Adam: {name} is {value!r}; valid values are {', '.join(valid)}.")
        self.parameters = ParameterTuple(parameters)
        self.first = self.parameters.clone(prefix="adam_first", init="zeros")
        self.second = self.parameters.clone(prefix="adam_second", init="zeros")
        self.beta1_power = Parameter(
            Tensor(1.0, ms.float32), name="beta1_power", requires_grad=False
        )
        self.beta2_power = Parameter(
            Tensor(1.0, ms.float32), name="beta2_power", requires_grad=False
        )
        embedding_decay = weight_decay if embedding_decay is None else embedding_decay
        if lazy:
            embedding_decay = 0.0
        self.by_rows = tuple(lazy and _is_table(parameter) for parameter in self.parameters)
        self.decays = tuple(
            _decay_of(parameter, weight_decay, embedding_decay, decay)
            for parameter in self.parameters
        )
        self.coupled = decay == "coupled"
        self.corrected = epsilon == "corrected"
        self.update = ops.Adam()
        self.update_rows = ops.FusedSparseLazyAdam().set_device("CPU") if lazy else None

    def state(self):
        """The optimiser's own parameters, without those that it updates."""
        return [*self.first, *self.second, self.beta1_power, self.beta2_power]

    def decay_terms(self):
        """l2 w of each parameter, () if decay is decoupled."""
        terms = ()
        if self.coupled:
            for number in range(len(self.decays)):
                terms = terms + (self.parameters[number] * self.decays[number],)
        return terms

    def construct(self, gradients, learning_rate, terms=None):
        if terms is None:
            terms = self.decay_terms()
        power1 = self.beta1_power * BETA1
        power2 = self.beta2_power * BETA2
        epsilon = (
            EPSILON * ops.sqrt(1.0 - power2) if self.corrected else Tensor(EPSILON, ms.float32)
        )
        done = ()
        for number in range(len(self.decays)):
            parameter, gradient = self.parameters[number], gradients[number]
            decay = self.decays[number]
            if decay > 0.0 and self.coupled:
                gradient = gradient + terms[number]
            if decay > 0.0 and not self.coupled:
                gradient = ops.depend(
                    gradient, ops.assign(parameter, parameter * (1.0 - learning_rate * decay))
                )
            state = (parameter, self.first[number], self.second[number])
            rates = (power1, power2, learning_rate, BETA1, BETA2, epsilon)
            if self.by_rows[number]:
                step = self.update_rows(*state, *rates, gradient.values, gradient.indices)
            else:
                step = self.update(*state, *rates, gradient)
            done = done + (step,)
        done = ops.depend(ops.assign(self.beta1_power, power1), done)
        return ops.depend(ops.assign(self.beta2_power, power2), done)


def _decay_of(parameter, weight_decay, embedding_decay, decay):
    """Coupled L2 acts on every parameter, as published; decoupled decay on tables and kernels
    only."""
    name = parameter.name
    if _is_table(parameter):
        return float(embedding_decay)
    if decay == "decoupled" and not (name.endswith("weight") or ".w_" in name):
        return 0.0
    return float(weight_decay)


def _is_table(parameter):
    return parameter.name.endswith("table")
