"""--search: the same trials whatever interrupts them; and --config and --track."""

import csv
import dataclasses
import json
import random
import struct
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from hamur.commands import cross_domain as study_module
from hamur.commands import search as module
from hamur.commands.cross_domain import main as cross_domain
from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.multi_task_config import TaskConfig, TaskOptions
from hamur.commands.own_table import RankingTable, TaskTable, family_of
from hamur.commands.ranking import RankingConfig
from hamur.commands.script import from_flags
from hamur.commands.search import CROSS_DOMAIN, MULTI_TASK, RANKING, search
from hamur.config import check_field, plain_type
from hamur.reporting.track import Track
from hamur.training.divergence import DivergenceError
from hamur.training.trainer import Run
from tests.support.commands import assert_refused
from tests.support.flags import SCRIPTS

SPACES = [(RANKING, RankingConfig), (MULTI_TASK, TaskOptions), (CROSS_DOMAIN, CrossDomainConfig)]
EPOCHS = 5


@pytest.mark.parametrize(("space", "config"), SPACES)
def test_a_space_holds_values_that_its_flags_allow(space, config):
    fields, types = config.__dataclass_fields__, typing.get_type_hints(config)
    for name, values in space.items():
        for value in values:
            check_field(fields[name], plain_type(types[name]), value)
        assert len(values) > 1 and list(values) == sorted(values)
        assert isinstance(values, list) or (len(values) == 2 and values[0] > 0)


class Trainings:
    """In the place of a family's: the figures of a trial are a function of its options, and what a
    kill leaves is what was trained.  kill_at: (trial, epoch) at which the process ends."""

    def __init__(self, kill_at=None):
        self.runs, self.trained, self.kill_at = {}, [], kill_at

    def __call__(self, config, hook):
        assert config.resume and not (config.search or config.overwrite)
        number = int(Path(config.save_dir).name)
        run = self.runs.setdefault(number, Run())
        if run.epochs:
            hook(run)
        while run.epochs < EPOCHS:
            if (number, run.epochs) == self.kill_at:
                self.kill_at = None
                raise KeyboardInterrupt
            if config.learning_rate > 6e-3:
                raise DivergenceError("diverged")
            value = 1 - config.learning_rate * config.batch_size / 4096 + 0.01 * run.epochs
            run.values.append(value)
            run.epochs += 1
            run.best_epoch = run.epochs
            self.trained.append(number)
            hook(run)
        return run


@pytest.fixture
def searched(tmp_path, monkeypatch, tiny_splits):
    """A search with these trainings in one process: the bytes of its outcome."""
    monkeypatch.setattr(module, "in_child", lambda work, number: work())
    monkeypatch.chdir(tmp_path)

    def run(trainings, *flags, folder="runs/x/search-mlp-2022", splits=tiny_splits):
        config = from_flags(RankingConfig, ["--model_name", "mlp", "--quiet", *flags])
        named = dict(script="x", model="mlp", criterion="auc", splits=splits)
        search(config, RANKING, trainings, **named)
        return [(tmp_path / folder / name).read_bytes() for name in ("best.json", "trials.csv")]

    return run


def test_a_search_that_was_killed_gives_the_outcome_of_one_that_was_not(searched):
    whole = Trainings()
    expected = searched(whole, "--search", "14", "--save_dir", "whole", folder="whole")
    states = [row["state"] for row in csv.DictReader(expected[1].decode().splitlines())]
    assert set(states) == {"complete", "pruned", "diverged"} and len(states) == 14
    for kill_at in ((0, 0), (7, 3), (13, 4)):
        folder, killed = f"killed-{kill_at[0]}", Trainings(kill_at)
        with pytest.raises(KeyboardInterrupt):
            searched(killed, "--search", "14", "--save_dir", folder)
        # What was killed goes on, and nothing is trained twice.
        assert searched(killed, "--search", "14", "--save_dir", folder, folder=folder) == expected
        assert killed.trained == whole.trained


def test_more_trials_continue_and_no_more_train_nothing(searched):
    few, again, whole = Trainings(), Trainings(), Trainings()
    first = searched(few, "--search", "6")
    assert searched(again, "--search", "6") == searched(again, "--search", "3") == first
    assert not again.trained
    assert searched(few, "--search", "14") != first
    assert searched(whole, "--search", "14", "--overwrite") == searched(again, "--search", "14")
    assert few.trained == whole.trained


def test_given_options_are_fixed_and_leave_the_space(searched):
    flags = ["--averaging", "0.99", "--lr", "0.001", "--search", "4"]
    best, trials = searched(Trainings(), *flags)
    best, rows = json.loads(best), list(csv.DictReader(trials.decode().splitlines()))
    assert set(best["space"]) == {"weight_decay", "embedding_decay", "batch_size"}
    assert (best["options"]["averaging"], best["options"]["learning_rate"]) == (0.99, 0.001)
    assert "averaging" not in rows[0] and best["valid"] == max(float(row["auc"]) for row in rows)
    # Passed back, the options are those of the trial.
    path = "runs/x/search-mlp-2022/best.json"
    config = from_flags(RankingConfig, ["--config", path])
    trial = rows[best["trial"]]
    assert all(getattr(config, name) == float(trial[name]) for name in best["space"])
    assert (config.model_name, config.search, config.quiet) == ("mlp", 0, False)


