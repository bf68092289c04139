"""Files are whole or absent, tables align, plots are pictures."""

import csv
import importlib
import json
import math
import sys

import numpy as np
import pytest

from hamur import metrics
from hamur.commands.ranking import RankingConfig
from hamur.files import replacing, write_history, write_json
from hamur.layers import AdapterConfig
from hamur.reporting import plots, results, tables
from hamur.reporting.weights import label_levels

NAMES = ("young", "middle", "old")


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


def test_plots_leave_the_backend_of_a_notebook_alone(tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "backend", "svg")
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    importlib.reload(plots).learning_curve(tmp_path / "curve.png", history(2), 1, NAMES, "title")
    assert matplotlib.rcParams["backend"] == "svg" and "matplotlib.pyplot" not in sys.modules


def assert_picture(path):
    import matplotlib.image

    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 300 and pixels.std() > 0.02


def test_panels_of_the_front_study_name_the_seeds_that_ran(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots.Figure, "savefig", lambda figure, *_, **__: shown.append(figure))
    points = [[0.9, 0.8], [0.8, 0.9]]
    entry = {"exact": points, "reference": points, "posthoc": points, "arms": {"linear": points}}
    entry["preferences"] = [[0.0, 1.0], [1.0, 0.0]]
    content = {"options": {"task_num": 2, "seed": 3}, "seeds": [entry, entry]}
    plots.study_plot(tmp_path / "study.png", content)
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
