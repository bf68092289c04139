"""What is left of an interrupted run, and what a resumed one goes on from; see tests/contract."""

import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from hamur.training import loop
from hamur.training.checkpoint import snapshot
from tests.support.runs import Drift, assert_equal_arrays, make_model, make_trainer

uncompiled = pytest.mark.usefixtures("uncompiled")
STEPS = 10  # of an epoch of 600 rows by 64


@uncompiled
def test_ctrl_c_in_the_first_epoch_ends_the_program(tiny_schema, tiny_splits, tmp_path):
    """There is no epoch to go back to, and nothing on disk that could be taken for one."""
    model = make_model("mlp", tiny_schema)
    trainer = make_trainer(Drift(stop_at=3), epochs=2, save_dir=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, *tiny_splits[:2])
    assert not list(tmp_path.rglob("*.safetensors"))


def signalling(step, at, number=signal.SIGTERM):
    """The training scheme, whose process gets a signal in a step."""

    def make(*arguments):
        inner = step(*arguments)

        def signalled(batch, rate, done):
            if done == at:
                os.kill(os.getpid(), number)
            return inner(batch, rate, done)

        return signalled

    return make


@uncompiled
@pytest.mark.parametrize("at", [3, STEPS + 3])
def test_a_signal_leaves_a_state_that_resumes_at_that_step(at, tiny_schema, tiny_splits, tmp_path):
    """In the first epoch too, of which no result is left."""
    expected, whole = make_model("mlp", tiny_schema), tmp_path / "whole"
    run = make_trainer(Drift(), epochs=3, save_dir=str(whole)).fit(expected, *tiny_splits[:2])
    first, second, folder = Drift(), Drift(), tmp_path / "parts"
    model = make_model("mlp", tiny_schema)
    trainer = make_trainer(signalling(first, at), epochs=3, save_dir=str(folder))
    if at < STEPS:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(model, *tiny_splits[:2])
        assert [path.name for path in folder.iterdir()] == ["last"]
    else:
        assert trainer.fit(model, *tiny_splits[:2]).interrupted
    (state,) = folder.glob("last/state-*")
    assert state.name == f"state-{at // STEPS}-{at % STEPS + 1}.safetensors"
    again = make_trainer(second, epochs=3, save_dir=str(folder), resume=True)
    resumed = again.fit(make_model("mlp", tiny_schema), *tiny_splits[:2])
    assert first.numbers + second.numbers == list(range(3 * STEPS))
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in run.history]
    for name in ("model.safetensors", "last/state-3.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@uncompiled
def test_states_within_an_epoch_are_written_by_the_clock(
    tiny_schema, tiny_splits, tmp_path, monkeypatch
):
    times, written = iter(range(10**6)), []
    clock = SimpleNamespace(perf_counter=lambda: float(next(times)))
    monkeypatch.setattr(loop, "time", clock)  # every look at it takes a second
    save = loop.save_state
    monkeypatch.setattr(loop, "save_state", lambda *a: (written.append(a[2]["batch"]), save(*a)))
    for minutes, expected in ((None, [0]), (0, [*range(1, STEPS), 0]), (4 / 60, [3, 7, 0])):
        options = dict(checkpoint_minutes=minutes, save_dir=str(tmp_path))
        model = make_model("mlp", tiny_schema)
        make_trainer(Drift(), **options).fit(model, *tiny_splits[:2])
        assert written == expected, minutes
        written.clear()


@uncompiled
def test_ctrl_c_later_keeps_the_best_weights_without_a_folder(tiny_schema, tiny_splits):
    model = make_model("mlp", tiny_schema)
    start = model.output.bias.asnumpy().copy()
    run = make_trainer(Drift(stop_at=STEPS + 3), epochs=3).fit(model, *tiny_splits[:2])
    assert run.interrupted and (run.epochs, run.best_epoch) == (1, 1)
    np.testing.assert_allclose(model.output.bias.asnumpy(), start + STEPS / 64, atol=1e-5)
    assert not model.training


@uncompiled
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_fit_at_the_next_step(number, tiny_schema, tiny_splits):
    """In the first thread of a program, such as a notebook's; its own handlers come back."""

    def handler(*_):
        raise AssertionError("fit has its own")

    before, step, at = signal.signal(number, handler), Drift(), STEPS + 3
    model = make_model("mlp", tiny_schema)
    try:
        run = make_trainer(signalling(step, at, number), epochs=3).fit(model, *tiny_splits[:2])
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert run.interrupted and (run.epochs, run.best_epoch) == (1, 1)
    assert step.numbers[-1] == at  # the step was ended


@uncompiled
def test_a_new_run_forgets_the_old_one_in_its_folder(tiny_schema, tiny_splits, tmp_path):
    model = make_model("mlp", tiny_schema)
    options = dict(epochs=1, save_dir=str(tmp_path))
    make_trainer(Drift(), **options).fit(model, *tiny_splits[:2])
    with pytest.raises(KeyboardInterrupt):
        make_trainer(Drift(stop_at=3), **options).fit(model, *tiny_splits[:2])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@uncompiled
def test_resuming_begins_where_nothing_is(tiny_schema, tiny_splits, tmp_path, capsys):
    model, step = make_model("mlp", tiny_schema), Drift()
    trainer = make_trainer(step, save_dir=str(tmp_path), resume=True, quiet=False)
    run = trainer.fit(model, *tiny_splits[:2])
    assert run.epochs == 1 and step.numbers == list(range(STEPS))
    told = capsys.readouterr().out.splitlines()
    assert f"nothing to resume in {tmp_path}: the training begins" in told


@uncompiled
def test_a_finished_run_resumes_to_itself_and_goes_on_when_epochs_are_added(
    tiny_schema, tiny_splits, tmp_path
):
    model, options = make_model("mlp", tiny_schema), dict(save_dir=str(tmp_path))
    first = make_trainer(Drift(), epochs=2, **options).fit(model, *tiny_splits[:2])
    best = snapshot(model)
    again = Drift()
    same = make_trainer(again, epochs=2, resume=True, **options).fit(model, *tiny_splits[:2])
    assert same == first and again.numbers == []
    assert_equal_arrays(snapshot(model), best)
    more = make_trainer(again, epochs=3, resume=True, **options).fit(model, *tiny_splits[:2])
    assert more.epochs == 3 and again.numbers == list(range(2 * STEPS, 3 * STEPS))


@uncompiled
def test_last_holds_one_complete_state_and_nothing_pickled(tiny_schema, tiny_splits, tmp_path):
    model = make_model("mlp", tiny_schema)
    make_trainer(Drift(), epochs=3, save_dir=str(tmp_path)).fit(model, *tiny_splits[:2])
    names = {path.name for path in (tmp_path / "last").iterdir()}
    assert names == {"progress.json", "state-3.safetensors"}
    assert {p.name for p in tmp_path.iterdir()} == {"last", "history.csv", "model.safetensors"}
    progress = json.loads((tmp_path / "last/progress.json").read_text())
    assert progress["epoch"] == 3 and progress["course"]["steps"] == STEPS


@uncompiled
def test_resuming_a_finished_run_writes_its_files_again(tiny_schema, tiny_splits, tmp_path):
    model, paths = make_model("mlp", tiny_schema), [tmp_path / "model.safetensors"]
    paths.append(tmp_path / "history.csv")
    options = dict(epochs=1, save_dir=str(tmp_path))
    make_trainer(Drift(), **options).fit(model, *tiny_splits[:2])
    before = [path.read_bytes() for path in paths]
    paths[0].write_bytes(before[0][:100])
    paths[1].unlink()
    make_trainer(Drift(), resume=True, **options).fit(model, *tiny_splits[:2])
    assert [path.read_bytes() for path in paths] == before
    paths[1].unlink()
    paths[1].mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        make_trainer(Drift(), resume=True, **options).fit(model, *tiny_splits[:2])
    assert (caught.value.filename, caught.value.filename2) == (str(paths[1]), None)
