"""The compiled functions of the two levels.

MindSpore's second derivatives are right in compiled code only, so nothing here may run outside of
it: every class is a cell whose call compiles it (see ``compiled_only``), for one input shape.
Flat tensors in and out: gradients with respect to a tuple would come back empty.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur import kernels
from hamur.kernels.behaviours import conet_features, conet_gradient
from hamur.layers.importance import AT, Phi
from hamur.layers.primitives import cross_entropies
from hamur.models.conet import conet_logits, embed

NUM_PHI = len(Phi._fields)


def tensor(array) -> Tensor:
    """float32, unless it is an integer array."""
    array = np.asarray(array)
    return Tensor(array if array.dtype.kind == "i" else array.astype(np.float32))


def compiled_only():
    """Raises RuntimeError outside of graph mode, where second derivatives are silently wrong."""
    if ms.get_context("mode") != ms.GRAPH_MODE:
        raise RuntimeError(
            "bi-level training needs compiled code: second derivatives outside of it are zero "
            "without an error. Call mindspore.set_context with mindspore.GRAPH_MODE."
        )


class TableRows(nn.Cell):
    """Rows of the joined table, (R, E)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids):
        return ops.gather(self.model.table, ids, 0)


class FusedGradients(nn.Cell):
    """Loss and gradients of a batch under a CoNet by one kernel, `conet_gradient`.

    Inputs:  ids, id_mask, labels of a Batch, weights (2, B), weight and bias of the head.
    Outputs: the loss and its target part, gradients of every row's own copy of its embeddings
        (2, B, 3, E), of the head and of the cross matrices.
    """

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.kernel = model, conet_gradient(len(model.config.hidden))
        self.slope = Tensor([model.config.slope], ms.float32)

    def construct(self, ids, id_mask, labels, weights, head_weight, head_bias):
        if not self.model.config.zero_padding:
            id_mask = ops.ones_like(id_mask)
        return self.kernel(
            self.model.table, ids, id_mask, labels, weights, self.slope, head_weight, head_bias,
            *self.model.cross,
        )  # fmt: skip


class Features(nn.Cell):
    """Last hidden layer of the target tower, (B, H)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.fused = model, None
        if kernels.enabled():
            self.fused = conet_features(model.config.hidden[-1])
            self.slope = Tensor([model.config.slope], ms.float32)

    def construct(self, ids, id_mask):
        model = self.model
        if self.fused is None:
            return model.features(ids, id_mask)
        if not model.config.zero_padding:
            id_mask = ops.ones_like(id_mask)
        return self.fused(model.table, ids, id_mask, self.slope, *model.cross)


class BehaviourPerceptron(nn.Cell):
    """The weights of a batch of source behaviours at theta and phi of a `WeightedCoNet`.

    attached: the weights are part of the lower loss, and so of its second derivatives, which the
    kernel for ragged histories lacks.
    Inputs:  `columns` of a Batch.  Outputs: g (B,), weights (2, B) of the rows' losses: those of
        the source times prior_weight, and row_weight for the target.
    """

    def __init__(self, model, prior_weight=1.0, attached=False):
        super().__init__(auto_prefix=False)
        self.model, self.prior_weight = model, prior_weight
        self.importance, self.phi = model.importance, model.phi
        self.ragged, self.fused = (None, None) if attached else model.importance.kernels()
        self.form = model.importance.form(prior_weight)
        self.histories, self.rows = None, None  # of the last batch, and their rows as a tensor

    def columns(self, batch):
        """Tensors: ids, id_mask, source_category, has_source, row_weight; then the histories where
        they are read, as all rows and spans, or padded with their mask."""
        columns = (
            batch.ids, batch.id_mask, batch.source_category, batch.has_source, batch.row_weight,
        )  # fmt: skip
        if not self.importance.use_users:
            return tuple(map(tensor, columns))
        if self.ragged is None:
            return tuple(map(tensor, columns + batch.histories.padded(batch.spans)))
        if self.histories is not batch.histories:
            self.histories, self.rows = batch.histories, Tensor(batch.histories.rows)
        return *map(tensor, columns), self.rows, Tensor(batch.spans)

    def embedded(self, history):
        """Padded histories (2, B, L, 2E)."""
        width = 2 * self.model.config.embed_dim
        return ops.gather(self.model.table, history, 0).reshape(*history.shape[:3], width)

    def score(self, phi, ids, id_mask, category, *histories):
        """g (B,) at the model's theta."""
        table = self.model.table
        candidate = ops.gather(table, ids[0, :, 1:], 0)
        if self.model.config.zero_padding:
            candidate = candidate * id_mask[0, :, 1:]
        candidate = candidate.reshape(-1, 2 * self.model.config.embed_dim)
        if not self.importance.use_users:
            return self.importance.product(phi, candidate, category, None)
        if self.ragged is None:
            history, real = histories
            embedded = self.embedded(history)
            return self.importance.score(phi, candidate, candidate, category, embedded, real)
        attention = phi[AT.query], phi[AT.key_value], phi[AT.output]
        attended = self.ragged(table, *histories, candidate, *attention)
        return self.importance.product(phi, candidate, category, attended)

    def construct(self, ids, id_mask, category, has_source, row_weight, *histories):
        if self.fused is not None:
            mask = id_mask if self.model.config.zero_padding else ops.ones_like(id_mask)
            of_rows = (category, has_source, row_weight)
            return self.fused(
                self.model.table, *histories, ids, mask, *of_rows, self.form, *self.phi
            )
        g = self.score(self.phi, ids, id_mask, category, *histories)
        w = self.importance.weights(self.phi, g, has_source, row_weight)
        return g, ops.stack((w * has_source * self.prior_weight, row_weight))


