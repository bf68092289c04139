"""The step of bi-level training (BIAO): every batch moves theta, every `interval` batches move phi.

The lower level trains CoNet with constant weights of the source behaviours, the perceptron's
weights, or (official) weights that theta may move too; the upper level learns phi.
"""

import logging
from functools import partial

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur import kernels, workers
from hamur.data.cross_domain.collate import Batch, CrossDomainBatches, CrossDomainRows
from hamur.layers.collectives import AllSum
from hamur.layers.primitives import cross_entropies
from hamur.models.conet import conet_logits, embed
from hamur.training.bilevel.graphs import (
    BehaviourPerceptron,
    FusedGradients,
    attached_weights,
    compiled_only,
    tensor,
)
from hamur.training.bilevel.options import BilevelOptions
from hamur.training.bilevel.second_order_check import self_test
from hamur.training.bilevel.upper import UpperLevel
from hamur.training.evaluation import CrossDomainEvaluation
from hamur.training.supervised import CompiledStep
from hamur.training.trainer import Trainer

OFFICIAL_DECAY = 2.0  # of the variant annealed, unless aux_decay says otherwise
MIN_UPDATES = 50  # of phi, below which a warning says so
LOSS_EVERY, WEIGHTS_EVERY = 100, 1000  # lower steps between two lines of the log
FIRST_WEIGHTS = 8
logger = logging.getLogger(__name__)


class LowerLoss(nn.Cell):
    """(sum of weights x cross entropy over both towers' rows, the target's part); the weights
    (towers, B) are constants."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.all_sum = model, AllSum()

    def construct(self, ids, id_mask, labels, weights):
        losses = cross_entropies(self.model(ids, id_mask), labels) * weights
        return self.all_sum(losses.sum()), self.all_sum(losses[-1].sum())


class FusedStep(nn.Cell):
    """What CompiledStep does with LowerLoss of a CoNet, by one kernel."""

    def __init__(self, model, optimizer):
        super().__init__(auto_prefix=False)
        self.model, self.optimizer = model, optimizer
        self.gradients, self.all_sum = FusedGradients(model), AllSum()
        self.sum = optimizer.gradient_mean(scale=1.0)  # those of this worker's rows alone
        names = [each.name for each in (model.table, model.head_weight, model.head_bias)]
        names += [each.name for each in model.cross]
        self.order = tuple(names.index(each.name) for each in optimizer.parameters)

    def construct(self, learning_rate, ids, id_mask, labels, weights):
        model = self.model
        terms = self.optimizer.decay_terms()
        head = (model.head_weight, model.head_bias)
        out = self.gradients(ids, id_mask, labels, weights, *head)
        by_row = out[2].reshape(-1, model.table.shape[1])
        found = (ops.unsorted_segment_sum(by_row, ids.reshape(-1), model.table.shape[0]), *out[3:])
        gradients = ()
        for place in self.order:
            gradients = gradients + (found[place],)
        done = self.optimizer(self.sum(gradients), learning_rate, terms)
        whole, target = self.all_sum(out[0]), self.all_sum(out[1])
        return ops.depend(whole, done), ops.depend(target, done)


class AttachedLoss(nn.Cell):
    """The lower loss with w(phi, theta) inside, as in the public code: theta can lower its loss by
    lowering the weight of a hard behaviour, through the item embedding in gamma_1."""

    def __init__(self, perceptron):
        super().__init__(auto_prefix=False)
        self.model, self.perceptron = perceptron.model, perceptron

    def construct(self, labels, ids, id_mask, category, has_source, row_weight, *histories):
        model, perceptron = self.model, self.perceptron
        x = embed(model.table, ids, id_mask, model.config.zero_padding)
        history, history_mask = histories
        embedded = ops.stop_gradient(perceptron.embedded(history))
        logits = conet_logits(
            x, model.cross, model.head_weight, model.head_bias, model.config.slope
        )
        w = attached_weights(
            perceptron.importance, perceptron.phi, x, embedded, history_mask, category, has_source,
            row_weight,
        )  # fmt: skip
        weights = ops.stack((w * perceptron.prior_weight, row_weight))
        losses = cross_entropies(logits, labels) * weights
        return losses.sum(), losses[-1].sum()


class WeightedStep(nn.Cell):
    """An update of theta with the perceptron's weights at the theta before it, as constants."""

    def __init__(self, perceptron, step):
        super().__init__(auto_prefix=False)
        self.perceptron, self.step = perceptron, step

    def construct(self, learning_rate, labels, ids, id_mask, *columns):
        _, weights = self.perceptron(ids, id_mask, *columns)
        return self.step(learning_rate, ids, id_mask, labels, weights)