def test_another_search_is_refused(searched, tiny_splits):
    searched(Trainings(), "--search", "2")
    folder = "runs/x/search-mlp-2022 holds a search that had "
    other = tiny_splits._replace(train=tiny_splits.valid)
    for flags, splits, text in [
        (["--epochs", "7"], tiny_splits, "--epochs 100, this one 7"),
        (["--lr", "0.01"], tiny_splits, "--learning_rate None"),
        ([], other, "other data or another split"),
    ]:
        with pytest.raises(ValueError, match=folder + text + ".*choose another --save_dir"):
            searched(Trainings(), "--search", "2", *flags, splits=splits)
    Path("runs/x/search-mlp-2022/search.json").unlink()
    with pytest.raises(ValueError, match=r"holds trials, and has lost its search\.json; ch"):
        searched(Trainings(), "--search", "2", "--seed", "7", "--save_dir", folder.split()[0])
    with pytest.raises(ValueError, match="every option that it would choose is given"):
        given = dict.fromkeys(RANKING, "0.001") | {"batch_size": "64"}
        searched(Trainings(), "--search", "2", *(f"--{n}={v}" for n, v in given.items()))


WRONG = [
    ('{"lrr": 1}', ["unknown key 'lrr'"]),
    ('{"learning_rate": "fast"}', ["options.json: --learning_rate must be a number"]),
    ('{"options": {"batch_size": 0.5}}', ["--batch_size must be a whole number, got 0.5"]),
    ('{"allow_leakage": 3}', ["--allow_leakage must be text or a list of texts, got 3"]),
    ('{"model_name": "mmlp"}', ["options.json: --model_name is 'mmlp'; known are"]),
    ('{"epochs": 1, "epochs": 2}', ["the key 'epochs' is there twice"]),
    ("[]", ["is [], no object"]),
    ('{"preset": ["best"]}', ["options.json: --preset must be text, got ['best']"]),
    ('{"preset": {"best": [1]}}', ["options.json: --preset must be text, got {'best': [1]}"]),
    (f'{{"epochs": [{"1, " * 999} 1]}}', ["must be a whole number, got [1, 1, 1, 1, 1, 1, ...]"]),
    (f'{{"{"x" * 999}": 1}}', ["unknown key 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"]),
]


@pytest.mark.parametrize(("content", "words"), WRONG)
def test_a_wrong_file_of_options_is_one_line(content, words, tmp_path, capsys):
    (path := tmp_path / "options.json").write_text(content)
    assert_refused(
        capsys, ["options.json", *words], from_flags, RankingConfig, ["--config", str(path)]
    )
    assert_refused(capsys, ["no.json: No such file"], from_flags, TaskConfig, ["--config=no.json"])


@pytest.mark.parametrize(
    ("config", "resolve"),
    [
        (RankingConfig(weight_decay=0.5, allow_leakage=("age",)), ("x", 900)),
        (TaskConfig(model_name="pomoe"), ("x", 900)),
        (TaskConfig(model_name="pomoe", preset="official"), ("x", 900)),
        (TaskConfig(model_name="aitm"), ("x", 900)),
        (CrossDomainConfig(arm="item", preset="official"), ()),
    ],
)
def test_the_config_json_of_a_run_gives_its_options_again(config, resolve, tmp_path):
    expected = config.resolved(*resolve)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"options": dataclasses.asdict(expected), "script": "x"}))
    found = from_flags(type(config), ["--config", str(path)])
    if hasattr(found, "check_usage"):
        found.check_usage()
    changed = dataclasses.replace(found.resolved(*resolve), config=None)
    assert changed == dataclasses.replace(expected, save_dir=changed.save_dir)


def test_a_file_of_options_chooses_the_family_of_an_own_table(tmp_path):
    (path := tmp_path / "o.json").write_text('{"model_name": "mmoe", "label": ["a", "b"]}')
    assert family_of(["--config", str(path)]) is TaskTable
    assert family_of(["--config", str(path), "--model_name", "mlp"]) is RankingTable
    assert family_of(["--config", str(path), "--label", "a"]) is RankingTable
    # Whatever else is there, `from_flags` tells it.
    for name, label in (
        ('["mmoe"]', '"a"'),
        ('{"mlp": 1}', '"a"'),
        ('"mlp"', "5"),
        ('"mlp"', "{}"),
    ):
        path.write_text(f'{{"model_name": {name}, "label": {label}}}')
        with pytest.raises(SystemExit):
            from_flags(family_of(["--config", str(path)]), ["--config", str(path)])


def test_what_is_not_installed_is_told_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr("hamur.config.find_spec", lambda name: None)
    for flags, words in ((["--search", "2"], "optuna"), (["--track"], "tensorboardX")):
        extra = flags[0][2:]
        words = [f'--{extra} needs {words}: pip install -e ".[{extra}]"']
        assert_refused(capsys, words, from_flags, RankingConfig, flags)


