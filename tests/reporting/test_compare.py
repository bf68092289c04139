"""Runs over seeds of all three families: statistics are scipy's, tables hold every model."""

import json
import math
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from hamur.commands import cross_domain, multi_task, ranking
from hamur.data import load_aliexpress, load_movielens
from hamur.files import read_json, write_json
from hamur.reporting import compare
from hamur.reporting.compare import comparison_row
from tests.support.faults import assert_ours


def test_spread_uses_the_sample_deviation():
    value = compare.spread([0.8, None, 0.9])
    assert value.mean == pytest.approx(0.85) and value.count == 2
    assert value.std == pytest.approx(0.1 / math.sqrt(2))
    assert str(value) == "0.8500 ± 0.0707"
    assert str(compare.spread([0.8])) == "0.8000" and str(compare.spread([None])) == "-"


def cross_domain_run(auc, seed, pair=None, rows=40):
    rng = np.random.default_rng(seed)
    table = {"labels": rng.integers(0, 2, rows), "users": np.arange(rows)}
    figures = {"test": {"auc": auc}, "valid": {"auc": auc}, "planted": None, "collapsed": False}
    return {**table, **figures, "seed": seed, "pair": pair, "probabilities": rng.random(rows)}


def test_arms_are_paired_by_pair_and_seed_where_both_have_an_auc():
    keys = [(pair, seed) for pair in (0, 1) for seed in (3, 4)]
    uniform = {key: cross_domain_run(0.7, key[1]) for key in keys}
    arm = {key: cross_domain_run(0.7 + 0.01 * n, key[1]) for n, key in enumerate(keys)}
    row = comparison_row("item", arm, uniform)
    assert row["runs"] == 4 and row["difference"] == pytest.approx(0.015)
    half = stats.t.ppf(0.975, 3) * np.std([0, 0.01, 0.02, 0.03], ddof=1) / 2
    assert (row["runs_low"], row["runs_high"]) == pytest.approx((0.015 - half, 0.015 + half))
    uniform[1, 4]["test"]["auc"] = None  # a test split of one class
    assert comparison_row("item", arm, uniform)["difference"] == pytest.approx(0.01)
    assert comparison_row("item", arm, {})["difference"] is None


def test_comparison_is_scipys_paired_t_interval():
    random = np.random.default_rng(3)
    a, b = random.normal(0.81, 0.01, 10), random.normal(0.82, 0.01, 10)
    result = compare.compare(dict(enumerate(a)), dict(enumerate(b)))
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert result.difference == pytest.approx((b - a).mean())
    assert result.p == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)


def test_differences_without_spread_are_certain_unless_they_are_none():
    same = dict.fromkeys(range(3), 0.5)
    assert compare.compare(same, dict.fromkeys(range(3), 0.75)).p == 0.0
    assert compare.compare(same, same).p == 1.0
    assert math.isnan(compare.compare({0: 0.5}, {0: 0.6}).p)


def test_holm_steps_down_through_the_p_values():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 not below the one before it
    corrected = compare.holm([0.01, 0.04, 0.03, 0.005])
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert compare.holm([0.6, 0.9]).tolist() == [1.0, 1.0] and compare.holm([]).size == 0


def test_verdicts():
    base = dict(enumerate([0.80, 0.81, 0.82]))
    shifted = {seed: value + 0.01 + 1e-4 * seed for seed, value in base.items()}
    assert compare.compare(base, shifted).verdict == "above"
    assert compare.compare(shifted, base).verdict == "below"
    assert compare.compare(base, {0: 0.81, 1: 0.80, 2: 0.82}).verdict == "within noise"
    assert compare.compare(base, {1: 0.9, 9: 0.1}).verdict == "one seed, no interval"
    assert compare.compare({1: 0.5}, {2: 0.5}).verdict == "no common seed"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of one epoch on the samples, as the three commands write them."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["--quiet", "--epoch", "1", "--save_dir"]
    flags = ["--model_name", "mlp", *small, str(folder / "mlp")]
    assert ranking.main(load_movielens, "a.py", "", flags) == 0
    flags = ["--model_name", "sharedbottom", "--embed_dim", "4", *small, str(folder / "shared")]
    assert multi_task.main(load_aliexpress, "a.py", "", flags) == 0
    flags = "--epochs 1 --bootstrap 2 --eval_draws 1 --rank_negatives 0 --embed_dim 4 --quiet"
    flags += f" --arms uniform,annealed --exp_name x --record {folder / 'record'}"
    assert cross_domain.main("a.py", "", flags.split()) == 0
    return folder


def copied(run, folder, **changes):
    """A run again with another seed or model."""
    shutil.copytree(run, folder)
    path = folder / "metrics.json"
    write_json(path, read_json(path) | changes, sealed=True)


