"""Training scripts among the workers of msrun, one of which is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hamur.workers import ROLE
from tests.training.test_workers import launched

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "run_movielens_rank_multi_domain.py"
FLAGS = ("--model_name", "mlp", "--checkpoint_minutes", "0", "--epochs", "6", "--resume")
LIMIT = 60  # seconds from the loss of a worker to the end of the job
EQUAL = 1e-4  # of AUCs that differ by rounding


def start(number, folder):
    """The script in so many workers, whose output goes to the file `out`."""
    with (folder / "out").open("w") as out:
        command, options = launched(folder, number, SCRIPT, *FLAGS, "--save_dir", folder / "run")
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **options)


def worker(rank, folder):
    """The process of a worker whose run is in the folder."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            variables = (path / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        of_it = str(folder / "run") in words and f"{ROLE}=MS_WORKER" in variables
        if of_it and f"MS_NODE_ID={rank}" in variables and "python" in words[0]:
            return int(path.name)
    raise AssertionError("no such process")


def wait_for(text, folder, process):
    while text not in (folder / "out").read_text():
        assert process.poll() is None, (folder / "out").read_text()[-3000:]
        time.sleep(0.1)


def test_auc(folder):
    return json.loads((folder / "run" / "metrics.json").read_text())["test"]["auc"]


test_auc.__test__ = False


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The test AUC of one process that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    command = [sys.executable, SCRIPT, *FLAGS, "--quiet", "--save_dir", folder / "run"]
    subprocess.run(command, check=True, capture_output=True)
    return test_auc(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_worker_ends_the_job_and_any_number_resumes(number, whole, tmp_path):
    process = start(2, tmp_path)
    wait_for("epoch   2", tmp_path, process)
    os.kill(worker(1, tmp_path), signal.SIGKILL)
    assert process.wait(timeout=LIMIT) != 0
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert "a worker was lost" in (tmp_path / "out").read_text()
    process = start(number, tmp_path)
    assert process.wait(timeout=600) == 0, (tmp_path / "out").read_text()[-3000:]
    assert abs(test_auc(tmp_path) - whole) < EQUAL


@pytest.mark.slow
def test_a_signal_to_one_worker_ends_all_with_a_state(whole, tmp_path):
    process = start(2, tmp_path)
    wait_for("epoch   2", tmp_path, process)
    os.kill(worker(1, tmp_path), signal.SIGTERM)
    assert process.wait(timeout=LIMIT) != 0
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert content["train"]["interrupted"]
    assert "interrupted; --resume continues" in (tmp_path / "out").read_text()
    process = start(2, tmp_path)
    assert process.wait(timeout=600) == 0, (tmp_path / "out").read_text()[-3000:]
    assert abs(test_auc(tmp_path) - whole) < EQUAL
