"""What every command shares: flags in, one line and an exit code out, the device, resuming."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from hamur.config import from_flags, parse_device
from hamur.files import write_json
from hamur.reporting import results

# Options that a resumed run may change: they do not alter what an epoch computes.
FREE_OPTIONS = ("dataset_path", "epoch", "patience", "resume", "device", "save_dir")
FREE_OPTIONS += ("save_predictions", "plot", "quiet", "debug", "overwrite")
LENGTH = ("epoch", "patience")  # that a resumed run may change, and a finished run is told by
INTERRUPTED = 130  # what shells report for Ctrl-C


def run_script(
    config_class: type,
    work: Callable,
    script: str,
    description: str,
    argv: Sequence[str] | None = None,
    go_on: str = "--resume continues from the last epoch",
    **defaults,
) -> int:
    """Read the flags of any script, do its work, and turn errors into one line and an exit code.

    work: (config, name) -> False if it was interrupted, but could end with results on disk.
    go_on: what to tell who interrupted it.
    """
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's C++ log, unless the user wants it
    config = from_flags(config_class, argv, description, **defaults)
    name = Path(script).stem
    shown = Path(script).name  # as argparse names it
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        complete = work(config, name)
    except KeyboardInterrupt:
        complete = False
    except (ValueError, OSError) as error:
        if config.debug:
            raise
        text = " ".join(str(error).split())
        print(f"{shown}: error: {text}", file=sys.stderr)
        return 2
    if complete is False:
        print(f"{shown}: interrupted; {go_on}", file=sys.stderr)
        return INTERRUPTED
    return 0


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


def open_run(config, description: dict, model, say: Callable) -> dict:
    """config.json of a run that begins, or goes on; returns the parameter counts, and says them.

    Raises:  ValueError: --resume, but the run in --save_dir is another one; or an unfinished run,
        or a finished one of other data or options, and neither --resume nor --overwrite is given.
    """
    from hamur import models

    folder = Path(config.save_dir)
    if config.resume:
        check_resumable(folder / "config.json", description)
    elif not config.overwrite:
        check_free(folder, description)
    write_json(folder / "config.json", description)
    (folder / "metrics.json").unlink(missing_ok=True)  # its presence means: this run is complete
    counts = models.parameter_counts(model)
    say(
        f"{config.model_name}, preset {config.preset}: {counts['parameters']:,} parameters and "
        f"{counts['embedding_parameters']:,} in embeddings"
    )
    return counts


def check_resumable(path: Path, description: dict) -> None:
    """ValueError if the run in this folder had other data, or options that change its course."""
    if not path.exists():
        raise ValueError(f"--resume: no run in {path.parent}, which has no config.json.")
    difference = first_difference(path, description, FREE_OPTIONS)
    if difference:
        raise ValueError(f"--resume: the run in {path.parent} had {difference}.")


def check_free(folder: Path, description: dict) -> None:
    """ValueError if this run would replace another one's results, unless it is the same command
    again."""
    from hamur.training.checkpoint import PROGRESS

    if (folder / "metrics.json").exists() and (folder / "config.json").exists():
        free = [name for name in FREE_OPTIONS if name not in LENGTH]
        difference = first_difference(folder / "config.json", description, free)
        if difference:
            raise ValueError(
                f"{folder} holds a finished run, which had {difference}; choose another "
                "--save_dir, or --overwrite it."
            )
    elif (folder / "last" / PROGRESS).exists():
        raise ValueError(
            f"{folder} holds an unfinished run; --resume continues it, --overwrite begins anew."
        )


def first_difference(path: Path, description: dict, free: Sequence[str]) -> str | None:
    """What the run of a config.json had otherwise than this one, apart from the free options."""
    before, now = json.loads(path.read_text()), json.loads(json.dumps(description))
    if before["data"]["fingerprint"] != now["data"]["fingerprint"]:
        return "other data or another split"
    for name, value in now["options"].items():
        if name not in free and before["options"].get(name) != value:
            return f"--{name} {before['options'].get(name)}, this one {value}"
    return None


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
