"""Generators: same bytes for the same seed, a known best AUC, the bundled samples, the command."""

import errno
import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from hamur.commands import make_synthetic
from hamur.commands.make_synthetic import main_synthetic
from hamur.data import load_ali_ccp, load_movielens, synthetic
from hamur.data.ali_ccp import columns as ali_ccp
from hamur.data.movielens import load as movielens
from hamur.data.synthetic import signals
from hamur.data.synthetic.amazon import PLANTS

DATA = movielens.SAMPLE.parent


def content(folder: Path) -> dict[str, bytes]:
    """Compressed files by what they hold: the packing differs between versions of zlib."""
    return {
        str(path.relative_to(folder)): gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_bundled_samples_are_what_the_generator_writes(tmp_path):
    synthetic.write_samples(tmp_path)
    bundled = content(DATA)
    made = content(tmp_path)
    assert {name: bundled[name] == made[name] for name in made} == dict.fromkeys(made, True)
    assert set(bundled) - set(made) == {"README.md"}
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= 3 << 20


@pytest.mark.parametrize(
    ("dataset", "form"), [(d, form) for d, forms in synthetic.GENERATORS.items() for form in forms]
)
def test_bytes_follow_the_seed(dataset, form, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthetic.generate(dataset, form, tmp_path / name, 2_000, seed, {})
    one, same, other = (content(tmp_path / name) for name in "abc")
    assert one == same and one.keys() == other.keys()
    assert all(other[name] != text for name, text in one.items())


@pytest.mark.parametrize("load", [load_movielens, load_ali_ccp])
def test_samples_hold_every_domain_and_class_in_every_split(load, tmp_path):
    splits, schema = load(cache_dir=tmp_path)
    assert schema.num_domains == 3
    for table in splits.train, splits.valid, splits.test:
        table.validate(schema)
        for d in range(3):
            label = table.labels[table.domain == d, 0]
            assert len(label) >= 40 and 2 <= label.sum() <= len(label) - 2


def test_ali_ccp_sample_holds_both_classes_of_purchase(tmp_path):
    splits, _ = load_ali_ccp(labels=ali_ccp.LABELS, cache_dir=tmp_path)
    assert all(0 < table.labels[:, 1].sum() < len(table) for table in splits)


def test_raw_movielens_files_look_like_the_real_ones(movielens_folder):
    ratings = (movielens_folder / "ratings.dat").read_bytes()
    assert ratings.endswith(b"\n") and b"\r" not in ratings and ratings.count(b"::") == 3 * 2000
    user = np.array([int(line.split(b"::")[0]) for line in ratings.splitlines()])
    assert (np.diff(user) >= 0).all() and np.bincount(user)[1:].min() >= 20
    movies = (movielens_folder / "movies.dat").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        movies.decode("utf-8")
    zips = [
        line.split(b"::")[4] for line in (movielens_folder / "users.dat").read_bytes().splitlines()
    ]
    assert any(code.startswith(b"0") for code in zips) and any(b"-" in code for code in zips)


@pytest.mark.skipif("HAMUR_DATA" not in os.environ, reason="HAMUR_DATA is not set")
@pytest.mark.parametrize("name", ["ratings.dat", "users.dat", "movies.dat"])
def test_no_line_of_the_sample_is_official(name):
    official = (Path(os.environ["HAMUR_DATA"]) / "ml-1m" / name).read_bytes().splitlines()
    sample = (movielens.SAMPLE / name).read_bytes().splitlines()
    assert not set(official) & set(sample)


def test_drawn_labels_have_the_expected_auc(tmp_path):
    truth = synthetic.make_movielens(tmp_path, rows=200_000, seed=3)
    found = roc_auc_score(truth.labels, truth.probability)
    assert abs(found - signals.expected_auc(truth.probability)) < 3 * 1.0e-3  # 3 standard errors
    for d, rate in enumerate((0.552, 0.563, 0.600)):
        rows = truth.domain == d
        assert truth.probability[rows].mean() == pytest.approx(rate, rel=1e-4)


def test_best_auc_of_the_samples_and_what_the_domain_is_worth(tmp_path):
    truth = synthetic.make_movielens(tmp_path / "ml", rows=8_000, seed=synthetic.SEED)
    assert 0.80 <= signals.expected_auc(truth.probability) <= 0.85
    for truth in synthetic.make_ali_ccp(tmp_path / "ali", rows=6_000, seed=synthetic.SEED).values():
        best = roc_auc_score(truth.labels, truth.probability)
        assert 0.70 <= signals.expected_auc(truth.probability) <= 0.85
        assert best - roc_auc_score(truth.labels, truth.blind) >= 0.02


@pytest.mark.parametrize("load", [load_movielens, load_ali_ccp])
def test_signal_can_be_learnt_from_the_sample(load, tmp_path):
    """Logistic regression on ids, and better with the ids of each domain apart."""
    splits, _ = load(cache_dir=tmp_path)

    def score(crossed: bool) -> float:
        def features(table):
            own = table.sparse[:, :-1].astype(np.int64) * 3 + table.domain[:, None]
            return np.column_stack([table.sparse, own]) if crossed else table.sparse

        encoder = OneHotEncoder(handle_unknown="ignore").fit(features(splits.train))
        model = LogisticRegression(C=0.1, max_iter=500)
        model.fit(encoder.transform(features(splits.train)), splits.train.labels[:, 0])
        probability = model.predict_proba(encoder.transform(features(splits.test)))[:, 1]
        return roc_auc_score(splits.test.labels[:, 0], probability)

    plain, crossed = score(False), score(True)
    assert plain >= 0.68 and crossed >= plain + 0.01


def test_files_are_written_and_a_folder_in_use_is_left_alone(tmp_path, capsys):
    flags = ["--dataset", "ml-1m", "--rows", "400", "--out", str(tmp_path / "made")]
    assert main_synthetic("x.py", "", flags) == 0
    assert "no row is real" in capsys.readouterr().out
    before = content(tmp_path)
    assert {f"made/{name}.dat" for name in ("ratings", "users", "movies")} <= set(before)
    other = ["--dataset", "ali-ccp", "--rows", "100", *flags[4:]]
    assert main_synthetic("x.py", "", other) == 2
    assert "made is not empty; choose another folder" in capsys.readouterr().err
    assert content(tmp_path) == before
    assert main_synthetic("x.py", "", [*flags, "--overwrite"]) == 0
    assert content(tmp_path) == before  # same arguments, same bytes


@pytest.mark.parametrize(
    "dataset, flag, value",
    [
        ("aliexpress", "countries", "NL,NL"),
        ("aliexpress", "countries", "NL,XX"),
        ("aliexpress", "task_conflict", "3.0"),
        ("amazon", "harmful_users", "2.0"),
        ("amazon", "missing_meta_share", "1.5"),
        ("ali-ccp", "conversion", "0.9"),
    ],
)
def test_what_no_data_can_have_is_refused_before_a_file_is_written(
    dataset, flag, value, tmp_path, capsys
):
    out = tmp_path / "made"
    flags = ["--dataset", dataset, "--rows", "400", "--out", str(out), f"--{flag}", value]
    assert main_synthetic("x.py", "", flags) == 2
    assert re.search(f"--{flag} is '?{value}'?; ", capsys.readouterr().err)
    assert not out.exists()


def test_the_folder_has_to_be_named(capsys):
    with pytest.raises(SystemExit) as ended:
        main_synthetic("x.py", "", ["--dataset", "ml-1m"])
    assert ended.value.code == 2 and "--out is missing" in capsys.readouterr().err


def test_the_choices_of_the_flags_are_those_of_the_generators():
    assert tuple(synthetic.GENERATORS) == make_synthetic.DATASETS
    assert make_synthetic.PLANTS == PLANTS


@pytest.mark.parametrize("before", [(), ("mine.txt",)], ids=["empty", "overwrite"])
def test_a_full_disk_is_told_with_its_folder_and_leaves_no_half_of_the_files(
    before, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    out.mkdir()
    for name in before:
        (out / name).touch()

    def full(dataset, form, folder, *arguments):
        (folder / "ratings.dat").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hamur.data.synthetic.generate", full)
    assert main_synthetic("make_synthetic.py", "", ["--out", str(out), "--overwrite"]) != 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(out) in error and "No space left" in error
    assert out.exists() == bool(before)
    assert all((out / name).exists() for name in before)