def test_runs_of_all_families_are_compared_each_with_its_baseline(trained, tmp_path):
    for seed in (1, 2):
        copied(trained / "mlp", tmp_path / f"mlp-{seed}", seed=seed)
        copied(trained / "mlp", tmp_path / f"adp-{seed}", seed=seed, model="mlp_adp")
        copied(trained / "shared", tmp_path / f"shared-{seed}", seed=seed)
        copied(trained / "shared", tmp_path / f"single-{seed}", seed=seed, model="singletask")
    shutil.copytree(trained / "record", tmp_path / "record")
    command = [sys.executable, "-m", "hamur.reporting.seeds", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    compared = [line for line in done.stdout.splitlines() if " against " in line]
    content = json.loads((trained / "shared" / "metrics.json").read_text())
    area = content["test"]["tasks"]["conversion"]["auc"]
    for words in (
        "ml-1m: mlp_adp against mlp, best | auc | 2 | +0.0000 | +0.0000 to +0.0000 | within noise",
        "aliexpress: sharedbottom against singletask, pareto | auc_conversion | 2 | +0.0000",
        "SynBooks-SynToys: conet annealed against conet uniform, corrected | auc | 1 |",
    ):
        assert any(words in line for line in compared), words
    assert len(compared) == 3 + 2 + 1
    row = next(
        line for line in done.stdout.splitlines() if line.startswith("| aliexpress | single")
    )
    assert f"{area:.4f} ± 0.0000" in row and f"{content['train']['parameters']:,}" in row


def write_run(folder, report, *, model, seed, fingerprint="same", shift=0.0):
    report = report | {name: report[name] + shift for name in ("auc", "macro_auc", "worst_auc")}
    run = {"model": model, "preset": "best", "dataset": "tiny", "seed": seed}
    run |= {"test": report, "valid": report, "train": {"parameters": 1234}}
    write_json(folder / f"{model}-{seed}" / "metrics.json", run)
    description = {"options": {}, "data": {"fingerprint": fingerprint}}
    write_json(folder / f"{model}-{seed}" / "config.json", description)


def test_tables_over_seeds(tmp_path, report, capsys):
    for seed in range(3):
        write_run(tmp_path, report, model="mlp", seed=seed, shift=-0.1)
        write_run(tmp_path, report, model="mlp_adp", seed=seed, shift=0.01 * seed)
    assert compare.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| tiny | mlp_adp | best | 3 | 1,234 | 0.8850 ± 0.0100 | 1.0000 ± 0.0000 |" in printed
    assert "| tiny: mlp_adp against mlp, best | auc | 3 | +0.1100 |" in printed
    assert printed.count("above") == 3


def test_an_interrupted_run_is_left_out(tmp_path, report, caplog):
    for seed in (1, 2):
        write_run(tmp_path, report, model="mlp", seed=seed)
    path = tmp_path / "mlp-2" / "metrics.json"
    write_json(path, read_json(path) | {"train": {"parameters": 1234, "interrupted": True}})
    (runs,) = compare.load_runs([tmp_path]).values()
    assert list(runs) == [1]
    assert caplog.messages == [f"warning: {path}: left out, the run was interrupted"]


def test_runs_on_different_splits_are_not_compared(tmp_path, report, capsys):
    write_run(tmp_path / "sample", report, model="mlp", seed=1)
    for seed in (1, 2):  # told before the seed that is there twice
        write_run(tmp_path / "real", report, model="mlp", seed=seed, fingerprint="other")
        assert compare.main([str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "different data or splits; name only folders" in error and error.count("\n") == 1
        assert "sample" in error and "real" in error


def test_no_runs_is_an_error_of_one_line(tmp_path, capsys):
    assert compare.main([str(tmp_path)]) == 2
    write_json(tmp_path / "arms" / "metrics.json", {"losses": [0.5]})  # of the front study
    assert compare.main([str(tmp_path)]) == 2
    assert "no metrics.json of a run below" in capsys.readouterr().err
    for path, words in (
        (tmp_path / "nowhere", "no such folder"),
        (__file__, "a file, not a folder"),
    ):
        assert compare.main([str(path)]) == 2
        assert words in capsys.readouterr().err
    assert compare.main([]) == 2


ODD = (None, 7, -1.5, "text", [], {}, [{"auc": 0.5}], {"auc": "high"}, True, 10**400, float("nan"))


def changed(content, rng, value):
    """The content with one of its values, at any depth, replaced."""
    content = json.loads(json.dumps(content))
    place = content
    while True:
        key = rng.choice(sorted(place))
        if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.3:
            place[key] = value
            return content
        place = place[key]


@pytest.mark.parametrize("number", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_results_are_refused_in_one_line_or_told(number, tmp_path, report, capsys):
    print("seed", number)
    rng = random.Random(number)
    for model in ("mlp", "mlp_adp"):
        write_run(tmp_path, report, model=model, seed=0)
    folder = tmp_path / "mlp-0"
    tasks = {"tasks": {"click": {"auc": 0.7, "ne": 0.9, "gauc": None}}}
    whole = {
        name: json.loads((folder / name).read_text()) for name in ("metrics.json", "config.json")
    }
    refused = 0
    for _ in range(number):
        name, value = rng.choice(sorted(whole)), rng.choice(ODD)
        content = whole[name] | ({"arm": "item"} if rng.random() < 0.3 else {})
        if name == "metrics.json" and rng.random() < 0.3:
            content |= {"test": tasks, "valid": tasks, "front_measures": {"hv_ne": 0.1}}
        text = json.dumps(changed(content, rng, value))
        if rng.random() < 0.2:
            text = text[: rng.randrange(len(text))]
        (folder / name).write_text(text)
        code, told = compare.main([str(tmp_path)]), capsys.readouterr().err
        assert code in (0, 2) and told.count("\n") == (code == 2), (name, text)
        if code == 2:
            refused += 1
            with pytest.raises(ValueError) as error:
                compare.load_runs([tmp_path])
            assert_ours(error.value, text)
        write_json(folder / name, whole[name])
    (folder / "config.json").unlink()
    assert compare.main([str(tmp_path)]) == 2 and "config.json" in capsys.readouterr().err
    assert refused > number / 3
