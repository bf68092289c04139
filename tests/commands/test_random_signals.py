"""Signals at random moments of every training script, which keeps a state after every step, and
`--resume` after each."""

import csv
import hashlib
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support.flags import SCRIPTS

SEED, MOMENTS = 2022, 20
RANKING = ["--model_name", "mlp", "--save_predictions"]
QUICK = {
    "run_movielens_rank_multi_domain": RANKING,
    "run_ali_ccp_ctr_ranking_multi_domain": RANKING,
    "run_aliexpress_multi_task": ["--model_name", "sharedbottom", "--embed_dim", "4"],
    "run_amazon_cross_domain": ["--model_name", "conet"],
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
OF_THE_MACHINE = {"seconds", "rows_per_second", "peak_rss_mib", "sha256"}


def results(folder) -> dict:
    """What must not depend on interruptions: digests of the weights and predictions, and the
    metrics and the history without timings."""
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in ("*.safetensors", "last/*.safetensors", "*.parquet", "*.npy")
        for path in folder.glob(pattern)
    }
    found["metrics"] = without_timings(json.loads((folder / "metrics.json").read_text()))
    with (folder / "history.csv").open(newline="") as file:
        found["history"] = without_timings(list(csv.DictReader(file)))
    assert not list(folder.rglob(".*")), "temporary files or a lock are left"
    return found


def without_timings(content):
    if isinstance(content, list):
        return [without_timings(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {k: without_timings(v) for k, v in content.items() if k not in OF_THE_MACHINE}


@pytest.mark.slow
@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem in QUICK], ids=lambda s: s.stem)
def test_after_any_signal_the_same_command_ends_equal(script, tmp_path):
    """One command, always with --resume, as a supervisor calls it."""

    def start(folder):
        flags = [*QUICK[script.stem], "--epochs", "2", "--checkpoint_minutes", "0", "--quiet"]
        flags += ["--resume", "--save_dir", folder]
        command = [sys.executable, str(script), *map(str, flags)]
        pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen(command, **pipes)

    def finish(process) -> str:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
        return error

    begin = time.monotonic()
    finish(start(tmp_path / "whole"))
    duration = time.monotonic() - begin
    expected, draw = results(tmp_path / "whole"), random.Random(f"{SEED} {script.stem}")
    for moment in range(MOMENTS):
        folder, number = tmp_path / str(moment), SIGNALS[moment % len(SIGNALS)]
        process, wait = start(folder), draw.uniform(0, duration)
        time.sleep(wait)
        process.send_signal(number)
        _, error = process.communicate(timeout=600)
        there = sorted(path.name for path in folder.glob("*"))
        print(f"{wait:6.2f} of {duration:.2f} s {number.name}: {process.returncode} {there}")
        assert process.returncode in (0, -number, 128 + number), error
        if process.returncode == 128 + number:
            assert "interrupted; --resume continues" in error.splitlines()[-1]
        finish(start(folder))
        assert results(folder) == expected, f"seed {SEED}, moment {moment}, {number.name}"
