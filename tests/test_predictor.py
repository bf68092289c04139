"""Laws of predictors: a run's folder, wherever it is, scores raw rows as training does."""

import json
import random
import re
import shutil
import threading
import warnings

import numpy as np
import pytest

import hamur
from hamur import training
from hamur.data import load_aliexpress, load_amazon_pair, load_movielens
from hamur.data.cross_domain.collate import TEST, CrossDomainRows, RowRules
from hamur.data.table import drop_fields
from hamur.errors import DataFormatError, UnknownDomainError
from hamur.files import read_json, write_json
from hamur.training.checkpoint import load_state, save_state, snapshot
from tests.support.faults import assert_ours
from tests.support.fuzz import damage
from tests.support.model_folders import write_pair_run, write_run
from tests.test_encoders import SEED, decoded

ROWS = 64  # of 17 to 64 rows a predictor compiles once; a test that needs other sizes is slow
LOADERS = {"mlp": lambda: load_movielens(genres="multi"), "pomoe": load_aliexpress}
RNG = np.random.default_rng(SEED)
RULES = {"draws": 3, "seed": 8, "source_pool": "before_row", "replaced": [0, 0]}


@pytest.fixture(scope="module", params=LOADERS)
def run(request, tmp_path_factory):
    """(folder that was moved, the model that was saved, a table, its raw rows)"""
    splits, schema = LOADERS[request.param]()
    folder = tmp_path_factory.mktemp("runs") / "made"
    model = write_run(folder, request.param, splits, schema)
    moved = folder.with_name("moved elsewhere")
    shutil.move(folder, moved)
    table = splits.test.take(np.arange(ROWS))
    return moved, model, table, decoded(schema, table, np.random.default_rng(SEED))


@pytest.fixture(scope="module")
def predictor(run):
    return hamur.load(run[0])


def test_a_moved_run_scores_as_training_predicts(run, predictor):
    _, model, table, frame = run
    scores = predictor.predict(frame)
    assert scores.dtype == np.float32 and np.ptp(scores) > 0.01
    (restored,) = predictor.score.args
    np.testing.assert_equal(snapshot(restored), snapshot(model))
    np.testing.assert_allclose(scores, training.predict(restored, table), atol=1e-6, rtol=0)


def test_a_score_depends_on_nothing_but_its_row(run, predictor):
    frame, scores = run[3], predictor.predict(run[3])
    order = np.random.default_rng(SEED).permutation(ROWS)
    shuffled = frame.iloc[order, ::-1]
    np.testing.assert_allclose(predictor.predict(shuffled), scores[order], atol=1e-6, rtol=0)
    for rows in (1, 47):
        some = predictor.predict(frame.iloc[5 : 5 + rows].to_dict("records"))
        np.testing.assert_allclose(some, scores[5 : 5 + rows], atol=1e-6, rtol=0)
    assert predictor.predict([]).shape == (0, *scores.shape[1:])


def test_threads_share_a_predictor_and_each_has_its_report(run, predictor):
    frame, wrong = run[3], []
    scores = predictor.predict(frame)

    def work(number: int) -> None:
        for begin in range(number, 24, 3):
            part = slice(begin, begin + 20 + number)
            found = predictor.predict(frame.iloc[part])
            right = predictor.report.rows == 20 + number
            if not right or np.abs(found - scores[part]).max() > 1e-6:
                wrong.append(begin)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_every_row_may_have_a_preference_of_its_own(run, predictor):
    frame = run[3]
    if not predictor.takes_preferences:
        with pytest.raises(ValueError, match="takes no preference"):
            predictor.predict(frame, preference=[0.5, 0.5])
        return
    points = np.random.default_rng(SEED).dirichlet((1, 1), ROWS)
    points[10:50] = (0.25, 0.75)
    scores = predictor.predict(frame, preference=points)
    expected = predictor.predict(frame, preference=(0.25, 0.75))
    np.testing.assert_allclose(scores[10:50], expected[10:50], atol=1e-6, rtol=0)
    for row in (0, 9, 50, 63):
        of_all = predictor.predict(frame, preference=points[row])
        np.testing.assert_allclose(scores[row], of_all[row], atol=1e-6, rtol=0)
    for wrong, text in (((0.5, 0.6), "sums to 1"), (points[:3], "got 3 for 64 rows")):
        with pytest.raises(ValueError, match=text):
            predictor.predict(frame, preference=wrong)


