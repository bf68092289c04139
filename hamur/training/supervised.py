"""The supervised step: weighted binary cross entropy on logits, one compiled update."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers.softplus import cross_entropies

MASK_LEVELS = 65536  # a dropout rate is rounded to a multiple of 1/65536


def logit_loss(logits, labels, weight):
    """sum(w (log(1 + e^z) - z y)) / sum(w);  all (B,) float32 -> scalar."""
    return (weight * cross_entropies(logits, labels)).sum() / weight.sum()


class RankingLoss(nn.Cell):
    """The loss of a batch under a model, for one task."""

    def __init__(self, model, quotas):
        super().__init__(auto_prefix=False)  # parameters keep the names they have in the model
        self.model = model
        self.quotas = quotas

    def construct(
        self, sparse, dense, domain, labels, weight, keep, multi_ids=None, multi_weight=None
    ):
        logits = self.model(
            sparse, dense, domain, weight, self.quotas, keep, multi_ids, multi_weight
        )
        return logit_loss(logits, labels, weight)


class SupervisedStep(nn.Cell):
    """Loss, gradients and the optimiser's update as one graph: construct(batch tensors) -> loss."""

    def __init__(self, model, optimizer, quotas):
        super().__init__(auto_prefix=False)
        self.loss = RankingLoss(model, quotas)
        self.optimizer = optimizer
        self.gradients = ops.value_and_grad(self.loss, None, optimizer.parameters)

    def construct(
        self,
        learning_rate,
        sparse,
        dense,
        domain,
        labels,
        weight,
        keep,
        multi_ids=None,
        multi_weight=None,
    ):
        terms = self.optimizer.decay_terms()
        loss, gradients = self.gradients(
            sparse, dense, domain, labels, weight, keep, multi_ids, multi_weight
        )
        return ops.depend(loss, self.optimizer(gradients, learning_rate, terms))


class BatchStep:
    """A step function: step(batch Table, learning_rate float, number int) -> scalar loss tensor.

    Dropout masks are drawn here from (seed, number), so that a resumed run sees the masks of an
    uninterrupted one.
    """

    def __init__(self, model, optimizer, quotas, seed):
        self.cell = SupervisedStep(model, optimizer, quotas)
        self.cell.set_train()
        self.dropouts = model.dropouts
        self.seed = seed

    def __call__(self, batch, learning_rate, number):
        labels = np.ascontiguousarray(batch.labels[:, 0])
        return self.cell(
            Tensor(learning_rate, ms.float32),
            Tensor(batch.sparse),
            Tensor(batch.dense),
            Tensor(batch.domain),
            Tensor(labels),
            Tensor(batch.weight),
            self.masks(len(batch), number),
            *map(Tensor, batch.padded),
        )

    def masks(self, rows, number):
        """One (rows, width) uint8 tensor a dropout: 1 with probability 1 - rate."""
        if not self.dropouts:
            return ()
        rng = np.random.Generator(np.random.SFC64([self.seed, number]))
        masks = []
        for width, rate in self.dropouts:
            levels = rng.integers(0, MASK_LEVELS, (rows, width), np.uint16)
            masks.append(Tensor((levels >= round(rate * MASK_LEVELS)).view(np.uint8)))
        return ms.mutable(tuple(masks))  # else a tuple is a constant: one compilation a step


def supervised_step(model, optimizer, quotas, seed):
    """The step of supervised training; quotas None, or the rows of each domain in a batch."""
    return BatchStep(model, optimizer, quotas, seed)
