"""Files of weights and of a state: as they were saved, or one line of error and nothing written."""

import json
import resource
from contextlib import contextmanager

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from safetensors.numpy import load_file, save_file

from hamur.errors import DataFormatError
from hamur.training.checkpoint import (
    load_state,
    load_weights,
    restore,
    save_state,
    save_weights,
    snapshot,
)
from tests.support.faults import assert_ours
from tests.support.runs import assert_equal_arrays

PROGRESS = {"epoch": 2, "averages": False, "course": {"seed": 1}, "run": {"epochs": 2}}


def cell(value=0.0):
    """Parameters of three kinds, all `value`."""
    tensors = np.full((4, 3), value, np.float32), np.full((3,), value, np.float32)
    named = [Parameter(Tensor(v), name=name) for name, v in zip(("table", "bias"), tensors)]
    return [*named, Parameter(Tensor(int(value), ms.int32), name="steps")]


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def resaved(**changes):
    """Damage that keeps the file a good one, of other arrays and without a checksum."""

    def damage(path):
        save_file({**load_file(path), **changes}, path)

    return damage


BAD_WEIGHTS = {
    "the arrays have changed since they were written": lambda path: flip(path, -1),
    "no whole safetensors file: .*header": lambda path: path.write_bytes(b"short"),
    "no whole safetensors file: .*": truncate,
    "'bias' is not finite": resaved(bias=np.float32([1, np.nan, 2])),
    "'table' is not finite": resaved(table=np.full((4, 3), np.inf, np.float32)),
}


@pytest.mark.parametrize("words", BAD_WEIGHTS)
def test_damaged_weights_are_one_line(words, tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, snapshot(cell(1)))
    BAD_WEIGHTS[words](path)
    with pytest.raises(DataFormatError, match=f"model.safetensors: {words}.*Remedy") as told:
        load_weights(path)
    assert_ours(told.value)


def test_weights_stay_plain_safetensors_and_older_files_are_read(tmp_path):
    path, arrays = tmp_path / "model.safetensors", snapshot(cell(1))
    save_weights(path, arrays)
    assert_equal_arrays(load_file(path), arrays)
    save_file(arrays, path)
    assert_equal_arrays(load_weights(path), arrays)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias": np.zeros(3)}, "'bias' as float64, this model needs Float32"),
        ({"steps": np.array(1, np.int64)}, "'steps' as int64, this model needs Int32"),
        ({"bias": np.zeros(4, np.float32)}, "'bias' has shape"),
        ({"more": np.zeros(4, np.float32)}, "also holds 'more'"),
    ],
)
def test_nothing_is_restored_where_one_array_does_not_fit(changes, words):
    model = cell(0)
    with pytest.raises(ValueError, match=words) as told:
        restore(model, {**snapshot(cell(1)), **changes})
    assert_ours(told.value)
    assert_equal_arrays(snapshot(model), snapshot(cell(0)))


def change_progress(**changes):
    """Damage of progress.json that a person may do, without its checksum."""

    def damage(folder):
        content = json.loads((folder / "progress.json").read_text())
        del content["sha256"]
        (folder / "progress.json").write_text(json.dumps({**content, **changes}))

    return damage


def other_state(folder):
    save_weights(folder / "state-2.safetensors", {"model/x": np.ones(3, np.float32)})


BAD_STATES = {
    "progress.json:1: no JSON": lambda f: (f / "progress.json").write_text("{"),
    "progress.json: the state of epoch 2 is not": lambda f: (f / "state-2.safetensors").unlink(),
    "progress.json: the state of epoch 2 is not here": change_progress(state="../x"),
    "progress.json: the state of epoch 3 is not": change_progress(epoch=3),
    "progress.json: epoch is \"2\", no whole number": change_progress(epoch="2"),
    "progress.json: run is \\[\\], no object": change_progress(run=[]),
    "progress.json: the content has changed": lambda f: (f / "progress.json").write_text(
        (f / "progress.json").read_text().replace('"seed": 1', '"seed": 2')
    ),
    "state-2.safetensors: no whole": lambda f: truncate(f / "state-2.safetensors"),
    "state-2.safetensors: the arrays have": lambda f: flip(f / "state-2.safetensors", -1),
    "state-2.safetensors: not the state": other_state,
    "state-2.safetensors: 'model/bias' is not finite": lambda f: save_state(
        f, {"model": {"bias": np.float32([np.nan])}}, PROGRESS
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", BAD_STATES)
def test_a_damaged_state_is_one_line(words, tmp_path):
    parts = {"model": snapshot(cell(1)), "step": {"largest": np.array([np.nan])}}
    save_state(tmp_path, parts, PROGRESS)
    assert_equal_arrays(load_state(tmp_path)[0]["step"], parts["step"])
    BAD_STATES[words](tmp_path)
    with pytest.raises(DataFormatError, match=f"{words}.*without `resume`") as told:
        load_state(tmp_path)
    assert_ours(told.value)


def test_a_state_of_an_older_version_is_read(tmp_path):
    arrays = {f"model/{name}": array for name, array in snapshot(cell(1)).items()}
    save_file(arrays, tmp_path / "state-2.safetensors")
    progress = PROGRESS | {"state": "state-2.safetensors"}
    (tmp_path / "progress.json").write_text(json.dumps(progress))
    parts, told = load_state(tmp_path)
    assert_equal_arrays(parts["model"], snapshot(cell(1)))
    assert told == PROGRESS | {"batch": 0, "seconds": 0.0}  # none of the next epoch


@contextmanager
def small_disk(size):
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_leaves_the_old_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, snapshot(cell(1)))
    with (
        pytest.raises(OSError, match=r"File too large.*model.safetensors") as told,
        small_disk(500),
    ):
        save_weights(path, {"table": np.zeros(1000)})
    assert_ours(told.value)
    assert_equal_arrays(load_weights(path), snapshot(cell(1)))
    assert list(tmp_path.iterdir()) == [path]
