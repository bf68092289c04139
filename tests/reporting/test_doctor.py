"""The domain doctor finds what is planted: who gains and pays, who is miscalibrated, which feature
matters where, whose positives drift; without training (one test does train)."""

import dataclasses
import json
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hamur import metrics
from hamur.files import read_json, write_json
from hamur.reporting import doctor, doctor_page, page, results
from hamur.studies import comparison
from tests.support import planted_domains as planted
from tests.support.planted_domains import OWN, QUIET, SHARED, SMALL, THINNED

SCHEMA = planted.SCHEMA
# Noise in the logits of each domain: alone, a small domain learns little; together, the one of its
# own taste is disturbed.
MODELS = {"single_domain": (0.2, 1.2, 2.0, 3.0, 1.0), "joint": (1.0, 0.1, 0.1, 0.3, 1.0)}
MODELS["same"] = MODELS["single_domain"]
SEEDS = (7, 8, 9, 10, 11)


@pytest.fixture(scope="module")
def splits():
    return planted.make(16_000, seed=1)


def noisy(model, seed):
    """The scores of a run: the truth, and noise of the model in each domain."""
    stream = list(MODELS).index(model), seed

    def score(table):
        rng = np.random.default_rng(stream)
        p = planted.score(table)
        noise = np.array(MODELS[model])[table.domain] * rng.standard_normal(len(table))
        return 1 / (1 + np.exp(-np.log(p / (1 - p)) - noise))

    return score


@pytest.fixture(scope="module")
def runs(tmp_path_factory, splits):
    """Model -> seed -> folder, as examples/compare_models.py leaves them."""
    folders = {}
    for model in MODELS:
        for seed in SEEDS:
            folder = tmp_path_factory.mktemp(f"{model}-{seed}")
            write_run(folder, splits, noisy(model, seed))
            folders.setdefault(model, {})[seed] = folder
    return folders


def write_run(folder, splits, score):
    content = {}
    for part, prefix in (("valid", "valid_"), ("test", "")):
        table = getattr(splits, part)
        p = score(table)
        content[part] = metrics.by_group(table.labels[:, 0], p, table.domain, SCHEMA.num_domains)
        results.write_predictions(folder / f"{prefix}predictions.parquet", table, p)
    write_json(folder / "metrics.json", content, sealed=True)


@pytest.fixture
def no_importance(monkeypatch):
    """Without the part that takes longest."""
    monkeypatch.setattr(doctor, "importance", lambda *_: {"reason": "left out"})


def examine(runs, splits):
    return doctor.examine_runs(runs, splits, SCHEMA, lambda folder: planted.score)


@pytest.fixture(scope="module")
def content(runs, splits):
    return examine(runs, splits)


def gain_verdicts(content, model):
    return [cell["auc"]["verdict"] if "auc" in cell else None
            for cell in content["gains"]["models"][model]]  # fmt: skip


@pytest.mark.parametrize("seeds", [SEEDS, (8,)], ids=["seeds", "one seed"])
def test_who_gains_from_joint_training_and_who_pays(runs, splits, seeds, no_importance):
    chosen = {model: {seed: folders[seed] for seed in seeds} for model, folders in runs.items()}
    found = examine(chosen, splits)["gains"]
    verdicts = gain_verdicts({"gains": found}, "joint")
    assert verdicts == [doctor.PAYS, doctor.GAINS, doctor.GAINS, doctor.GAINS, None]
    assert set(gain_verdicts({"gains": found}, "same")) == {doctor.NOISE, None}
    cell = found["models"]["joint"][OWN]
    assert cell["seeds"] == len(seeds) and cell["auc"]["adjusted"] >= cell["auc"]["p"]
    assert cell["logloss"]["difference"] < 0 and cell["logloss"]["verdict"] == doctor.PAYS
    assert "reason" in found["models"]["joint"][QUIET]


def test_without_single_domain_nothing_is_said_of_gains(runs, splits, no_importance):
    found = examine({"joint": runs["joint"]}, splits)
    assert "no single_domain" in found["gains"]["reason"] and found["model"]["name"] == "joint"
    assert "no single_domain" in dict(doctor_page.sections(found))["Who gains from joint training"]


def test_who_is_miscalibrated_and_that_recalibration_repairs_it(runs, splits):
    folder = runs["joint"][7]
    files = (doctor.read_predictions(folder / f"{p}predictions.parquet") for p in ("valid_", ""))
    reports = [dict(part, probability=None) for part in files]
    for part, table in zip(reports, (splits.valid, splits.test)):
        part["probability"] = planted.score(table)
    found = doctor.calibration(*reports, SCHEMA.num_domains)
    verdicts = [report.get("before", {}).get("verdict") for report in found]
    assert verdicts[THINNED].startswith("overestimates by ") and verdicts[QUIET] is None
    assert verdicts[OWN] == verdicts[SHARED] == verdicts[SMALL] == "calibrated"
    assert found[THINNED]["after"]["helps"] == "recalibration helps"
    assert found[THINNED]["after"]["verdict"] == "calibrated"


