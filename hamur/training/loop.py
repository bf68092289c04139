"""One call of ``Trainer.fit``: the compiled step, the state that moves, and its files."""

import logging
import math
import time
from dataclasses import asdict, dataclass, field, fields
from itertools import islice

import numpy as np
from tqdm import tqdm

from hamur import workers
from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.files import misfit, write_history
from hamur.layers import InstanceEmbedding, collectives
from hamur.same_run import difference
from hamur.training import memory
from hamur.training.averaging import EVERY, WeightAverage
from hamur.training.checkpoint import (
    RunFiles,
    check_fits,
    load_state,
    restore,
    save_state,
    save_weights,
    snapshot,
)
from hamur.training.divergence import DivergenceError, constant_losses, judge, require_finite
from hamur.training.evaluation import LESS_IS_BETTER
from hamur.training.optimizer import Adam

UNDEFINED = -1.0  # criterion of an epoch that has none: only the first such one is the best
logger = logging.getLogger(__name__)


@dataclass
class Begun:
    """What is done of an epoch: its first batches, the losses of their steps, the seconds."""

    batches: int = 0
    losses: list = field(default_factory=list)
    seconds: float = 0.0


class TrainingLoop:
    """The training of one model; ``run`` is an empty Run, after ``load`` the interrupted one's;
    ``check_signals()`` is called before each step and may raise.

    The step is a function (batch, learning rate, number of the step) -> loss, or None where it
    updates every second batch.  It may have ``state()``, what resuming needs of it (parameters, or
    an object with ``arrays()`` and ``load(arrays)``); ``counters()``, columns of an epoch's row in
    history.csv; ``records()``, rows before it.  All three may be asked for between any two steps.
    Raises:  ValueError: data that cannot be trained or validated on; DivergenceError: values
        of an epoch are not finite.
    """

    def __init__(
        self, trainer, model, train, valid, run, check_signals, optimizer_state=()
    ):  # fmt: skip
        self.trainer, self.model, self.run = trainer, model, run
        self.check_signals = check_signals
        self.optimizer_state = optimizer_state
        quiet = trainer.save_dir is None or workers.rank() > 0
        self.files = None if quiet else RunFiles.of(trainer.save_dir)
        self.evaluation = trainer.evaluation(model, valid)
        for name, table in (("training", train), ("validation", valid)):
            if len(table) == 0:
                raise ValueError(f"the {name} split has no rows.")
            table.validate(model.schema)
        self.evaluation.check(trainer.criterion)
        self.batches = trainer.batches(model, train, trainer.batch_size, trainer.seed)
        self.quotas = self.batches.quotas
        self.share = workers.share_of(self.batches.batch_rows, self.quotas)
        if self.share is not None:
            self.batches.share, self.quotas = self.share, self.share.quotas
        check_classes(train.labels, model.schema.labels)
        collectives.share_weights(model)
        self.constant = constant_losses(train.labels, valid.labels)
        self.train_rows = len(train)
        self.check_memory()
        self.build()

    def build(self):
        """The compiled step, and all that moves besides the model, at the start."""
        trainer, model = self.trainer, self.model
        lazy = trainer.embeddings == "lazy"
        set_lazy(model, lazy)
        exchange = not lazy and self.exchange_rows()
        self.optimizer = Adam(
            model.parameter_groups(),
            trainer.weight_decay,
            trainer.decay,
            embedding_decay=trainer.embedding_decay,
            lazy=lazy,
            summed_tables=exchange,
        )
        names = {parameter.name for parameter in self.optimizer.state()}
        if names <= set(self.optimizer_state):
            kept = {name: self.optimizer_state[name] for name in names}
            restore(self.optimizer.state(), kept, "the optimiser's state")
        self.step = trainer.step(model, self.optimizer, self.quotas, trainer.seed)
        self.average = WeightAverage(model, trainer.averaging) if trainer.averaging else None
        self.averages = False  # whether the average has started
        self.best_weights = None
        self.begun = Begun()

    def exchange_rows(self):
        """Let the workers exchange the rows of the table that they have read, where that is less
        than the table; returns whether they do."""
        embedding = getattr(self.model, "embedding", None)
        if self.share is None or not isinstance(embedding, InstanceEmbedding):
            return False
        read = len(self.share.order) * embedding.offsets.shape[1]
        embedding.exchange_rows = collectives.rows_are_smaller(read, *embedding.table.shape)
        return embedding.exchange_rows

    def check_memory(self):
        """Say how much the training will take.

        Raises:  ValueError: more than there is.
        """
        trainer = self.trainer
        rows = self.batches.batch_rows if self.share is None else len(self.share.order)
        lazy, averaging = trainer.embeddings == "lazy", bool(trainer.averaging)
        saving = self.files is not None
        told = memory.check(memory.estimate(self.model, rows, lazy, averaging, saving))
        if told is not None:
            self.say(f"the training takes {told}")

    def finished(self):
        run, patience = self.run, self.trainer.patience
        stale = patience is not None and run.epochs - run.best_epoch >= patience and run.epochs > 0
        return run.epochs >= self.trainer.epochs or stale

    def epoch(self):
        """Train one epoch, validate, and keep the weights if they are the best so far."""
        run, number = self.run, self.run.epochs + 1
        start = time.perf_counter() - self.begun.seconds
        try:
            loss = self.train_epoch(number)
            self.begun = Begun()
            seconds = time.perf_counter() - start
            if self.average is not None and not self.averages:
                self.average.restart()
                self.averages = True
            report = self.validate()
        except DivergenceError as error:
            raise DivergenceError(
                f"diverged: {error} of epoch {number}; lower the learning rate (`learning_rate`)."
            ) from None
        run.epochs = number
        run.seconds += time.perf_counter() - start
        rate = self.train_rows / seconds
        # The first epoch holds the compilation.
        run.rows_per_second = rate if number <= 2 else max(run.rows_per_second, rate)
        row = {"epoch": number, "loss": loss, "seconds": seconds, "rows_per_second": rate}
        fresh = self.check_epoch(report, loss)
        run.history += self.from_step("records", [])
        run.history.append(row | self.evaluation.figures(report) | self.from_step("counters", {}))
        if fresh is not None:
            self.begin_again(fresh)
            return
        self.note_loss(report)
        value, criterion = report[self.trainer.criterion], self.trainer.criterion
        value = UNDEFINED if value is None else -value if criterion in LESS_IS_BETTER else value
        run.values.append(value)
        if value > run.best:
            run.best, run.best_epoch = value, number
            self.best_weights = self.average.snapshot() if self.averages else snapshot(self.model)
        if self.files is not None:
            self.save()
        best = " *" if run.best_epoch == number else ""
        line = f"epoch {number:3d}  loss {loss:.5f}  {self.evaluation.line(report, run)}"
        line += f"  {rate:,.0f} rows/s{best}"
        self.say(line)
        self.tell()

    def tell(self):
        """Calls the trainer's hooks, once there is an epoch."""
        for hook in self.trainer.after_epoch if self.run.epochs else ():
            hook(self.run)

    def say(self, line):
        """A line for the log, and the terminal unless quiet."""
        logger.info(line)
        if not self.trainer.quiet:
            print(line, flush=True)

    def note_loss(self, report):
        """Keeps the lowest validation log loss, where the evaluation tells it."""
        if hasattr(self.evaluation, "against_constant"):
            loss, constant = self.evaluation.against_constant(report, self.constant)
            run = self.run
            if run.lowest_loss is None or loss < run.lowest_loss:
                run.lowest_loss, run.constant_loss = loss, constant

    def check_epoch(self, report, loss):
        """What the evaluation says of the epoch, where it has such a check: weights to begin again
        with, or None."""
        check = getattr(self.evaluation, "check_epoch", None)
        return None if check is None else check(report, loss, self.run)

    def begin_again(self, weights):
        """From other initial weights; what was trained so far stays in the history alone."""
        restore(self.model, weights)
        self.build()
        self.run.restarts += 1
        self.run.epochs, self.run.best_epoch, self.run.best = 0, 0, -math.inf
        self.run.lowest_loss = None

    def train_epoch(self, number):
        """All steps of an epoch, or those left of one that has begun; the mean of their losses."""
        trainer, begun = self.trainer, self.begun
        losses = begun.losses
        self.model.set_train()  # the last validation left it in evaluation
        minutes, saved = trainer.checkpoint_minutes, time.perf_counter()
        start = saved - begun.seconds
        bar = tqdm(
            total=self.train_rows,
            initial=min(begun.batches * self.batches.batch_rows, self.train_rows),
            desc=f"epoch {number}",
            unit="row",
            unit_scale=True,
            leave=False,
            disable=trainer.quiet or None,
            mininterval=0.5,
        )
        with bar:
            rest = islice(self.batches.epoch(number), begun.batches, None)
            for index, batch in enumerate(rest, start=begun.batches):
                now, stop = time.perf_counter(), None
                try:
                    self.check_signals()
                except KeyboardInterrupt as error:
                    stop = error
                if collectives.any_worker(stop is not None):
                    stop = stop or KeyboardInterrupt()  # another worker was told to stop
                due = stop or (minutes is not None and now - saved >= 60 * minutes)
                if due and index and self.files is not None:
                    begun.batches, begun.seconds = index, now - start
                    self.run.history += self.from_step("records", [])
                    self.save_state()
                    saved = time.perf_counter()
                if stop:
                    raise stop
                done = (number - 1) * self.batches.steps + index
                loss = self.step(batch, trainer.learning_rate, done)
                if loss is not None:  # some schemes update every second batch
                    losses.append(loss)
                if self.averages and done % EVERY == EVERY - 1:
                    self.average()
                bar.update(min(self.batches.batch_rows, self.train_rows - bar.n))
                if index % 50 == 49 and losses:
                    last = float(losses[-1])
                    bar.set_postfix(loss=f"{last:.4f}")
                    if not math.isfinite(last):
                        break
        values = np.array([float(loss) for loss in losses])
        step = int(np.argmin(np.append(np.isfinite(values), False)))
        require_finite("the loss is", values, f"in step {step}")
        return float(values.mean())

    def validate(self):
        """Metrics of one pass over the validation split, with averaged weights if there are."""
        if self.averages:
            self.average.exchange()
        try:
            return self.evaluation()
        finally:
            if self.averages:
                self.average.exchange()

    def from_step(self, name, default):
        """What the step tells of an epoch, where it has such a method."""
        return getattr(self.step, name)() if hasattr(self.step, name) else default

    def parts(self):
        """The parameters that move, by the name they have in last/."""
        parameters = {"model": self.model, "optimizer": self.optimizer.state()}
        if self.averages:
            parameters["average"] = self.average.state()
        if hasattr(self.step, "state"):
            parameters["step"] = self.step.state()
        return parameters

    def signature(self):
        """What decides the numbers of a run; a resumed run must have the same."""
        trainer = self.trainer
        names = ["seed", "learning_rate", "weight_decay", "decay", "embedding_decay", "averaging"]
        names += ["criterion"]
        signature = {name: getattr(trainer, name) for name in names}
        return signature | {"steps": self.batches.steps, "rows per step": self.batches.batch_rows}

    def save(self):
        # Before the state: a run killed in between repeats the epoch and writes the same file.
        if self.run.best_epoch == self.run.epochs:
            save_weights(self.files.weights, self.best_weights)
        write_history(self.files.history, self.run.history)
        self.save_state()

    def save_state(self):
        """All that resuming needs, after an epoch or some batches of the next one."""
        begun, run = self.begun, asdict(self.run)
        arrays = {name: snapshot(part) for name, part in self.parts().items()}
        if self.best_weights is not None:
            arrays["best"] = self.best_weights
        begun.losses[:] = map(float, begun.losses)
        arrays["epoch"] = {"losses": np.array(begun.losses, np.float32)}
        progress = {"epoch": self.run.epochs, "batch": begun.batches, "seconds": begun.seconds}
        progress |= {"averages": self.averages, "course": self.signature()}
        run = {name: value for name, value in run.items() if value != -math.inf}  # no JSON
        save_state(self.files.last, arrays, progress | {"run": run})

    def start(self):
        """Remove an earlier run in the same folder."""
        if self.files is not None:
            self.files.clear()

    def load(self):
        """Go on where the run in save_dir stopped, or begin where it has no finished epoch.

        Raises:  ValueError: a run of other options, another model, preset or D.
        """
        folder = RunFiles.of(self.trainer.save_dir).last
        state = collectives.from_first(lambda: load_state(folder))
        if state is None:
            self.say(f"nothing to resume in {folder.parent}: the training begins")
            return self.start()
        arrays, progress = state
        if different := difference(progress["course"], self.signature(), changeable=()):
            raise ValueError(f"cannot resume {folder.parent}: it had {different}.")
        kinds = {field.name: field.type for field in fields(self.run)}
        known = {name: kind for name, kind in kinds.items() if name in progress["run"]}
        problem = misfit(progress["run"], known, "run")
        if problem or len(known) < len(progress["run"]):
            raise ValueError(
                f"cannot resume {folder.parent}: {problem or 'another version made it'}."
            )
        self.averages = progress["averages"]
        losses = arrays.pop("epoch", {}).get("losses", [])  # older states lack them
        self.begun = Begun(progress["batch"], list(losses), progress["seconds"])
        parts = self.parts() | ({"best": self.model} if progress["epoch"] else {})
        for name, part in parts.items():  # all are judged before any is written
            check_fits(part, arrays.setdefault(name, {}), f"{folder} ({name})")  # may be empty
        self.best_weights = arrays.get("best")
        self.run = type(self.run)(**progress["run"])
        for name, part in self.parts().items():
            restore(part, arrays[name], f"{folder} ({name})")
        # They may be missing or damaged, and no further epoch need write them.
        if self.best_weights is not None and self.files is not None:
            save_weights(self.files.weights, self.best_weights)
            write_history(self.files.history, self.run.history)

    def close(self):
        """Leave the best weights in the model; returns the Run.

        Raises:  DivergenceError: they are far worse than a constant prediction.
        """
        run = self.run
        restore(self.model, self.best_weights)
        self.model.set_train(False)
        if run.lowest_loss is not None and not run.interrupted:
            run.worse_than_constant = judge(run.lowest_loss, run.constant_loss, run.epochs)
        return run


