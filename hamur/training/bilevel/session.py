"""Training of CoNet with weighted source behaviours: the lower level's loop, early stop, resume."""

import math
import time
from collections.abc import Iterable, Iterator

import mindspore as ms
import numpy as np
from mindspore import Tensor

from hamur.training.bilevel.batch import Batch
from hamur.training.bilevel.check import self_test
from hamur.training.bilevel.evaluate import Evaluator
from hamur.training.bilevel.graphs import compiled_only
from hamur.training.bilevel.journal import lower_lines, upper_line
from hamur.training.bilevel.parts import (
    build_model,
    build_perceptron,
    needs_second_order,
    row_rules,
)
from hamur.training.bilevel.problem import tensor
from hamur.training.bilevel.rows import PairRows
from hamur.training.bilevel.state import CrossDomainResult, forget, resume, save
from hamur.training.bilevel.steps import AttachedStep, LowerStep, StepsInOneCall, WeighedStep
from hamur.training.bilevel.upper import UpperLevel
from hamur.training.checkpoint import restore, snapshot
from hamur.training.optimizer import Adam

PUBLISHED_DECAY = 2.0  # of the arm annealed, unless --aux_decay says otherwise
ENOUGH_UPDATES = 50
FLAT_LOSS, FLAT_AUC, FLAT_SPREAD = 0.69, 0.01, 1e-4
MAX_RESTARTS = 3


class CollapseError(ValueError):
    """The model predicts a constant."""


