"""The comparison of models without models: in one process, with figures by a formula."""

import dataclasses
import time
from pathlib import Path

import pytest

from hamur.commands import processes
from hamur.files import write_history, write_json
from hamur.reporting.results import PREDICTIONS
from hamur.studies import comparison
from hamur.studies.comparison import run_comparison
from hamur.studies.comparison_config import ComparisonConfig

MODELS = ("mlp", "mlp_adp+adapter@dcn_md")


@pytest.fixture
def trained(monkeypatch):
    """Runs in this process, in the place of processes, and the names of those that were begun."""
    begun = []

    def run(tasks, function, at_once, known=None, quiet=False):
        failed = {}
        for task in tasks:
            begun.append(task.name)
            if code := function(task.argument):
                failed[task.name] = processes.Failure(code, "nan")
        return failed

    monkeypatch.setattr(processes, "run", run)
    return begun


def fake(config, fingerprint="f"):
    """What a run leaves on disk: its AUC is told by model and seed; seconds are never the same."""
    auc = 0.7 + 0.01 * (config.seed - 2022) ** 2 + 0.001 * len(config.name)
    entry = {"auc": auc, "logloss": 0.6}
    size = {"rows": 50, "positives": 20}
    report = entry | {"macro_auc": auc, "worst_auc": auc, "domains": {"0": entry | size}}
    train = {"epochs": 2, "best_epoch": 1, "seconds": time.perf_counter(), "parameters": 9}
    options = dataclasses.asdict(config.resolved(comparison.SCRIPT, 6400))
    description = {"options": options, "data": {"fingerprint": fingerprint}}
    description |= {"versions": {"mindspore": "2.10"}, "git_commit": None}
    folder = Path(config.save_dir)
    write_json(folder / "config.json", description)
    write_history(folder / "history.csv", [{"epoch": 1, "seconds": train["seconds"]}])
    for name in PREDICTIONS.values():
        (folder / name).touch()
    write_json(folder / "metrics.json", {"test": report, "valid": report, "train": train}, True)
    return 0


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Runs the comparison in a folder with a fake training."""
    monkeypatch.setattr("hamur.reporting.results.fingerprint", lambda splits: "f")
    monkeypatch.setattr(comparison, "examine_domains", lambda *_: [])  # there are no models

    def compare(train=fake, folder="grid", **options):
        options = dict(models=MODELS, seeds=2, quiet=True) | options
        config = ComparisonConfig(save_dir=str(tmp_path / folder), **options)
        run_comparison(config, train)
        return tmp_path / folder

    return compare
