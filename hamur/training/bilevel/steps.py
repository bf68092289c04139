"""The compiled steps of the lower level: theta moves once, with constant weights, the perceptron's
weights, or weights that theta may move too, as published."""

from mindspore import nn, ops

from hamur.layers.primitives import cross_entropies
from hamur.models.conet import conet_logits, embed
from hamur.training.bilevel.graphs import attached_weights


class LowerLoss(nn.Cell):
    """(sum of weights x cross entropy over both towers' rows, the target's part); the weights
    (towers, B) are constants."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids, known, labels, weights):
        losses = cross_entropies(self.model(ids, known), labels) * weights
        return losses.sum(), losses[-1].sum()


class LowerStep(nn.Cell):
    """One Adam update of theta for given weights of the rows; returns (2,): the mean target loss,
    and the whole loss."""

    def __init__(self, model, optimizer):
        super().__init__(auto_prefix=False)
        self.loss, self.optimizer = LowerLoss(model), optimizer
        self.gradients = ops.value_and_grad(self.loss, None, optimizer.parameters, has_aux=True)

    def construct(self, learning_rate, ids, known, labels, weights):
        (whole, target), gradients = self.gradients(ids, known, labels, weights)
        return ops.depend(ops.stack((target, whole)), self.optimizer(gradients, learning_rate))


class WeighedStep(nn.Cell):
    """LowerStep with the perceptron's weights at the theta before it, as constants."""

    def __init__(self, perceptron, step):
        super().__init__(auto_prefix=False)
        self.perceptron, self.step = perceptron, step

    def construct(
        self, learning_rate, ids, known, labels, category, history, real, effect, share
    ):  # fmt: skip
        _, weights = self.perceptron(ids, known, category, history, real, effect, share)
        return self.step(learning_rate, ids, known, labels, weights)


class StepsInOneCall(nn.Cell):
    """`count` steps one after the other in one graph: each call of a small graph waits for other
    threads, which on a busy machine costs more than its work.  columns: the step's arguments with
    an axis of steps in front.  Outputs: (count, 2) losses.
    """

    def __init__(self, step, count):
        super().__init__(auto_prefix=False)
        self.step, self.count = step, count

    def construct(self, learning_rate, *columns):
        unstacked = ()  # an index in its place copies number by number
        for column in columns:
            unstacked = unstacked + (ops.unstack(column),)
        losses = ()
        for number in range(self.count):
            arguments = ()
            for parts in unstacked:
                arguments = arguments + (parts[number],)
            losses = losses + (self.step(learning_rate, *arguments),)
        return ops.stack(losses)


class AttachedLoss(nn.Cell):
    """The lower loss with w(phi, theta) inside, as published: theta can lower its loss by lowering
    the weight of a hard behaviour, through the item embedding in gamma_1."""

    def __init__(self, model, perceptron):
        super().__init__(auto_prefix=False)
        self.model, self.perceptron = model, perceptron
        self.importance, self.prior_weight = perceptron.importance, perceptron.prior_weight

    def construct(self, ids, known, labels, category, history, real, effect, share):
        model = self.model
        x = embed(model.table, ids, known, model.config.zero_padding)
        _, embedded = self.perceptron.inputs(ids, known, history)
        embedded = ops.stop_gradient(embedded)
        logits = conet_logits(
            x, model.cross, model.head_weight, model.head_bias, model.config.slope
        )  # fmt: skip
        w = attached_weights(
            self.importance, self.perceptron.phi, x, embedded, real, category, effect, share
        )
        losses = cross_entropies(logits, labels) * ops.stack((w * self.prior_weight, share))
        return losses.sum(), losses[-1].sum()


class AttachedStep(nn.Cell):
    """LowerStep with the weights in the differentiated graph."""

    def __init__(self, model, perceptron, optimizer):
        super().__init__(auto_prefix=False)
        self.loss, self.optimizer = AttachedLoss(model, perceptron), optimizer
        self.gradients = ops.value_and_grad(self.loss, None, optimizer.parameters, has_aux=True)

    def construct(
        self, learning_rate, ids, known, labels, category, history, real, effect, share
    ):  # fmt: skip
        (whole, target), gradients = self.gradients(
            ids, known, labels, category, history, real, effect, share
        )  # fmt: skip
        return ops.depend(ops.stack((target, whole)), self.optimizer(gradients, learning_rate))
