"""The multi-task script as a user runs it: results on disk, clear errors."""

import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hamur.commands import multi_task, task_fronts
from hamur.commands.multi_task import main
from hamur.data import load_aliexpress
from hamur.data.synthetic.aliexpress import make_aliexpress
from hamur.models import MULTI_TASK
from tests.support.commands import assert_refused, exit_code

# Every metric of the specification, in each place of metrics.json.
TASK_METRICS = {"auc", "logloss", "ne", "gauc", "gauc_coverage", "pcoc", "rows", "positives"}
FRONT_MEASURES = {"hv_auc", "hv_ne", "hv_published", "outside", "span_ne", "span_auc", "spearman"}
FRONT_MEASURES |= {"cross_angle", "nondominated_share", "sparsity", "regret"}
QUICK = ("--embed_dim", "4", "--epoch", "1", "--quiet", "--no-posthoc")


def run(*flags):
    """Exit code of the script, in this process."""
    return exit_code(main, load_aliexpress, "a_script.py", "a description", flags)


def read(folder, name="metrics.json"):
    return json.loads((Path(folder) / name).read_text())


def assert_all_metrics(content, tasks=("click", "conversion")):
    """All of TASK_METRICS for each task, split and preference, undefined ones with a reason."""
    fronts = [*content.get("front", ()), *content.get("front_valid", ())]
    places = [content["valid"], content["test"], *fronts]
    for place in places:
        assert tuple(place["tasks"]) == tuple(tasks)
        for number, entry in enumerate(place["tasks"].values()):
            assert set(entry) - {"reason"} == TASK_METRICS | ({"cvr_auc"} if number else set())
            assert ("reason" in entry) == (None in entry.values())
    if "front" in content:
        assert set(content["front_measures"]) >= FRONT_MEASURES
        assert {"posthoc", "reference", "head"} <= set(content)
        assert len(content["front_valid"]) == len(content["front"])
    else:
        assert 0 < content["hv_published"] < 1
    assert content["selected_on"] == "valid"
    assert set(content["unknown"]) == {"train", "valid", "test"}


def test_three_tasks_end_to_end(tmp_path, capsys):
    flags = ["--model_name", "pomoe", "--dataset_name", "Synthetic", "--synthetic_rows", "2000"]
    flags += ["--task_num", "3", "--head", "shared_score", "--expert_num", "2"]
    flags += ["--eval_preferences", "6", "--preferences_per_step", "3", "--bootstrap", "5"]
    assert run(*QUICK, *flags, "--save_dir", str(tmp_path)) == 0
    content = read(tmp_path)
    assert content["selected_on"] == "valid" and content["head"] == "shared_score"
    assert content["synthetic"] is True
    assert len(content["front"]) == len(content["exact"]) == 6
    measures = content["front_measures"]
    assert len(measures["spearman"]) == 3 and measures["intervals"]["resamples"] == 5
    assert isinstance(measures["front_degenerate"], bool)
    assert_all_metrics(content, ("click", "cart", "conversion"))
    with (tmp_path / "front.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["source"] for line in lines} == {"model", "exact"} and len(lines) == 12
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert (tmp_path / "model.safetensors").exists()
    assert "spearman cart" in capsys.readouterr().out


def test_a_baseline_on_the_sample_and_the_public_flags(tmp_path, capsys):
    flags = ["--model_name", "sharedbottom", "--dataset_name", "AliExpress_US", "--alpha", "1"]
    flags += ["--task_num", "2", "--batch_size", "512", "--select_on", "test"]
    assert run(*QUICK, *flags, "--save_dir", str(tmp_path)) == 0
    content = read(tmp_path)
    assert content["selected_on"] == "test" and "front" not in content
    tasks = content["test"]["tasks"]
    product = tasks["click"]["auc"] * tasks["conversion"]["auc"]
    assert content["hv_published"] == pytest.approx(product)
    error = capsys.readouterr().err
    assert "--alpha is accepted" in error and "no honest estimate" in error


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["pareto", "official"])
@pytest.mark.parametrize("model", list(MULTI_TASK))
def test_every_model_trains_on_the_sample(model, preset, tmp_path):
    flags = ["--model_name", model, "--preset", preset, "--epoch", "2"]
    assert run(*flags, "--quiet", "--save_dir", str(tmp_path)) == 0
    content = read(tmp_path)
    assert content["train"]["epochs"] == 2 and content["preset"] == preset
    assert ("front" in content) == (model == "pomoe")
    assert_all_metrics(content)


