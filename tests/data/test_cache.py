"""The cache: absent or complete, never stale, never pickled."""

import json
import logging
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hamur.data import (
    cache,
    load_ali_ccp,
    load_aliexpress,
    load_amazon,
    load_amazon_pair,
    load_movielens,
    load_movielens_pair,
    load_scenarios,
)
from hamur.data.amazon.load import DATASET as AMAZON
from hamur.data.amazon.load import SAMPLE as AMAZON_SAMPLE
from hamur.data.streaming.prepare import prepare
from hamur.errors import CacheError
from tests.support.caches import assert_same
from tests.support.faults import assert_ours
from tests.support.lines import set_line


@pytest.fixture
def built(movielens_copy, tmp_path):
    """(source, cache folder, the one cached data set in it)."""
    root = tmp_path / "cache"
    load_movielens(movielens_copy, cache_dir=root)
    (folder,) = root.iterdir()
    return movielens_copy, root, folder


def test_second_load_reads_the_same_tables(built):
    source, root, folder = built
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    splits, schema = load_movielens(source, cache_dir=root)
    again, schema_again = load_movielens(source, cache_dir=root)
    assert_same(splits, again)
    assert schema == schema_again
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert isinstance(splits.train.sparse, np.memmap)
    assert not splits.train.sparse.flags.writeable
    assert list(root.iterdir()) == [folder]  # nothing temporary is left


def test_only_arrays_and_json_are_stored_and_nothing_beside_the_source(built):
    beside = {path.name for path in built[0].iterdir()}
    assert beside == {"movies.dat", "ratings.dat", "users.dat"}
    names = {path.name for path in built[2].rglob("*") if path.is_file()}
    assert {name.rpartition(".")[2] for name in names} == {"npy", "json", "COMPLETE"}
    for path in built[2].rglob("*.npy"):
        np.load(path, allow_pickle=False)


def test_writers_at_the_same_time_leave_one_good_cache(movielens_folder, tmp_path):
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(load_movielens, movielens_folder, cache_dir=tmp_path) for _ in range(6)]
        loaded = [job.result()[0] for job in jobs]
    for splits in loaded:
        assert_same(loaded[0], splits)
    (folder,) = tmp_path.iterdir()
    cache.open_cache(folder, verify=True)


def test_no_module_can_run_code_out_of_data():
    for path in Path(cache.__file__).parent.rglob("*.py"):
        # literal_eval builds values and calls nothing.
        source = path.read_text(encoding="utf-8").replace("ast.literal_eval(", "")
        for word in ("eval(", "pickle.load", "allow_pickle=True", "import pickle"):
            assert word not in source, path


def test_changed_source_builds_again(built, caplog):
    source, root, folder = built
    before = (folder / "schema.json").read_text()
    set_line(source / "ratings.dat", 1, lambda text: text.rpartition("::")[0] + "::1000000000")
    splits, _ = load_movielens(source, cache_dir=root)
    assert "source files or options have changed" in caplog.text
    assert (folder / "schema.json").read_text() != before
    assert list(root.iterdir()) == [folder]
    assert np.concatenate([table.time[table.row_id == 0] for table in splits]) == 1_000_000_000


def test_other_options_have_a_cache_of_their_own(built):
    source, root, folder = built
    load_movielens(source, cache_dir=root, split_seed=7)
    assert len(list(root.iterdir())) == 2 and folder.exists()


def change_version(folder):
    values = json.loads((folder / "schema.json").read_text())
    (folder / "schema.json").write_text(json.dumps({**values, "format": 99}))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "changed since": lambda folder: flip(folder / "train" / "labels.npy"),
    "not the one that was written": lambda folder: flip(folder / "COMPLETE"),
    "incomplete": lambda folder: (folder / "COMPLETE").unlink(),
    "another format version": change_version,
    "another size": lambda folder: (folder / "train" / "sparse.npy").write_bytes(b"short"),
    "the file is missing": lambda folder: (folder / "test" / "dense.npy").unlink(),
    "schema.json": lambda folder: (folder / "schema.json").write_text("{"),
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_damaged_cache_is_named_and_then_repaired(built, reason, caplog):
    source, root, folder = built
    reference, _ = load_movielens(source, cache_dir=root)
    reference = [table.take(np.arange(len(table))) for table in reference]
    DAMAGE[reason](folder)
    with pytest.raises(CacheError, match=f"{reason}.*Remedy"):
        cache.open_cache(folder)
    with caplog.at_level(logging.WARNING):
        repaired, _ = load_movielens(source, cache_dir=root)
    assert reason in caplog.text
    assert_same(reference, repaired)
    assert_same(reference, cache.open_cache(folder)[0])


