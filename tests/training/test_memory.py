"""The memory of a training, told before it and measured after it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hamur import data, models, training
from hamur.training import memory
from tests.conftest import make_tiny_schema, make_tiny_splits

EXAMPLES = Path(__file__).parents[2] / "examples"
MEASURED = {
    "sample": "run_movielens_rank_multi_domain.py --epochs 2",
    "batch statistics": "run_ali_ccp_ctr_ranking_multi_domain.py --preset official --epochs 1",
    "mixture": "run_aliexpress_multi_task.py --model_name mmoe --epochs 1",
    "preferences": "run_aliexpress_multi_task.py --model_name pomoe --epochs 1",
    "weights": "run_amazon_cross_domain.py --epochs 1",
    "large table": "run_own_table.py --table {table} --label y --epochs 1",
}


@pytest.fixture
def model():
    return models.RANKING["mlp"](make_tiny_schema(), embed_dim=4, hidden_dims=(10, 6))


def test_what_needs_more_is_estimated_higher(model):
    def needed(rows=100, lazy=False, averaging=False, saving=False):
        return memory.estimate(model, rows, lazy, averaging, saving)

    size = 4 * sum(each.size for each in model.trainable_params())
    now = [needed() for _ in range(2)]
    room = 2**20 + abs(now[1] - now[0])  # of the process itself, meanwhile
    assert needed(rows=10**6) > needed() + 10**6 * 4 * 0.8 * 16 - room  # widths 10 and 6
    for more, copies in ((dict(averaging=True), 1), (dict(saving=True), 6), (dict(lazy=True), -1)):
        assert abs(needed(**more) - needed() - copies * size) <= room


def test_a_training_that_cannot_fit_is_refused_before_it_begins(model, monkeypatch):
    splits = make_tiny_splits(model.schema)
    monkeypatch.setattr(memory, "available", lambda: 2**20)
    trainer = training.Trainer(training.supervised_step, batch_size=100)
    told = r"takes about [\d.]+ GiB of memory, of [\d.]+ GiB that there are; lower `batch_size`"
    with pytest.raises(ValueError, match=told):
        trainer.fit(model, splits.train, splits.valid)


def test_a_system_that_does_not_tell_refuses_nothing(model, monkeypatch):
    monkeypatch.setattr(memory, "_number", lambda path, name: None)
    assert memory.estimate(model, 100, False, False, False) is None
    assert memory.available() is None
    assert memory.check(None) is None


def test_a_container_has_less_than_the_machine(tmp_path, monkeypatch):
    limit, used = tmp_path / "limit", tmp_path / "used"
    monkeypatch.setattr(memory, "CGROUPS", ((limit, used),))
    free = memory.available()
    limit.write_text("max\n")
    used.write_text("1000\n")
    assert abs(memory.available() - free) < 2**30
    limit.write_text("5000\n")
    assert memory.available() == 4000


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_estimate_is_within_a_quarter_of_the_peak(name, tmp_path):
    table, rows = tmp_path / "clicks.csv", 300_000
    if "{table}" in MEASURED[name]:
        random = np.random.default_rng(0)
        lines = zip(random.permutation(rows), random.integers(0, 50, rows), rows * [0, 1])
        text = "".join(f"u{user},{item},{y}\n" for user, item, y in lines)
        table.write_text("user_id,item_id,y\n" + text)
    words = MEASURED[name].format(table=table).split()
    command = [sys.executable, EXAMPLES / words[0], *words[1:], "--save_dir", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = float(re.search(r"takes about ([\d.]+) GiB", done.stdout)[1]) * 1024
    content = json.loads((tmp_path / "run" / "metrics.json").read_text())
    peak = content.get("train", content)["peak_rss_mib"]
    assert abs(told / peak - 1) <= 0.25, (told, peak)


@pytest.mark.slow
def test_memory_stays_flat_over_200_epochs(tmp_path):
    splits, schema = data.load_movielens()
    model = models.RANKING["mlp_adp"](schema)
    resident = []

    def note(run):
        resident.append(memory._number("/proc/self/status", "VmRSS:"))

    options = dict(epochs=200, patience=None, batch_size=1024, averaging=0.998, quiet=True)
    options |= dict(save_dir=tmp_path, after_epoch=(note,))
    training.Trainer(training.supervised_step, **options).fit(model, splits.train, splits.valid)
    early, late = np.median(resident[20:40]), np.median(resident[-20:])
    assert len(resident) == 200
    assert late - early < 10 * 2**20, [each // 2**20 for each in resident[::20]]
