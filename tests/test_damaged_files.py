"""Damaged files of caches, runs and checkpoints: refused in one line, or harmless.

Harmless is what leaves every value that is read as it was.
"""

import collections
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from hamur.commands import script
from hamur.commands.cross_domain import PROBABILITIES, checksum, probabilities_of
from hamur.commands.script import check_folder, open_run
from hamur.data import load_ali_ccp, load_movielens
from hamur.data.amazon.load import DATASET as AMAZON
from hamur.data.amazon.load import SAMPLE as AMAZON_SAMPLE
from hamur.data.cache import open_cache
from hamur.data.cross_domain.storage import open_pair
from hamur.data.streaming.prepare import prepare
from hamur.files import read_json, write_history, write_json
from hamur.reporting.compare import RUN, load_runs
from hamur.same_run import finished
from hamur.training.checkpoint import (
    load_state,
    load_weights,
    restore,
    save_state,
    save_weights,
    snapshot,
)
from tests.support.faults import assert_ours
from tests.support.fuzz import damage, damaged_json

SEED = 17
# (files of a kind, damages of each, manifests that are given new sums)
SIZES = ((6, 4, 20), pytest.param((None, 30, 1000), marks=pytest.mark.slow))
RAW_SAMPLE = AMAZON_SAMPLE.with_name("ali-ccp-raw-sample")


# Makers: folder -> what lies there, by the writers of the package.


def ranking_cache(folder):
    load_movielens(cache_dir=folder)


def list_cache(folder):
    load_movielens(cache_dir=folder, genres="multi")


def streamed_cache(folder):
    load_ali_ccp(RAW_SAMPLE, cache_dir=folder, multi="mean", min_count=1)


def pair_cache(folder):
    prepare(AMAZON, AMAZON_SAMPLE, folder / "pair", quiet=True)


def model():
    rng = np.random.default_rng(1)
    shapes = {"table": (7, 3), "bias": (3,), "scale": ()}
    return [
        Parameter(Tensor(np.asarray(rng.normal(size=shape), np.float32)), name=name)
        for name, shape in shapes.items()
    ]


def description():
    options = {"seed": 3, "learning_rate": 1e-3, "preset": "paper", "save_dir": "x"}
    return {"options": options, "data": {"fingerprint": "ab12", "rows": {"train": 9}}}


