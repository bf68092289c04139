"""The searches of the comparison of models: the trainings are figures by a formula."""

import csv
import json
import shutil
import subprocess
import time

import numpy as np
import pytest

from hamur.commands import ranking, search
from hamur.data import load_movielens
from hamur.studies import tuning
from hamur.studies.comparison import RunsFailed
from hamur.training.divergence import DivergenceError
from hamur.training.trainer import Run
from tests.studies.test_comparison import grid, outcome

ALL, FEW = 6400, 500  # training rows of the sample
NAMES = ("mlp", "domain_feature")
OUTCOME = ("tuning.csv", "leaderboard.csv", "leaderboard.md", "report.html")


class Killed(BaseException):
    """In the place of kill -9."""


class Trainings:
    """In the place of those of networks: (configuration, splits) of each, and what ends it.

    On few rows a large learning rate is good, on all one near 3e-3; the preset has 1e-3."""

    def __init__(self, monkeypatch):
        self.seen, self.kill_at, self.diverging, self.preset_is_best = [], None, (), False
        monkeypatch.setattr(tuning, "select_device", lambda text: None)
        monkeypatch.setattr(search, "in_child", lambda work, name: work())
        monkeypatch.setattr(ranking, "train", self)

    def __call__(self, config, splits, schema, script, hook):
        self.seen.append((config, splits))
        if len(self.seen) == self.kill_at:
            raise Killed
        if config.model_name in self.diverging:
            raise DivergenceError("diverged")
        value = config.learning_rate
        if len(splits.train) == ALL:
            value = 0.5 - abs(value - (1e-3 if self.preset_is_best else 3e-3))
        run = Run(values=[value], epochs=1, best_epoch=1)
        hook(run)
        return None, run, {}


@pytest.fixture
def trainings(monkeypatch):
    return Trainings(monkeypatch)


def chosen(folder):
    with (folder / "tuning.csv").open() as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def records(folder, name, part):
    paths = sorted((folder / "searches" / name / part).glob("*/trial.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def search_few(compare, **options):
    return compare(**(dict(models=NAMES, seeds=1, search=4, search_rows=FEW) | options))


def test_runs_take_what_is_best_on_all_rows(compare, trained, trainings):
    folder = search_few(compare, seeds=2)
    assert trained[:2] == ["search mlp", "search domain_feature"] and len(trained) == 2 + 4
    for name in NAMES:
        trials = records(folder, name, "trials").items()
        rates = {number: trial["options"]["learning_rate"] for number, trial in trials}
        second, best = sorted(rates, key=rates.get)[-2:]  # on few rows
        final = records(folder, name, "final")
        assert set(final) == {"preset", second, best}
        few, full = dict(trials)[second]["options"], final[second]["options"]
        assert full["learning_rate"] == few["learning_rate"]
        for decay in ("weight_decay", "embedding_decay"):  # a prior of a mean over the rows
            assert full[decay] == few[decay] * (FEW / ALL)
        row = chosen(folder)[name]
        assert (row["trials"], row["full_size"], row["chosen"]) == ("4", "3", f"trial {second}")
        for path in folder.glob(f"runs/{name}-*/config.json"):
            options = json.loads(path.read_text())["options"]
            assert all(str(options[option]) == row[option] for option in search.RANKING)
    page = (folder / "report.html").read_text()
    for text in ("search of 4 trials on 500 training rows", "4 + 3 at full size", "--search_rows"):
        assert text in page
    count, before = len(trainings.seen), outcome(folder, OUTCOME)
    search_few(compare, seeds=2)
    assert len(trainings.seen) == count and outcome(folder, OUTCOME) == before


def test_trials_have_the_same_rows_and_none_of_the_test(compare, trained, trainings):
    search_few(compare)
    assert [len(splits.train) for _, splits in trainings.seen] == 2 * (4 * [FEW] + 3 * [ALL])
    assert all(len(splits.test) == 0 for _, splits in trainings.seen)
    whole = load_movielens(None)[0]
    first = trainings.seen[0][1].train
    at = {row: place for place, row in enumerate(whole.train.row_id)}
    assert np.all(np.diff([at[row] for row in first.row_id]) > 0)  # in their order
    for _, splits in trainings.seen:
        assert len(splits.valid) == len(whole.valid)
        if len(splits.train) == FEW:
            assert np.array_equal(splits.train.row_id, first.row_id)


def test_all_rows_need_only_the_preset_beside_the_trials(compare, trained, trainings):
    trainings.preset_is_best = True
    folder = search_few(compare, search_rows=None, weight_decay=1e-4)
    row = chosen(folder)["mlp"]
    assert (row["full_size"], row["chosen"], row["learning_rate"]) == ("1", "preset", "0.001")
    assert set(records(folder, "mlp", "final")) == {"preset"}
    for trial in records(folder, "mlp", "trials").values():
        assert "weight_decay" not in trial["options"]  # given, so it is fixed
    assert {config.weight_decay for config, _ in trainings.seen} == {1e-4}


@pytest.mark.parametrize("kill_at", [2, 4, 6, 13])  # a trial, at full size, the second model
def test_a_killed_search_continues_to_the_same_choice(
    kill_at, compare, trained, trainings, tmp_path
):
    trainings.kill_at = kill_at
    with pytest.raises(Killed):
        search_few(compare)
    search_few(compare)
    assert len(trainings.seen) == 2 * 7 + 1  # that which was killed, twice
    shutil.move(tmp_path / "grid", tmp_path / "killed")
    assert outcome(search_few(compare), OUTCOME[:1]) == outcome(tmp_path / "killed", OUTCOME[:1])


def test_more_trials_continue(compare, trained, trainings):
    search_few(compare)
    shutil.rmtree(search_few(compare) / "runs")  # which may have had other options
    folder = search_few(compare, search=6)
    assert len(records(folder, "mlp", "trials")) == 6
    assert [len(splits.train) for _, splits in trainings.seen].count(FEW) == 2 * 6
    with pytest.raises(ValueError, match="mlp holds a search that had --search 6, this one 4; ch"):
        search_few(compare)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(search_rows=400), "--search_rows 500, this one 400"),
        (dict(epochs=3), "--epochs 100, this one 3"),
        (dict(learning_rate=0.1), "--learning_rate None, this one 0.1"),
        (
            dict(search=0, search_rows=None),
            "mlp-2022 holds a .*run, which had --learning_rate 0.002",
        ),
    ],
)
def test_another_search_is_refused(options, words, compare, trained, trainings):
    search_few(compare)
    before = len(trainings.seen), len(trained)
    with pytest.raises(ValueError, match=f"{words}.*; choose another --save_dir"):
        search_few(compare, **options)
    assert (len(trainings.seen), len(trained)) == before


