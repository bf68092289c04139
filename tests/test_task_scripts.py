"""The multi-task script as a user runs it: results on disk, clear errors."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hamur.commands.multi_task import main
from hamur.data import load_aliexpress
from hamur.models import MULTI_TASK

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "run_aliexpress_multi_task.py"
QUICK = ("--embed_dim", "4", "--epoch", "1", "--quiet", "--no-posthoc")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Prepared data of this module's runs, instead of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAMUR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(*flags):
    """Exit code of the script, in this process."""
    try:
        return main(load_aliexpress, "a_script.py", "a description", flags)
    except SystemExit as stop:  # argparse ends the process itself
        return stop.code


def read(folder, name="metrics.json"):
    return json.loads((Path(folder) / name).read_text())


def test_three_tasks_end_to_end(tmp_path, capsys):
    flags = ["--model_name", "pomoe", "--dataset_name", "Synthetic", "--synthetic_rows", "2000"]
    flags += ["--task_num", "3", "--head", "shared_score", "--expert_num", "2"]
    flags += ["--eval_preferences", "6", "--preferences_per_step", "3", "--bootstrap", "5"]
    assert run(*QUICK, *flags, "--save_dir", str(tmp_path)) == 0
    content = read(tmp_path)
    assert content["selected_on"] == "valid" and content["head"] == "shared_score"
    assert content["synthetic"] is True
    assert len(content["front"]) == len(content["exact"]) == 6
    measures = content["front_measures"]
    assert len(measures["spearman"]) == 3 and measures["intervals"]["resamples"] == 5
    assert isinstance(measures["front_degenerate"], bool)
    entry = content["front"][0]["tasks"]
    assert set(entry) == {"click", "cart", "conversion"}
    assert {"auc", "logloss", "ne", "gauc", "pcoc"} <= set(entry["click"])
    assert "cvr_auc" in entry["conversion"] and "cvr_auc" not in entry["click"]
    with (tmp_path / "front.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["source"] for line in lines} == {"model", "exact"} and len(lines) == 12
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert (tmp_path / "model.safetensors").exists()
    assert "spearman cart" in capsys.readouterr().out


def test_a_baseline_on_the_sample_and_the_public_flags(tmp_path, capsys):
    flags = ["--model_name", "sharedbottom", "--dataset_name", "AliExpress_US", "--alpha", "1"]
    flags += ["--task_num", "2", "--batch_size", "512", "--select_on", "test"]
    assert run(*QUICK, *flags, "--save_dir", str(tmp_path)) == 0
    content = read(tmp_path)
    assert content["selected_on"] == "test" and "front" not in content
    tasks = content["test"]["tasks"]
    product = tasks["click"]["auc"] * tasks["conversion"]["auc"]
    assert content["hv_published"] == pytest.approx(product)
    error = capsys.readouterr().err
    assert "--alpha is accepted" in error and "no honest estimate" in error


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["pareto", "published"])
@pytest.mark.parametrize("model", list(MULTI_TASK))
def test_every_model_trains_on_the_sample(model, preset, tmp_path):
    flags = ["--model_name", model, "--preset", preset, "--epoch", "2"]
    command = [sys.executable, str(SCRIPT), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    content = read(tmp_path / "runs" / SCRIPT.stem / f"{model}-1")
    assert content["train"]["epochs"] == 2
    assert ("front" in content) == (model == "pomoe")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_front(tmp_path):
    flags = ["--model_name", "pomoe", "--embed_dim", "8", "--epoch", "2", "--no-posthoc"]
    for name in "ab":
        assert run(*flags, "--quiet", "--save_dir", str(tmp_path / name)) == 0
    assert (tmp_path / "a" / "front.csv").read_bytes() == (
        tmp_path / "b" / "front.csv"
    ).read_bytes()


WRONG = [
    (
        ["--dataset_name", "AliExpress_DE"],
        "--dataset_name is 'AliExpress_DE'; known are AliExpress_NL",
    ),
    (["--model_name", "mlp"], "--model_name is 'mlp'; known are singletask"),
    (
        ["--model_name", "pomoe", "--gate", "wide"],
        "--gate is 'wide'; known are linear, deep, attention",
    ),
    (["--model_name", "pomoe", "--scalarisation", "sum"], "known are linear, tchebycheff"),
    (["--model_name", "mmoe", "--gate", "deep"], "--gate is for --model_name pomoe, not mmoe"),
    (
        ["--model_name", "pomoe", "--preset", "published", "--head", "per_task"],
        "published has its own",
    ),
    (["--model_name", "pomoe", "--anneal_power", "5"], "for --sampler annealed, not grid"),
    (["--model_name", "mmoe", "--gate_anchor", "5"], "--gate_anchor is for --model_name pomoe"),
    (["--model_name", "mmoe", "--calibrator", "0.6"], "--calibrator is for aitm"),
    (["--model_name", "pomoe", "--dirichlet_alpha", "1,x"], "give numbers such as 1,1.2"),
    (["--model_name", "pomoe", "--ideal", ".8,.8"], "non-linear"),
    (["--task_num", "3"], "--task_num is 3, but the data have 2 label columns: click, conversion"),
    (["--tasks", "click,cart"], "--tasks names 'cart'; the data have click, conversion"),
    (["--model_name", "ple", "--expert_num", "1"], "--expert_num must be at least 2 for ple"),
    (["--dataset_path", "no/such/folder"], "no/such/folder"),
    (["--device", "ascend:0"], "cannot use Ascend"),
    (["--resume"], "no run in runs/a_script/metaheac-1"),
    (
        [
            "--model_name",
            "pomoe",
            "--preset",
            "published",
            "--dataset_name",
            "Synthetic",
            "--task_num",
            "3",
        ],
        "two tasks built in, the data have 3",
    ),
]


@pytest.mark.parametrize(("flags", "text"), WRONG, ids=[" ".join(f) for f, _ in WRONG])
def test_wrong_usage_is_one_line_and_exit_code_2(flags, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*flags) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_task_of_one_class_is_named(tmp_path, monkeypatch, capsys):
    import dataclasses

    def load(*arguments, **options):
        splits, schema = load_aliexpress(*arguments, **options)
        labels = np.array(splits.train.labels)
        labels[:, 1] = 0
        return splits._replace(train=dataclasses.replace(splits.train, labels=labels)), schema

    monkeypatch.chdir(tmp_path)
    assert main(load, "a_script.py", "", ["--model_name", "mmoe"]) == 2
    assert "task 'conversion' has one class only in the" in capsys.readouterr().err


@pytest.mark.slow
def test_a_test_split_of_one_class_gives_null_and_a_reason(tmp_path):
    import dataclasses

    def load(*arguments, **options):
        splits, schema = load_aliexpress(*arguments, **options)
        labels = np.array(splits.test.labels)
        labels[:, 1] = 0
        return splits._replace(test=dataclasses.replace(splits.test, labels=labels)), schema

    flags = [*QUICK, "--model_name", "sharedbottom", "--save_dir", str(tmp_path)]
    assert main(load, "a_script.py", "", flags) == 0
    bought = read(tmp_path)["test"]["tasks"]["conversion"]
    assert bought["auc"] is None and bought["reason"] == "one class"


def test_help_needs_no_data(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    for flag in ("--expert_num", "--embed_dim", "--task_num", "--reference_front", "--lamb"):
        assert flag in out
