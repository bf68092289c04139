"""Generated raw Ali-CCP files: published marginals, a known best AUC, a million rows."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from hamur.data import load_ali_ccp, synthetic
from hamur.data.ali_ccp.raw import DATASET
from hamur.data.streaming.prepare import prepare
from hamur.data.synthetic import make_ali_ccp_raw
from hamur.data.synthetic.ali_world import PRESENT, RATES, SHARES
from tests.support import naive

ROWS = 150_000


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """(folder, content of truth.json, truth.npz)."""
    out = tmp_path_factory.mktemp("generated") / "ali"
    report = synthetic.make_ali_ccp_raw(out, ROWS, 7, test_rows=2_000)
    with np.load(out.with_name("ali.truth.npz")) as known:
        return out, report, dict(known)


def test_rates_and_shares_are_the_published_ones(generated):
    _, report, known = generated
    label, domain = known["train_label"], known["train_domain"]
    error = np.sqrt(0.0389 * 0.9611 / ROWS)
    assert abs(label.mean() - 0.0389) < 4 * error
    shares = np.bincount(domain) / len(domain)
    assert np.abs(shares - SHARES).max() < 0.005
    for d in (0, 2):
        own = label[domain == d]
        assert abs(own.mean() - RATES[d]) < 4 * np.sqrt(RATES[d] / len(own)) + 0.001
    assert report["train"]["rows"] == len(label)


def test_presence_and_form_of_the_lists(generated):
    folder = generated[0]
    skeleton = (folder / "sample_skeleton_train.csv").read_text().splitlines()[:20_000]
    counts: dict[str, int] = {}
    for line in skeleton:
        cells = line.split(",")
        listed = naive.features(cells[5])
        assert len(cells) == 6 and int(cells[4]) == len(listed)
        assert len(cells[3]) == 16 and cells[3] == cells[3].lower()
        for field in {field for field, _, _ in listed}:
            counts[field] = counts.get(field, 0) + 1
    for field in naive.SKELETON[:-1]:
        assert abs(counts[field] / len(skeleton) - PRESENT[field][1]) < 0.015, field
    assert counts["301"] == len(skeleton)
    orders = {tuple(f for f, *_ in naive.features(line.split(",")[5])) for line in skeleton[:200]}
    assert len(orders) > 150  # the order of the fields is not fixed
    values = {v for line in skeleton[:500] for _, _, v in naive.features(line.split(",")[5])}
    allowed = {round(float(np.log1p(c)), 5) for c in range(1, 201)} | {1.0}
    assert values <= allowed


def test_impossible_rows_are_there_and_counted(generated):
    rows = (generated[0] / "sample_skeleton_train.csv").read_text().splitlines()
    impossible = sum(line.split(",")[1:3] == ["0", "1"] for line in rows)
    assert 1 <= impossible <= 10 and len(rows) == ROWS
    assert len(generated[2]["train_label"]) == ROWS - impossible


def test_bayes_auc_is_right_and_in_the_agreed_range(generated):
    _, report, known = generated
    label, probability = known["train_label"], known["train_probability"].astype(float)
    best = report["train"]["bayes_auc"]
    assert best == pytest.approx(roc_auc_score(label, probability), abs=1e-9)
    assert 0.70 <= best <= 0.85
    assert best - report["train"]["bayes_auc_domain_blind"] >= 0.02
    positives = label.sum()
    error = np.sqrt(best * (1 - best) / positives)  # a bound on the standard error
    assert abs(best - report["train"]["expected_auc"]) <= 3 * error
    assert json.loads(generated[0].with_name("ali.truth.json").read_text()) == json.loads(
        json.dumps(report)
    )


def test_the_data_hold_nothing_of_the_ground_truth(generated):
    assert {path.name for path in generated[0].iterdir()} == {
        f"{kind}_{part}.csv"
        for kind in ("sample_skeleton", "common_features")
        for part in ("train", "test")
    }


def test_movielens_truth_is_written_beside_the_files(tmp_path):
    figures = synthetic.generate("ml-1m", "raw", tmp_path / "ml", 2_000, 1, {})
    assert 0.7 < figures["ratings"]["bayes_auc"] < 0.9
    with np.load(tmp_path / "ml.truth.npz") as known:
        lines = (tmp_path / "ml" / "ratings.dat").read_text().splitlines()
        liked = [int(line.split("::")[2]) > 3 for line in lines]
        np.testing.assert_array_equal(known["ratings_label"], liked)


def test_an_option_that_a_generator_lacks_is_named(tmp_path):
    with pytest.raises(ValueError, match="list_entries"):
        synthetic.generate("ml-1m", "raw", tmp_path / "ml", 2_000, 1, {"list_entries": 3.0})


def test_bundled_raw_sample_has_every_domain_with_both_classes():
    folder = Path(__file__).resolve().parents[3] / "data" / "ali-ccp-raw-sample"
    for part in ("train", "test"):
        seen = {(naive.last_id(row, "301"), row["click"]) for row in naive.rows(folder, part)}
        assert len(seen) == 6
    assert {row["conversion"] for row in naive.rows(folder, "train")} == {0, 1}


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

pytestmark = pytest.mark.filterwarnings("ignore:domain")


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """The cache of 1,000,000 rows and the content of truth.json."""
    folder = tmp_path_factory.mktemp("million")
    truth = make_ali_ccp_raw(folder / "raw", 1_000_000, 11, test_rows=100_000)
    return prepare(DATASET, folder / "raw", folder / "out", quiet=True), truth


@pytest.mark.slow
def test_opening_and_a_thousand_batches(million):
    """Processor time, which other processes of the machine do not change much."""
    command = [sys.executable, "-W", "ignore", "-c", OPEN, str(million[0].folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    opened, added, rows, seconds = json.loads(out)
    assert opened < 1 and added < 100
    assert rows > 1_000 * 4_000 and seconds < 10


@pytest.mark.slow
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


@pytest.mark.slow
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
