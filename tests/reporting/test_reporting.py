"""Files are whole or absent, tables align, plots are pictures, statistics are scipy's."""

import csv
import json
import math

import numpy as np
import pytest
from scipy import stats

from hamur import metrics
from hamur.commands.ranking_config import RankingConfig
from hamur.files import replacing, write_history, write_json
from hamur.layers import AdapterConfig
from hamur.reporting import plots, results, seeds, tables
from hamur.reporting.comparison import comparison_row
from hamur.reporting.weights import label_levels

NAMES = ("young", "middle", "old")


@pytest.fixture
def report():
    labels = np.array([0, 1, 0, 1, 1, 1])
    return metrics.by_group(labels, np.linspace(0.2, 0.8, 6), np.array([0, 0, 1, 1, 2, 2]), 3)


def history(epochs: int) -> list[dict]:
    rows = []
    for epoch in range(1, epochs + 1):
        auc = 0.8 - 0.2 / epoch
        row = {"epoch": epoch, "loss": 0.7 / epoch + 0.1, "logloss": 0.6 / epoch + 0.2, "auc": auc}
        row |= {f"auc_domain_{d}": auc + 0.01 * d for d in range(2)}
        rows.append(row | {"auc_domain_2": None})  # one class only
    return rows


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    write_json(path, {"auc": 0.5})
    with pytest.raises(ValueError, match="nan"):
        write_json(path, {"auc": math.nan})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"auc": 0.5}
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


def test_history_has_every_column_and_gaps_stay_empty(tmp_path):
    write_history(tmp_path / "history.csv", [{"epoch": 1, "auc": None}, {"b": 2}])
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"epoch": "1", "auc": "", "b": ""}, {"epoch": "", "auc": "", "b": "2"}]


def test_predictions_keep_ids_and_order(tmp_path, tiny_splits):
    import pyarrow.parquet as pq

    table = tiny_splits.test
    probabilities = np.linspace(0, 1, len(table))
    results.write_predictions(tmp_path / "p.parquet", table, probabilities)
    read = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert list(read) == ["row_id", "domain", "label", "probability"]
    assert read["row_id"] == table.row_id.tolist()
    assert read["probability"] == probabilities.tolist()
    assert read["label"] == table.labels[:, 0].tolist()


def test_config_json_names_options_versions_and_data(tiny_splits, tiny_schema):
    config = RankingConfig(seed=7)
    content = results.run_description(
        config, AdapterConfig.official(), "a_script", tiny_splits, tiny_schema
    )
    json.dumps(content, allow_nan=False)
    assert content["model_config"]["side"] == "shared"
    assert content["options"]["seed"] == 7 and content["options"]["split_seed"] == 2022
    assert {"python", "mindspore", "numpy", "hamur"} <= set(content["versions"])
    assert content["data"]["rows"] == {"train": 600, "valid": 150, "test": 150}


def test_fingerprint_sees_every_column_and_the_split(tiny_splits):
    original = results.fingerprint(tiny_splits)
    assert original == results.fingerprint(tiny_splits)
    swapped = tiny_splits._replace(valid=tiny_splits.test, test=tiny_splits.valid)
    assert results.fingerprint(swapped) != original
    for name in ("sparse", "dense", "labels", "domain"):
        table = tiny_splits.train.take(np.arange(600))
        getattr(table, name)[17] += 1
        assert results.fingerprint(tiny_splits._replace(train=table)) != original


def test_peak_memory_is_in_mib():
    assert 50 < results.peak_rss_mib() < 100_000


def test_metrics_table_by_hand(report):
    lines = tables.metrics_table(report, NAMES).splitlines()
    assert lines[0].split() == ["domain", "rows", "positives", "AUC", "logloss", "calibration"]
    assert lines[2].split()[:4] == ["young", "2", "1", "1.0000"]
    assert lines[4].split()[:4] == ["old", "2", "2", "-"]
    assert lines[5].split()[:5] == ["all", "rows", "6", "4", "0.8750"]
    assert lines[6].split() == ["mean", "of", "domains", "1.0000"]
    assert lines[8] == "old: undefined figures, one class"


def test_data_table_counts_every_split_and_domain(tiny_splits, tiny_schema):
    lines = tables.data_table(tiny_splits, tiny_schema).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["young", "middle", "old", "all"]
    assert lines[-1].split()[1] == "600"
    counts = [int(line.split()[1]) for line in lines[2:5]]
    assert counts == np.bincount(tiny_splits.train.domain).tolist()


def test_columns_align():
    text = tables.text_table(["name", "n"], [["a", "1,000"], ["long name", "1"]])
    assert text.splitlines() == [
        "name           n",
        "---------  -----",
        "a          1,000",
        "long name      1",
    ]


@pytest.mark.parametrize("epochs", [1, 12])
def test_learning_curve_is_a_picture(tmp_path, epochs):
    path = tmp_path / "learning_curve.png"
    plots.learning_curve(path, history(epochs), 1, NAMES, "mlp (best) on tiny, seed 1")
    assert_picture(path)


