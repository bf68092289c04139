"""Losses of multi-task models: per task and preference, and the totals that are descended."""

import mindspore as ms
from mindspore import Tensor, nn, ops

from hamur.layers.collectives import AllSum
from hamur.layers.primitives import cross_entropies, matmul
from hamur.training.preference.scalarise import COSINE_EPSILON, OFFICIAL_WEIGHT

# Columns of a batch in the order in which every loss of several tasks takes them.
COLUMNS = ("sparse", "dense", "labels", "weight")


def task_losses(logits, labels, weight, all_sum):
    """Weighted mean cross entropy per preference and task:  logits (B, R, T), labels (B, T), weight
    (B,) -> (R, T).  The mean over rows is a matrix product, which is the fast reduction.  all_sum:
    an `AllSum`."""
    rows, number, tasks = logits.shape
    losses = cross_entropies(logits.reshape(rows, -1), ops.tile(labels, (1, number)))
    share = (weight / all_sum(weight.sum())).reshape(1, -1)
    return all_sum(matmul(share, losses)).reshape(number, tasks)


class TaskObjective(nn.Cell):
    """(total, losses (R, T)) of a batch; see the module `step`."""

    def __init__(self, model, official):
        super().__init__(auto_prefix=False)
        self.model, self.official = model, official
        self.calibrator, self.all_sum = float(model.config.calibrator), AllSum()

    def construct(self, sparse, dense, labels, weight, preferences, coefficients, keep, generated):
        if self.model.takes_preferences:
            logits = self.model(sparse, dense, preferences, weight, keep, generated)
        else:
            logits = self.model(sparse, dense, weight, keep).expand_dims(1)
        losses = task_losses(logits, labels, weight, self.all_sum)
        if self.official:
            similarity = cosine(losses, 1.0 - preferences)
            total = (preferences * losses).sum() - OFFICIAL_WEIGHT * similarity
        else:
            total = (coefficients * losses).sum()
        if self.calibrator > 0.0:
            excess = funnel_violation(logits[:, 0], weight) / self.all_sum(weight.sum())
            total = total + self.calibrator * self.all_sum(excess)
        return total, losses


def cosine(a, b):
    """Cosine of two (1, T) rows, lengths kept above 1e-8 as the public code does."""
    lengths = ops.sqrt((a * a).sum()) * ops.sqrt((b * b).sum())
    return (a * b).sum() / ops.maximum(lengths, Tensor(COSINE_EPSILON, ms.float32))


def funnel_violation(logits, weight):
    """Sum over rows and k >= 2 of w max(p_k - p_{k-1}, 0), the calibrator of AITM: a later stage
    of the funnel cannot be likelier than the one before.  logits (B, T), weight w (B,)."""
    p = ops.sigmoid(logits)
    excess = ops.relu(p[:, 1:] - p[:, :-1]).sum(1)
    return (excess * weight).sum()
