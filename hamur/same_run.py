"""Is this the same run?  Asked before a run is resumed, replaced, or read instead of trained."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hamur.files import locked, read_json, write_json

# Options that a resumed run may change: they do not alter what an epoch computes.
CHANGEABLE_ON_RESUME = ("dataset_path", "max_line_mib", "time_unit", "verify", "epochs", "patience")
CHANGEABLE_ON_RESUME += ("resume", "device", "save_dir", "save_predictions", "plot", "quiet")
CHANGEABLE_ON_RESUME += ("debug", "overwrite", "export", "config", "record", "exp_name")
CHANGEABLE_ON_RESUME += ("search", "track", "checkpoint_minutes")
# A resumed run may be longer; a finished one of another length is another one.
CHANGEABLE_WHEN_FINISHED = tuple(n for n in CHANGEABLE_ON_RESUME if n not in ("epochs", "patience"))
# What older runs, whose config.json lacks these options, were trained with.
FORMERLY = {"max_bad_fraction": 0.05, "allow_leakage": [], "criterion": "auc"}
FORMERLY |= {"embedding_decay": 0.0, "exchange_source": 0.0}  # of the cross-domain scripts


def difference(
    had: Mapping, now: Mapping, changeable: Iterable[str] = CHANGEABLE_ON_RESUME
) -> str | None:
    """What an earlier run had otherwise than this one, as '--seed 1, this one 2'; None: nothing.

    had, now: the content of a config.json, of which "options" and the fingerprint in "data" count,
    or a plain dict of values.  changeable: names of options that may differ.
    """
    had, now = json.loads(json.dumps(had)), json.loads(json.dumps(now))  # tuples are lists there
    if _fingerprint(had) != _fingerprint(now):
        return "other data or another split"
    prefix = "--" if "options" in now else ""
    had, now = had.get("options", had), now.get("options", now)
    for name, value in now.items():
        before = had.get(name, FORMERLY.get(name))
        if name not in changeable and before != value:
            return f"{prefix}{name} {before}, this one {value}"
    return None


def _fingerprint(description: Mapping) -> str | None:
    data = description.get("data")
    return data.get("fingerprint") if isinstance(data, Mapping) else None


def read_config(path: Path, remedy: str) -> dict:
    """The content of a config.json.  Raises DataFormatError, of one line: see `read_json`."""
    return read_json(path, {"options": dict}, remedy)


def finished(
    folder: str | Path,
    description: Mapping,
    changeable: Iterable[str] = CHANGEABLE_WHEN_FINISHED,
    remedy: str = "choose another folder, or remove it",
) -> dict | None:
    """metrics.json of the finished run in `folder`; None where there is none, or an interrupted
    one.

    Raises:  ValueError: it is a run of other data or options than `description`.
    """
    path, config = Path(folder) / "metrics.json", Path(folder) / "config.json"
    if not (path.exists() and config.exists()):
        return None
    content = read_json(path, dict, remedy)
    if isinstance(train := content.get("train"), dict) and "interrupted" in train:
        return None
    if different := difference(read_config(config, remedy), description, changeable):
        raise ValueError(f"{folder} holds a finished run, which had {different}; {remedy}.")
    return content


def load_or_train(
    folder: str | Path,
    description: Mapping,
    train: Callable[[], Mapping],
    changeable: Iterable[str] = CHANGEABLE_WHEN_FINISHED,
    replace: bool = False,
) -> dict:
    """metrics.json of the run in `folder`, which is trained first where it is not there.

    train: trains the run and returns the content of metrics.json.  description: the content of
    config.json, see `difference`.  replace: train again where the finished run was another one.
    Raises:  ValueError: the folder holds a finished run of other data or options, or another
        process writes to it.
    """
    try:
        if (content := finished(folder, description, changeable)) is not None:
            return content
    except ValueError:
        if not replace:
            raise
    with locked(folder):
        content, path = train(), Path(folder) / "metrics.json"
        path.unlink(missing_ok=True)
        write_json(path.with_name("config.json"), description)
        write_json(path, content, sealed=True)  # its presence means: this run is complete
        return read_json(path)