def attached_weights(importance, phi, x, embedded, history_mask, category, has_source, row_weight):
    """w e (B,) whose gradient reaches the candidate in gamma_1, and nothing else of theta."""
    dim = x.shape[2] // 3
    candidate = x[0, :, dim:]
    detached = ops.stop_gradient(candidate)
    g = importance.score(phi, candidate, detached, category, embedded, history_mask)
    return importance.weights(phi, g, has_source, row_weight) * has_source


class TowerLoss(nn.Cell):
    """sum(weights x cross entropy) of embedded rows: every argument that counts is explicit.

    rows (R, E) are the table's rows that occur, ids (2, B, 3) point into them.
    """

    first_cross = 7  # position of the first cross matrix in `construct`

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def construct(self, rows, weights, ids, id_mask, labels, head_weight, head_bias, *cross):
        x = embed(rows, ids, id_mask, True)
        logits = conet_logits(x, cross, head_weight, head_bias, self.slope)
        return (cross_entropies(logits, labels) * weights).sum()


class PulledLogits(TowerLoss):
    """<cotangent, logits>, with the arguments of TowerLoss: the cotangent (2, B) in the place of
    the weights, labels unread.  With the Jacobian J of the logits with respect to the system, its
    gradient with respect to the system is J' cotangent; differentiating <that, v> with respect to
    the cotangent gives J v."""

    def construct(self, rows, cotangent, ids, id_mask, labels, head_weight, head_bias, *cross):
        x = embed(rows, ids, id_mask, True)
        logits = conet_logits(x, cross, head_weight, head_bias, self.slope)
        return (logits * cotangent).sum()


class AttachedTowerLoss(nn.Cell):
    """TowerLoss with w(phi, theta) inside; the last NUM_PHI arguments are phi."""

    first_cross = 11

    def __init__(self, slope, importance, prior_weight):
        super().__init__()
        self.slope, self.importance, self.prior_weight = slope, importance, prior_weight

    def construct(
        self, rows, weights, ids, id_mask, labels, head_weight, head_bias,
        category, embedded, history_mask, has_source, *rest,
    ):  # fmt: skip
        cross, phi = rest[:-NUM_PHI], rest[-NUM_PHI:]
        x = embed(rows, ids, id_mask, True)
        _, row_weight = ops.unstack(weights)
        w = attached_weights(
            self.importance, phi, x, embedded, history_mask, category, has_source, row_weight
        )
        logits = conet_logits(x, cross, head_weight, head_bias, self.slope)
        both = ops.stack((w * self.prior_weight, row_weight))
        return (cross_entropies(logits, labels) * both).sum()


class Gradients(nn.Cell):
    """(value, gradients at `positions` of the arguments) of a loss."""

    def __init__(self, loss, positions, has_aux=False):
        super().__init__(auto_prefix=False)
        self.gradients = ops.value_and_grad(loss, positions, has_aux=has_aux)

    def construct(self, *arguments):
        return self.gradients(*arguments)


class SecondDerivatives(Gradients):
    """Gradients of a loss that holds a gradient itself.

    Raises:  RuntimeError: called outside of compiled code.
    """

    def __call__(self, *arguments):
        compiled_only()
        return super().__call__(*arguments)


class InnerProduct(nn.Cell):
    """< gradient of the loss at `positions`, v >; the first len(positions) arguments are v."""

    def __init__(self, loss, positions):
        super().__init__(auto_prefix=False)
        self.gradients, self.count = ops.grad(loss, positions), len(positions)

    def construct(self, *arguments):
        v = arguments[: self.count]
        gradients = self.gradients(*arguments[self.count :])
        total = (gradients[0] * v[0]).sum()
        for number in range(1, self.count):
            total = total + (gradients[number] * v[number]).sum()
        return total


def second_order(loss, positions, wanted):
    """Cell: (v..., arguments...) -> derivative of < gradient at positions, v > at `wanted`.

    wanted = positions gives the product of the Hessian with v, the position of the weights the
    influence, those of phi the mixed derivative.
    """
    shifted = tuple(position + len(positions) for position in wanted)
    return SecondDerivatives(InnerProduct(loss, positions), shifted)


class PhiProduct(nn.Cell):
    """(< w(phi), c > for a constant c, w (B,)) at the present theta.

    Inputs:  c (B,), the tensors of phi, `BehaviourPerceptron.columns`.
    """

    first_phi = 1  # position of the first tensor of phi in `construct`

    def __init__(self, perceptron):
        super().__init__(auto_prefix=False)
        self.perceptron = perceptron

    def construct(self, influence, *rest):
        phi, columns = rest[:NUM_PHI], rest[NUM_PHI:]
        ids, id_mask, category, has_source, row_weight = columns[:5]
        g = self.perceptron.score(phi, ids, id_mask, category, *columns[5:])
        w = self.perceptron.importance.weights(phi, g, has_source, row_weight)
        return (w * influence).sum(), w