@pytest.mark.parametrize("num_domains", [1, 3, 30])
def test_domain_bars_are_a_picture(tmp_path, num_domains):
    random = np.random.default_rng(0)
    domain = np.arange(50 * num_domains) % num_domains
    labels = random.integers(0, 2, len(domain)) * (domain > 0)  # domain 0 has one class
    report = metrics.by_group(labels, random.random(len(domain)), domain, num_domains)
    path = tmp_path / "domains.png"
    plots.domain_bars(path, {"valid": report, "test": report}, range(num_domains), "title")
    assert_picture(path)


def assert_picture(path):
    import matplotlib.image

    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 300 and pixels.std() > 0.02


def test_spread_uses_the_sample_deviation():
    value = seeds.spread([0.8, None, 0.9])
    assert value.mean == pytest.approx(0.85) and value.count == 2
    assert value.std == pytest.approx(0.1 / math.sqrt(2))
    assert str(value) == "0.8500 ± 0.0707"
    assert str(seeds.spread([0.8])) == "0.8000" and str(seeds.spread([None])) == "-"


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
    result = seeds.compare(dict(enumerate(a)), dict(enumerate(b)))
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert result.difference == pytest.approx((b - a).mean())


def test_verdicts():
    base = dict(enumerate([0.80, 0.81, 0.82]))
    shifted = {seed: value + 0.01 + 1e-4 * seed for seed, value in base.items()}
    assert seeds.compare(base, shifted).verdict == "above"
    assert seeds.compare(shifted, base).verdict == "below"
    assert seeds.compare(base, {0: 0.81, 1: 0.80, 2: 0.82}).verdict == "within noise"
    assert seeds.compare(base, {1: 0.9, 9: 0.1}).verdict == "one seed, no interval"
    with pytest.raises(ValueError, match="no common seed"):
        seeds.compare({1: 0.5}, {2: 0.5})


def write_run(folder, report, *, model, seed, fingerprint="same", shift=0.0):
    report = report | {name: report[name] + shift for name in ("auc", "macro_auc", "worst_auc")}
    run = {"model": model, "preset": "best", "dataset": "tiny", "seed": seed}
    run |= {"test": report, "valid": report, "train": {"parameters": 1234}}
    write_json(folder / f"{model}-{seed}" / "metrics.json", run)
    description = {"data": {"fingerprint": fingerprint}}
    write_json(folder / f"{model}-{seed}" / "config.json", description)


def test_tables_over_seeds(tmp_path, report, capsys):
    for seed in range(3):
        write_run(tmp_path, report, model="mlp", seed=seed, shift=-0.1)
        write_run(tmp_path, report, model="mlp_adp", seed=seed, shift=0.01 * seed)
    assert seeds.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| tiny | mlp_adp | best | 3 | 1,234 | 0.8850 ± 0.0100 | 1.0000 ± 0.0000 |" in printed
    assert "| tiny: mlp_adp against mlp, best | auc | 3 | +0.1100 |" in printed
    assert printed.count("above") == 3


def test_runs_on_different_splits_are_not_compared(tmp_path, report, capsys):
    write_run(tmp_path, report, model="mlp", seed=1)
    write_run(tmp_path, report, model="mlp", seed=2, fingerprint="other")
    assert seeds.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "different data or splits" in error and error.count("\n") == 1


def test_no_runs_is_an_error_of_one_line(tmp_path, capsys):
    assert seeds.main([str(tmp_path)]) == 2
    assert "no metrics.json below" in capsys.readouterr().err
    assert seeds.main([]) == 2


def test_panels_of_the_front_study_name_the_seeds_that_ran(tmp_path, monkeypatch):
    from hamur.reporting import front

    shown = []
    monkeypatch.setattr(front, "_save", lambda figure, _: shown.append(figure))
    points = [[0.9, 0.8], [0.8, 0.9]]
    entry = {"exact": points, "reference": points, "posthoc": points, "arms": {"linear": points}}
    entry["preferences"] = [[0.0, 1.0], [1.0, 0.0]]
    content = {"options": {"task_num": 2, "first_seed": 3}, "seeds": [entry, entry]}
    front.study_plot(tmp_path / "study.png", content)
    axes = shown[0].axes[:2]
    assert [axis.get_title() for axis in axes] == [f"synthetic data, seed {n}" for n in (3, 4)]
    assert "post-hoc from a per-task model" in axes[0].get_legend_handles_labels()[1]


def test_labels_of_neighbours_stand_on_lines_of_their_own():
    places = [(0.0, 1.0), (0.01, 1.0), (0.02, 1.0), (1.0, 1.0), (0.0, 5.0)]
    rows = [{"influence": x, "relative_weight": y} for x, y in places]
    assert label_levels(rows) == [0, 1, 2, 0, 0]
    assert label_levels([]) == []
    # The third circle is away from the others, but not from the second one's name, which was moved.
    places = [(0.0, 0.0), (0.0, 0.0), (0.0, 0.11), (1.0, 1.0)]
    rows = [{"influence": x, "relative_weight": y} for x, y in places]
    assert label_levels(rows) == [0, 1, 1, 0]
