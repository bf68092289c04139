"""Weights on disk as safetensors, and the folder that an interrupted run resumes from."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, nn
from safetensors.numpy import load_file, save_file

from hamur.files import replacing, write_json

STATE, PROGRESS = "state-{}.safetensors", "progress.json"


class RunFiles(NamedTuple):
    """Where a training keeps what it writes: two files, and the folder that resuming reads."""

    weights: Path
    history: Path
    last: Path

    @classmethod
    def of(cls, save_dir) -> "RunFiles":
        """The places in a run's folder; a RunFiles as it is."""
        if isinstance(save_dir, RunFiles):
            return save_dir
        folder = Path(save_dir)
        return cls(folder / "model.safetensors", folder / "history.csv", folder / "last")


def snapshot(cell):
    """{parameter name: array copy} of a cell, running statistics included, of a list of parameters,
    or of what has ``arrays()`` and ``load(arrays)`` of its own."""
    if hasattr(cell, "arrays"):
        return {name: np.array(array) for name, array in cell.arrays().items()}
    return {parameter.name: parameter.asnumpy().copy() for parameter in _parameters(cell)}


def _parameters(cell):
    return cell.get_parameters() if isinstance(cell, nn.Cell) else cell


def restore(cell, arrays, source="the checkpoint"):
    """Write the arrays of a ``snapshot`` back.

    Raises:  ValueError: a parameter is missing, surplus or of another shape (another model, preset
        or number of domains); names it.
    """
    if hasattr(cell, "arrays"):
        return cell.load(arrays)
    parameters = {parameter.name: parameter for parameter in _parameters(cell)}
    surplus = sorted(arrays.keys() - parameters.keys())
    missing = sorted(parameters.keys() - arrays.keys())
    if surplus or missing:
        name = (missing or surplus)[0]
        raise ValueError(
            f"{source} belongs to another model or preset: "
            f"it {'lacks' if missing else 'also holds'} {name!r}."
        )
    for name, parameter in parameters.items():
        if parameter.shape != arrays[name].shape:
            raise ValueError(
                f"{source} belongs to another model, preset or number of domains: {name!r} has "
                f"shape {arrays[name].shape}, this model needs {tuple(parameter.shape)}."
            )
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name]))


def save_weights(path, arrays):
    """{name: array} as one safetensors file, written aside and renamed."""
    with replacing(Path(path)) as temporary:
        # Not np.ascontiguousarray, which turns a scalar into an array of one.
        contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        save_file(contiguous, temporary)


def load_weights(path):
    """{name: array} of a safetensors file."""
    return load_file(path)


def save_state(folder, parts, progress):
    """All that resuming needs: parts {part: {name: array}} and the JSON-able progress.

    The files carry the epoch in their names and progress.json, written last, names them; whatever
    moment a run is killed at, progress.json points to a complete state.
    """
    folder = Path(folder)
    name = STATE.format(progress["epoch"])
    arrays = {
        f"{part}/{key}": array for part, values in parts.items() for key, array in values.items()
    }
    save_weights(folder / name, arrays)
    write_json(folder / PROGRESS, {**progress, "state": name})
    for old in folder.glob(STATE.format("*")):
        if old.name != name:
            old.unlink()


def clear_state(folder):
    """Forget an earlier run, so that nothing resumes from it by mistake."""
    (Path(folder) / PROGRESS).unlink(missing_ok=True)


def load_state(folder):
    """(parts, progress) of the last complete state, or None where there is none."""
    folder = Path(folder)
    if not (folder / PROGRESS).exists():
        return None
    progress = json.loads((folder / PROGRESS).read_text())
    parts = {}
    for name, array in load_file(folder / progress.pop("state")).items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = array
    return parts, progress
