"""Weights on disk as safetensors, and the folder that an interrupted run resumes from."""

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hamur.errors import DataFormatError
from hamur.files import misfit, read_json, replacing, write_json

STATE, PROGRESS = "state-{}.safetensors", "progress.json"
_FORM = {"epoch": int, "state": str, "averages": bool, "course": dict, "run": dict}
_BEGUN = {"batch": 0, "seconds": 0.0}  # of a next epoch that had begun; older states lack them
_BEGIN = "remove the folder of the file, and train from the beginning, without `resume`"
_DIGEST = "sha256"  # in the metadata of a file, of its arrays


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

    def clear(self) -> None:
        """Remove an earlier run, first that from which it could be resumed."""
        states = self.last.glob(STATE.format("*"))
        for path in (self.last / PROGRESS, *states, self.history, self.weights):
            path.unlink(missing_ok=True)


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

    Raises:  ValueError: see `check_fits`; nothing has been written then.
    """
    if hasattr(cell, "arrays"):
        return cell.load(arrays)
    check_fits(cell, arrays, source)
    for parameter in _parameters(cell):
        parameter.set_data(Tensor(arrays[parameter.name]))


def check_fits(cell, arrays, source="the checkpoint"):
    """That ``restore`` can write these arrays.

    Raises:  ValueError: a parameter is missing, surplus, or of another shape or type (another
        model, preset or number of domains); names it.
    """
    if hasattr(cell, "arrays"):
        return
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
        if (kind := arrays[name].dtype) != np.dtype(str(parameter.dtype).lower()):
            raise ValueError(
                f"{source} holds {name!r} as {kind}, this model needs {parameter.dtype}."
            )


def save_weights(path, arrays):
    """{name: array} as one safetensors file with a checksum, written aside and renamed.

    Returns the checksum.  Raises:  OSError, such as a full disk.
    """
    # Not np.ascontiguousarray, which turns a scalar into an array of one.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    digest = _digest(contiguous)
    with replacing(Path(path)) as temporary:
        try:
            save_file(contiguous, temporary, {_DIGEST: digest})
        except SafetensorError as error:
            number = re.search(r"(?:os error |code: )(\d+)", str(error))
            number = int(number[1]) if number else errno.EIO
            raise OSError(number, os.strerror(number), str(path)) from None
    return digest


def load_weights(path):
    """{name: array} of a safetensors file.

    Raises:  FileNotFoundError; DataFormatError: no whole safetensors file, other arrays than were
        saved, or a value that is not finite.
    """
    arrays, _ = _load(Path(path), "fetch or train the weights again")
    _check_finite(path, arrays, "train them again, with a lower learning rate")
    return arrays


def _load(path: Path, remedy: str) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a file, as they were saved, and their checksum; an older file has none."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = (file.metadata() or {}).get(_DIGEST)
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        problem = f"no whole safetensors file: {' '.join(str(error).split())}"
        raise DataFormatError(problem, file=path, remedy=remedy) from None
    if told not in (None, digest := _digest(arrays)):
        problem = "the arrays have changed since they were written"
        raise DataFormatError(problem, file=path, remedy=remedy)
    return arrays, digest


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_finite(path: Path, arrays: Mapping[str, np.ndarray], remedy: str) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataFormatError(f"{name!r} is not finite", file=path, remedy=remedy)


def save_state(folder, parts, progress):
    """All that resuming needs: parts {part: {name: array}} and the JSON-able progress.

    progress: "epoch", the number of finished ones, and of a next one that has begun "batch", the
    number of its batches that are done, and "seconds", what they took.

    The files carry both numbers in their names and progress.json, written last, names them;
    whatever moment a run is killed at, progress.json points to a complete state.
    """
    folder, progress = Path(folder), _BEGUN | progress
    name = _state_name(progress)
    arrays = {
        f"{part}/{key}": array for part, values in parts.items() for key, array in values.items()
    }
    digest = save_weights(folder / name, arrays)
    write_json(folder / PROGRESS, {**progress, "state": name, "state_sha256": digest}, sealed=True)
    for old in folder.glob(STATE.format("*")):
        if old.name != name:
            old.unlink()


def load_state(folder):
    """(parts, progress) of the last complete state, or None where there is none.

    Raises:  DataFormatError: either file is damaged, or belongs to another state.
    """
    folder = Path(folder)
    if not (folder / PROGRESS).exists():
        return None
    progress = _BEGUN | read_json(folder / PROGRESS, _FORM, _BEGIN)
    path = folder / _state_name(progress)
    problem = misfit(progress, {name: type(value) for name, value in _BEGUN.items()})
    if problem is None and (progress["state"] != path.name or not path.is_file()):
        problem = f"the state of epoch {progress['epoch']} is not here"
    if problem is not None:
        raise DataFormatError(problem, file=folder / PROGRESS, remedy=_BEGIN)
    arrays, digest = _load(path, _BEGIN)
    if progress.get("state_sha256", digest) != digest:  # older ones lack it
        raise DataFormatError(f"not the state that {PROGRESS} names", file=path, remedy=_BEGIN)
    # What a step keeps may be undefined.
    weights = {name: array for name, array in arrays.items() if not name.startswith("step/")}
    _check_finite(path, weights, _BEGIN)
    parts = {}
    for name, array in arrays.items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = array
    return parts, {name: progress[name] for name in (*_FORM, *_BEGUN) if name != "state"}


def _state_name(progress: Mapping) -> str:
    """The file of the state after an epoch, or after a batch of the next one."""
    batch = f"-{progress['batch']}" if progress["batch"] else ""
    return STATE.format(f"{progress['epoch']}{batch}")