def test_which_feature_matters_where(content, splits):
    found = content["importance"]
    names = [name for name in found["features"] if name != "price"]
    assert names == ["item", "context", "user", "tags", "noise"]
    matters = {
        name: [d for d, cell in enumerate(row) if cell.get("matters")]
        for name, row in found["features"].items()
    }
    assert matters["context"] == [OWN] and matters["tags"] == [SHARED]
    assert matters["item"] == [OWN, SHARED, THINNED, SMALL]
    assert matters["user"] == matters["noise"] == [] and matters["price"][:2] == [OWN, SHARED]
    assert found["left_out"] == "domain_indicator" and "reason" in found["features"]["item"][QUIET]
    assert found["rows"] == np.minimum(np.bincount(splits.valid.domain), 5000).tolist()


def test_a_model_of_noise_is_told_that_no_feature_matters(splits):
    """Scores by user, who has no part in the labels: a column shuffled moves them, to no avail."""
    wrong = 0
    for seed in range(8):
        taste = np.random.default_rng(seed).random(planted.USERS)
        found = doctor.importance(
            lambda table, taste=taste: taste[table.sparse[:, 2]], splits.valid, SCHEMA, 800, 5, seed
        )
        cells = [cell for row in found["features"].values() for cell in row]
        wrong += any(cell.get("matters", False) for cell in cells)
    assert wrong <= 1


def test_rows_of_a_domain_are_drawn_by_the_seed_and_columns_stay_in_it(splits):
    seen = []

    def score(table):
        seen.append(table)
        return planted.score(table)

    found = doctor.importance(score, splits.valid, SCHEMA, rows=100, repeats=2)
    assert found["rows"] == [100] * 4 + [int((splits.valid.domain == QUIET).sum())]
    assert len(seen) == 1 + 2 * 6
    first, *others = seen
    for table in others:
        same = [np.array_equal(table.sparse[:, f], first.sparse[:, f]) for f in range(4)]
        same += [np.array_equal(table.dense[:, c], first.dense[:, c]) for c in range(2)]
        same += [np.array_equal(table.multi_valued[0].ids, first.multi_valued[0].ids)]
        assert same.count(False) == 1 and same[3]
        for d in range(SCHEMA.num_domains):
            rows = first.domain == d
            for name in ("sparse", "dense"):
                columns = (np.sort(getattr(t, name)[rows], axis=0) for t in (table, first))
                np.testing.assert_array_equal(*columns)
    again = doctor.importance(planted.score, splits.valid, SCHEMA, rows=100, repeats=2)
    assert again == found


def test_positives_drift_where_that_is_planted(content, splits):
    verdicts = [report.get("verdict") for report in content["drift"]["domains"]]
    assert verdicts == [doctor.STEADY, doctor.STEADY, doctor.FALLS, doctor.STEADY, None]
    untimed = type(splits)(*(dataclasses.replace(table, time=None) for table in splits))
    assert doctor.drift(untimed, SCHEMA.num_domains) == {"reason": "the rows have no time"}


def test_the_examined_model_is_the_best_on_validation_rows(runs, splits, tmp_path, no_importance):
    chosen = {model: dict(folders) for model, folders in runs.items()}
    for number, seed in enumerate(SEEDS):  # right on test rows alone
        folder = tmp_path / str(seed)
        write_run(folder, splits, planted.score)
        flat = {"auc": 0.5 + 0.001 * number, "domains": {}}
        report = json.loads((folder / "metrics.json").read_text())
        write_json(folder / "metrics.json", {"valid": flat, "test": report["test"]}, sealed=True)
        chosen.setdefault("cheat", {})[seed] = folder
    found = examine(chosen, splits)
    best = max(MODELS, key=lambda m: valid_auc(runs[m]))
    assert found["model"]["name"] == best and found["model"]["seed"] == 7
    assert found["gains"]["joint"] != "cheat"


def valid_auc(folders):
    reports = (json.loads((f / "metrics.json").read_text()) for f in folders.values())
    return np.mean([report["valid"]["auc"] for report in reports])


def test_what_was_found_is_kept_until_the_runs_change(
    runs, splits, tmp_path, monkeypatch, no_importance
):
    calls, real = [], doctor.examine_runs

    def counted(*arguments):
        calls.append(arguments)
        return real(*arguments)

    def load(path, runs):
        return doctor.load_or_examine(path, runs, splits, SCHEMA, lambda folder: planted.score)

    monkeypatch.setattr(doctor, "examine_runs", counted)
    path = tmp_path / "doctor.json"
    first = load(path, runs)
    written = path.read_bytes()
    assert load(path, runs) == first and len(calls) == 1
    fewer = {model: {7: folders[7]} for model, folders in runs.items()}
    assert load(path, fewer) != first and len(calls) == 2
    assert load(path, runs) == first
    assert path.read_bytes() == written


def test_a_model_that_cannot_be_loaded_leaves_the_rest(runs, splits):
    def refuse(folder):
        raise ValueError("norm_inference='batch'")

    found = doctor.examine_runs(runs, splits, SCHEMA, refuse)
    assert found["importance"] == {"reason": "norm_inference='batch'"} and found["calibration"]
    words = dict(doctor_page.sections(found))["Which feature matters where"]
    assert "Not known: norm_inference" in words