def finished_run(folder):
    write_json(folder / "config.json", description())
    probabilities = np.random.default_rng(2).random(9, np.float32)
    np.save(folder / PROBABILITIES, probabilities)
    report = {"auc": 0.7125, "logloss": 0.31, "domains": {"0": {"auc": None, "rows": 9}}}
    content = {"dataset": "ml-1m", "model": "mlp", "preset": "paper", "seed": 3, "test": report}
    content |= {"valid": report, "train": {"epochs": 2, "parameters": 31, "seconds": 1.25}}
    content |= {"probabilities_sha256": checksum(probabilities)}
    save_weights(folder / "model.safetensors", snapshot(model()))
    write_history(folder / "history.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}])
    write_json(folder / "metrics.json", content, sealed=True)


def interrupted_run(folder):
    write_json(folder / "config.json", description())
    arrays = snapshot(model())
    parts = {"model": arrays, "best": arrays, "step": {"largest": np.array([np.nan])}}
    run = {"history": [{"epoch": 1, "loss": 0.5}], "epochs": 1, "best_epoch": 1, "best": 0.7}
    progress = {"epoch": 1, "averages": False, "course": {"seed": 3}, "run": run}
    save_state(folder / "last", parts, progress)


# Readers: folder -> every value that is read.


def in_memory(columns):
    """Copies, which do not change with the files."""
    return {name: np.array(column) for name, column in columns.items()}


def read_cache(folder):
    splits, schema = open_cache(folder)
    values, encoders = [schema.to_json()], schema.encoders
    if encoders is not None:
        values.append(encoders.to_json())
        values.append(in_memory({n: known.values for n, known in encoders.vocabularies.items()}))
    for table in splits:
        values.append(in_memory(table.columns()))
        for lists in table.multi_valued:
            values.append(in_memory({n: getattr(lists, n) for n in ("ids", "values", "offsets")}))
            values.append(None if lists.rows is None else np.array(lists.rows))
    if (folder / "stats.json").exists():
        values.append(read_json(folder / "stats.json"))
    return values


def read_pair(folder):
    pair = open_pair(folder)
    values = [pair.source_schema.to_json(), pair.target_schema.to_json(), pair.timed]
    names = ("source_categories", "target_categories", "valid_time")
    values += [in_memory(pair.names), in_memory({name: getattr(pair, name) for name in names})]
    values += [in_memory(table.columns()) for table in (pair.source, *pair.target)]
    return read_cache(folder) + values


def read_finished(folder):
    content = finished(folder, description())
    ((run,),) = (runs.values() for runs in load_runs([folder]).values())
    # What a flipped bit makes of the name of the checksum is read by nothing.
    contents = [{name: each.get(name) for name in ("valid", *RUN)} for each in (content, run)]
    cell = model()
    restore(cell, load_weights(folder / "model.safetensors"))
    return [contents, snapshot(cell), probabilities_of(folder, 9, content)]


def read_interrupted(folder):
    check_folder(folder, description(), resume=True, overwrite=False)
    parts, progress = load_state(folder / "last")
    cell = model()
    restore(cell, parts.pop("model"))
    return [parts, progress, snapshot(cell)]


KINDS = {
    "ranking cache": (ranking_cache, read_cache),
    "cache of lists": (list_cache, read_cache),
    "streamed cache": (streamed_cache, read_cache),
    "pair cache": (pair_cache, read_pair),
    "finished run": (finished_run, read_finished),
    "interrupted run": (interrupted_run, read_interrupted),
}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    make, read = KINDS[request.param]
    folder = tmp_path_factory.mktemp("made")
    make(folder)
    inner = list(folder.iterdir())
    folder = inner[0] if make in (ranking_cache, list_cache, streamed_cache, pair_cache) else folder
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return SimpleNamespace(name=request.param, folder=folder, files=files, read=read)


@pytest.mark.parametrize("size", SIZES)
def test_every_damaged_file_is_refused_or_harmless(made, size):
    original, found = made.read(made.folder), collections.Counter()
    rng, (number_of_files, times, _) = random.Random(f"{SEED} {made.name}"), size
    for path in made.files if number_of_files is None else chosen(rng, made, number_of_files):
        content = path.read_bytes()
        others = [other for other in made.files if other != path and other.suffix == path.suffix]
        for number in range(times):
            damage(rng, path, others)
            place = f"{made.name}: {path.name}, damage {number} of seed {SEED}"
            try:
                values = made.read(made.folder)
            except Exception as error:
                assert_ours(error, place)
                found[f"{path.suffix}: refused"] += 1
            else:
                np.testing.assert_equal(values, original, err_msg=place)
                found[f"{path.suffix}: harmless"] += 1
            path.write_bytes(content)
    np.testing.assert_equal(made.read(made.folder), original)
    print(f"\n{made.name}, {times} per file, seed {SEED}: {dict(sorted(found.items()))}")


def chosen(rng, made, number):
    """Some of the arrays, and all other files."""
    arrays = [path for path in made.files if path.suffix == ".npy"]
    others = [path for path in made.files if path.suffix != ".npy"]
    return rng.sample(arrays, min(number, len(arrays))) + others


@pytest.mark.parametrize("size", SIZES)
def test_nonsense_without_a_checksum_is_refused_or_taken(made, size, tmp_path):
    """As an older version left it, or a person who computes the sums again: no crash, no foreign
    error."""
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    rng, found = random.Random(f"{SEED} {made.name}"), collections.Counter()
    paths = [p for p in folder.rglob("*.json") if p.name != "stats.json"]
    originals = {path: unsealed(path) for path in paths}
    for number in range(size[-1]):
        path = rng.choice(paths)
        path.write_bytes(damaged_json(rng, originals[path]))
        try:
            made.read(folder)
            found["taken"] += 1
        except Exception as error:
            assert_ours(error, f"{path.name}, number {number} of seed {SEED}: {path.read_bytes()}")
            found["refused"] += 1
        path.write_bytes(originals[path])
    print(f"\n{made.name} without sums, seed {SEED}: {dict(found)}")


def unsealed(path: Path) -> bytes:
    """The content of a JSON file whose checksum, here or in COMPLETE, is taken away."""
    content = read_json(path)
    write_json(path, content)
    if path.name == "schema.json":
        path.with_name("COMPLETE").write_bytes(b"")
    return path.read_bytes()


def test_a_turned_byte_order_of_the_probabilities_is_seen(tmp_path):
    finished_run(tmp_path)
    path = tmp_path / PROBABILITIES
    path.write_bytes(path.read_bytes().replace(b"<f4", b">f4"))
    with pytest.raises(ValueError, match="not the probabilities of the run"):
        read_finished(tmp_path)


def test_a_damaged_state_leaves_the_results_of_its_run(tmp_path):
    interrupted_run(tmp_path)
    write_json(tmp_path / "metrics.json", {"test": {}}, sealed=True)
    os.truncate(tmp_path / "last" / "state-1.safetensors", 100)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    options = {"save_dir": str(tmp_path), "resume": True, "overwrite": False}
    try:
        with pytest.raises(ValueError, match="no whole safetensors file"):
            open_run(SimpleNamespace(**options), description(), None, print)
    finally:
        script._held.close()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("content", [None, "{"])
def test_a_run_without_its_configuration_can_be_overwritten(resume, content, tmp_path):
    interrupted_run(tmp_path)
    write_json(tmp_path / "metrics.json", {"test": {}}, sealed=True)
    path = tmp_path / "config.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=r"config\.json.*--overwrite"):
        check_folder(tmp_path, description(), resume, overwrite=False)
    assert check_folder(tmp_path, description(), resume=False, overwrite=True)
