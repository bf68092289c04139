"""Is this the same run?  Asked before a run is resumed, replaced, or read instead of trained."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hamur.files import write_json

# Options that a resumed run may change: they do not alter what an epoch computes.
CHANGEABLE_ON_RESUME = ("dataset_path", "epochs", "patience", "resume", "device", "save_dir")
CHANGEABLE_ON_RESUME += ("save_predictions", "plot", "quiet", "debug", "overwrite", "export")
CHANGEABLE_ON_RESUME += ("config", "record", "exp_name")


def difference(
    had: Mapping, now: Mapping, changeable: Iterable[str] = CHANGEABLE_ON_RESUME
) -> str | None:
    """What an earlier run had otherwise than this one, as '--seed 1, this one 2'; None: nothing.

    had, now: the content of a config.json, of which "options" and the fingerprint in "data" count,
    or a plain dict of values.  changeable: names of options that may differ.
    """
    had, now = json.loads(json.dumps(had)), json.loads(json.dumps(now))  # tuples are lists there
    if had.get("data", {}).get("fingerprint") != now.get("data", {}).get("fingerprint"):
        return "other data or another split"
    prefix = "--" if "options" in now else ""
    had, now = had.get("options", had), now.get("options", now)
    for name, value in now.items():
        if name not in changeable and had.get(name) != value:
            return f"{prefix}{name} {had.get(name)}, this one {value}"
    return None


def load_or_train(
    folder: str | Path,
    description: Mapping,
    train: Callable[[], Mapping],
    changeable: Iterable[str] = CHANGEABLE_ON_RESUME,
    replace: bool = False,
) -> dict:
    """metrics.json of the run in `folder`, which is trained first where it is not there.

    train: trains the run and returns the content of metrics.json.  description: the content of
    config.json, see `difference`.  replace: train again where the finished run was another one.
    Raises:  ValueError: the folder holds a finished run of other data or options.
    """
    path, config = Path(folder) / "metrics.json", Path(folder) / "config.json"
    if path.exists():
        different = difference(json.loads(config.read_text()), description, changeable)
        if different is None:
            return json.loads(path.read_text())
        if not replace:
            raise ValueError(
                f"{folder} holds a finished run, which had {different}; choose another folder, or "
                "remove it."
            )
    content = train()
    path.unlink(missing_ok=True)
    write_json(config, description)
    write_json(path, content)  # its presence means: this run is complete
    return json.loads(path.read_text())
