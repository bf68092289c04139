"""Every script, given what it cannot use: exit code 2, one line of the package's own in flags of
that script, and nothing new in the folder of the results.

No case comes as far as training: broken are the flags, the data, or the folder of the results.
The same run with --debug shows the error itself.
"""

import random
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hamur import data
from hamur.commands.script import OPTION
from hamur.data import detect
from tests.contract.test_remedies import FLAG
from tests.support.caches import content
from tests.support.faults import assert_ours
from tests.support.flags import SCRIPTS, distinct_flags, help_of

EXAMPLES = SCRIPTS[0].parent
DATA = EXAMPLES.parent / "data"
SEED = 17
NAMES = {script.stem for script in SCRIPTS}
TRAINING = sorted(name for name in NAMES if name.startswith("run_"))
# The sample of each script that reads files; the last one reads Amazon's, tables and more.
OWN = {
    "run_movielens_rank_multi_domain": "ml-1m",
    "run_ablation": "ml-1m",
    "run_ali_ccp_ctr_ranking_multi_domain": "ali-ccp",
    "run_aliexpress_multi_task": "aliexpress",
    "run_amazon_cross_domain": "amazon",
}
SETS = {
    "ml-1m": ("ratings.dat", "users.dat", "movies.dat"),
    "ali-ccp": ("ali_ccp_train.csv", "ali_ccp_val.csv", "ali_ccp_test.csv"),
    "aliexpress": ("train.csv", "test.csv"),
    "amazon": ("reviews_A_5.json", "meta_A.json", "reviews_B_5.json", "meta_B.json"),
    "ali-ccp-raw": tuple(
        f"{kind}_{part}.csv"
        for kind in ("sample_skeleton", "common_features")
        for part in ("train", "test")
    ),
}
VALUES = ("", "nan", "inf", "-1", "1e400", "0", "9" * 20, "é", "a,b", "{}", "`x`", "%s", "x\ny")


def run(name: str, *argv: str) -> int:
    """The exit code of a script in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"examples/{name}.py", *argv])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return stop.value.code


@cache
def flags_of(name: str) -> set[str]:
    return set().union(*distinct_flags([help_of(EXAMPLES / f"{name}.py")]))


def assert_refused(capsys, name: str, *argv: object) -> None:
    """Log lines may stand before the one line of the error."""
    argv = tuple(map(str, argv))
    capsys.readouterr()
    code, told = run(name, *argv), capsys.readouterr().err
    context = f"{name} {argv}: {code} {told}"
    assert code == 2 and told.endswith("\n"), context
    errors = [line for line in told.splitlines() if line.startswith(f"{name}.py: error: ")]
    assert errors == told.splitlines()[-1:] and "Traceback" not in told, context
    for flag in re.findall(FLAG, errors[0].replace("--name value", "")):
        assert f"--{flag}" in flags_of(name) or f"--{flag}" in argv, context
    for whole, *_ in re.findall(OPTION, errors[0]):  # an argument that is no flag here
        assert f"`{whole}`" in argv, context
    try:
        assert run(name, *argv, "--debug") == 2, context  # argparse's own error has no traceback
    except Exception as error:
        assert_ours(error, context)


def out_of(name: str, folder: Path) -> tuple:
    return ("--out", folder) if name == "prepare_data" else ("--save_dir", folder)


def readers():
    """(script, flags before the path) of everything that reads a data set."""
    yield from ((name, ("--dataset_path",)) for name in OWN if name != "run_aliexpress_multi_task")
    yield "run_aliexpress_multi_task", ("--dataset_name", "AliExpress_NL", "--dataset_path")
    for dataset in ("ml-1m", "ali-ccp", "aliexpress", "amazon"):
        yield "prepare_data", ("--workers", "1", "--dataset", dataset, "--raw")
    yield "run_amazon_cross_domain", ("--genres", "Drama,Comedy", "--dataset_path")
    abxi = ("--format", "abxi", "--train_negatives", "2")
    yield "run_amazon_cross_domain", (*abxi, "--dataset_path")
    table = ("--sep", "::", "--no_header", "--columns", "user=1,item=2,rating=3,timestamp=4")
    table += ("--target_table", DATA / "ml-1m-sample" / "ratings.dat")
    yield "run_amazon_cross_domain", (*table, "--source_table")


READERS = list(readers())
IDS = [" ".join(map(str, (name, *flags))) for name, flags in READERS]


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> list[Path]:
    """Paths that hold no data set: bytes of several kinds under the names of each set's files."""
    root = tmp_path_factory.mktemp("broken")
    noise = np.random.default_rng(SEED).bytes(3000)
    print("seed", SEED)
    kinds = {"empty": b"", "noise": noise, "nul": bytes(100), "words": b"a,b,c\n1,2,3\n"}
    for names in SETS.values():
        for kind, filling in kinds.items():
            (folder := root / f"{names[0]}-{kind}").mkdir()
            for name in names:
                (folder / name).write_bytes(filling)
        for name in names:
            (root / f"{names[0]}-folders" / name).mkdir(parents=True)
    (root / "file").write_bytes(b"")
    (root / "noise").write_bytes(noise)
    (root / "nothing").mkdir()
    return [root / "nowhere", *sorted(root.iterdir())]


