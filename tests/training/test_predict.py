"""Prediction of a table: its order, any composition, any number of rows; what is not exported."""

import dataclasses
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mindspore import Tensor

from hamur import training
from hamur.training import onnx
from hamur.training.checkpoint import snapshot
from hamur.training.prediction import predictor_of
from tests.conftest import tiny_table
from tests.support.faults import assert_ours
from tests.support.runs import assert_equal_arrays, make_model

pytestmark = pytest.mark.usefixtures("uncompiled")


def direct(model, table):
    """The model itself on all rows at once, in the table's order."""
    model.set_train(False)
    logits = model(Tensor(table.sparse), Tensor(table.dense), Tensor(table.domain)).asnumpy()
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture
def table(tiny_schema):
    return tiny_table(tiny_schema, 150, 2)


@pytest.mark.parametrize("batch_size", [150, 40])
def test_probabilities_stand_in_the_tables_order(batch_size, tiny_schema, table):
    model = make_model("mlp_adp", tiny_schema)
    expected = direct(model, table)
    found = training.predict(model, table, batch_size)
    assert (found.shape, found.dtype) == ((150,), np.float64)
    close(found, expected)


def test_another_composition_than_the_last_table(tiny_schema, table):
    """A domain alone, one row, two domains, all three again: one model, one predictor."""
    model = make_model("mlp_adp", tiny_schema)
    expected = direct(model, table)
    of_domain = [np.flatnonzero(table.domain == d) for d in range(3)]
    for rows in (of_domain[2], of_domain[0], [5], np.r_[of_domain[1], of_domain[2]], slice(None)):
        rows = np.arange(150)[rows]
        close(training.predict(model, table.take(rows)), expected[rows])


def test_tables_of_like_composition_share_what_is_compiled(tiny_schema, table):
    """Validation and test splits differ by a few rows; the second must not compile again."""
    model = make_model("mlp", tiny_schema)
    training.predict(model, table)
    predictor = predictor_of(model)
    for other in (table.take(np.arange(140)), tiny_table(tiny_schema, 150, 8), table):
        training.predict(model, other)
    assert predictor_of(model) is predictor and len(predictor.compiled) == 1


def test_row_ids_and_weights_of_the_table_do_not_matter(tiny_schema, table):
    model = make_model("mlp", tiny_schema)
    expected = training.predict(model, table)
    bare = dataclasses.replace(table, row_id=None, group=None, labels=1 - table.labels)
    np.testing.assert_array_equal(training.predict(model, bare), expected)


def test_batch_statistics_warn_once_and_refuse_a_row_alone(tiny_schema, table):
    model = make_model("mlp_adp", tiny_schema, "official")
    with pytest.warns(UserWarning, match="norm_inference='batch'.*other rows of its batch"):
        whole = training.predict(model, table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.predict(model, table)
        for rows in ([3], np.arange(129)):  # one row, and one row in the last batch of 64
            with pytest.raises(ValueError, match=r"norm_inference='batch'.*has one row"):
                predictor_of(model, 16384 if len(rows) == 1 else 64)(table.take(rows))
    assert np.isfinite(whole).all()


def test_an_exported_model_is_left_as_it_was(tiny_schema, tmp_path):
    model = make_model("mlp", tiny_schema)
    before = snapshot(model)
    training.export(model, tmp_path / "a.mindir")
    assert_equal_arrays(snapshot(model), before)


@pytest.mark.parametrize("path", ["folder", "file/below", "x" * 300], ids=len)
def test_an_export_that_cannot_be_written_is_one_line_and_leaves_nothing(
    tiny_schema, tmp_path, path
):
    (tmp_path / "folder.mindir").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ValueError, OSError)) as error:
        training.export(make_model("mlp", tiny_schema), tmp_path / path)
    assert_ours(error.value)
    assert sorted(tmp_path.rglob("*")) == before


LOADERS = {".mindir": training.load_mindir, ".onnx": training.load_onnx}


@pytest.mark.parametrize("suffix", LOADERS)
def test_a_large_model_is_exported_as_files_that_belong_together(
    suffix, tiny_schema, table, tmp_path, monkeypatch
):
    monkeypatch.setattr("mindspore.train.serialization.TOTAL_SAVE", 0)
    monkeypatch.setattr("hamur.training.onnx.SEPARATE_BYTES", 0)
    model = make_model("mlp", tiny_schema)
    path = training.export(model, tmp_path / f"large{suffix}")
    assert len(list(path.parent.iterdir())) == 2
    found = LOADERS[suffix](path)(table.sparse, table.dense, table.domain)
    close(found, training.predict(model, table))


@pytest.mark.parametrize("suffix", LOADERS)
def test_a_loaded_graph_names_what_is_wrong_with_a_call_or_a_file(
    suffix, tiny_schema, table, tmp_path
):
    path = training.export(make_model("mlp", tiny_schema), tmp_path / f"a{suffix}")
    load, name = LOADERS[suffix], path.name
    scores = load(path)
    good = table.sparse, table.dense, table.domain
    expected = scores(*good)
    np.testing.assert_array_equal(scores.of_table(table), expected)
    for bad in ((), good[:2], (good[0].astype(np.int64), *good[1:]), (good[0][:3], *good[1:])):
        with pytest.raises(ValueError, match=rf"{name} takes int32 \(\d+, 3\), float32.* got"):
            scores(*bad)
    np.testing.assert_array_equal(scores(*good), expected)
    for content in (b"", b"text", path.read_bytes()[:500]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no complete") as error:
            load(path)
        assert_ours(error.value)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_inputs_and_the_output_of_a_graph_have_names_and_onnx_scores_in_threads(
    tiny_schema, table, tmp_path
):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = make_model("wd_md_adp", tiny_schema)
    paths = [training.export(model, tmp_path / f"a{suffix}") for suffix in LOADERS]
    for path, load in zip(paths, LOADERS.values()):
        assert list(load(path).inputs) == ["sparse", "dense", "domain"]
    session = onnxruntime.InferenceSession(paths[1], providers=["CPUExecutionProvider"])
    inputs = {name: getattr(table, name) for name in ("sparse", "dense", "domain")}
    (expected,) = session.run(["probability"], inputs)
    scores = training.load_onnx(paths[1])
    parts = [table.take(np.arange(size)) for size in (1, 40, 150)] * 4
    with ThreadPoolExecutor(4) as pool:
        for part, found in zip(parts, pool.map(scores.of_table, parts)):
            close(found, expected[: len(part)])


def test_an_operator_without_translation_is_named(tiny_schema, tmp_path, monkeypatch):
    monkeypatch.delitem(onnx.OPERATORS, "Sigmoid")
    with pytest.raises(
        ValueError, match="the operator Sigmoid has no translation to ONNX"
    ) as error:
        training.export(make_model("mlp", tiny_schema), tmp_path / "a.onnx")
    assert_ours(error.value)
    assert not list(tmp_path.iterdir())


def test_batch_statistics_cannot_be_exported(tiny_schema, tmp_path):
    model = make_model("mlp_adp", tiny_schema, "official")
    with pytest.raises(ValueError, match=r"cannot be served.*norm_inference='running'"):
        training.export(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