class BilevelStep:
    """A step function: step(Batch, learning_rate float, number int) -> scalar target loss.

    upper: the `UpperLevel`, None where nothing is learned; records(): the figures of the upper
    updates since the last call, rows of history.csv; what the public code writes to its log goes
    to this module's logger.
    """

    def __init__(
        self, model, optimizer, seed, rows: CrossDomainRows, options: BilevelOptions, size
    ):
        compiled_only()
        options = options.fitted(len(rows.pair.target.train), size)
        self.model, self.rows, self.options = model, rows, options
        self.steps_per_epoch = -(-len(rows) // size)
        self.upper_rows, self.upper = [], None
        # Attached weights have no kernel, and the variants of a preset are computed alike.
        if model.towers == 2 and options.detach_weights and kernels.enabled():
            self.cell = FusedStep(model, optimizer)
        else:
            self.cell = CompiledStep(LowerLoss(model), optimizer, has_aux=True)
        if options.variant == "oracle" and rows.harmful is None:
            raise ValueError(
                "`variant='oracle'` needs `harmful`, which is known of generated pairs only."
            )
        if options.learns:
            workers.refuse("the learning of weights")
            attached = not options.detach_weights
            if not options.skip_self_test and (attached or not options.first_order):
                self_test()
            perceptron = BehaviourPerceptron(model, options.prior_weight, attached)
            self.upper = UpperLevel(perceptron, rows, options, seed)
            if attached:
                self.cell = CompiledStep(AttachedLoss(perceptron), optimizer, has_aux=True)
            else:
                self.cell = WeightedStep(perceptron, self.cell)
        self.cell.set_train()

    def __call__(self, batch: Batch, learning_rate: float, number: int) -> Tensor:
        inputs = self.inputs(batch, number)
        whole, target = self.cell(Tensor(learning_rate, ms.float32), *inputs)
        done, epoch = number + 1, number // self.steps_per_epoch
        self.log(batch, target, number)
        if self.upper and done % self.options.interval == 0 and epoch > self.options.pre_epoch:
            figures = self.upper.update(float(whole.asnumpy()), learning_rate)
            self.upper_rows.append({"kind": "upper", "epoch": epoch + 1} | figures)
            logger.info(
                "upper update %d: main loss %.5f, meta loss %.5f",
                figures["update"], figures["lower_loss"], figures["dev_loss"],
            )  # fmt: skip
        return target

    def inputs(self, batch: Batch, number: int) -> tuple[Tensor, ...]:
        """Arguments of the compiled step after the learning rate."""
        if self.upper:
            return tensor(batch.labels), *self.upper.perceptron.columns(batch)
        columns = batch.ids, batch.id_mask, batch.labels, self.fixed_weights(batch, number)
        if self.model.towers == 1:
            columns = batch.ids[1:], batch.id_mask[1:], batch.labels[1:], batch.row_weight[None]
        return tuple(map(tensor, columns))

    def fixed_weights(self, batch: Batch, number: int) -> np.ndarray:
        """(2, B) float32 weights of the losses in the variants that learn nothing."""
        options, source = self.options, batch.has_source * batch.row_weight
        if options.variant == "oracle":
            source = source * ~self.rows.harmful[batch.source_row]
        if options.variant == "annealed":
            decay = options.aux_decay or OFFICIAL_DECAY
            updates = number // options.interval
            source = source * np.float32((1.0 - options.hplr * decay) ** updates)
        return np.stack([source * np.float32(options.prior_weight), batch.row_weight])

    def log(self, batch: Batch, target: Tensor, number: int) -> None:
        """Now and then, the target loss and the weights after this lower step."""
        done = number + 1
        if done % LOSS_EVERY or not logger.isEnabledFor(logging.INFO):
            return
        logger.info("iteration %d: target loss %.5f", done, float(target.asnumpy()))
        if done % WEIGHTS_EVERY or self.model.towers == 1:
            return
        if self.upper:
            weights = self.upper.last_weights  # n w
        else:
            real = batch.row_mask > 0
            weights = self.fixed_weights(batch, number)[0][real] / batch.row_weight[real]
        if len(weights):
            first = " ".join(f"{value:.3f}" for value in weights[:FIRST_WEIGHTS])
            logger.info(
                "iteration %d: weights (1 = uniform) mean %.3f min %.3f max %.3f, the first %s",
                done, weights.mean(), weights.min(), weights.max(), first,
            )  # fmt: skip

    def records(self) -> list[dict]:
        """Rows of history.csv for the upper updates since the last call."""
        rows, self.upper_rows = self.upper_rows, []
        return rows

    def counters(self) -> dict:
        """Columns of history.csv for an epoch."""
        return {"prior": self.upper.prior() if self.upper else None}

    def state(self):
        """What a resumed run needs besides model and optimiser: phi is in the model."""
        return self.upper or []


def bilevel_step(model, optimizer, quotas, seed, rows, options=None, batch_size=64) -> BilevelStep:
    """The step of bi-level training; rows: the training rows, whose batches it gets, and the
    development rows; batch_size: of the trainer; quotas are unused.

    Raises:  RuntimeError: outside of graph mode, or second derivatives are wrong in this build;
        ValueError: the variant oracle for rows whose harmful ones are unknown.
    """
    return BilevelStep(model, optimizer, seed, rows, options or BilevelOptions(), batch_size)


def cross_domain_batches(model, rows, batch_size, seed) -> CrossDomainBatches:
    """The batches of `bilevel_step`, with histories where the model learns from them."""
    return CrossDomainBatches(rows, batch_size, seed, histories=hasattr(model, "phi"))


def cross_domain_trainer(
    rows: CrossDomainRows,
    options=None,
    embedding_decay=0.0,
    evaluation=CrossDomainEvaluation,
    **others,
) -> Trainer:
    """A `Trainer` whose ``fit(model, rows, candidates)`` trains CoNet, CoNet-S or BIAO.

    embedding_decay: decoupled decay of the embedding tables, the share by which they shrink in an
    epoch; others: options of the `Trainer`.
    """
    options = options or BilevelOptions()
    others = dict(batch_size=64, learning_rate=5e-3, epochs=30, patience=3) | others
    size, rate = others["batch_size"], others["learning_rate"]
    steps = -(-len(rows) // size)
    interval = options.fitted(len(rows.pair.target.train), size).interval
    updates = others["epochs"] * steps / interval
    if options.learns and updates < MIN_UPDATES:
        enough = max(1, int(updates * interval / MIN_UPDATES))
        logger.warning(
            "phi gets at most %d updates at an interval of %d steps; one of %d gives %d",
            updates, interval, enough, MIN_UPDATES,
        )  # fmt: skip
    return Trainer(
        partial(bilevel_step, rows=rows, options=options, batch_size=size),
        weight_decay=0.0,
        decay="decoupled",
        embedding_decay=embedding_decay / steps / rate,
        evaluation=evaluation,
        batches=cross_domain_batches,
        **others,
    )
