"""Exported models: they score as the run they are of, also where there is no MindSpore."""

import functools
import itertools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import hamur
from hamur import metrics, training
from hamur.commands.export_model import export_folder, main_export
from hamur.data import load_aliexpress, load_amazon_pair, load_movielens
from hamur.data.cross_domain.collate import TEST, CrossDomainRows, RowRules
from hamur.errors import DataFormatError
from hamur.trained_model import BLOCK, load_run
from hamur.training.checkpoint import save_weights, snapshot
from tests.support.faults import assert_ours
from tests.support.model_folders import write_pair_run, write_run
from tests.test_encoders import SEED, decoded

BACKENDS = ("mindir", "onnx")
RULES = {"draws": 3, "seed": 8, "source_pool": "before_row", "replaced": [0, 0]}
ROWS = 32
# Runs where `import mindspore` fails, as where it is not installed.
WITHOUT_MINDSPORE = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mindspore":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import hamur
asked = json.loads(sys.stdin.read())
model = hamur.load(asked["folder"])
scores = [model.predict(asked["rows"], preference=each).tolist() for each in asked["preferences"]]
print(json.dumps(scores))
"""


@pytest.fixture(scope="module")
def few_compilations():
    """A run is built once, and scores in calls of one size: any makes the same scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hamur.trained_model.load_run", functools.cache(load_run))
        patch.setattr("hamur.models.prediction.SIZES", (64,))
        patch.setattr("hamur.models.task_prediction.NUMBERS", (BLOCK,))
        yield


@pytest.fixture(scope="module", params=["mlp", "pomoe"])
def made(request, few_compilations, tmp_path_factory):
    """(its export, which was moved; raw rows; preferences and the run's scores at each)"""
    loaders = {"mlp": lambda: load_movielens(genres="multi"), "pomoe": load_aliexpress}
    splits, schema = loaders[request.param]()
    folder = tmp_path_factory.mktemp("export")
    write_run(folder / "run", request.param, splits, schema)
    flags = ["--run", str(folder / "run"), "--out", str(folder / "new" / "out"), "--format"]
    assert main_export("export_model.py", "", [*flags, ",".join(BACKENDS)]) == 0
    shutil.move(folder / "new" / "out", folder / "moved")
    assert not list((folder / "new").iterdir())
    table = splits.test.take(np.arange(ROWS))
    rows = decoded(schema, table, np.random.default_rng(SEED))
    of_run, preferences = hamur.load(folder / "run"), [None]
    if of_run.takes_preferences:
        each = np.random.default_rng(SEED).dirichlet((1, 1), ROWS)
        preferences += [[0.3, 0.7], each.tolist()]
    return folder / "moved", rows, [(each, of_run.predict(rows, each)) for each in preferences]


def close(found, expected, atol=1e-6):
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


def test_every_backend_scores_as_the_run_does(made):
    folder, rows, expected = made
    request = json.loads((folder / "request.json").read_text())
    for backend in BACKENDS:
        model = hamur.load(folder, backend)
        for preference, scores in expected:
            found = model.predict(rows, preference)
            assert found.dtype == np.float32
            close(found, scores)
        assert model.predict([]).shape == (0, *scores.shape[1:])
        close(model.predict(request["rows"]), request["probabilities"], atol=1e-5)
        assert model.report.unknown == {} and len(request["rows"]) == 3
    assert hamur.load(folder).score.__self__.path.suffix == ".mindir"