def test_runs_of_no_search_are_refused_before_one(compare, trained, trainings):
    search_few(compare, search=0, search_rows=None)
    with pytest.raises(ValueError, match="mlp-2022 holds a run without a search; choose another"):
        search_few(compare)
    assert not trainings.seen


def test_a_model_whose_search_fails_is_marked(compare, trained, trainings, tmp_path):
    trainings.diverging = ("mlp",)
    with pytest.raises(RunsFailed, match="1 of 2 runs failed: mlp-2022; ") as told:
        search_few(compare)
    assert told.value.exit_code == 1 and trained[2:] == ["domain_feature-2022"]
    text = "mlp, seed 2022: failed, search, exit code 2: "
    assert text in (tmp_path / "grid/leaderboard.md").read_text()
    assert chosen(tmp_path / "grid")["mlp"]["chosen"] == "search failed"


@pytest.mark.slow
def test_a_real_search_that_is_killed_continues_to_the_same_choice(tmp_path):
    flags = ["--models", "mlp", "--baseline", "mlp", "--seeds", "1", "--epochs", "2"]
    flags += ["--search", "2", "--search_rows", "2000"]
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    subprocess.run(grid(tmp_path / "whole", *flags), check=True, **pipes)
    for finished in (0, 3):  # in the first trial, at full size
        process = subprocess.Popen(grid(tmp_path / "cut", *flags), **pipes)
        while len(list((tmp_path / "cut").glob("searches/*/*/*/history.csv"))) <= finished:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.communicate(timeout=60)
    subprocess.run(grid(tmp_path / "cut", *flags), check=True, **pipes)
    assert outcome(tmp_path / "cut", OUTCOME[:3]) == outcome(tmp_path / "whole", OUTCOME[:3])
    assert not list((tmp_path / "cut").glob("searches/*/*/*/metrics.json"))