@pytest.mark.parametrize(("name", "flags"), READERS, ids=IDS)
def test_data_that_cannot_be_read(name, flags, broken, tmp_path, capsys):
    for path in broken:
        assert_refused(capsys, name, *flags, path, *out_of(name, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "flags"), READERS, ids=IDS)
def test_the_sample_of_another_data_set(name, flags, tmp_path, capsys):
    own = flags[3] if name == "prepare_data" else OWN[name]
    if "--genres" in flags:
        own = "ml-1m"
    for sample in sorted(path for path in DATA.iterdir() if path.is_dir()):
        if not sample.name.startswith(own) or "--format" in flags or "--source_table" in flags:
            assert_refused(capsys, name, *flags, sample, *out_of(name, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


LOADERS = (
    *("load", "load_ali_ccp", "load_aliexpress", "load_amazon", "load_amazon_pair"),
    *("load_movielens", "load_scenarios"),
)


@pytest.mark.parametrize("name", LOADERS)
def test_loaders_speak_of_arguments(name, broken):
    """The same in Python, where no text names a flag but after a script."""
    for path in broken:
        with pytest.raises((ValueError, OSError)) as error:
            getattr(detect if name == "load" else data, name)(path)
        assert_ours(error.value, path)
        assert not re.search(FLAG, re.sub(r"\w+\.py( --\w+ \w+)+", "", str(error.value)))


SMALL = {
    "run_movielens_rank_multi_domain": ("--model_name", "mlp"),
    "run_ali_ccp_ctr_ranking_multi_domain": ("--model_name", "mlp"),
    "run_aliexpress_multi_task": ("--model_name", "sharedbottom", "--embed_dim", "4"),
    "run_amazon_cross_domain": ("--model_name", "conet_s", "--embed_dim", "4"),
}
RUNS = {
    "noise": b"\xff\0noise",
    "list": b"[]",
    "no key": b"{}",
    "half": b'{"options": {"se',
    "other": b'{"options": {"seed": 1}, "data": 3}',
}


@pytest.mark.parametrize("name", SMALL)
def test_a_folder_of_results_that_cannot_be_one(name, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert_refused(capsys, name, *SMALL[name], "--save_dir", folder, "--quiet")
    kinds = RUNS if name == "run_movielens_rank_multi_domain" else ("half",)  # one code for all
    for kind in kinds:
        (tmp_path / kind / "last").mkdir(parents=True)
        for file in ("config.json", "metrics.json", "last/progress.json", "model.safetensors"):
            (tmp_path / kind / file).write_bytes(RUNS[kind])
        before = content(tmp_path / kind)
        flags = (*SMALL[name], "--save_dir", tmp_path / kind, "--quiet")
        assert_refused(capsys, name, *flags)
        assert_refused(capsys, name, *flags, "--resume")
        assert content(tmp_path / kind) == before


def refused_flags(name: str, each: int):
    """(flag, value): `each` of VALUES per flag, wrong ones, or the run goes on to what stops it."""
    draw = random.Random(f"{SEED} {name}")
    for flag in sorted(flags_of(name) - {"--help", "-h", "--debug", "--out", "--device"}):
        yield from ((flag, value) for value in draw.sample(VALUES, each))


def check_flags(name, each, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    stop = ("--device", "ascend:77")
    if name == "prepare_data":
        stop = ("--raw", tmp_path / "nowhere", "--out", tmp_path / "out")
    elif name == "make_synthetic":
        stop = ("--out", tmp_path / "file" / "below", "--rows", "100")
    for flag, value in refused_flags(name, each):
        assert_refused(capsys, name, flag, value, *stop)
    for argv in (["--zzz"], ["word"], ["--", "x"], ["--seed"]):
        assert_refused(capsys, name, *stop, *argv)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_values_that_a_flag_does_not_take(name, tmp_path, capsys):
    check_flags(name, 1, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_odd_value_of_every_flag(name, tmp_path, capsys):
    check_flags(name, len(VALUES), tmp_path, capsys)


OPTIONS = {
    "run_movielens_rank_multi_domain": [
        ("--split", "x"),
        ("--split", "halves"),
        ("--drop", "x"),
        ("--multi", "mean"),
        ("--pool_weight", "value"),
        ("--embeddings", "lazy", "--embedding_decay", "1"),
    ],
    "run_ali_ccp_ctr_ranking_multi_domain": [
        ("--split", "temporal"),
        ("--multi", "mean"),
        ("--genres", "multi"),
        ("--dataset_path", DATA / "ali-ccp-raw-sample", "--fit_on", "all"),
        ("--dataset_path", DATA / "ali-ccp-raw-sample", "--split", "halves"),
    ],
    "run_aliexpress_multi_task": [
        ("--tasks", "x"),
        ("--task_num", "3"),
        ("--dataset_name", "AliExpress_FR"),
        ("--dataset_name", "Synthetic", "--task_num", "1"),
        ("--model_name", "pomoe", "--sampler", "dirichlet", "--dirichlet_alpha", "1"),
        ("--model_name", "ple", "--expert_num", "1"),
        ("--model_name", "mmoe", "--ideal", "1,2"),
    ],
    "run_amazon_cross_domain": [
        ("--pair", "A,B"),
        ("--pair", "A"),
        ("--genres", "Drama,Comedy"),
        ("--genres", "X,Y", "--dataset_path", DATA / "ml-1m-sample"),
        ("--arm", "oracle"),
        ("--arms", "x"),
        ("--seeds", "x"),
        ("--eval_draws", "0"),
        ("--use_meta", "1", "--arm", "uniform"),
    ],
    "run_ablation": [("--arms", "("), ("--arms", "zzz", "--rows", "1000")],
    "run_front_study": [("--arms", "x"), ("--arms", "official", "--task_num", "3")],
    "run_planted_study": [("--arms", "x"), ("--pairs", "x")],
    "make_synthetic": [
        ("--dataset", "amazon", "--pair", "A"),
        ("--dataset", "aliexpress", "--countries", "XX"),
        ("--dataset", "ml-1m", "--format", "processed"),
        ("--dataset", "ml-1m", "--pair", "A,B"),
        ("--rows", "1"),
    ],
    "prepare_data": [
        ("--dataset", "amazon", "--countries", "NL"),
        ("--expect", "none"),
        ("--zip", "x"),
    ],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_the_data_or_the_model_do_not_have(name, tmp_path, capsys):
    out = (
        "--out" if name in ("make_synthetic", "prepare_data") else "--save_dir",
        tmp_path / "out",
    )
    raw = ("--raw", tmp_path) if name == "prepare_data" else ()
    for flags in OPTIONS[name]:
        assert_refused(capsys, name, *out, *raw, *flags)
        assert not list(tmp_path.rglob("metrics.json"))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"zzz": 1}',
        '{"epochs": "many"}',
        '{"embed_dim": [1]}',
        '{"device": 3}',
        '{"learning_rate": NaN}',
        '{"seed": 1.5}',
        '{"arm": 3}',
        "\0",
    ],
)
def test_a_file_of_options(text, tmp_path, capsys):
    (tmp_path / "config.json").write_text(text)
    stop = ("--dataset_path", tmp_path / "nowhere")
    assert_refused(capsys, "run_amazon_cross_domain", "--config", tmp_path / "config.json", *stop)


def test_a_ground_truth_of_other_data(tmp_path, capsys):
    name = "run_amazon_cross_domain"
    (tmp_path / "noise.npz").write_bytes(b"noise")
    np.save(tmp_path / "array.npy", np.arange(3))
    np.savez(tmp_path / "other.npz", other=np.arange(3))
    np.savez(tmp_path / "short.npz", harmful_SynBooks=np.arange(3))
    np.savez(tmp_path / "text.npz", harmful_SynBooks=np.array(["a"] * 10_000))
    np.savez(tmp_path / "objects.npz", harmful_SynBooks=np.array([None] * 10_000))
    for path in (tmp_path, tmp_path / "nowhere", *sorted(tmp_path.iterdir())):
        assert_refused(capsys, name, *SMALL[name], "--truth", path)
