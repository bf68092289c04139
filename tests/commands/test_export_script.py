"""Exported models: they score as the run they are of, also where there is no MindSpore."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import hamur
from hamur.commands.export_model import export_folder, main_export
from hamur.data import load_aliexpress, load_amazon_pair, load_movielens
from hamur.data.cross_domain.collate import TEST, CrossDomainRows, RowRules
from hamur.errors import DataFormatError
from hamur.trained_model import load_run
from tests.support.faults import assert_ours
from tests.support.model_folders import write_pair_run, write_run
from tests.test_encoders import SEED, decoded

BACKENDS = ("mindir", "onnx")
RULES = {"draws": 3, "seed": 8, "source_pool": "before_row", "replaced": [0, 0]}
ROWS = 40
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


@pytest.fixture(scope="module", params=["mlp", "pomoe"])
def made(request, tmp_path_factory):
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
def pair_run(tmp_path_factory):
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
FULL = dict.fromkeys(("mlp_adp", "dcn_md_adp", "wd_md_adp"), load_movielens)
FULL |= dict.fromkeys(("pomoe", "mmoe"), load_aliexpress) | {"conet": load_amazon_pair}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_10_000_rows_in_batches_of_1_7_and_4096_equal_the_scores_of_python(name, tmp_path):
    rng, data = np.random.default_rng(SEED), FULL[name]()
    if name == "conet":
        write_pair_run(tmp_path / "run", name, data, RULES)
        model, _, _ = load_run(tmp_path / "run")
        rows = CrossDomainRows(data, RowRules())
        table = rows.candidates(data.target.test, 1, 0, TEST).pairs(model.schema.num_sparse)[1]
    else:
        write_run(tmp_path / "run", name, *data)
        model, _, _ = load_run(tmp_path / "run")
        table = data[0].test
    table = table.take(rng.integers(0, len(table), FULL_ROWS))
    preferences = [None]
    if getattr(model, "takes_preferences", False):
        preferences = [np.array([0.3, 0.7], np.float32), rng.dirichlet((1, 1), FULL_ROWS)]
    folder = export_folder(tmp_path / "run", tmp_path / "out", BACKENDS)
    of_run = hamur.load(tmp_path / "run")
    for preference in preferences:
        expected = of_run.score(table, preference)
        for backend in BACKENDS:
            score, worst = hamur.load(folder, backend).score, []
            for size in SIZES:
                parts = []
                for start in range(0, FULL_ROWS, size):
                    part = np.arange(start, min(start + size, FULL_ROWS))
                    each = preference if np.ndim(preference) < 2 else preference[part]
                    parts.append(score(table.take(part), each))
                worst.append(np.abs(np.concatenate(parts) - expected).max())
                close(np.concatenate(parts), expected)
            told = ", ".join(f"{size}: {each:.1e}" for size, each in zip(SIZES, worst))
            print(f"{name} {backend} seed {SEED}: largest difference in batches of {told}")