@pytest.mark.parametrize("damage", ["missing", "cut", "other columns"])
def test_damaged_predictions_are_one_line(damage, tmp_path):
    path = tmp_path / "predictions.parquet"
    if damage != "missing":
        pq.write_table(pa.table({"domain": [0], "label": [1]}), path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"predictions\.parquet: no table .* Remedy: remove"):
        doctor.read_predictions(path)


def test_the_sections_say_it_in_words_and_escape_names(content):
    names = ["<b>own & odd</b>", *planted.NAMES[1:]]
    found = json.loads(json.dumps(content | {"domains": names}))
    parts = doctor_page.sections(found)
    text = page.page("doctor", parts)
    assert "<b>" not in text and text.count("&lt;b&gt;own &amp; odd&lt;/b&gt;") >= 8
    body = text[text.index("<body>") : text.index("</html>")]
    assert ElementTree.fromstring(body).tag == "body"
    words = {heading: " ".join("".join(ElementTree.fromstring(f"<x>{html}</x>").itertext()).split())
             for heading, html in parts}  # fmt: skip
    assert "small: gains from joint training with joint, AUC +0." in words[parts[0][0]]
    assert "1 of 2 models gain, 0 pay" in words[parts[0][0]]
    assert "quiet: no verdict, 0 positive test rows of" in words[parts[1][0]]
    assert "; beyond noise only here: tags" in words[parts[2][0]]
    assert "thinned: the share of positives falls from" in words[parts[3][0]]
    assert "own & odd</b>: no trend" in words[parts[3][0]].replace("&lt;", "<")


def test_of_many_domains_only_those_with_something_to_tell_have_a_sentence(content):
    def repeated(entries):
        return entries + [entries[SHARED]] * 20

    many = json.loads(json.dumps(content))
    many["domains"] += [f"d{n}" for n in range(20)]
    many["drift"]["domains"] = repeated(many["drift"]["domains"])
    many["calibration"] = repeated(many["calibration"])
    many["importance"]["features"] = {
        name: repeated(row) for name, row in many["importance"]["features"].items()
    }
    many["gains"]["models"] = {name: repeated(row) for name, row in many["gains"]["models"].items()}
    text = dict(doctor_page.sections(many))["Drift of positives over time"]
    assert text.count("<li>") == 2 and "24 other domains: nothing to tell" in text
    assert "the share of positives falls" in text and text.count("<tr>") == 1 + 24
    text = dict(doctor_page.sections(many))["Who is miscalibrated"]
    assert text.count("<figure>") == 12 and "of the 12 largest domains" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hamur.errors.SingleClassWarning")
def test_trained_models_of_planted_rows_get_the_planted_verdicts(tmp_path):
    """A real comparison, of a model with a tower per domain and of one that cannot tell the domains
    apart."""
    planted.frame(planted.make(24_000)).to_parquet(tmp_path / "planted.parquet")
    flags = "--label like --domain domain --split column:part --time at --min_domain_rows 0 "
    flags += "--sparse item,context,user --dense price,noise --drop domain_indicator --epochs 12 "
    flags += "--models single_domain,mlp,domain_feature --baseline single_domain --seeds 1"
    places = ["--table", str(tmp_path / "planted.parquet"), "--save_dir", str(tmp_path / "grid")]
    assert comparison.main("compare_models.py", "", [*places, *flags.split()]) == 0
    found = read_json(tmp_path / "grid" / "doctor.json")
    at = {name: d for d, name in enumerate(found["domains"])}
    own, shared, thinned, small, quiet = (at[name] for name in planted.NAMES)
    assert found["model"]["name"] == found["gains"]["joint"] == "mlp"
    assert gain_verdicts(found, "mlp")[small] == doctor.GAINS
    assert gain_verdicts(found, "domain_feature")[own] == doctor.PAYS
    verdicts = [report.get("before", {}).get("verdict") for report in found["calibration"]]
    assert verdicts[thinned].startswith("overestimates by ")
    assert verdicts[own] == verdicts[shared] == verdicts[small] == "calibrated"
    after = found["calibration"][thinned]["after"]
    assert (after["helps"], after["verdict"]) == ("recalibration helps", "calibrated")
    features = found["importance"]["features"]
    matters = {n: {d for d, c in enumerate(row) if c.get("matters")} for n, row in features.items()}
    assert matters["context"] == {own} and matters["tags"] == {shared}
    assert matters["item"] == {own, shared, thinned, small}
    assert matters["user"] == matters["noise"] == set()
    drifts = [report.get("verdict") for report in found["drift"]["domains"]]
    assert drifts[thinned] == doctor.FALLS and drifts[own] == drifts[shared] == doctor.STEADY
    assert "reason" in found["gains"]["models"]["mlp"][quiet]
    page = (tmp_path / "grid" / "report.html").read_bytes()
    assert b"thinned: the share" in page.replace(b"\n", b" ")
    assert comparison.main("compare_models.py", "", [*places, *flags.split()]) == 0
    assert (tmp_path / "grid" / "report.html").read_bytes() == page