def test_columns_that_are_missing_or_too_many(run, predictor):
    frame = run[3].head(4)
    first, *others, last = predictor.encoders.columns.sparse
    with pytest.raises(DataFormatError, match=f"missing columns '{first}', '{last}'"):
        predictor.predict(frame[others])
    short = frame.drop(columns=[first, last])
    table = predictor.encode(short, allow_missing=True)
    assert predictor.report.unknown[first] == predictor.report.unknown[last] == 4
    np.testing.assert_array_equal(table.sparse[:, 1], predictor.encode(frame).sparse[:, 1])
    with pytest.warns(UserWarning, match="does not read: colour"):
        predictor.encode(frame.assign(colour=[{}, [], "x", 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.encode(frame.assign(colour="red"))


def test_an_unknown_domain_is_an_error_or_scored_as_another(run, predictor):
    frame, domain = run[3].head(3).copy(), predictor.encoders.columns.domain
    value = 77 if predictor.encoders.columns.kinds[domain.column] == "int" else "XX"
    frame[domain.column] = [value, *frame[domain.column][1:]]
    with pytest.raises(UnknownDomainError, match=rf"rows:1: .*'?{value}'?.*expected"):
        predictor.predict(frame)
    names = predictor.schema.domain_names
    table = predictor.encode(frame, unknown_domain=names[1])
    assert table.domain[0] == 1 and predictor.report.other_domain == 1
    with pytest.raises(ValueError, match=re.escape(f"known are {', '.join(names)}")):
        predictor.encode(frame, unknown_domain="nowhere")


def test_damaged_or_old_folders_are_refused_in_one_line(run, tmp_path):
    folder, frame = tmp_path / "copy", run[3].head(2)
    shutil.copytree(run[0], folder)
    expected = hamur.load(folder).encode(frame)
    rng = random.Random(SEED)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        content = path.read_bytes()
        for number in range(3):
            damage(rng, path, [other for other in files if other.suffix == path.suffix])
            if number == 0:
                path.unlink()
            try:
                found = hamur.load(folder).encode(frame)
                np.testing.assert_array_equal(found.sparse, expected.sparse)
            except Exception as error:
                assert_ours(error, f"{path.name}, damage {number} of seed {SEED}")
            path.write_bytes(content)
    (folder / "schema.json").unlink()
    with pytest.raises(DataFormatError, match=r"earlier version.*a_script\.py.*--overwrite"):
        hamur.load(folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        hamur.load(folder / "nowhere")


def test_other_sizes_versions_and_weights_are_refused(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run[0], folder)
    about = read_json(folder / "schema.json")
    write_json(folder / "schema.json", about | {"format": 99}, sealed=True)
    with pytest.raises(DataFormatError, match="another format version"):
        hamur.load(folder)
    fields = json.loads(json.dumps(about["schema"]["fields"]))
    fields[0]["vocab_size"] += 3
    schema = about["schema"] | {"fields": fields}
    write_json(folder / "schema.json", about | {"schema": schema}, sealed=True)
    with pytest.raises(DataFormatError, match="values for"):
        hamur.load(folder)
    write_json(folder / "schema.json", about, sealed=True)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        hamur.load(folder)


def test_a_resumed_run_of_an_earlier_version_becomes_complete(tmp_path):
    loaded = load_movielens()
    model = write_run(tmp_path, "mlp", *loaded)
    (tmp_path / "schema.json").unlink()
    shutil.rmtree(tmp_path / "encoders")
    progress = {"epoch": 1, "averages": False, "course": {}, "run": {}}
    save_state(tmp_path / "last", {"model": snapshot(model)}, progress)
    with pytest.raises(DataFormatError, match="earlier version"):
        hamur.load(tmp_path)
    write_run(tmp_path, "mlp", *loaded, resume=True)
    assert load_state(tmp_path / "last") is not None
    table = hamur.load(tmp_path).encode(decoded(loaded[1], loaded[0].test.take([3]), RNG))
    np.testing.assert_array_equal(table.sparse, loaded[0].test.sparse[3:4])
    smaller = drop_fields(*loaded, ["zip", "gender"])
    write_run(tmp_path, "mlp", *smaller, overwrite=True)
    assert load_state(tmp_path / "last") is None
    assert "zip" not in hamur.load(tmp_path).encoders.needed


def test_scores_of_batch_statistics_are_refused(tmp_path):
    write_run(tmp_path, "mlp_adp", *load_movielens(), preset="official")
    with pytest.raises(ValueError, match="no row has a score of its own"):
        hamur.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "options"),
    [("domain_feature", {"adapter": True}), ("mlp", {"match_parameters": "mlp_adp"})],
)
def test_a_run_is_restored_with_its_adapter_and_widths(name, options, tmp_path):
    model = write_run(tmp_path, name, *load_movielens(), **options)
    (restored,) = hamur.load(tmp_path).score.args
    np.testing.assert_equal(snapshot(restored), snapshot(model))


def test_what_biao_learns_of_its_source_is_no_part_of_a_score(tmp_path):
    model = write_pair_run(tmp_path, "conet_biao", load_amazon_pair(), RULES)
    (restored,) = hamur.load(tmp_path).score.args
    weights, read = snapshot(model), snapshot(restored)
    assert not {name for name in read if name.startswith(("phi", "upper"))}
    np.testing.assert_equal(read, {name: weights[name] for name in read})


@pytest.mark.parametrize("name", ["conet", "conet_s"])
def test_a_pair_is_scored_with_what_its_evaluation_feeds(name, tmp_path):
    pair = load_amazon_pair()
    model = write_pair_run(tmp_path, name, pair, RULES)
    predictor = hamur.load(tmp_path)

    def raw(table, side):
        names = zip(("user", f"{side}_item"), np.asarray(table.sparse[:, :2]).T)
        columns = zip(("user", "item"), (pair.names[field][ids] for field, ids in names))
        return dict(columns) | {"timestamp": table.time}

    test = pair.target.test.take(np.flatnonzero(pair.target.test.sparse[:, 1])[:20])
    targets, histories = raw(test, "target"), raw(pair.source, "source")
    rows, (restored,) = CrossDomainRows(pair, RowRules()), predictor.score.args
    np.testing.assert_equal(snapshot(restored), snapshot(model))
    expected = training.predict(
        restored, rows.candidates(test, RULES["draws"], RULES["seed"], TEST)
    )
    scores = predictor.predict(targets, histories=histories)
    np.testing.assert_allclose(scores, expected, atol=1e-6, rtol=0)
    alone = predictor.predict(targets)
    np.testing.assert_array_equal(predictor.predict(targets, histories=[]), alone)
    assert (np.abs(alone - scores).max() > 1e-3) == (name != "conet_s")
    some = {column: values[2:20] for column, values in targets.items()}
    found = predictor.predict(some, histories=histories)
    np.testing.assert_allclose(found, scores[2:], atol=1e-6, rtol=0)
    predictor.encode({"user": ["nobody"], "item": ["nothing"], "category": ["others"]})
    assert predictor.report.unknown == {"user": 1, "item": 1}