def test_a_front_is_measured_at_the_preferences_of_the_other(monkeypatch):
    """25 points have more volume than 11 of the same model."""
    own, other = ([{"preference": [r, 1 - r]} for r in points] for points in ((0, 0.5, 1), (0, 1)))
    monkeypatch.setattr(task_fronts, "logits_of", lambda model, table, points: points.tolist())
    problem = SimpleNamespace(
        splits=SimpleNamespace(test=None),
        entries=lambda points, logits: [*zip(points[:, 0], logits)],
    )
    assert task_fronts.at_preferences(problem, None, own, own) is own
    assert task_fronts.at_preferences(problem, None, own, other) == [(0, [0, 1]), (1, [1, 0])]


@pytest.mark.slow
def test_a_front_beside_the_ones_it_is_held_against(tmp_path, capsys, monkeypatch):
    flags = ["--model_name", "pomoe", "--dataset_name", "Synthetic", "--synthetic_rows", "2000"]
    flags += ["--head", "shared_score", "--expert_num", "2", "--eval_preferences", "5"]
    flags += ["--embed_dim", "4", "--epoch", "1", "--reference_front", "2", "--bootstrap", "5"]
    assert run(*flags, "--quiet", "--save_dir", str(tmp_path)) == 0
    content = read(tmp_path)
    assert_all_metrics(content)
    assert [len(content[s]) for s in ("front", "posthoc", "reference", "exact")] == [5, 5, 2, 5]
    corners = [entry["preference"] for entry in content["reference"]]
    assert corners == [[0.0, 1.0], [1.0, 0.0]]
    measures = content["front_measures"]
    assert set(multi_task.FRACTIONS.values()) <= set(measures)
    assert measures["hv_fraction"] is None or measures["hv_fraction"] > 0
    assert set(measures["intervals"]) == {"resamples", "hv_ne", "span_ne", "auc"}
    degenerate = "the preference controls nothing" in capsys.readouterr().out
    assert degenerate == measures["front_degenerate"]
    with (tmp_path / "front.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 17 and set(lines[0]) == {
        *("source", "r_1", "r_2"),
        *(f"{m}_{t}" for m in ("auc", "logloss", "ne", "gauc") for t in ("click", "conversion")),
    }
    # A run that is lost after them does not train them again.
    monkeypatch.setattr(task_fronts, "train_compared", None)
    (tmp_path / "metrics.json").unlink()
    assert run(*flags, "--quiet", "--resume", "--save_dir", str(tmp_path)) == 0
    assert [read(tmp_path)[s] for s in ("posthoc", "reference")] == [
        content[s] for s in ("posthoc", "reference")
    ]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_front_in_one_go_and_resumed(tmp_path):
    flags = ["--model_name", "pomoe", "--embed_dim", "8", "--epoch", "2", "--no-posthoc"]
    whole, parts = ([*flags, "--quiet", "--save_dir", str(tmp_path / name)] for name in "ab")
    assert run(*whole) == 0
    assert run(*parts, "--epoch", "1") == 0
    assert run(*parts, "--resume") == 0
    found, expected = ((tmp_path / name / "front.csv").read_bytes() for name in "ba")
    assert found == expected