class CrossDomainSession:
    """One run of one arm.  pair: CrossDomainData; config: resolved; harmful: (rows,)
    bool of a generated pair, or None; log, checkpoint: folders, None = nothing is written; say: a
    line for everybody; note: a line for who reads the log.
    """

    def __init__(
        self, pair, config, harmful=None, log=None, checkpoint=None, say=print, note=str
    ):  # fmt: skip
        compiled_only()
        config = config.fitted(len(pair.target.train))
        self.config, self.say, self.note, self.harmful = config, say, note, harmful
        self.log, self.checkpoint = log, checkpoint
        self.rows = PairRows(pair, row_rules(config))
        self.evaluator = Evaluator(self.rows, config)
        self.result = CrossDomainResult()
        self.best = None
        if config.arm == "oracle" and harmful is None:
            raise ValueError("--arm oracle needs --truth, which only a generated pair has.")
        if config.learns and not config.skip_self_test and needs_second_order(config):
            self_test()
        self.begin(config.seed)
        updates = config.epochs * self.rows.steps(config.t_batchsize) / config.interval
        if config.learns and updates < ENOUGH_UPDATES:
            fitting = max(1, int(updates * config.interval / ENOUGH_UPDATES))
            say(
                f"warning: phi gets at most {int(updates)} updates with --interval "
                f"{config.interval}; --interval {fitting} gives {ENOUGH_UPDATES}"
            )

    def begin(self, seed: int) -> None:
        """Fresh weights and compiled steps."""
        config = self.config
        self.model = build_model(config, self.rows.sizes, seed)
        self.evaluator.attach(self.model)
        shrinking = config.embedding_decay / self.rows.steps(config.t_batchsize)  # in a step
        self.optimizer = Adam(
            self.model.parameter_groups(), decay="decoupled", embedding_decay=shrinking / config.lr
        )
        self.perceptron = self.upper = None
        if config.learns:
            self.perceptron = build_perceptron(config, self.model)
            self.upper = UpperLevel(self.model, self.perceptron, self.rows, config)
        if config.learns and not config.detach_weights:
            self.step = AttachedStep(self.model, self.perceptron, self.optimizer)
        else:
            self.step = LowerStep(self.model, self.optimizer)
            if config.learns:
                self.step = WeighedStep(self.perceptron, self.step)
        self.several = StepsInOneCall(self.step, config.steps_per_call)

    def begin_again(self, restarts: int) -> None:
        """With other initial weights, after a collapse."""
        self.begin(self.config.seed + 1000 * restarts)

    def fit(self) -> CrossDomainResult:
        """Train to the end; the best weights are in the model afterwards."""
        resume(self) if self.config.resume else forget(self)
        while not self.finished():
            self.epoch()
        if self.upper is not None and self.upper.updates and not self.upper.begun:
            self.say(
                f"warning: phi never moved: the upper head explained less than --start_gain "
                f"{self.config.start_gain:g} of the development labels' entropy in every update"
            )
        self.restore_best()
        return self.result

    def finished(self) -> bool:
        """Whether all epochs are trained, or `patience` of them brought nothing."""
        result, patience = self.result, self.config.patience
        stale = patience and result.epochs - result.best_epoch >= patience
        return result.epochs >= self.config.epochs or bool(stale)

    def epoch(self) -> None:
        """Train one epoch, validate, keep the best, save."""
        result = self.result
        started, upper_before = time.perf_counter(), result.upper_seconds
        losses = self.lower_epoch(result.epochs)
        trained = time.perf_counter() - started
        report, spread = self.evaluator.validate()
        result.epochs += 1
        result.seconds += time.perf_counter() - started
        row = {"kind": "epoch", "epoch": result.epochs, "target_loss": losses}
        row |= {"valid_auc": report["auc"], "valid_logloss": report["logloss"]}
        row |= {"prior": self.upper.prior() if self.upper else None, "seconds": trained}
        row |= {"upper_seconds": result.upper_seconds - upper_before}
        row |= {"rows_per_second": len(self.rows.train) / trained}
        result.history.append(row)
        if not math.isfinite(losses):
            raise ValueError(f"the loss is not finite in epoch {result.epochs}; lower --lr.")
        self.guard(losses, report["auc"], spread)
        if self.result is not result:
            return  # begun again: these weights and figures belong to the model that collapsed
        value = -1.0 if report["auc"] is None else report["auc"]
        if value > result.best or self.best is None:
            result.best, result.best_epoch = value, result.epochs
            self.best = self.weights()
        self.say(
            f"epoch {result.epochs:3d}  target loss {losses:.5f}  current auc {value:.6f}  "
            f"best auc {result.best:.6f}  best epoch {result.best_epoch}  "
            f"{row['rows_per_second']:,.0f} rows/s"
        )
        if self.checkpoint is not None:
            save(self)

    def lower_epoch(self, epoch: int) -> float:
        """All lower steps of an epoch and the upper updates between; the mean target loss."""
        config, result = self.config, self.result
        rate = Tensor(config.lr, ms.float32)
        losses, weight = [], []
        batches = self.rows.lower_batches(epoch, config.t_batchsize, histories=config.learns)
        for group in self.groups(batches):
            losses.append(self.lower_steps(rate, group))
            weight += [batch.mask.sum() for batch in group]
            result.lower_steps += len(group)
            for line in lower_lines(self, group, losses[-1]):
                self.note(line)
            due = result.lower_steps % config.interval == 0 and epoch > config.pre_epoch
            if config.learns and due:
                self.upper_update(epoch, float(losses[-1].asnumpy().ravel()[-1]))
        values = np.concatenate([loss.asnumpy().reshape(-1, 2)[:, 0] for loss in losses])
        return float(np.average(values, weights=weight))

    def groups(self, batches: Iterable[Batch]) -> Iterator[list[Batch]]:
        """Batches of one call each: steps_per_call of them, or one where so many are not left
        before the next upper update or the end."""
        config, ahead, group = self.config, self.result.lower_steps, []
        for batch in batches:
            group.append(batch)
            ahead += 1
            if len(group) == config.steps_per_call:
                yield group
                group = []
            elif ahead % config.interval == 0:
                yield from ([each] for each in group)
                group = []
        yield from ([each] for each in group)

    def lower_steps(self, rate: Tensor, batches: list[Batch]) -> Tensor:
        """theta moves once a batch; returns (2,) or (batches, 2): the mean target loss of each, and
        the whole one."""
        columns = [self.step_inputs(batch) for batch in batches]
        if len(batches) == 1:
            return self.step(rate, *map(tensor, columns[0]))
        return self.several(rate, *(tensor(np.stack(column)) for column in zip(*columns)))

    def lower_step(self, rate: Tensor, batch: Batch) -> Tensor:
        return self.lower_steps(rate, [batch])

    def step_inputs(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """Arguments of the step after the learning rate."""
        if self.perceptron is not None:
            return (
                batch.ids, batch.known, batch.labels, batch.category, batch.history, batch.real,
                batch.effect, batch.share,
            )  # fmt: skip
        if self.config.model_name == "conet_s":
            return batch.ids[1:], batch.known[1:], batch.labels[1:], batch.share[None]
        return batch.ids, batch.known, batch.labels, self.fixed_weights(batch)

    def fixed_weights(self, batch: Batch) -> np.ndarray:
        """(2, B) float32 weights of the losses in the arms that learn nothing."""
        config, source = self.config, batch.effect * batch.share
        if config.arm == "oracle":
            source = source * ~self.harmful[batch.source_row]
        if config.arm == "annealed":
            decay = config.aux_decay or PUBLISHED_DECAY
            updates = self.result.lower_steps // config.interval
            source = source * np.float32((1.0 - config.hplr * decay) ** updates)
        return np.stack([source * np.float32(config.prior_weight), batch.share])

    def upper_update(self, epoch: int, loss: float) -> None:
        """phi moves once; its figures become a row of the history."""
        started = time.perf_counter()
        row = {"kind": "upper", "epoch": epoch + 1} | self.upper.update(loss)
        seconds = time.perf_counter() - started
        if self.upper.updates == 1:
            self.result.first_upper_seconds = seconds  # holds the compilation
        else:
            self.result.upper_seconds += seconds
        self.result.history.append(row)
        self.note(upper_line(row))

    def guard(self, loss: float, auc: float | None, spread: float) -> None:
        """Note a model that predicts a constant, and do what on_collapse says."""
        result, config = self.result, self.config
        flat = auc is not None and abs(auc - 0.5) <= FLAT_AUC and loss > FLAT_LOSS
        if not (spread < FLAT_SPREAD or flat):
            result.collapsed = False
            return
        result.collapsed = True
        shown = "undefined" if auc is None else f"{auc:.3f}"
        text = (
            f"the model predicts a constant after epoch {result.epochs} (standard deviation of the "
            f"logits {spread:.1e}, validation AUC {shown})"
        )
        if config.on_collapse == "error":
            raise CollapseError(text + "; try another --seed, or --on_collapse restart.")
        if config.on_collapse == "restart" and result.restarts < MAX_RESTARTS:
            self.say(f"warning: {text}; beginning again with other initial weights")
            restarts = result.restarts + 1
            self.result = CrossDomainResult(restarts=restarts, history=result.history)
            self.best = None
            self.begin_again(restarts)
        else:
            self.say(f"warning: {text}; most runs leave this state within a few epochs")

    def weights(self) -> dict[str, np.ndarray]:
        """theta, phi and the development head."""
        arrays = snapshot(self.model)
        if self.upper is not None:
            arrays |= snapshot(list(self.perceptron.phi)) | {"upper.head": self.upper.head.copy()}
        return arrays

    def restore_best(self) -> None:
        """Put the weights of the best epoch back."""
        arrays = dict(self.best)
        if self.upper is not None:
            self.upper.head = arrays.pop("upper.head")
            names = {each.name for each in self.perceptron.phi}
            restore(list(self.perceptron.phi), {name: arrays.pop(name) for name in names})
        restore(self.model, arrays)
