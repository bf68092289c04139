"""A million generated rows: what opening and feeding their cache takes, and what can be learnt."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from hamur.data import load_ali_ccp
from hamur.data.ali_ccp.raw import DATASET
from hamur.data.streaming.prepare import prepare
from hamur.data.synthetic import make_ali_ccp_raw

ROOT = Path(__file__).resolve().parents[3]
OPEN = f"""
import json, sys, time
sys.path.insert(0, {str(ROOT)!r})
from hamur.data import ShuffledBatches, load_ali_ccp

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

before, start = resident(), time.process_time()
(train, _, _), schema = load_ali_ccp(sys.argv[1])
opened, added = time.process_time() - start, resident() - before
batches, rows = ShuffledBatches(train, 4096, 1), 0
start = time.process_time()
for number in range(5):
    for batch in batches.epoch(number):
        rows += int(batch.weight.sum())
print(json.dumps([opened, added, rows, time.process_time() - start]))
"""

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:domain")]


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """The cache of 1,000,000 rows and the content of truth.json."""
    folder = tmp_path_factory.mktemp("million")
    truth = make_ali_ccp_raw(folder / "raw", 1_000_000, 11, test_rows=100_000)
    return prepare(DATASET, folder / "raw", folder / "out", quiet=True), truth


def test_opening_and_a_thousand_batches(million):
    """Processor time, which other processes of the machine do not change much."""
    command = [sys.executable, "-W", "ignore", "-c", OPEN, str(million[0].folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    opened, added, rows, seconds = json.loads(out)
    assert opened < 1 and added < 100
    assert rows > 1_000 * 4_000 and seconds < 10


def test_marginals_of_a_million_rows(million):
    (train, _, _), _ = load_ali_ccp(million[0].folder)
    assert abs(train.labels[:, 0].mean() - 0.0389) < 3 * np.sqrt(0.0389 * 0.9611 / len(train))
    stats = million[0].stats["splits"]["train"]["domains"]
    shares = sorted(domain["rows"] / len(train) for domain in stats.values())
    assert np.abs(np.array(shares) - sorted((0.3779, 0.0075, 0.6147))).max() < 0.002
    truth = million[1]["train"]
    positives = train.labels[:, 0].sum()
    best, expected = truth["bayes_auc"], truth["expected_auc"]
    assert abs(best - expected) <= 3 * np.sqrt(best * (1 - best) / positives)


def test_a_linear_model_learns_the_signal_and_none_is_better_than_the_best(million):
    (train, _, test), schema = load_ali_ccp(million[0].folder)
    chosen = [schema.sparse_names.index(name) for name in ("121", "125", "206", "216")]

    def features(table, rows):
        ids = table.sparse[:rows, :][:, chosen].astype(np.int64)
        return np.column_stack([ids, ids * 3 + table.domain[:rows, None]])

    encoder = OneHotEncoder(handle_unknown="ignore").fit(features(train, 100_000))
    model = LogisticRegression(C=0.1, max_iter=300)
    model.fit(encoder.transform(features(train, 100_000)), train.labels[:100_000, 0])
    label = test.labels[:, 0]
    auc = roc_auc_score(label, model.predict_proba(encoder.transform(features(test, None)))[:, 1])
    best = million[1]["test"]["bayes_auc"]
    assert 0.55 <= auc <= best + 3 * np.sqrt(best * (1 - best) / label.sum())