def check_classes(labels, names):
    """ValueError: all training rows (N, T) have one class of a label; names it."""
    for name, low, high in zip(names, labels.min(axis=0), labels.max(axis=0), strict=True):
        if low == high:
            raise ValueError(
                f"one class: all {len(labels):,} training rows have {name!r} {low:g}; use rows of "
                "both classes."
            )


def table_batches(model, table, batch_size, seed):
    """Batches of a table as the model wants them: fixed quotas per domain, shuffled, or ordered.

    Raises:  ValueError: a batch of one real row, which an ordinary batch norm cannot use.
    """
    if model.batches == "quota":
        batches = DomainBatches(table, batch_size, seed, num_domains=model.schema.num_domains)
    else:
        batches = ShuffledBatches(table, batch_size, seed, model.batches == "shuffled")
    least = len(table) // batches.steps
    if batches.quotas is None:
        least = len(table) - (batches.steps - 1) * batches.batch_rows
    if least < 2:
        raise ValueError(
            f"a batch of {len(table)} training rows by `batch_size={batch_size}` would hold "
            f"{least} real row; batch norm needs at least 2. Choose another `batch_size`."
        )
    return batches


def set_lazy(model, lazy):
    """Choose the form of the table's gradient.

    Raises:  ValueError: lazy, and the model's embedding is no `InstanceEmbedding`.
    """
    embedding = getattr(model, "embedding", None)
    if isinstance(embedding, InstanceEmbedding):
        embedding.lazy = lazy
    elif lazy:
        raise ValueError(
            "`embeddings='lazy'` needs a model with an InstanceEmbedding as its embedding; "
            f"{type(model).__name__} has none."
        )
