"""The trainer of every model: a training as a value, and what it led to."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from hamur import workers
from hamur.files import locked
from hamur.interrupts import ending_loop
from hamur.training.checkpoint import RunFiles
from hamur.training.evaluation import RankingEvaluation
from hamur.training.loop import TrainingLoop, table_batches
from hamur.training.prediction import graph_mode

EMBEDDINGS = ("dense", "lazy")


@dataclass
class Run:
    """What a training did.

    history: a dict per epoch, and those that the step adds; rows_per_second: of training alone;
    restarts: how often it began again with other initial weights; lowest_loss, constant_loss: the
    lowest validation log loss and that of the constant predictor; worse_than_constant: by `judge`;
    values: the criterion of each validated epoch, more is better.
    """

    history: list = field(default_factory=list)
    values: list = field(default_factory=list)
    epochs: int = 0
    best_epoch: int = 0
    best: float = -math.inf
    seconds: float = 0.0
    rows_per_second: float = 0.0
    restarts: int = 0
    interrupted: bool = False
    lowest_loss: float | None = None
    constant_loss: float | None = None
    worse_than_constant: bool = False


@dataclass(frozen=True)
class Trainer:
    """Train a model and leave the weights of its best validation epoch in it.

    step:  builds a step function from (model, optimizer, quotas, seed); see supervised_step.
    epochs, patience:  stop after ``patience`` epochs without strict improvement; None = never.
    evaluation:  builds what is measured after an epoch from (model, validation table); its
        ``criteria`` are what ``criterion`` may be.
    batches:  builds the training batches from (model, training table, batch_size, seed): an object
        with ``steps``, ``batch_rows``, ``quotas`` and ``epoch(number)``; of several workers,
        ``epoch`` gives the ``share`` that is set.
    criterion:  "auc" (pooled; also rewards knowing which domain clicks more), "macro_auc" or
        "worst_auc", over the domains that have both classes.
    seed:  of shuffling and dropout; initialisation and split have their own.
    weight_decay, decay, embedding_decay:  see Adam; embedding_decay None = weight_decay.
    embeddings:  "dense", or "lazy": only the rows of a batch are updated, without decay; for
        ranking models, see Adam.
    averaging:  decay per step of the exponential moving average of the weights, 0 = off;
        validation, best checkpoint and final weights are then the average's (from the second epoch
        on).
    save_dir:  folder for model.safetensors, history.csv and last/, or their places as RunFiles,
        where an earlier run is removed at the start; resume: go on from its last/ instead, or begin
        where there is none.
    checkpoint_minutes:  a state is also written within an epoch, before the next step once so much
        time has passed since the last one, and when a signal ends the training; None = only then.
    after_epoch:  functions of the Run, called once an epoch's state is on disk, and at the start
        with that of a resumed run.  What they raise ends the training.
    Among the workers of msrun, `hamur.workers`, the numbers are those of one process; the first one
    alone writes.
    Raises:  ValueError: an option out of range; on ``fit``, data that cannot be trained or
        validated on, a run to resume that is another one, or another process that writes to
        save_dir; its kind DivergenceError: losses or scores that are not finite, or a model far
        worse than a constant prediction.
    """

    step: Callable
    epochs: int = 1
    batch_size: int = 4096
    seed: int = 2022
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    decay: str = "coupled"
    embedding_decay: float | None = None
    embeddings: str = "dense"
    averaging: float = 0.0
    patience: int | None = 10
    criterion: str = "auc"
    evaluation: Callable = RankingEvaluation
    batches: Callable = table_batches
    save_dir: str | RunFiles | None = None
    resume: bool = False
    checkpoint_minutes: float | None = 5.0
    after_epoch: tuple[Callable, ...] = ()
    quiet: bool = False

    def __post_init__(self):
        evaluation = getattr(self.evaluation, "func", self.evaluation)  # behind a partial
        for name, valid in (("criterion", evaluation.criteria), ("embeddings", EMBEDDINGS)):
            if getattr(self, name) not in valid:
                names = ", ".join(str(item) for item in valid)
                raise ValueError(
                    f"Trainer.{name} is {getattr(self, name)!r}; valid values are {names}."
                )
        least = {"epochs": 1, "batch_size": 1, "patience": 1}
        least |= {"weight_decay": 0, "embedding_decay": 0, "checkpoint_minutes": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not bound <= value < math.inf:
                raise ValueError(
                    f"Trainer.{name} must be at least {bound} and finite, got {value}."
                )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                "Trainer.learning_rate must be greater than 0 and finite, got "
                f"{self.learning_rate}."
            )
        if not 0 <= self.averaging < 1:
            raise ValueError(f"Trainer.averaging must lie in [0, 1), got {self.averaging}.")
        if self.save_dir == "":
            raise ValueError("Trainer.save_dir is empty; name a folder, or None to write nothing.")
        if self.resume and self.save_dir is None:
            raise ValueError("Trainer.resume needs the `save_dir` of the interrupted run.")

    def fit(self, model, train, valid, history=(), optimizer_state=()):
        """Train on one table, choose on the other; returns a Run.

        history: what its `history` begins with; optimizer_state: {name: array} that Adam begins
        with, as a state in last/ has it, where it has all that is trained.

        Ctrl-C, and SIGTERM, end the training before its next step as early stopping does, a second
        one at once; before the end of the first epoch they are a KeyboardInterrupt.  A run with a
        save_dir resumes at that step.  In another thread
        than Python's first, signals stay the program's own affair.
        """
        place = None
        if self.save_dir is not None and workers.rank() == 0:
            place = RunFiles.of(self.save_dir).weights.parent
        lock = nullcontext() if place is None else locked(place)
        with graph_mode(), lock, ending_loop() as check_signals, workers.named_losses():
            run = Run(history=list(history))
            loop = TrainingLoop(self, model, train, valid, run, check_signals, optimizer_state)
            loop.load() if self.resume else loop.start()
            loop.tell()
            try:
                while not loop.finished():
                    loop.epoch()
            except KeyboardInterrupt:
                loop.run.interrupted = True
                if loop.best_weights is None:
                    raise
            return loop.close()
