"""The ranking scripts: results on disk, clear errors; and every training script as a process."""

import csv
import json
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from hamur import models, training
from hamur.commands.ranking import main
from hamur.data import load_ali_ccp, load_movielens
from hamur.files import write_json
from hamur.models import prediction
from tests.support import networks
from tests.support.commands import assert_refused, exit_code
from tests.support.flags import SCRIPTS
from tests.support.runs import Drift

TRAIN_KEYS = {"epochs", "best_epoch", "rows_per_second", "seconds", "peak_rss_mib", "parameters"}
TRAIN_KEYS |= {"embedding_parameters"}
# Options of a run of seconds, and how the last line that it prints begins.
QUICK = {
    "run_movielens_rank_multi_domain": (["--model_name", "mlp"], "worst domain"),
    "run_ali_ccp_ctr_ranking_multi_domain": (["--model_name", "mlp"], "worst domain"),
    "run_aliexpress_multi_task": (["--model_name", "sharedbottom", "--embed_dim", "4"], "0.500"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, which is not the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*flags: str, load=load_movielens) -> int:
    """Exit code of a script, in this process."""
    return exit_code(main, load, "a_script.py", "a description", flags)


def read(path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem in QUICK], ids=lambda s: s.stem)
def test_a_script_runs_from_any_directory(script, folder):
    flags, last_line = QUICK[script.stem]
    command = [sys.executable, str(script), *flags, "--epoch", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith(last_line)
    (run,) = (folder / "runs" / script.stem).iterdir()
    assert run.name.startswith(f"{flags[1]}-") and (run / "metrics.json").exists()


@pytest.mark.parametrize(
    ("load", "model"),
    [(load_movielens, "dcn_md_adp"), (load_ali_ccp, "mlp_adp")]  # of the others: tests/contract
    + networks.slow((load_movielens, m) for m in models.RANKING if m != "dcn_md_adp")
    + networks.slow((load_ali_ccp, m) for m in models.RANKING if m != "mlp_adp"),
)
def test_every_model_trains_on_both_samples(load, model, folder):
    assert run("--model_name", model, "--epoch", "1", "--quiet", load=load) == 0
    results = folder / "runs" / "a_script" / f"{model}-2022"
    content = read(results / "metrics.json")
    assert (content["model"], content["preset"], content["seed"]) == (model, "best", 2022)
    # After two steps a model may still lose to a constant: rounding decides.
    assert set(content["train"]) - {"worse_than_constant"} == TRAIN_KEYS
    assert content["train"]["epochs"] == content["train"]["best_epoch"] == 1
    for split in ("valid", "test"):
        assert list(content[split]["domains"]) == ["0", "1", "2"]
        assert content[split]["defined_domains"] == 3
        assert sum(d["rows"] for d in content[split]["domains"].values()) == content[split]["rows"]
    assert (results / "model.safetensors").exists() and (results / "history.csv").exists()


def test_all_results_of_a_longer_run(folder, capsys):
    base = ["--model_name", "mlp", "--save_dir", "here", "--seed", "3", "--quiet"]
    flags = ["--epoch", "3", "--plot", "--save_predictions", "--init_seed", "4"]
    assert run(*base, *flags) == 0
    assert capsys.readouterr().out.startswith("domain ")  # the table only
    here = folder / "here"
    content, config = read(here / "metrics.json"), read(here / "config.json")
    options = config["options"]
    assert (options["seed"], options["init_seed"], options["split_seed"]) == (3, 4, 2022)
    assert None not in {options[k] for k in ("learning_rate", "weight_decay", "patience", "decay")}
    assert config["versions"]["mindspore"] and len(config["data"]["fingerprint"]) == 64
    with (here / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    best = history[content["train"]["best_epoch"] - 1]
    assert float(best["auc"]) == max(float(row["auc"]) for row in history)
    assert float(best["auc"]) == pytest.approx(content["valid"]["auc"], abs=1e-6)
    written = ("learning_curve.png", "domains.png", "predictions.parquet")
    for name in (*written, "valid_predictions.parquet"):
        assert (here / name).stat().st_size > 1000
    assert not list(here.rglob("*.pkl"))

    # The folder holds a finished run now: one of other options replaces it only if told to.
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    other = [*base, "--epoch", "1"]
    words = ["a_script.py: error: here holds a finished run, which had --epochs 3", "--overwrite"]
    assert_refused(capsys, words, run, *other, "--init_seed", "4")
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
    assert run(*other, "--overwrite") == 0
    assert read(here / "metrics.json")["train"]["epochs"] == 1
    assert run(*other) == 0  # the same run again
    uninterrupted = read(here / "metrics.json")
    (here / "metrics.json").unlink()  # as if it had been killed
    assert_refused(capsys, ["unfinished run; --resume continues it"], run, *other)
    words = ["had --weight_decay 1e-05, this one 0.1"]
    assert_refused(capsys, words, run, *other, "--resume", "--weight_decay", "0.1")
    assert run(*other, "--resume") == 0
    for split in ("valid", "test"):  # to the last bit, whatever was compiled before
        assert read(here / "metrics.json")[split] == uninterrupted[split]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_script_with_the_best_epoch_on_disk(number, folder):
    """A real one, in a compiled step: MindSpore makes a SIGTERM of every SIGINT there."""
    script = next(path for path in SCRIPTS if path.stem == "run_movielens_rank_multi_domain")
    flags = ["--model_name", "mlp", "--epochs", "900", "--patience", "900", "--save_dir", "here"]
    process = subprocess.Popen(
        [sys.executable, str(script), *flags],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background makes them, and what they start, deaf.
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    )
    while not process.stdout.readline().startswith("epoch   1"):
        assert process.poll() is None, process.communicate()
    process.send_signal(number)
    output, error = process.communicate(timeout=240)
    assert process.returncode == 128 + number, error
    assert error.splitlines() == [
        f"{script.name}: {number.name}; a second signal ends it at once",
        f"{script.name}: interrupted; --resume continues where it stopped",
    ]
    content = read(folder / "here" / "metrics.json")
    assert content["train"]["interrupted"] and content["train"]["best_epoch"] >= 1
    assert output.splitlines()[-1].startswith("worst domain")


def test_a_run_that_begins_removes_the_old_one_before_it_has_a_configuration(
    folder, monkeypatch, capsys
):
    """Also where it fails in its first epoch: no configuration beside the results of another."""
    from hamur import training

    def failing(*_):
        def step(*_):
            raise ValueError("no step")

        return step

    here, base = folder / "here", ["--model_name", "mlp", "--save_dir", "here", "--epochs", "1"]
    monkeypatch.setattr(training, "supervised_step", failing)
    assert_refused(capsys, ["no step"], run, *base, "--resume", "--quiet")  # it has begun
    (here / "last").mkdir()
    content = {"train": {"interrupted": True}}
    names = ("model.safetensors", "history.csv", "last/state-7.safetensors", "domains.png")
    for name in (*names, "target_scorer.mindir", "encoders/old.parquet"):
        (here / name).write_text("of an old run")
    write_json(here / "metrics.json", content)
    (here / "mine.txt").touch()
    lost = ["has lost its state; --overwrite begins anew"]
    assert_refused(capsys, lost, run, *base, "--resume")
    (here / "last" / "progress.json").write_text("{}")
    words = ["here holds an unfinished run; --resume continues it, --overwrite begins anew"]
    assert_refused(capsys, words, run, *base)
    words = ["had --seed 2022, this one 5"]
    assert_refused(capsys, words, run, *base, "--resume", "--seed", "5")
    assert_refused(capsys, ["no step"], run, *base, "--seed", "5", "--overwrite", "--quiet")
    assert read(here / "config.json")["options"]["seed"] == 5
    left = {path.name for path in here.rglob("*") if path.is_file()}
    fitted = {path.name for path in (here / "encoders").iterdir()}
    assert left - fitted == {"config.json", "schema.json", "columns.json", "mine.txt"}
    assert {"scalers.json", "user_id.parquet"} < fitted and "old.parquet" not in fitted


@pytest.mark.slow  # for every part of the state: training/test_resume.py
def test_equal_seeds_and_a_resumed_run_give_equal_results_on_the_same_split(folder):
    import pyarrow.parquet as pq

    def predictions(name, *flags):
        base = ["--model_name", "mlp", "--quiet", "--save_predictions", "--save_dir", name]
        assert run(*base, *flags) == 0
        return pq.read_table(folder / name / "predictions.parquet").to_pydict()

    first = predictions("a", "--epoch", "2")
    predictions("b", "--epoch", "1")
    assert predictions("b", "--epoch", "2", "--resume") == first
    other = predictions("c", "--epoch", "2", "--seed", "1")
    assert other["row_id"] == first["row_id"]
    assert other["probability"] != pytest.approx(first["probability"])


WRONG = [
    (["--dataset_path", "no/such/folder"], "no/such/folder"),
    (["--preset", "published"], "known are paper, official, best"),
    (["--device", "ascend:0"], "cannot use Ascend"),
    (["--device", "cuda:0"], "cannot use GPU"),
    (["--split", "alphabetical"], "alphabetical"),
]


@pytest.mark.parametrize(("flags", "text"), WRONG)
@pytest.mark.parametrize("load", [load_movielens, load_ali_ccp])
def test_wrong_usage_is_one_line_and_exit_code_2(load, flags, text, folder, capsys):
    assert_refused(capsys, [text], partial(run, load=load), *flags)
    assert not (folder / "runs").exists()


def test_official_scores_are_made_in_batches_of_training(
    tiny_schema, tiny_splits, monkeypatch, folder
):
    """They depend on their batch; a last batch of one row has no variance, and is avoided."""
    sizes = []

    class Recorded(prediction.ShuffledBatches):
        def __init__(self, table, batch_size, *arguments, **options):
            sizes.append(batch_size)
            super().__init__(table, batch_size, *arguments, **options)

    monkeypatch.setattr(prediction, "ShuffledBatches", Recorded)
    monkeypatch.setattr(training, "supervised_step", Drift())
    splits = tiny_splits._replace(test=tiny_splits.test.take(np.arange(41)))
    flags = ["--preset", "official", "--model_name", "mlp_adp", "--epoch", "1", "--quiet"]
    with pytest.warns(UserWarning, match="depends on the other rows"):
        assert (
            exit_code(
                main, lambda path: (splits, tiny_schema), "x.py", "", [*flags, "--batch_size", "20"]
            )
            == 0
        )
    assert sizes == [20, 20, 19]  # validation, twice, and test
