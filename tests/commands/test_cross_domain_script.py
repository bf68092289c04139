"""The cross-domain script: everything it writes, and one clear line for what it cannot do."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hamur.commands.cross_domain import main
from hamur.commands.cross_domain_config import CORRECTED, DEAD_KEYS, OFFICIAL, CrossDomainConfig
from hamur.commands.script import from_flags
from hamur.files import write_history
from hamur.studies import planted
from hamur.training.bilevel.options import BilevelOptions
from hamur.training.checkpoint import load_weights
from hamur.training.loop import TrainingLoop
from tests.support.commands import assert_refused

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "run_amazon_cross_domain.py"
SMALL = "--epochs 1 --interval 20 --meta_batchsize 32 --bootstrap 20 --embed_dim 4 --eval_draws 2"
TABLES = ["--source_table", "s.csv", "--target_table", "t.csv"]


UPPER = "update moved dev_loss lower_loss norm_v norm_p norm_gradient clip prior weight_mean "
UPPER += "weight_min weight_max influence_mean influence_negative iterations diverged "
UPPER += "negative_curvature head_seconds solve_seconds phi_seconds"
# These always; of an estimator with H also:
OF_HESSIAN = "residual alpha largest_eigenvalue"
EPOCH = "epoch loss auc logloss prior seconds rows_per_second"
WEIGHTS = "user item category label g relative_weight influence influence_count"
METRICS = "model preset arm seed git_commit dataset fingerprint valid test train ranking "
METRICS += "eval_draws collapsed restarts upper planted weights"
TRAIN = "epochs best_epoch rows_per_second seconds peak_rss_mib parameters embedding_parameters"
SPLIT = "auc auc_ci logloss ece gauc_item gauc_category gauc_user rows positives"
BEHAVIOURS = 4796  # source rows of the sample's users


def run_script(folder, *flags):
    """(record of a run on the bundled sample through the real script, what it printed)"""
    command = [sys.executable, str(SCRIPT), "--exp_name", "smoke", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder / "conet_record" / "SynBooks-SynToys", done.stdout


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run_script(tmp_path_factory.mktemp("record"), *SMALL.split(), "--export_mindir")


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def finite(rows, columns):
    return all(np.isfinite(float(row[name])) for row in rows for name in columns.split())


def check_outputs(log, checkpoint, epochs, updates):
    """Every file of a run in the tree of the public code exists, parses and is complete."""
    metrics = json.loads((log / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert set(METRICS.split()) <= metrics.keys()
    assert all(set(SPLIT.split()) <= metrics[name].keys() for name in ("valid", "test"))
    assert set(TRAIN.split()) <= metrics["train"].keys() and metrics["train"]["epochs"] == epochs
    assert min(metrics["train"][name] for name in ("parameters", "embedding_parameters")) > 1000
    upper = metrics["upper"]
    assert upper["count"] == upper["moved"] == updates and upper.keys() == {
        "count", "moved", "mean_ms", "share_of_epoch_time", "diverged", "negative_curvature"
    }  # fmt: skip
    low, high = metrics["test"]["auc_ci"]
    assert low <= metrics["test"]["auc"] <= high and metrics["test"]["rows"] == 240
    assert metrics["test"]["gauc_user"]["value"] is None and metrics["test"]["gauc_user"]["reason"]
    assert metrics["ranking"]["negatives"] == 99 and metrics["planted"] is None
    config = json.loads((log / "config.json").read_text())
    assert config["data"]["fingerprint"] == metrics["fingerprint"] and config["versions"]["numpy"]
    assert config["options"].keys() == set(CrossDomainConfig.__dataclass_fields__)
    history = table(log / "history.csv")
    rows = {kind: [row for row in history if row["kind"] == kind] for kind in ("upper", "epoch")}
    assert (len(rows["upper"]), len(rows["epoch"])) == (updates, epochs)
    assert finite(rows["upper"], UPPER) and finite(rows["epoch"], EPOCH)
    assert set(OF_HESSIAN.split()) <= history[0].keys()
    weights, categories = table(log / "weights.csv"), table(log / "weights_by_category.csv")
    assert len(weights) == BEHAVIOURS and set(WEIGHTS.split()) == weights[0].keys()
    assert finite(weights, "label g relative_weight influence_count")
    assert finite([row for row in weights if row["influence_count"] == "1"], "influence")
    assert all(row["influence"] == "" for row in weights if row["influence_count"] == "0")
    assert sum(int(row["behaviours"]) for row in categories) == len(weights)
    assert finite(categories, "relative_weight influence positive_rate")
    for name in ("weights.png", "history.png"):
        assert (log / name).read_bytes().startswith(b"\x89PNG\r\n")
    arrays = load_weights(checkpoint / "best_predictor.safetensors")
    assert {"table", "phi.query", "upper.head"} <= arrays.keys()
    assert json.loads((checkpoint / "last" / "progress.json").read_text())["epoch"] == epochs
    return metrics


def test_a_run_leaves_every_documented_file(record):
    folder, printed = record
    log, checkpoint = folder / "log" / "smoke", folder / "checkpoint" / "smoke"
    metrics = check_outputs(log, checkpoint, epochs=1, updates=1)
    lines = (log / "logging.txt").read_text().splitlines()
    assert lines[-1] == f"auc: {metrics['test']['auc']:.6f}" == printed.splitlines()[-1]
    text = "\n".join(lines)
    for words in ("training set number:", "upper update 1: main loss", "preset corrected"):
        assert words in text
    assert "upper update" not in printed  # in the file alone
    assert all(words in printed for words in ("current auc", "best auc", "best epoch", "loss"))
    assert "rank correlation of weight and influence over categories" in printed
    options = json.loads((log / "config.json").read_text())["options"]
    assert options["arm"] == "perceptron" and options["upper_batchsize"] == 32
    assert (checkpoint / "target_scorer.mindir").stat().st_size > 1000


@pytest.mark.slow
def test_two_epochs_on_the_sample_take_less_than_90_seconds(tmp_path):
    """With every default, on two idle cores."""
    sample = str(SCRIPT.parents[1] / "data" / "amazon-sample")
    begin = time.perf_counter()
    folder, _ = run_script(tmp_path, "--in_root", sample, "--epochs", "2")
    seconds = time.perf_counter() - begin
    check_outputs(folder / "log" / "smoke", folder / "checkpoint" / "smoke", epochs=2, updates=5)
    assert seconds <= 90


TIMES = ("seconds", "rows_per_second", "mean_ms", "share_of_epoch_time", "peak_rss_mib")
TIMES += ("sha256",)  # of the file, the times in it


def outcome(folder):
    """What a run left, but how long it took."""

    def timeless(content):
        if isinstance(content, dict):
            return {k: timeless(v) for k, v in content.items() if not k.endswith(TIMES)}
        return content

    found = {"history": [timeless(row) for row in table(folder / "history.csv")]}
    found["metrics"] = timeless(json.loads((folder / "metrics.json").read_text()))
    for path in (*folder.glob("weights*.csv"), folder / "test_probabilities.npy"):
        found[path.name] = path.read_bytes()
    arrays = load_weights(folder / "model.safetensors")
    return found | {name: value.tobytes() for name, value in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["conet_biao", "conet"])
def test_a_killed_run_resumes_to_the_files_of_an_uninterrupted_one(model, tmp_path, monkeypatch):
    """Ctrl-C after the first of three epochs leaves its results."""
    flags = f"--model_name {model} --quiet {SMALL} --epochs 3 --patience 0".split()

    def run(name, *more):
        return main("x.py", "", ["--save_dir", str(tmp_path / name), *flags, *more])

    def interrupted(loop):
        save(loop)
        if loop.run.epochs == 1:
            raise KeyboardInterrupt

    assert run("whole") == 0
    save = TrainingLoop.save
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "save", interrupted)
        assert run("killed") == 130
    best = json.loads((tmp_path / "killed" / "metrics.json").read_text())
    assert best["train"]["interrupted"] and best["train"]["best_epoch"] == 1
    assert 0 < best["test"]["auc"] < 1
    assert run("killed", "--resume") == 0
    whole = outcome(tmp_path / "whole")
    assert len(whole["history"]) >= 3 and (model == "conet") == ("phi.query" not in whole)
    found = outcome(tmp_path / "killed")
    assert found.keys() == whole.keys()
    for key, value in whole.items():
        assert found[key] == value, key


@pytest.mark.slow
def test_the_planted_study_lists_every_arm(tmp_path, monkeypatch):
    """Weights that are all equal find nothing, those that know the truth find everything."""
    monkeypatch.chdir(tmp_path)
    flags = "--users 500 --arms uniform,annealed,scalar,oracle --seeds 3 --epochs 1 --quiet"
    assert planted.main("x.py", "", [*flags.split(), "--bootstrap", "20"]) == 0
    log = tmp_path / "runs" / "x"
    found = {row["arm"]: float(row["weight_auc"]) for row in table(log / "comparison.csv")}
    assert found == {"uniform": 0.5, "annealed": 0.5, "scalar": 0.5, "oracle": 1.0}


def test_a_seed_that_stays_at_a_constant_is_told_by_its_loss_after_half_of_the_epochs(tmp_path):
    path = tmp_path / "history.csv"
    for losses, expected in (([0.7] * 7 + [0.69, 0.8], False), ([0.5] * 7 + [0.7, 0.5], True)):
        rows = [{"kind": "upper", "loss": ""}]
        rows += [{"kind": "epoch", "loss": loss} for loss in losses]
        write_history(path, rows)
        assert planted.stuck(path) == expected


@pytest.mark.slow
def test_every_seed_trains_on_each_of_the_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planted, "stuck", lambda history: False)  # every run is, after one epoch
    flags = "--users 500 --arms uniform,conet_s --seeds 3,4 --pairs 0,1 --epochs 1 --quiet"
    assert planted.main("x.py", "", [*flags.split(), "--bootstrap", "20"]) == 0
    root = tmp_path / "runs" / "x"
    assert len(list((root / "data").glob("*.truth.npz"))) == 2
    rows = {row["arm"]: row for row in table(root / "comparison.csv")}
    found = {
        arm: {
            (pair, seed): json.loads((path / "metrics.json").read_text())["test"]["auc"]
            for pair in (0, 1)
            for seed in (3, 4)
            for path in [root / f"{arm}-{seed}-pair-{pair}"]
        }
        for arm in ("uniform", "conet_s")
    }
    differences = [found["conet_s"][key] - auc for key, auc in found["uniform"].items()]
    assert len(set(found["uniform"].values())) == 4 == int(rows["conet_s"]["runs"])
    assert float(rows["conet_s"]["difference"]) == pytest.approx(np.mean(differences), abs=1e-9)
    half = 3.1824 * np.std(differences, ddof=1) / 2  # Student's t, 3 degrees of freedom
    assert float(rows["conet_s"]["runs_high"]) == pytest.approx(
        np.mean(differences) + half, abs=1e-5
    )
    assert planted.main("x.py", "", [*flags.replace("0,1", "a").split()]) == 2
    assert "--pairs has 'a'" in capsys.readouterr().err


def test_an_earlier_run_is_not_replaced_silently(record, monkeypatch, capsys):
    monkeypatch.chdir(record[0].parents[1])
    assert_refused(capsys, ["--overwrite"], main, "x.py", "", ["--exp_name", "smoke"])


def test_every_preset_key_is_a_flag():
    names = set(CrossDomainConfig.__dataclass_fields__)
    assert set(OFFICIAL) == set(CORRECTED) <= names


def test_the_defaults_of_the_step_are_those_of_the_preset_corrected():
    assert CrossDomainConfig().resolved().bilevel_options() == BilevelOptions()


def test_interval_is_one_knob_with_descent_step():
    def fitted(rows=0, **given):
        found = CrossDomainConfig(**given).resolved().bilevel_options().fitted(rows, 64)
        return found.interval, found.descent_step

    assert fitted(interval=40) == (40, 40)
    assert fitted(interval=40, descent_step=7) == (40, 7)
    assert fitted(preset="published") == fitted(preset="official") == (100, 100)
    assert [fitted(64 * steps)[0] for steps in (3, 250, 5000)] == [10, 25, 100]
    for estimator, damping in (("cg", 0.1), ("gauss_newton", 0.1), ("neumann", 0.0)):
        assert BilevelOptions(estimator=estimator).fitted(0, 64).damping == damping


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dict(), ("perceptron", "conet_biao")),
        (dict(model_name="conet"), ("uniform", "conet")),
        (dict(use_meta=False), ("uniform", "conet")),
        (dict(model_name="conet", use_meta=True), ("perceptron", "conet_biao")),
        (dict(only_target=True), ("conet_s", "conet_s")),
        (dict(arm="item"), ("item", "conet_biao")),
        (dict(arm="annealed"), ("annealed", "conet")),
    ],
)
def test_public_spellings_of_a_variant_are_one_choice(given, expected):
    config = CrossDomainConfig(**given).resolved()
    assert (config.arm, config.model_name) == expected
    assert config.resolved() == config


def test_flags_override_the_file_and_the_file_the_preset(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"hplr": 0.5, "lr": 0.25, "preset": "published", "in_root": "x"}))
    found = from_flags(CrossDomainConfig, ["--config", str(path)]).resolved()
    assert (found.learning_rate, found.dataset_path, found.preset) == (0.25, "x", "official")
    flags = ["--config", str(path), "--learning_rate", "0.125"]
    found = from_flags(CrossDomainConfig, flags).resolved()
    assert (found.hplr, found.learning_rate, found.aux_decay) == (0.5, 0.125, 2.0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--interval", "0"], ["--interval", "at least 1", "0"]),
        (["--convlr", "0"], ["--convlr", "greater than 0"]),
        (["--convlr", "-1"], ["--convlr", "greater than 0"]),
        (["--dev_fraction", "0"], ["--dev_fraction", "greater than 0"]),
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
        ([*TABLES, "--pair", "A,B"], ["without --dataset_path, --pair and --genres"]),
        (TABLES, ["s.csv", "no such file"]),
        ([*TABLES, "--columns", "user=u,item=i,rating=none"], ["--columns has no rating"]),
        ([*TABLES, "--columns", "who=u,item=i"], ["user=user"]),
        (["--format", "abxi"], ["--format abxi needs --dataset_path"]),
        (["--format", "abxi", "--in_root", "."], ["no ratings", "--train_negatives 4"]),
        (["--source_domain", "2"], ["--source_domain", "less than 2"]),
        (["--genres", "Drama"], ["--genres is 'Drama'", "Drama,Comedy"]),
        (["--genres", "Drama,Drama"], ["two names"]),
        (["--genres", "Drama,Opera"], ["first genre is 'Opera'", "Comedy"]),
        (["--genres", "Drama,Comedy", "--pair", "A,B"], ["--genres is a cut", "use one"]),
        (["--missing_meta", "drop"], ["--missing_meta", "unknown, others, error"]),
        (["--exp_name", "x", "--save_dir", "y"], ["--save_dir"]),
        (["--in_root", "nowhere"], ["nowhere", "no such folder"]),
        (["--ratio", "0.01"], ["--ratio"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, words, main, "x.py", "", [*flags, "--quiet"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"lrr": 1}', ["unknown key 'lrr'", "lr"]),
        *[
            (json.dumps({key: 1}), [key, "no effect in the public code; remove it"])
            for key in DEAD_KEYS
        ],
        ('{"interval": 0}', ["--interval", "at least 1"]),
        ("{", ["no JSON"]),
        ("[1]", ["no object"]),
    ],
)
def test_a_wrong_file_of_options_is_told(content, words, tmp_path, monkeypatch, capsys):
    path = tmp_path / "options.json"
    path.write_text(content)
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, words, main, "x.py", "", ["--config", str(path)])


def test_a_truth_of_other_data_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "truth.npz", harmful_SynBooks=np.zeros(5, bool))
    np.savez(tmp_path / "other.npz", harmful_Else=np.zeros(5, bool))
    for name, word in (("truth.npz", "5 rows"), ("other.npz", "harmful_Else")):
        assert_refused(capsys, [word], main, "x.py", "", ["--truth", name])
