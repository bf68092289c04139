"""Is this the same run?  Asked before a run is resumed, replaced, or read instead of trained."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hamur.files import write_json

# Options that a resumed run may change: they do not alter what an epoch computes.
CHANGEABLE_ON_RESUME = ("dataset_path", "epochs", "patience", "resume", "device", "save_dir")
CHANGEABLE_ON_RESUME += ("save_predictions", "plot", "quiet", "debug", "overwrite")


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
) -> dict:
    """metrics.json of the run in `folder`, which is trained first where it is not there.

    train: trains the run and returns the content of metrics.json.  description: the content of
    config.json, see `difference`.
    Raises:  ValueError: the folder holds a finished run of other data or options.
    """
    folder = Path(folder)
    if (folder / "metrics.json").exists():
        had = json.loads((folder / "config.json").read_text())
        if different := difference(had, description, changeable):
            raise ValueError(
                f"{folder} holds a finished run, which had {different}; choose another folder, or "
                "remove it."
            )
    else:
        content = train()
        write_json(folder / "config.json", description)
        write_json(folder / "metrics.json", content)  # its presence means: this run is complete
    return json.loads((folder / "metrics.json").read_text())
