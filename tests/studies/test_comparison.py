"""The comparison of models: which runs are trained, what a second start does, and the outcome."""

import csv
import dataclasses
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hamur.commands.script import from_flags, told_fields
from hamur.models import RANKING
from hamur.studies import comparison, comparison_config
from hamur.studies.comparison import RunsFailed
from hamur.studies.comparison_config import ComparisonConfig
from tests.studies.conftest import MODELS, fake
from tests.support.commands import assert_refused

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "compare_models.py"
OUTCOME = ("leaderboard.csv", "leaderboard.md")


def outcome(folder, names=OUTCOME):
    return {name: (folder / name).read_bytes() for name in names}


def test_only_what_is_missing_is_trained_and_the_files_stay_the_same(compare, trained):
    folder = compare()
    names = [f"{name}-{seed}" for seed in (2022, 2023) for name in (*MODELS, "domain_feature")]
    assert trained == names  # the baseline too; all models of a seed before the next one
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(names)
    before = outcome(folder, [*OUTCOME, "costs.csv", "report.html"])
    assert compare() and trained == names
    assert outcome(folder, before) == before
    del trained[:]
    compare(seeds=3, models=(*MODELS, "wd_md"))
    assert trained == ["wd_md-2022", "wd_md-2023"] + [
        f"{name}-2024" for name in (*MODELS, "wd_md", "domain_feature")
    ]


def test_a_failed_run_is_marked_and_tried_again(compare, trained, tmp_path, capsys):
    def diverges(config):
        return 3 if (config.name, config.seed) == ("mlp", 2023) else fake(config)

    with pytest.raises(RunsFailed, match="1 of 6 runs failed: mlp-2023; ") as told:
        compare(diverges)
    assert told.value.exit_code == 1 and len(trained) == 6  # the others went on
    text = "mlp, seed 2023: failed, exit code 3: nan"
    assert text in capsys.readouterr().out
    assert text in (tmp_path / "grid/leaderboard.md").read_text()
    assert text in (tmp_path / "grid/report.html").read_text()
    del trained[:]
    compare()
    assert trained == ["mlp-2023"]
    assert outcome(tmp_path / "grid") == outcome(compare(folder="never failed"))


def test_a_killed_grid_continues_to_the_same_leaderboard(compare, trained, tmp_path):
    def killed(config):
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fake(config)

    with pytest.raises(KeyboardInterrupt):
        compare(killed)
    assert not (tmp_path / "grid/report.html").exists()
    compare()
    assert len(trained) == 3 + 4  # the third one, and the others
    assert outcome(tmp_path / "grid") == outcome(compare(folder="whole"))


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize(
    "options, words",
    [
        (dict(batch_size=64), "--batch_size 256, this one 64"),
        (dict(split_seed=3), "--split_seed 2022, this one 3"),
        (dict(drop="age"), "--drop None, this one age"),
    ],
)
def test_runs_of_other_options_are_refused_in_one_line(
    options, words, unfinished, compare, trained, tmp_path
):
    folder = compare()
    if unfinished:
        (folder / "runs/mlp-2022/metrics.json").unlink()
    before = len(trained)
    with pytest.raises(ValueError, match=r"mlp-2022 holds a.* run, which had") as told:
        compare(**options)
    assert words in str(told.value) and "; choose another --save_dir" in str(told.value)
    assert len(trained) == before


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("metrics.json", "{}", "the content lacks 'train'"),
        ("metrics.json", '{"train": {"seconds": 1}, "valid": 1, "test": 1}', "lacks 'best_epoch'"),
        ("config.json", None, "the run has lost this file"),
        ("history.csv", None, "the run has lost this file"),
        ("history.csv", "epoch,seconds\n1,x\n", "no table of epochs"),
        ("predictions.parquet", None, "the run has lost this file"),
    ],
)
def test_a_damaged_run_is_told_with_the_file(name, content, words, compare, trained):
    path = compare() / "runs/mlp-2022" / name
    path.unlink() if content is None else path.write_text(content)
    before = len(trained)
    remedy = "Remedy: .*remove the folder of this run"
    with pytest.raises(ValueError, match=f"mlp-2022/{name}: .*{words}.* {remedy}"):
        compare()
    assert len(trained) == before
    shutil.rmtree(path.parent)
    compare()
    assert trained[before:] == ["mlp-2022"]


def test_runs_of_other_data_are_refused(compare, trained, monkeypatch):
    compare()
    monkeypatch.setattr("hamur.reporting.results.fingerprint", lambda splits: "other")
    with pytest.raises(ValueError, match="which had other data or another split; choose another"):
        compare()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--models", "mlp,strar"], ["'strar' of --models", "write NAME, NAME+adapter or"]),
        (["--models", "mlp+adp"], ["'mlp+adp' of --models"]),
        (["--models", "mlp@nothing"], ["'mlp@nothing'"]),
        (["--models", "mlp,mlp"], ["--models names a model twice"]),
        (["--models", ""], ["--models: an empty name in ''"]),
        (["--baseline", "plain"], ["'plain' of --models or --baseline is no model"]),
        (["--models", "single_domain", "--preset", "official"], ["--preset official", "use paper"]),
        (["--model_name", "mlp"], ["no flag --model_name; did you mean --models?"]),
        (["--search_rows", "9"], ["--search_rows is of the trials of --search; give that too."]),
        (["--search", "1", "--search_rows", "6401"], ["--search_rows is 6401, but there are 6400"]),
        (["--plot"], ["no flag --plot"]),
        (["--jobs", "4096"], ["--jobs is 4096, but there are", "cores"]),
        (["--dataset", "ml-2m"], ["--dataset is 'ml-2m'; known are ml-1m, ali-ccp"]),
        (["--seeds", "0"], ["--seeds must be at least 1"]),
    ],
)
def test_wrong_flags_are_one_line(flags, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, words, comparison.main, str(EXAMPLE), "text", [*flags, "--quiet"])
    assert not list(tmp_path.glob("runs/compare_models/runs/*"))


