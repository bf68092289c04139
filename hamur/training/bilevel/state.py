"""A cross-domain run on disk at the end of each epoch, and from there on again."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from hamur.files import write_history
from hamur.training.checkpoint import (
    clear_state,
    load_state,
    restore,
    save_state,
    save_weights,
    snapshot,
)

# Options that a resumed run may change: they do not alter what an epoch computes.
FREE = ("resume", "overwrite", "epochs", "patience", "quiet", "debug", "device", "config")
FREE += ("steps_per_call", "export_mindir")


@dataclass
class CrossDomainResult:
    """What a training did; history has a row an epoch and an upper update, told by `kind`."""

    history: list = field(default_factory=list)
    epochs: int = 0
    best_epoch: int = 0
    best: float = -1.0  # validation AUC; none yet
    lower_steps: int = 0
    seconds: float = 0.0
    upper_seconds: float = 0.0
    first_upper_seconds: float = 0.0
    collapsed: bool = False
    restarts: int = 0


def save(session) -> None:
    """The best weights, the history so far, and all that resuming needs."""
    folder, result = Path(session.checkpoint), session.result
    if result.best_epoch == result.epochs:
        save_weights(folder / "best_predictor.safetensors", session.best)
    write_history(Path(session.log) / "history.csv", result.history)
    parts = {"model": snapshot(session.model), "optimizer": snapshot(session.optimizer.state())}
    parts["best"] = session.best
    if session.upper is not None:
        parts |= session.upper.state()
    progress = {"epoch": result.epochs, "options": asdict(session.config)}
    save_state(folder / "last", parts, progress | {"result": asdict(result)})


def forget(session) -> None:
    """No later run resumes from what an earlier one of this name left."""
    if session.checkpoint is not None:
        clear_state(Path(session.checkpoint) / "last")


def resume(session) -> None:
    """Go on after the last complete epoch.

    Raises:  ValueError: nothing to resume, or a run of other options.
    """
    found = load_state(Path(session.checkpoint) / "last")
    if found is None:
        raise ValueError(f"--resume: nothing to resume in {session.checkpoint}.")
    arrays, progress = found
    check_options(progress["options"], session.config, FREE, "the run")
    session.best = arrays["best"]
    session.result = CrossDomainResult(**progress["result"])
    if session.result.restarts:
        session.begin_again(session.result.restarts)
    restore(session.model, arrays["model"])
    restore(session.optimizer.state(), arrays["optimizer"])
    if session.upper is not None:
        session.upper.load(arrays)


def check_options(had: dict, config, free: tuple[str, ...], which: str) -> None:
    """Raises ValueError where an option differs that is not free to."""
    for name, value in asdict(config).items():
        if name not in free and had.get(name) != value:
            raise ValueError(f"--resume: {which} had --{name} {had.get(name)}, this one {value}.")
