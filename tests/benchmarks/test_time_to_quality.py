"""The clock of the benchmark stops a command at its target or its limit."""

import pytest
from time_to_quality import parse, public_seconds, reached, run

SLEEP = "import time; time.sleep(60)"


def lines(*texts):
    return "".join(f"print({text!r}, flush=True); " for text in texts)


def run_code(code, limit):
    return run(["-c", code], parse(["data", "--targets", "0.8", "0.9"]), limit)


def test_command_ends_with_the_epoch_that_passes_the_highest_target():
    epochs = lines("epoch   1  loss .5  valid auc 0.81", "epoch   2  loss .5  valid auc 0.90 *")
    found = run_code(epochs + SLEEP, limit=50)
    assert [epoch[:2] for epoch in found["epochs"]] == [(1, 0.81), (2, 0.9)]
    assert found["seconds"] < 30
    assert reached(found, 0.8)[0] == 1 and reached(found, 0.85)[0] == 2
    assert reached(found, 0.95) is None


def test_command_is_stopped_at_its_limit_and_an_epoch_is_estimated_from_its_rows():
    found = run_code(lines("50 of 200 rows in 2.0 s") + SLEEP, limit=1)
    assert found["epochs"] == [] and found["epoch_seconds"] == 8
    official = {"epochs": [(1, 0.7, 5.0), (2, 0.81, 9.0)]}
    assert public_seconds({"public": found, "official": official}, 0.8) == (None, 16)
    assert public_seconds({"public": found, "official": official}, 0.9) == (None, None)


def test_failing_command_ends_the_benchmark():
    with pytest.raises(SystemExit, match="without an epoch"):
        run_code("raise SystemExit(2)", limit=50)
