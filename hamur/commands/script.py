"""What every command shares: one-line errors and exit codes, the device, the folder of a run."""

import contextlib
import dataclasses
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

from hamur.config import parse_device
from hamur.files import write_json
from hamur.reporting import results
from hamur.same_run import CHANGEABLE_ON_RESUME, difference

LENGTH = ("epochs", "patience")  # a resumed run may change them; a finished run is told by them
INTERRUPTED = 130  # what shells report for Ctrl-C


@contextlib.contextmanager
def command(
    script: str, debug: bool, resume_hint: str = "--resume continues from the last epoch"
) -> Iterator[SimpleNamespace]:
    """Turn the errors of a block into one line on stderr and an exit code: `code` of what the
    block is given is 0 when results are on disk, 2 for wrong usage or data, 130 after Ctrl-C.

    debug: raise errors with their traceback.  resume_hint: printed after Ctrl-C.
    """
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's C++ log, unless the user wants it
    name, outcome = Path(script).name, SimpleNamespace(code=0)
    long_format = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield outcome
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {resume_hint}", file=sys.stderr)
        outcome.code = INTERRUPTED
    except (ValueError, OSError) as error:
        if debug:
            raise
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        outcome.code = 2
    finally:
        warnings.formatwarning = long_format


def select_device(text: str) -> None:
    """Compile for this device.  ValueError if the installed MindSpore cannot serve it."""
    import mindspore as ms

    target, card = parse_device(text)
    logging.disable(logging.ERROR)  # MindSpore logs missing libraries at length; we say it below
    try:
        ms.set_device(target, card) if card is not None else ms.set_device(target)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--device {text}: the installed MindSpore {ms.__version__} cannot use {target} on "
            "this machine. Use --device cpu, or install MindSpore with the device's drivers as "
            "https://www.mindspore.cn/install describes."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    ms.set_context(mode=ms.GRAPH_MODE)


def check_folder(folder: Path, description: dict, resume: bool, overwrite: bool) -> None:
    """ValueError if a run of this description must not be written to the folder.

    It must not where another run is to be resumed; or, unless `overwrite`, where an unfinished run
    or the results of another one would be lost.
    """
    from hamur.training.checkpoint import PROGRESS

    path = folder / "config.json"
    had = json.loads(path.read_text()) if path.exists() else None
    if resume:
        if had is None:
            raise ValueError(f"--resume: no run in {folder}, which has no config.json.")
        if different := difference(had, description):
            raise ValueError(f"--resume: the run in {folder} had {different}.")
    elif overwrite:
        return
    elif had is not None and (folder / "metrics.json").exists():
        changeable = [name for name in CHANGEABLE_ON_RESUME if name not in LENGTH]
        if different := difference(had, description, changeable):
            raise ValueError(
                f"{folder} holds a finished run, which had {different}; choose another "
                "--save_dir, or --overwrite it."
            )
    elif (folder / "last" / PROGRESS).exists():
        raise ValueError(
            f"{folder} holds an unfinished run; --resume continues it, --overwrite begins anew."
        )


def open_run(config, description: dict, model, say: Callable) -> dict:
    """Write config.json of a run that begins or continues; returns and prints the parameter counts.

    Raises:  ValueError: see `check_folder`.
    """
    from hamur import models

    folder = Path(config.save_dir)
    check_folder(folder, description, config.resume, config.overwrite)
    write_json(folder / "config.json", description)
    (folder / "metrics.json").unlink(missing_ok=True)  # its presence means: this run is complete
    counts = models.parameter_counts(model)
    say(
        f"{config.model_name}, preset {config.preset}: {counts['parameters']:,} parameters and "
        f"{counts['embedding_parameters']:,} in embeddings"
    )
    return counts


def make_trainer(config, step: Callable, **settings):
    """The Trainer whose options are the fields of a resolved configuration that have their names;
    `settings` are added, or replace them."""
    from hamur import training

    names = {field.name for field in dataclasses.fields(training.Trainer)}
    options = {name: value for name, value in vars(config).items() if name in names}
    return training.Trainer(step, **(options | settings))


def train_block(run) -> dict:
    """How the training went, for metrics.json."""
    block = {
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        "rows_per_second": round(run.rows_per_second, 1),
        "seconds": round(run.seconds, 3),
        "peak_rss_mib": results.peak_rss_mib(),
    }
    return block | ({"interrupted": True} if run.interrupted else {})


def stop_if_interrupted(content: dict) -> None:
    """KeyboardInterrupt, for the exit code, after the results of an interrupted run are on disk."""
    if "interrupted" in content["train"]:
        raise KeyboardInterrupt
