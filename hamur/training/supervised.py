"""The supervised step: weighted binary cross entropy on logits, one compiled update; and what the
steps of all training schemes share."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur import kernels, workers
from hamur.kernels.cells import CrossEntropy
from hamur.layers.collectives import AllSum
from hamur.layers.primitives import cross_entropies

MASK_LEVELS = 65536  # a dropout rate is rounded to a multiple of 1/65536


class CompiledStep(nn.Cell):
    """A loss, its gradients and the optimiser's update as one graph.

    Of several workers each computes a share of the batch; what the loss sums over rows it sums over
    the workers (`AllSum`).

    Inputs:  learning_rate scalar tensor, then those of the loss.
    Outputs: what the loss returns: a scalar, with has_aux (a scalar, another tensor).
    """

    def __init__(self, loss, optimizer, has_aux=False):
        super().__init__(auto_prefix=False)
        self.loss, self.optimizer, self.has_aux = loss, optimizer, has_aux
        self.gradients = ops.value_and_grad(loss, None, optimizer.parameters, has_aux=has_aux)
        self.mean = optimizer.gradient_mean()

    def construct(self, learning_rate, *inputs):
        terms = self.optimizer.decay_terms()
        value, gradients = self.gradients(*inputs)
        done = self.optimizer(self.mean(gradients), learning_rate, terms)
        if self.has_aux:
            return ops.depend(value[0], done), ops.depend(value[1], done)
        return ops.depend(value, done)


def tensors(batch, *names) -> tuple[Tensor, ...]:
    """Columns of a batch by name."""
    return tuple(Tensor(getattr(batch, name)) for name in names)


def draw_masks(dropouts, rows, seed, number, stream=0, share=None) -> tuple[Tensor, ...]:
    """One (rows, width) uint8 mask per (width, rate) of dropouts: 1 with probability 1 - rate.

    Drawn on the host from (seed, number), so that a resumed run sees the masks of an uninterrupted
    one.  share: of the whole batch, whose masks are drawn; rows is then unused.
    """
    if not dropouts:
        return ()
    rows = rows if share is None else share.rows
    # Raw 64-bit draws cut in four: the numbers of Generator.integers, several times faster.
    words = [-(-rows * width // 2) for width, _ in dropouts]
    raw = np.random.SFC64([seed, number, stream]).random_raw(-(-sum(words) // 2)).view(np.uint32)
    masks = []
    for (width, rate), part in zip(dropouts, np.split(raw, np.cumsum(words))):
        levels = part.view(np.uint16)[: rows * width]
        keep = (levels >= round(rate * MASK_LEVELS)).view(np.uint8)
        keep = keep.reshape(rows, width)
        masks.append(Tensor(keep if share is None else keep[share.order]))
    return ms.mutable(tuple(masks))  # else a tuple is a constant: one compilation per step


def of_one(x):
    """x, in the place of `AllSum`."""
    return x


def logit_loss(logits, labels, weight, all_sum=of_one):
    """sum(w (log(1 + e^z) - z y)) / sum(w);  all (B,) float32 -> scalar."""
    losses = (weight * cross_entropies(logits, labels)).sum()
    return all_sum(losses) / all_sum(weight.sum())


class RankingLoss(nn.Cell):
    """The loss of a batch under a model, for one task."""

    def __init__(self, model, quotas):
        super().__init__(auto_prefix=False)  # parameters keep the names they have in the model
        self.model = model
        self.quotas = quotas
        self.fused = CrossEntropy() if kernels.enabled() and workers.count() == 1 else None
        self.all_sum = AllSum()

    def construct(self, sparse, dense, domain, labels, weight, keep, *lists):
        logits = self.model(sparse, dense, domain, weight, self.quotas, keep, *lists)
        if self.fused is not None:
            return self.fused(logits, labels, weight)[0]
        return logit_loss(logits, labels, weight, self.all_sum)


class SupervisedStep:
    """The step of supervised training: step(batch Table, learning_rate float, number int) -> scalar
    loss tensor.  quotas: None, or the rows per domain of a batch."""

    def __init__(self, model, optimizer, quotas, seed):
        self.cell = CompiledStep(RankingLoss(model, quotas), optimizer).set_train()
        self.dropouts, self.seed = model.dropouts, seed

    def __call__(self, batch, learning_rate, number):
        return self.cell(
            Tensor(learning_rate, ms.float32),
            *tensors(batch, "sparse", "dense", "domain"),
            Tensor(np.ascontiguousarray(batch.labels[:, 0])),
            Tensor(batch.weight),
            draw_masks(self.dropouts, len(batch), self.seed, number, share=batch.share),
            *map(Tensor, batch.padded),
        )


supervised_step = SupervisedStep