def test_every_arm_of_a_study_trains_with_the_outcome_of_its_own_search(monkeypatch, tmp_path):
    spaces, runs = {}, []

    def found(config, space, run, **named):
        spaces[Path(config.save_dir).name] = set(space)
        given = dict(learning_rate=0.001 * len(spaces), hplr=0.5, prior_weight=0.25)
        return {"options": vars(config) | given, "space": space}

    monkeypatch.setattr(module, "search", found)
    monkeypatch.setattr(study_module, "run_one", lambda config, *_, **__: runs.append(config))
    monkeypatch.setattr("hamur.reporting.compare.write_comparison", lambda *_: None)
    arms = "conet_s,uniform,annealed,perceptron"
    flags = ["--search", "2", "--arms", arms, "--seeds", "0,1", "--save_dir", str(tmp_path)]
    assert cross_domain("x.py", "", flags) == 0
    common = {"learning_rate", "embedding_decay", "prior_weight", "hplr"}
    assert spaces["perceptron"] == spaces["annealed"] == common | {"batch_size"}
    assert spaces["uniform"] == common - {"hplr"} | {"batch_size"}
    assert spaces["conet_s"] == {"learning_rate", "embedding_decay", "batch_size"}
    assert [run.learning_rate for run in runs] == 2 * [0.001, 0.002, 0.003, 0.004]
    assert [run.prior_weight for run in runs] == 2 * [1.0, 0.25, 0.25, 0.25]
    assert {run.search for run in runs} == {0}


def test_the_tree_of_the_public_code_has_no_place_for_a_search(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--search has a tree of its own; leave --record and --exp_name out"]
    assert_refused(capsys, words, cross_domain, "x.py", "", ["--search", "2", "--exp_name", "a"])


def events(folder) -> list[tuple]:
    """(step, name, value) of all event files, whose records are length, check, bytes, check."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in Path(folder).glob("events.*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(event.step, each.tag, each.simple_value) for each in event.summary.value]
            data = data[16 + length :]
    return found


def test_tracked_epochs_are_there_once_after_a_resumed_run(tmp_path):
    def row(epoch):
        return {"epoch": epoch, "loss": 0.5, "auc": 0.25 * epoch, "auc_domain_1": None}

    run, track = Run(), Track(tmp_path, 0.125)
    for epoch in (1, 2):
        run.history.append(row(epoch))
        track(run)
    track.close()
    track = Track(tmp_path, 0.125)
    track(run)  # as it was resumed
    run.history += [{"epoch": 3, "kind": "upper", "loss": 9.0}, row(3)]
    track(run)
    track.close()
    names = ("training/learning_rate", "training/loss", "validation/auc")
    values = [(0.125, 0.5, 0.25 * epoch) for epoch in (1, 2, 3)]
    expected = [(n, name, v) for n in (1, 2, 3) for name, v in zip(names, values[n - 1])]
    assert events(tmp_path) == expected


SCRIPT = next(str(path) for path in SCRIPTS if path.stem == "run_movielens_rank_multi_domain")


def call(*flags: str, cwd) -> subprocess.Popen:
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    return subprocess.Popen([sys.executable, SCRIPT, "--model_name", "mlp", *flags], **pipes)


def test_a_real_search_and_its_best_options_passed_back(tmp_path):
    """Processes of their own: one that has compiled must not fork."""
    flags = ["--search", "2", "--epochs", "1", "--batch_size", "512", "--save_dir", "s", "--track"]
    process = call(*flags, cwd=tmp_path)
    output, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    best = json.loads((tmp_path / "s/best.json").read_text())
    assert "--config s/best.json trains it again" in output.splitlines()[-1]
    assert {e[0] for e in events(tmp_path / "s/trials/0/track")} == {1}
    left = {path.name for path in (tmp_path / "s/trials/1").iterdir()}
    assert "metrics.json" not in left and not left & {"last", ".lock"}  # no test row was seen
    process = call("--config", "s/best.json", "--save_dir", "b", cwd=tmp_path)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    assert json.loads((tmp_path / "b/metrics.json").read_text())["valid"]["auc"] == best["valid"]


@pytest.mark.slow
def test_kills_in_a_real_search_change_nothing(tmp_path):
    def outcome(folder):
        return [(tmp_path / folder / name).read_bytes() for name in ("best.json", "trials.csv")]

    flags = ["--search", "6", "--epochs", "4", "--quiet", "--save_dir"]
    begin = time.monotonic()
    _, error = (whole := call(*flags, "whole", cwd=tmp_path)).communicate(timeout=600)
    assert whole.returncode == 0, error
    duration, draws = time.monotonic() - begin, random.Random(2022)
    for _ in range(4):
        process = call(*flags, "killed", cwd=tmp_path)
        time.sleep(draws.uniform(1, duration / 2))
        process.kill()
        process.communicate(timeout=600)  # until the trial's process has ended too
    _, error = (last := call(*flags, "killed", cwd=tmp_path)).communicate(timeout=600)
    assert last.returncode == 0, error
    assert outcome("killed") == outcome("whole")
