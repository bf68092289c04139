"""The cross-domain script: everything it writes, and one clear line for what it cannot do."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hamur.commands.cross_domain import main
from hamur.training.bilevel.config import CrossDomainConfig
from hamur.training.bilevel.presets import CORRECTED, PUBLISHED

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "run_amazon_cross_domain.py"
SMALL = "--epochs 1 --interval 20 --meta_batchsize 32 --bootstrap 20 --embed_dim 4 --eval_draws 2"
TABLES = ["--source_table", "s.csv", "--target_table", "t.csv"]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The record of one run on the bundled sample, through the real script."""
    folder = tmp_path_factory.mktemp("record")
    command = [
        sys.executable,
        str(SCRIPT),
        "--exp_name",
        "smoke",
        *SMALL.split(),
        "--export_mindir",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "conet_record" / "SynBooks-SynToys", done.stdout


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_every_documented_file(record):
    folder, printed = record
    log, checkpoint = folder / "log" / "smoke", folder / "checkpoint" / "smoke"
    metrics = json.loads((log / "metrics.json").read_text())
    assert metrics["test"]["rows"] == 240 and metrics["test"]["gauc_user"]["value"] is None
    assert metrics["ranking"]["negatives"] == 99 and metrics["upper"]["count"] == 1
    low, high = metrics["test"]["auc_ci"]
    assert low <= metrics["test"]["auc"] <= high
    lines = (log / "logging.txt").read_text().splitlines()
    assert lines[-1] == f"auc: {metrics['test']['auc']:.6f}" == printed.splitlines()[-1]
    assert any("training set number:" in line for line in lines)
    options = json.loads((log / "config.json").read_text())["options"]
    assert options["arm"] == "perceptron" and options["upper_batchsize"] == 32
    history = table(log / "history.csv")
    assert [row["kind"] for row in history] == ["upper", "epoch"]
    assert float(history[0]["dev_loss"]) > 0 and history[0]["residual"] == ""
    weights = table(log / "weights.csv")
    assert len(weights) == 4796
    assert np.isfinite([float(row["relative_weight"]) for row in weights]).all()
    categories = table(log / "weights_by_category.csv")
    assert sum(int(row["behaviours"]) for row in categories) == len(weights)
    for name in (
        log / "weights.png",
        log / "history.png",
        checkpoint / "best_predictor.safetensors",
        checkpoint / "target_scorer.mindir",
    ):
        assert name.stat().st_size > 1000


def test_an_earlier_run_is_not_replaced_silently(record, monkeypatch, capsys):
    monkeypatch.chdir(record[0].parents[1])
    assert main("x.py", "", ["--exp_name", "smoke"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_every_preset_key_is_a_flag():
    names = set(CrossDomainConfig.__dataclass_fields__)
    assert set(PUBLISHED) == set(CORRECTED) <= names


def test_interval_is_one_knob_with_descent_step():
    def fitted(rows=0, **given):
        found = CrossDomainConfig(t_batchsize=64, **given).resolved().fitted(rows)
        return found.interval, found.descent_step

    assert fitted(interval=40) == (40, 40)
    assert fitted(interval=40, descent_step=7) == (40, 7)
    assert fitted(preset="published") == (100, 100)
    assert [fitted(64 * steps)[0] for steps in (3, 250, 5000)] == [10, 25, 100]
    assert CrossDomainConfig(estimator="cg").resolved().damping == 0.1


def test_flags_override_the_file_and_the_file_the_preset(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"hplr": 0.5, "lr": 0.25, "preset": "published"}))
    found = CrossDomainConfig(config=str(path), lr=0.125).resolved()
    assert (found.hplr, found.lr, found.aux_decay) == (0.5, 0.125, 2.0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--interval", "0"], ["--interval", "at least 1", "0"]),
        (["--convlr", "0"], ["--convlr", "greater than 0"]),
        (["--neumann_k", "-1"], ["--neumann_k", "at least 0"]),
        (["--dev_fraction", "1"], ["--dev_fraction", "less than 1"]),
        (["--embed_dim", "0"], ["--embed_dim", "at least 1"]),
        (["--estimator", "exact"], ["--estimator", "one_step, neumann, cg"]),
        (["--hyper_scope", "items"], ["--hyper_scope", "all, embeddings, user"]),
        (["--eval_draws", "0"], ["--eval_draws", "all"]),
        (["--pre_epoch", "-2"], ["--pre_epoch", "-1"]),
        (["--arm", "perceptron", "--only_target", "1"], ["--arm perceptron", "conet_s"]),
        (["--arm", "perceptron", "--use_meta", "0"], ["--use_meta 0", "--arm"]),
        (["--arm", "uniform", "--use_meta", "1"], ["--use_meta 1", "--arm"]),
        (["--arm", "oracle", "--model_name", "conet"], ["--truth"]),
        (["--arms", "uniform,best"], ["--arms", "best", "perceptron"]),
        (["--seeds", "0,x"], ["--seeds", "x"]),
        (["--pair", "Books"], ["--pair", "Books"]),
        (TABLES[:2], ["--source_table and --target_table go together", "--source_table."]),
        ([*TABLES, "--pair", "A,B"], ["without --in_root, --pair and --genres"]),
        (TABLES, ["s.csv", "no such file"]),
        ([*TABLES, "--columns", "user=u,item=i,rating=none"], ["--columns has no rating"]),
        ([*TABLES, "--columns", "who=u,item=i"], ["user=user"]),
        (["--format", "abxi"], ["--format abxi needs --in_root"]),
        (["--format", "abxi", "--in_root", "."], ["no ratings", "--train_negatives 4"]),
        (["--source_domain", "2"], ["--source_domain", "less than 2"]),
        (["--genres", "Drama"], ["--genres is 'Drama'", "Drama,Comedy"]),
        (["--genres", "Drama,Drama"], ["two names"]),
        (["--genres", "Drama,Opera"], ["first genre is 'Opera'", "Comedy"]),
        (["--genres", "Drama,Comedy", "--pair", "A,B"], ["--genres is a cut", "use one"]),
        (["--missing_meta", "drop"], ["--missing_meta", "unknown, others, error"]),
        (["--steps_per_call", "0"], ["--steps_per_call", "at least 1"]),
        (["--in_root", "nowhere"], ["nowhere", "no such folder"]),
        (["--ratio", "0.01"], ["--ratio"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main("run_amazon_cross_domain.py", "", [*flags, "--quiet"])
    except SystemExit as error:
        code = error.code
    text = capsys.readouterr().err.strip()
    assert code == 2 and len(text.splitlines()) == 1
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"lrr": 1}', ["unknown key 'lrr'", "lr"]),
        ('{"hidden_dims": [256]}', ["hidden_dims", "no effect in the public code; remove it"]),
        ('{"interval": 0}', ["--interval", "at least 1"]),
        ("{", ["no JSON"]),
        ("[1]", ["no object"]),
    ],
)
def test_a_wrong_file_of_options_is_told(content, words, tmp_path, monkeypatch, capsys):
    path = tmp_path / "options.json"
    path.write_text(content)
    monkeypatch.chdir(tmp_path)
    assert main("x.py", "", ["--config", str(path)]) == 2
    text = capsys.readouterr().err
    for word in words:
        assert word in text


def test_a_truth_of_other_data_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "truth.npz", harmful_SynBooks=np.zeros(5, bool))
    np.savez(tmp_path / "other.npz", harmful_Else=np.zeros(5, bool))
    for name, word in (("truth.npz", "5 rows"), ("other.npz", "harmful_Else")):
        assert main("x.py", "", ["--truth", name]) == 2
        assert word in capsys.readouterr().err
