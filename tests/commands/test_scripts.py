"""The scripts as a user runs them: other working directory, results on disk, clear errors."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hamur import models
from hamur.commands.ranking import main
from hamur.data import load_ali_ccp, load_movielens
from tests.support import networks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MOVIELENS = "run_movielens_rank_multi_domain"
ALI_CCP = "run_ali_ccp_ctr_ranking_multi_domain"
SPLIT_KEYS = {"auc", "logloss", "rows", "positives", "macro_auc", "worst_auc", "domains"}
TRAIN_KEYS = {
    "epochs",
    "best_epoch",
    "rows_per_second",
    "seconds",
    "peak_rss_mib",
    "parameters",
    "embedding_parameters",
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Prepared data of this module's runs, instead of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAMUR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(script: str, folder: Path, *flags: str, timeout: int = 240) -> subprocess.CompletedProcess:
    """Run a script from `folder`, which is not the repository."""
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(
    ("script", "model"),
    [(MOVIELENS, model) for model in models.RANKING]
    + [(ALI_CCP, "mlp_adp")]
    + networks.slow((ALI_CCP, m) for m in models.RANKING if m != "mlp_adp"),
)
def test_every_model_trains_on_both_samples(script, model, tmp_path):
    done = run(script, tmp_path, "--model_name", model, "--epoch", "1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / script / f"{model}-2022"
    content = read(folder, "metrics.json")
    assert (content["model"], content["preset"], content["seed"]) == (model, "best", 2022)
    assert set(content["train"]) == TRAIN_KEYS
    assert content["train"]["epochs"] == content["train"]["best_epoch"] == 1
    for split in ("valid", "test"):
        assert set(content[split]) >= SPLIT_KEYS
        assert list(content[split]["domains"]) == ["0", "1", "2"]
        assert content[split]["defined_domains"] == 3
        assert sum(d["rows"] for d in content[split]["domains"].values()) == content[split]["rows"]
    assert (folder / "model.safetensors").exists() and (folder / "history.csv").exists()
    assert done.stdout.rstrip().splitlines()[-1].startswith("worst domain")


def test_all_results_of_a_longer_run(tmp_path, monkeypatch, capsys):
    flags = ["--model_name", "mlp", "--epoch", "3", "--save_dir", "here", "--plot"]
    done = run(MOVIELENS, tmp_path, *flags, "--save_predictions", "--seed", "3", "--init_seed", "4")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "here"
    content, config = read(folder, "metrics.json"), read(folder, "config.json")
    options = config["options"]
    assert (options["seed"], options["init_seed"], options["split_seed"]) == (3, 4, 2022)
    assert None not in {options[k] for k in ("learning_rate", "weight_decay", "patience", "decay")}
    assert config["versions"]["mindspore"] and len(config["data"]["fingerprint"]) == 64
    with (folder / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    best = history[content["train"]["best_epoch"] - 1]
    assert float(best["auc"]) == max(float(row["auc"]) for row in history)
    assert float(best["auc"]) == pytest.approx(content["valid"]["auc"], abs=1e-6)
    for name in ("learning_curve.png", "domains.png", "predictions.parquet"):
        assert (folder / name).stat().st_size > 1000
    assert not list(folder.rglob("*.pkl"))

    # The folder holds a finished run now: one of other options replaces it only if told to.
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    other = ["--model_name", "mlp", "--epoch", "1", "--save_dir", "here", "--seed", "3", "--quiet"]
    assert main(load_movielens, "x.py", "", other, patience=10) == 2
    found = capsys.readouterr().err
    assert "x.py: error: here holds a finished run, which had --epochs 3, this one 1" in found
    assert "--overwrite" in found and len(found.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert main(load_movielens, "x.py", "", [*other, "--overwrite"], patience=10) == 0
    assert read(folder, "metrics.json")["train"]["epochs"] == 1
    assert main(load_movielens, "x.py", "", other, patience=10) == 0  # the same run again
    (folder / "metrics.json").unlink()  # as if it had been killed
    assert main(load_movielens, "x.py", "", other, patience=10) == 2
    assert "unfinished run; --resume continues it" in capsys.readouterr().err
    assert main(load_movielens, "x.py", "", [*other, "--resume"], patience=10) == 0


@pytest.mark.slow
def test_equal_seeds_give_equal_results_and_the_split_ignores_them(tmp_path):
    def predictions(folder, *flags):
        import pyarrow.parquet as pq

        base = ["--model_name", "mlp", "--epoch", "1", "--quiet", "--save_predictions"]
        done = run(MOVIELENS, tmp_path, *base, "--save_dir", folder, *flags)
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout.startswith("domain ") and done.stdout.count("\n") == 8  # the table only
        return pq.read_table(tmp_path / folder / "predictions.parquet").to_pydict()

    first, again = predictions("a"), predictions("b")
    assert first == again
    other = predictions("c", "--seed", "1")
    assert other["row_id"] == first["row_id"]
    assert not np.allclose(other["probability"], first["probability"])


WRONG = [
    (["--model_name", "hamur"], "known are mlp, mlp_adp"),
    (["--dataset_path", "no/such/folder"], "no/such/folder"),
    (["--preset", "published"], "known are paper, official, best"),
    (["--criterion", "loss"], "known are auc, macro_auc, worst_auc"),
    (["--device", "ascend:0"], "cannot use Ascend"),
    (["--device", "cuda:0"], "cannot use GPU"),
    (["--split", "alphabetical"], "alphabetical"),
    (["--resume"], "no run in runs/a_script/mlp_adp-2022"),
]


@pytest.mark.parametrize(("flags", "text"), WRONG[:2])
def test_wrong_usage_of_a_script_is_one_line_and_exit_code_2(flags, text, tmp_path):
    done = run(MOVIELENS, tmp_path, *flags)
    assert done.returncode == 2
    assert text in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == "" and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("flags", "text"), WRONG)
@pytest.mark.parametrize("load", [load_movielens, load_ali_ccp])
def test_wrong_usage_is_one_line_and_exit_code_2(load, flags, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(load, "a_script.py", "a description", flags)
    except SystemExit as stop:  # argparse ends the process itself
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and text in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow  # in process and for every part of the state: training/test_resume.py
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    base = ["--model_name", "mlp", "--quiet", "--learning_rate", "1e-2"]
    for flags in (["--epoch", "2", "--save_dir", "whole"], ["--epoch", "1", "--save_dir", "parts"]):
        assert run(MOVIELENS, tmp_path, *base, *flags).returncode == 0
    parts = [*base, "--epoch", "2", "--save_dir", "parts", "--resume"]
    refused = run(MOVIELENS, tmp_path, *parts, "--weight_decay", "0.1")
    assert refused.returncode == 2 and "had --weight_decay 1e-05, this one 0.1" in refused.stderr
    done = run(MOVIELENS, tmp_path, *parts)
    assert done.returncode == 0, done.stderr
    whole, resumed = (
        read(tmp_path / "whole", "metrics.json"),
        read(tmp_path / "parts", "metrics.json"),
    )
    assert (whole["test"], whole["valid"]) == (resumed["test"], resumed["valid"])


def test_debug_shows_the_traceback(tmp_path):
    done = run(MOVIELENS, tmp_path, "--dataset_path", "nowhere", "--debug")
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_help_needs_no_data(tmp_path):
    done = run(ALI_CCP, tmp_path, "--help")
    assert done.returncode == 0 and "Ali-CCP" in done.stdout and "--criterion" in done.stdout