def test_onnx_scores_raw_rows_without_mindspore(made):
    folder, rows, expected = made
    rows = json.loads(rows.to_json(orient="records"))
    asked = dict(folder=str(folder), rows=rows, preferences=[each for each, _ in expected])
    asked, code = json.dumps(asked), [sys.executable, "-c", WITHOUT_MINDSPORE]
    done = subprocess.run(code, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (_, scores), found in zip(expected, json.loads(done.stdout), strict=True):
        close(found, scores)


@pytest.fixture(scope="module")
def pair_run(few_compilations, tmp_path_factory):
    """(run of conet, its export, raw rows, source rows)"""
    pair, folder = load_amazon_pair(), tmp_path_factory.mktemp("pair")
    write_pair_run(folder / "run", "conet", pair, RULES)
    export_folder(folder / "run", folder / "out", BACKENDS)
    known = pair.schema.encoders.vocabularies
    users, items = (known[name].values.tolist() for name in ("user", "target_item"))
    rows = [{"user": users[n % 40], "item": items[n % len(items)]} for n in range(ROWS)]
    items = known["source_item"].values.tolist()
    source = [{"user": users[n % 30], "item": items[n % len(items)]} for n in range(200)]
    return folder / "run", folder / "out", rows, source


def test_what_cannot_be_exported_or_loaded_is_one_line_and_harms_nothing(pair_run, tmp_path):
    run, folder, _, _ = pair_run
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    copy = shutil.copytree(folder, tmp_path / "copy")
    before = sorted(tmp_path.rglob("*"))
    attempts = [
        (run, tmp_path / "mine", "holds something else, such as notes.txt"),
        (run, tmp_path / "mine" / "notes.txt", "holds something else"),
        (run, copy, "holds an export; choose another `out`, or `overwrite=True`"),
        (copy, tmp_path / "new", "is an exported model"),
        (tmp_path / "none", tmp_path / "new", "no such folder"),
    ]
    for source, out, text in attempts:
        with pytest.raises((ValueError, OSError), match=re.escape(text)) as error:
            export_folder(source, out, ["onnx"], overwrite=out.name == "mine")
        assert_ours(error.value)
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match="`backend=tensorrt`, but the graphs here are"):
        hamur.load(copy, "tensorrt")
    with (copy / "graph.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataFormatError, match=r"graph\.onnx.*has changed since it was written"):
        hamur.load(copy)
    export_folder(run, copy, ["onnx"], overwrite=True)
    assert not (copy / "graph.mindir").exists() and len(list(tmp_path.iterdir())) == 2
    assert len(hamur.load(copy).predict(json.loads((copy / "request.json").read_text())["rows"]))


def test_an_exported_conet_reads_the_source_behaviours(pair_run, monkeypatch):
    run, folder, rows, source = pair_run
    of_run = hamur.load(run)
    for histories in (None, source):
        expected = of_run.predict(rows, histories=histories)
        for backend in BACKENDS:
            close(hamur.load(folder, backend).predict(rows, histories=histories), expected)
    assert np.ptp(of_run.predict(rows, histories=source) - of_run.predict(rows)) > 1e-4
    monkeypatch.setattr("hamur.trained_model._has_mindspore", lambda: False)
    assert "onnx" in str(hamur.load(folder).score.__self__.path)
    with pytest.raises(ValueError, match="a MindIR needs MindSpore, which is not installed"):
        hamur.load(folder, "mindir")


FULL_ROWS, SIZES = 10_000, (1, 7, 4096)
FULL = ("mlp_adp", "dcn_md_adp", "wd_md_adp", "mmoe", "pomoe", "pomoe of noise", "conet")
# The noise that stands for training makes gates of pomoe with logits of 135 in the median and 364
# at most.  float32 keeps 3e-5 of those, which a softmax passes on where two experts are close: the
# scores of Python, ONNX and MindIR are off those of float64 by 8.1e-6, 9.0e-6 and 8.0e-6.
NOISE_LIMIT = 2e-5


def full_run(name, folder):
    """Writes a run; (table that it scores, limit of a difference)."""
    if name == "conet":
        pair = load_amazon_pair()
        write_pair_run(folder, name, pair, RULES)
        pairs = CrossDomainRows(pair, RowRules()).candidates(pair.target.test, 1, 0, TEST)
        return pairs.pairs(load_run(folder)[1].num_sparse)[1], 1e-6
    ranking = name.endswith("_adp")
    splits, schema = load_movielens() if ranking else load_aliexpress()
    trained = name == "pomoe"
    model = write_run(folder, name.partition(" ")[0], splits, schema, noise=0.2 * (not trained))
    if trained:
        entropy = metrics.label_entropy(splits.train.labels)
        options = training.PreferenceOptions(tuple(entropy), total_steps=56)
        evaluation = functools.partial(
            training.TaskEvaluation, preferences=[[0.5, 0.5]], entropy=entropy
        )
        step = functools.partial(training.preference_step, options=options)
        trainer = training.Trainer(
            step, epochs=4, batch_size=128, criterion="weighted_loss", evaluation=evaluation
        )
        trainer.fit(model, splits.train, splits.valid)
        save_weights(folder / "model.safetensors", snapshot(model))
    return splits.test, NOISE_LIMIT if name == "pomoe of noise" else 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_10_000_rows_in_batches_of_1_7_and_4096_equal_the_scores_of_python(name, tmp_path):
    table, limit = full_run(name, tmp_path / "run")
    rng, of_run = np.random.default_rng(SEED), hamur.load(tmp_path / "run")
    drawn = rng.integers(0, len(table), FULL_ROWS)
    table, preferences = table.take(drawn), [None]
    if of_run.takes_preferences:
        preferences = [np.array([0.3, 0.7]), rng.dirichlet((1, 1), FULL_ROWS)]
    folder = export_folder(tmp_path / "run", tmp_path / "out", BACKENDS)
    graphs = {backend: hamur.load(folder, backend).score.__self__ for backend in BACKENDS}
    expected = [of_run.score(table, each) for each in preferences]
    cases = itertools.product(zip(preferences, expected), graphs.items())
    for (preference, scores), (backend, graph) in cases:
        inputs, worst = graph.inputs_of(table, preference), {}
        of_one = drawn if np.ndim(preference) < 2 else np.arange(FULL_ROWS)
        _, rows, again = np.unique(of_one, return_index=True, return_inverse=True)
        for size in SIZES:
            if size == 1:  # a row that was drawn again, alone, is the same call again
                blocks = rows[:, None]
            else:
                blocks = [slice(start, start + size) for start in range(0, FULL_ROWS, size)]
            parts = [[x[b] if len(x) == FULL_ROWS else x for x in inputs] for b in blocks]
            found = np.concatenate([graph(*part) for part in parts])
            found = found[again] if size == 1 else found
            worst[size] = np.abs(found - scores).max()
        told = ", ".join(f"{size}: {each:.1e}" for size, each in worst.items())
        print(f"{name} {backend} seed {SEED}: largest difference in batches of {told}")
        assert max(worst.values()) <= limit