def test_a_prepared_cache_of_an_earlier_version_names_the_command(tmp_path):
    folder = tmp_path / "prepared"
    prepare(AMAZON, AMAZON_SAMPLE, folder, quiet=True)
    change_version(folder)
    command = rf"prepare_data\.py --raw FILES --dataset amazon --out {folder}"
    with pytest.raises(CacheError, match=command):
        load_amazon(folder)


@pytest.mark.parametrize("name", ["sparse", "dense", "labels", "group", "row_id"])
def test_flipped_byte_is_found_unless_switched_off(built, name, monkeypatch):
    flip(built[2] / "train" / f"{name}.npy")
    cache.open_cache(built[2], verify=False)
    with pytest.raises(CacheError, match="has changed since it was written"):
        cache.open_cache(built[2])
    monkeypatch.setenv("HAMUR_VERIFY", "off")
    cache.open_cache(built[2])
    with pytest.raises(CacheError, match="has changed since it was written"):
        cache.open_cache(built[2], verify=True)


def test_interrupted_write_leaves_no_cache(movielens_folder, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("hamur.data.cache.write_array", fail)
    with pytest.raises(OSError, match="disk full"):
        load_movielens(movielens_folder, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_folder(movielens_folder, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises(OSError, match=f"File too large.*{tmp_path}/ml-1m") as told:
            load_movielens(movielens_folder, cache_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_ours(told.value)
    assert list(tmp_path.iterdir()) == []


def test_unusable_default_folder_is_a_warning_only(movielens_folder, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAMUR_CACHE", str(tmp_path / "file"))
    splits, _ = load_movielens(movielens_folder)
    assert len(splits.train) == 1600 and "HAMUR_CACHE" in caplog.text
    with pytest.raises(OSError):
        load_movielens(movielens_folder, cache_dir=tmp_path / "file")


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HAMUR_CACHE", str(tmp_path / "a"))
    assert cache.default_folder() == tmp_path / "a"
    monkeypatch.delenv("HAMUR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.default_folder() == tmp_path / "b" / "hamur"


def test_digest_of_a_large_file_reads_its_ends_only(tmp_path, monkeypatch):
    monkeypatch.setattr("hamur.data.cache.WHOLE_DIGEST_BYTES", 1)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3 << 20))
    before = cache.source_digest([path], tmp_path)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    assert cache.source_digest([path], tmp_path) != before


def test_files_of_one_name_in_two_folders_have_a_digest_each(tmp_path):
    paths = [tmp_path / name for name in ("a/data.zip", "b/data.zip")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
    digests = cache.source_digest(paths, tmp_path)
    assert list(digests) == ["a/data.zip", "b/data.zip"] and len(set(digests.values())) == 2


LOADERS = {
    "load_movielens": (load_movielens, "run_movielens_rank_multi_domain.py"),
    "load_ali_ccp": (load_ali_ccp, "run_ali_ccp_ctr_ranking_multi_domain.py"),
    "load_aliexpress": (load_aliexpress, "run_aliexpress_multi_task.py"),
    "load_amazon_pair": (load_amazon_pair, "run_amazon_cross_domain.py"),
}
OTHERS = (load_amazon, load_movielens_pair, load_scenarios)


@pytest.mark.parametrize("made", LOADERS)
def test_a_cache_of_another_data_set_is_refused_and_its_script_named(made, built, tmp_path):
    load, script = LOADERS[made]
    if made == "load_amazon_pair":
        folder = prepare(AMAZON, AMAZON_SAMPLE, tmp_path / "pair", quiet=True).folder
    elif load is load_movielens:
        folder = built[2]
    else:
        load(cache_dir=tmp_path / made)
        (folder,) = (tmp_path / made).iterdir()
    for other in (*(one for one, _ in LOADERS.values()), *OTHERS):
        if other is load or {load, other} == {load_amazon, load_amazon_pair}:
            other(folder)
            continue
        with pytest.raises(CacheError, match=f"{made}.*{script}") as told:
            other(folder)
        assert_ours(told.value, other.__name__)


@pytest.mark.parametrize(
    "load, asked",
    [
        (load_movielens, dict(split_seed=7)),
        (load_movielens, dict(genres="multi")),
        (load_ali_ccp, dict(split_seed=7, split="halves")),
        (load_ali_ccp, dict(labels=("click", "purchase"))),
        (load_ali_ccp, dict(min_count=3)),
        (load_aliexpress, dict(valid_fraction=0.3)),
    ],
)
def test_options_that_a_cache_was_not_made_with_are_refused(load, asked, tmp_path):
    load(cache_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    load(folder)
    with pytest.raises(ValueError, match=r"was prepared with .*; prepare it again"):
        load(folder, **asked)
