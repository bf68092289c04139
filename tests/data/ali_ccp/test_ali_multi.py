"""Ali-CCP with lists (multi="mean"): against the naive reader, against multi="last", in a model.

And the scripts with lists of either data set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from hamur.commands.prepare_data import main_prepare
from hamur.commands.ranking import main
from hamur.data import load_ali_ccp, load_movielens, synthetic
from hamur.data.cache import open_cache
from hamur.data.multi_valued import padded
from hamur.errors import CacheError
from hamur.layers import InstanceEmbedding
from hamur.models import published_sizes
from tests.data.ali_ccp.test_ali_raw import mutate_harmlessly, prepared
from tests.support import naive
from tests.support.caches import content
from tests.support.oracle import pool

TINY = published_sizes.Sizes((9, 6), (2,), (5,), rank=3)
MIN_COUNT, LAYOUT = 3, ("single", (), (), None, ())


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """The four raw files: permuted lists, some entries twice, some fields absent."""
    folder = tmp_path_factory.mktemp("raw") / "ali"
    synthetic.make_ali_ccp_raw(
        folder, 2_500, 3, test_rows=1_201, min_domain_rows=40, min_positives=2
    )
    mutate_harmlessly(folder)
    return folder


@pytest.fixture(scope="module")
def mean(raw, tmp_path_factory):
    """(splits, schema, what was made) with lists of up to 5 entries."""
    out = tmp_path_factory.mktemp("mean") / "out"
    options = dict(multi="mean", max_len=5, min_count=MIN_COUNT, range_bytes=100_000)
    return prepared(raw, out, **options)


@pytest.fixture(scope="module")
def expected(raw) -> dict:
    return naive.tables(raw, MIN_COUNT, "mean", max_len=5)


def test_lists_and_cells_equal_the_naive_reader(mean, expected):
    splits, schema, made = mean
    assert [spec.name for spec in schema.multi] == naive.MULTI
    assert schema.split["multi"] == "mean" and {spec.max_len for spec in schema.multi} == {5}
    for field, vocabulary in expected["vocabularies"].items():
        assert np.load(made.folder / "vocab" / f"{field}.npy").tolist() == list(vocabulary)
    for part, table in splits._asdict().items():
        own = expected[part]
        table.validate(schema)
        np.testing.assert_array_equal(np.asarray(table.sparse), own["ids"])
        np.testing.assert_allclose(np.asarray(table.dense), own["dense"], atol=1e-6)
        np.testing.assert_array_equal(table.labels[:, 0], own["click"])
        for spec, column in zip(schema.multi, table.multi_valued):
            lists = own["lists"][spec.name]
            whole = column.take(np.arange(len(table)))
            assert np.diff(whole.offsets).tolist() == [len(each) for each in lists]
            assert whole.ids.tolist() == [number for each in lists for number, _ in each]
            np.testing.assert_allclose(whole.values, [v for each in lists for _, v in each], 1e-6)
            alone = sum(each[0][0] == 0 for each in lists)
            assert made.stats["splits"][part]["unknown"][spec.name] == alone


def test_lists_of_common_rows_are_stored_once(mean):
    splits, schema, _ = mean
    stored = {
        spec.name: column.rows for spec, column in zip(schema.multi, splits.train.multi_valued)
    }
    assert [name for name, rows in stored.items() if rows is None] == ["210", "853"]
    assert len(splits.train.multi_valued[2].offsets) - 1 < len(splits.train) / 4


@pytest.mark.parametrize("pool_weight", ["uniform", "value"])
def test_pooled_vectors_of_1000_rows_equal_a_loop(mean, expected, pool_weight):
    """Acceptance 6 of the data specification, from the file to the embedded instance."""
    splits, schema = load_ali_ccp(mean[2].folder, pool_weight=pool_weight)
    assert {spec.pool_weight for spec in schema.multi} == {pool_weight}
    multi = [(spec.vocab_size, spec.max_len) for spec in schema.multi]
    layer = InstanceEmbedding(np.random.default_rng(1), schema.vocab_sizes, 4, 0.5, multi=multi)
    rows = np.random.default_rng(2).permutation(len(splits.train))[:1000]
    batch = padded(splits.train.multi_valued, rows)
    sparse = splits.train.sparse.take(rows)
    inputs = (Tensor(sparse), LAYOUT, None, *map(Tensor, batch.values()))
    found = layer(*inputs).asnumpy()[:, 4 * len(schema.vocab_sizes) :].reshape(1000, 6, 4)
    table, first = layer.table.asnumpy(), sum(schema.vocab_sizes)
    for number, spec in enumerate(schema.multi):
        lists = [expected["train"]["lists"][spec.name][row] for row in rows]
        if pool_weight == "uniform":
            lists = [[(entry, 1.0) for entry, _ in each] for each in lists]
        np.testing.assert_allclose(found[:, number], pool(table[first:], lists), atol=1e-6)
        first += spec.vocab_size


def test_of_lists_cut_to_their_last_entry_mean_equals_last(raw, tmp_path):
    cut = Path(shutil.copytree(raw, tmp_path / "cut"))
    for path in cut.glob("*.csv"):
        lines = []
        for line in filter(None, path.read_text().splitlines()):
            head, _, features = line.rpartition(",")
            last = {feature.partition("\x02")[0]: feature for feature in features.split("\x01")}
            lines.append(f"{head}," + "\x01".join(last.values()))
        path.write_text("\n".join([*lines, ""]))
    mean, schema, _ = prepared(cut, tmp_path / "mean", multi="mean", min_count=MIN_COUNT)
    last, last_schema, _ = prepared(raw, tmp_path / "last", min_count=MIN_COUNT)
    for ours, theirs in zip(mean, last):
        np.testing.assert_array_equal(np.asarray(ours.dense), np.asarray(theirs.dense))
        ids = {name: ours.sparse[:, f] for f, name in enumerate(schema.sparse_names)}
        for spec, column in zip(schema.multi, ours.multi_valued):
            whole = column.take(np.arange(len(ours)))
            assert spec.max_len == 1 and (np.diff(whole.offsets) == 1).all()
            ids[spec.name] = whole.ids
        for f, name in enumerate(last_schema.sparse_names):
            np.testing.assert_array_equal(ids[name], theirs.sparse[:, f], err_msg=name)


def test_workers_and_ranges_do_not_change_a_list(raw, mean, tmp_path):
    options = dict(multi="mean", max_len=5, min_count=MIN_COUNT)
    *_, two = prepared(raw, tmp_path / "two", workers=2, range_bytes=100_000, **options)
    assert content(mean[2].folder) == content(two.folder)
    whole, _, _ = prepared(raw, tmp_path / "whole", range_bytes=1 << 30, **options)
    for a, b in zip(mean[0], whole):
        for ours, theirs in zip(a.multi_valued, b.multi_valued):
            for name in ("ids", "values", "offsets"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_changed_byte_of_a_list_is_found(mean, tmp_path):
    folder = Path(shutil.copytree(mean[2].folder, tmp_path / "copy"))
    path = folder / "common_train" / "multi_150_14.ids.npy"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"multi_150_14.ids.npy.*has changed"):
        open_cache(folder, verify=True)


def test_options_that_cannot_be_met_are_named(raw, mean, tmp_path):
    with pytest.raises(ValueError, match=r"prepared with.*multi 'mean'"):
        load_ali_ccp(mean[2].folder, multi="last")
    with pytest.raises(ValueError, match=r"prepared with.*max_len 5"):
        load_ali_ccp(mean[2].folder, max_len=6)
    with pytest.raises(ValueError, match="`max_len` is 5"):
        load_ali_ccp(raw, multi="last", max_len=5, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="`multi` is 'sum'"):
        load_ali_ccp(raw, multi="sum", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="needs raw files"):
        load_ali_ccp(multi="mean", cache_dir=tmp_path)


LISTS = [  # options that make lists; a wrong one of the script, and what is said of it
    ("ali-ccp", load_ali_ccp, ("--multi", "mean", "--max_len", "4"),
     ("--genres", "multi"), "--genres does not apply"),
    ("ml-1m", load_movielens, ("--genres", "multi"), ("--genres", "first"), "prepare it again"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "load", "options", "wrong", "words"), LISTS)
def test_scripts_prepare_and_train_with_lists(
    name, load, options, wrong, words, raw, movielens_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(published_sizes.PUBLISHED[name], "wd_md", TINY)
    out, runs = tmp_path / "cache", tmp_path / "run"
    folder = raw if name == "ali-ccp" else movielens_folder
    flags = ["--dataset", name, "--raw", str(folder), "--out", str(out), "--quiet", *options]
    assert main_prepare("prepare_data.py", "", flags) == 0
    sizes = json.loads((out / "stats.json").read_text())["vocabularies"]
    assert sizes["110_14" if name == "ali-ccp" else "genres"] > 2 and "cate_id" not in sizes
    flags = ["--dataset_path", str(out), "--model_name", "wd_md", "--epoch", "1", "--quiet"]
    trained = [*flags, "--pool_weight", "value", "--save_dir", str(runs)]
    assert main(load, "run.py", "", trained) == 0, capsys.readouterr().err
    made = json.loads((runs / "config.json").read_text())
    assert made["data"]["split"][options[0].removeprefix("--")] == options[1]
    assert made["options"]["pool_weight"] == "value"
    assert 0 < json.loads((runs / "metrics.json").read_text())["test"]["auc"] < 1
    assert main(load, "run.py", "", [*flags, *wrong]) == 2
    assert words in capsys.readouterr().err
