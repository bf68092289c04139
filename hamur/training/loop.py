"""One call of ``Trainer.fit``: the compiled step, the state that moves, and where it is kept."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.files import write_history
from hamur.layers import InstanceEmbedding
from hamur.same_run import difference
from hamur.training.averaging import EVERY, WeightAverage
from hamur.training.checkpoint import (
    clear_state,
    load_state,
    restore,
    save_state,
    save_weights,
    snapshot,
)
from hamur.training.optimizer import Adam


class Session:
    """The training of one model; ``run`` is an empty Run, after ``load`` the interrupted one's.

    Raises:  ValueError: data that cannot be trained or validated on.
    """

    def __init__(self, trainer, model, train, valid, run):
        self.trainer, self.model, self.run = trainer, model, run
        self.evaluation = trainer.evaluation(model, valid)
        self.check_tables(train, valid)
        size, seed = trainer.batch_size, trainer.seed
        if model.batches == "quota":
            self.batches = DomainBatches(train, size, seed, num_domains=model.schema.num_domains)
        else:
            self.batches = ShuffledBatches(train, size, seed, model.batches == "shuffled")
        self.check_batches(train)
        lazy = trainer.embeddings == "lazy"
        set_lazy(model, lazy)
        self.optimizer = Adam(
            model.parameter_groups(),
            trainer.weight_decay,
            trainer.decay,
            embedding_decay=trainer.embedding_decay,
            lazy=lazy,
        )
        self.step = trainer.step(model, self.optimizer, self.batches.quotas, trainer.seed)
        self.average = WeightAverage(model, trainer.averaging) if trainer.averaging else None
        self.averages = False  # whether the average has started
        self.best_weights = None
        self.train_rows = len(train)

    def check_tables(self, train, valid):
        """Raises:  ValueError: an empty split, rows that do not fit the model's schema, a criterion
        that the evaluation does not have."""
        for name, table in (("training", train), ("validation", valid)):
            if len(table) == 0:
                raise ValueError(f"the {name} split has no rows.")
            table.validate(self.model.schema)
        self.evaluation.check(self.trainer.criterion)

    def check_batches(self, train):
        """An ordinary batch norm needs two real rows in every batch."""
        least = len(train) // self.batches.steps
        if self.batches.quotas is None:
            least = len(train) - (self.batches.steps - 1) * self.batches.batch_rows
        if least < 2:
            raise ValueError(
                f"a batch of {len(train)} training rows by batch_size {self.trainer.batch_size} "
                f"would hold {least} real row; batch norm needs at least 2. Choose another "
                "batch_size."
            )

    def finished(self):
        run, patience = self.run, self.trainer.patience
        stale = patience is not None and run.epochs - run.best_epoch >= patience and run.epochs > 0
        return run.epochs >= self.trainer.epochs or stale

    def epoch(self):
        """Train one epoch, validate, and keep the weights if they are the best so far."""
        run, number = self.run, self.run.epochs + 1
        start = time.perf_counter()
        loss = self.train_epoch(number)
        seconds = time.perf_counter() - start
        if self.average is not None and not self.averages:
            self.average.restart()
            self.averages = True
        report = self.validate()
        run.epochs = number
        run.seconds += time.perf_counter() - start
        rate = self.train_rows / seconds
        # The first epoch holds the compilation.
        run.rows_per_second = rate if number <= 2 else max(run.rows_per_second, rate)
        row = {"epoch": number, "loss": loss, "seconds": seconds, "rows_per_second": rate}
        run.history.append(row | self.evaluation.figures(report) | self.counters())
        value = report[self.trainer.criterion]
        if value > run.best:
            run.best, run.best_epoch = value, number
            self.best_weights = self.average.snapshot() if self.averages else snapshot(self.model)
        if self.trainer.save_dir is not None:
            self.save()
        if not self.trainer.quiet:
            best = " *" if run.best_epoch == number else ""
            print(
                f"epoch {number:3d}  loss {loss:.5f}  {self.evaluation.line(report)}  "
                f"{rate:,.0f} rows/s{best}",
                flush=True,
            )

    def train_epoch(self, number):
        """All steps of an epoch; returns the mean of their losses."""
        trainer, steps = self.trainer, self.batches.steps
        self.model.set_train()  # the last validation left it in evaluation
        losses = []
        bar = tqdm(
            total=self.train_rows,
            desc=f"epoch {number}",
            unit="row",
            unit_scale=True,
            leave=False,
            disable=trainer.quiet or None,
            mininterval=0.5,
        )
        with bar:
            for index, batch in enumerate(self.batches.epoch(number)):
                done = (number - 1) * steps + index
                rate = trainer.learning_rate_at(done, trainer.epochs * steps)
                loss = self.step(batch, rate, done)
                if loss is not None:  # some schemes update every second batch
                    losses.append(loss)
                if self.averages and done % EVERY == EVERY - 1:
                    self.average()
                bar.update(min(self.batches.batch_rows, self.train_rows - bar.n))
                if index % 50 == 49 and losses:
                    bar.set_postfix(loss=f"{float(losses[-1].asnumpy()):.4f}")
        values = np.array([float(loss.asnumpy()) for loss in losses])
        if not np.isfinite(values).all():
            step = int(np.argmin(np.isfinite(values)))
            raise ValueError(
                f"the loss is not finite in step {step} of epoch {number}; lower the learning rate."
            )
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

    def counters(self):
        """Columns of history.csv that only the step knows."""
        return self.step.counters() if hasattr(self.step, "counters") else {}

    def parts(self):
        """The parameters that move, by the name they have in last/."""
        parameters = {"model": self.model, "optimizer": self.optimizer.state()}
        if self.averages:
            parameters["average"] = self.average.state()
        if hasattr(self.step, "state"):
            parameters["step"] = self.step.state()
        return parameters

    def course(self):
        """What decides the numbers of a run; a resumed run must have the same."""
        trainer = self.trainer
        names = ["seed", "learning_rate", "weight_decay", "decay", "embedding_decay", "schedule"]
        names += ["averaging", "criterion"]
        if trainer.schedule is not None:
            names.append("epochs")  # the schedule spans them
        course = {name: getattr(trainer, name) for name in names}
        return course | {"steps": self.batches.steps, "rows a step": self.batches.batch_rows}

    def save(self):
        folder = Path(self.trainer.save_dir)
        # Before the state: a run killed in between repeats the epoch and writes the same file.
        if self.run.best_epoch == self.run.epochs:
            save_weights(folder / "model.safetensors", self.best_weights)
        write_history(folder / "history.csv", self.run.history)
        arrays = {name: snapshot(part) for name, part in self.parts().items()}
        arrays["best"] = self.best_weights
        progress = {"epoch": self.run.epochs, "averages": self.averages}
        progress |= {"course": self.course(), "run": asdict(self.run)}
        save_state(folder / "last", arrays, progress)

    def start(self):
        """Forget an earlier run in the same folder."""
        if self.trainer.save_dir is not None:
            clear_state(Path(self.trainer.save_dir) / "last")

    def load(self):
        """Go on where the run in save_dir stopped.

        Raises:  ValueError: nothing there, or a run of other options, another model, preset or D.
        """
        folder = self.trainer.save_dir
        found = load_state(Path(folder) / "last")
        if found is None:
            raise ValueError(f"nothing to resume in {folder}: it has no last/progress.json.")
        arrays, progress = found
        if different := difference(progress["course"], self.course(), changeable=()):
            raise ValueError(f"cannot resume {folder}: it had {different}.")
        self.best_weights = arrays.pop("best")
        self.averages = progress["averages"]
        self.run = type(self.run)(**progress["run"])
        for name, part in self.parts().items():
            restore(part, arrays[name], f"{folder}/last ({name})")

    def close(self):
        """Leave the best weights in the model; returns the Run."""
        restore(self.model, self.best_weights)
        self.model.set_train(False)
        return self.run


def set_lazy(model, lazy):
    """Choose the form of the table's gradient.

    Raises:  ValueError: lazy, and the model's embedding is no `InstanceEmbedding`.
    """
    embedding = getattr(model, "embedding", None)
    if isinstance(embedding, InstanceEmbedding):
        embedding.lazy = lazy
    elif lazy:
        raise ValueError(
            "Trainer.embeddings lazy needs a model whose `embedding` is an InstanceEmbedding; "
            f"{type(model).__name__} has none."
        )