WRONG = [
    ("--dataset_name AliExpress_DE", "--dataset_name is 'AliExpress_DE'; known are AliExpress_NL"),
    ("--model_name mlp", "--model_name is 'mlp'; known are singletask"),
    ("--model_name pomoe --gate wide", "--gate is 'wide'; known are linear, deep, attention"),
    ("--model_name pomoe --scalarisation sum", "known are linear, tchebycheff"),
    ("--model_name mmoe --gate deep", "--gate is for --model_name pomoe, not mmoe"),
    ("--model_name pomoe --preset published --head per_task", "official has its own"),
    ("--model_name pomoe --anneal_power 5", "for --sampler annealed, not angles"),
    ("--model_name mmoe --gate_anchor 5", "--gate_anchor is for --model_name pomoe"),
    ("--model_name mmoe --calibrator 0.6", "--calibrator is for aitm"),
    ("--model_name pomoe --dirichlet_alpha 1,x", "give numbers such as 1,1.2"),
    ("--model_name pomoe --ideal .8,.8", "non-linear"),
    (
        "--model_name pomoe --scalarisation tchebycheff --ideal .8,.8,.8",
        "--ideal is '.8,.8,.8'; give 2 numbers, one per task",
    ),
    ("--task_num 3", "--task_num is 3, but the data have 2 label columns: click, conversion"),
    ("--tasks click,cart", "--tasks names 'cart'; the data have click, conversion"),
    ("--model_name ple --expert_num 1", "--expert_num must be at least 2 for ple"),
    ("--dataset_path no/such/folder", "no/such/folder"),
    ("--device ascend:0", "cannot use Ascend"),
    (
        "--model_name pomoe --preset official --dataset_name Synthetic --task_num 3",
        "two tasks built in, the data have 3",
    ),
]


@pytest.mark.parametrize(("flags", "text"), WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(flags, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, [text], run, *flags.split())
    assert not (tmp_path / "runs").exists()


def test_broken_data_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    """One case; tests/data has every one."""
    sizes = dict(rows=300, test_rows=100, rates=(0.3, 0.1), signal=1.5)
    make_aliexpress(tmp_path, seed=1, country="NL", form="processed", **sizes)
    folder = tmp_path / "AliExpress_NL"
    lines = (folder / "train.csv").read_text().splitlines(keepends=True)
    (folder / "train.csv").write_text("".join(lines[1:]))
    monkeypatch.chdir(tmp_path)
    flags = "--dataset_path", str(folder), "--model_name", "mmoe"
    assert_refused(capsys, ["train.csv:1: ", "Remedy: "], run, *flags)
    assert not (tmp_path / "runs").exists()


def one_class(part):
    """load_aliexpress, but nobody buys in one split."""

    def load(*arguments, **options):
        splits, schema = load_aliexpress(*arguments, **options)
        table = getattr(splits, part)
        labels = np.array(table.labels)
        labels[:, 1] = 0
        return splits._replace(**{part: dataclasses.replace(table, labels=labels)}), schema

    return load


def test_a_task_of_one_class_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["task 'conversion' has one class only in the"]
    assert_refused(capsys, words, main, one_class("train"), "x.py", "", ["--model_name", "mmoe"])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("model", ["sharedbottom", "pomoe", "official"])
@pytest.mark.filterwarnings("ignore:a task has one class only")
def test_a_split_of_one_class_gives_null_and_a_reason(model, part, tmp_path):
    chosen = ["pomoe", "--preset", model] if model == "official" else [model]
    flags = ["--model_name", *chosen, "--save_dir", str(tmp_path)]
    assert main(one_class(part), "a_script.py", "", [*QUICK, *flags]) == 0
    content = read(tmp_path)
    bought = content[part]["tasks"]["conversion"]
    assert bought["auc"] is None and bought["reason"] == "one class"
    assert content[part]["tasks"]["click"]["auc"] > 0
    if part == "test" and model == "pomoe":
        measures = content["front_measures"]
        assert measures["hv_auc"] is None and measures["hv_ne"] >= 0


def test_the_choices_of_the_flags_are_those_of_the_code():
    from hamur.commands import multi_task_config as flags
    from hamur.layers import preference, preference_towers
    from hamur.models import metaheac, pomoe
    from hamur.models.multi_task import PRESETS
    from hamur.training.preference import samplers, scalarise

    assert tuple(flags.PRESETS) == PRESETS
    places = {
        metaheac: ["META_ORDERS"],
        pomoe: ["HEADS", "EXPERT_KINDS"],
        preference: ["GATES"],
        preference_towers: ["TOWER_NORMS"],
        samplers: ["SAMPLERS"],
        scalarise: ["SCALARISATIONS"],
    }
    for module, names in places.items():
        for name in names:
            assert getattr(flags, name) == tuple(getattr(module, name))