def test_every_flag_of_a_run_reaches_it():
    config = ComparisonConfig(epochs=7, label=("click",), genres="multi", criterion="logloss")
    run = config.run("mlp+adapter@mlp_adp", 5)
    assert (run.model_name, run.adapter, run.match_parameters) == ("mlp", True, "mlp_adp")
    assert (run.name, run.seed, run.init_seed) == ("mlp+adapter@mlp_adp", 5, None)
    assert run.resume and run.save_predictions and run.save_dir.endswith("mlp+adapter@mlp_adp-5")
    own = ("model_name", "adapter", "match_parameters", "seed", "resume", "save_predictions")
    for field in dataclasses.fields(run):
        if field.name not in (*own, "save_dir", "quiet"):
            assert getattr(run, field.name) == getattr(config, field.name)
    assert config.names == tuple(RANKING)


def test_the_command_of_the_report_is_the_same_comparison():
    flags = "--models mlp,star+adapter --seeds 3 --epochs 2 --split time --no-verify --jobs 2"
    flags = [*flags.replace("star", "dcn_md").split(), "--label", "rating>3,a b", "--quiet"]
    config = from_flags(ComparisonConfig, flags)
    command = shlex.split(comparison_config.as_command(config))
    assert command[:2] == ["python", "examples/compare_models.py"]
    assert "--jobs" not in command and "--save_dir" not in command
    again = from_flags(ComparisonConfig, command[2:])
    for field in told_fields(ComparisonConfig):
        same = getattr(again, field.name) == getattr(config, field.name)
        assert same or field.name in comparison_config.ASIDE


def test_the_command_of_the_report_tells_what_a_file_of_options_said(tmp_path):
    (path := tmp_path / "options.json").write_text('{"epochs": 3, "seeds": 2}')
    config = from_flags(ComparisonConfig, ["--config", str(path), "--seeds", "10"])  # the default
    again = from_flags(ComparisonConfig, shlex.split(comparison_config.as_command(config))[2:])
    assert (again.epochs, again.seeds, again.config) == (3, 10, None)


def grid(folder, *flags):
    """The command of a real grid on the sample."""
    fixed = ["--models", "mlp,domain_feature", "--baseline", "domain_feature"]
    return [sys.executable, str(EXAMPLE), *fixed, "--save_dir", str(folder), *flags]


def test_a_real_grid_trains_and_is_read_again(tmp_path):
    flags = ("--seeds", "1", "--epochs", "1", "--jobs", str(min(2, os.cpu_count())))
    done = subprocess.run(grid(tmp_path, *flags), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 runs, 0 of them finished before" in done.stdout and "(2 of 2)" in done.stderr
    with (tmp_path / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"mlp", "domain_feature"}
    assert all(0.5 < float(row["auc"]) < 0.9 and float(row["auc_domain_2"]) for row in rows)
    assert "one seed, no interval" in (tmp_path / "leaderboard.md").read_text()
    for name in ("predictions.parquet", "valid_predictions.parquet", "output.txt"):
        assert (tmp_path / "runs/mlp-2022" / name).stat().st_size > 100
    names = ("report.html", "costs.csv", "doctor.json", *OUTCOME)
    before = outcome(tmp_path, names)
    assert b"depends most on" in before["report.html"]
    again = subprocess.run(grid(tmp_path, *flags), capture_output=True, text=True, timeout=300)
    assert "2 runs, 2 of them finished before" in again.stdout and not again.stderr
    assert outcome(tmp_path, names) == before


@pytest.mark.slow
def test_a_real_grid_that_is_killed_continues_to_the_same_leaderboard(tmp_path):
    flags = ("--seeds", "2", "--epochs", "3", "--jobs", "1")
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    subprocess.run(grid(tmp_path / "whole", *flags), check=True, **pipes)
    expected, runs = outcome(tmp_path / "whole"), tmp_path / "cut/runs"
    for finished, number in ((0, signal.SIGINT), (1, signal.SIGKILL), (2, signal.SIGKILL)):
        process = subprocess.Popen(grid(tmp_path / "cut", *flags), **pipes)
        while len(list(runs.glob("*/history.csv"))) <= finished:  # an epoch of the next run
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode in (-number, 128 + number)
        subprocess.run(grid(tmp_path / "cut", *flags), check=True, **pipes)  # at once
        assert outcome(tmp_path / "cut") == expected
        shutil.rmtree(tmp_path / "cut")
