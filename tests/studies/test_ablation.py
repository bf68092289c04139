"""The ablation study: its arms, its table, and what a second start does."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import pytest

from hamur import models
from hamur.data import load_movielens
from hamur.data.synthetic.conflict import make_conflict
from hamur.layers import AdapterConfig
from hamur.studies import ablation
from hamur.studies.ablation import FORMS, ROWS, AblationConfig, make_arms, make_forms, run_study
from tests.support.commands import assert_refused

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "run_ablation.py"
FEW = r"^(plain, paper towers|paper|paper with side of official)$"
SMALL = dict(rows=400, epochs=1, batch_size=128, seeds=1, quiet=True)


def test_rows_are_exactly_the_differences_of_the_presets():
    """A new difference between paper and official cannot be forgotten here."""
    paper, official = (
        dataclasses.asdict(p()) for p in (AdapterConfig.paper, AdapterConfig.official)
    )
    differing = {name for name in paper if paper[name] != official[name]}
    assert sorted(name for row in ROWS for name in row) == sorted(differing)


def test_each_arm_changes_one_row_of_its_reference():
    arms = {arm.name: arm for arm in make_arms()}
    assert len(arms) == len(make_arms()) == 2 * (3 + len(ROWS) + 2)
    for preset, other in (("paper", "official"), ("official", "paper")):
        target = arms[other].config
        for row in ROWS:
            arm = arms[f"{preset} with {' and '.join(row)} of {other}"]
            assert arm.reference == preset and arm.adapter
            base, changed = arms[preset].config, arm.config
            for field in dataclasses.fields(base):
                source = target if field.name in row else base
                assert getattr(changed, field.name) == getattr(source, field.name)
        for rank in (8, 16):
            assert arms[f"{preset} with K = {rank}"].config.rank == rank
        assert not arms[f"plain, {preset} towers"].adapter
    names = list(arms)
    for arm in arms.values():  # what an arm is compared with stands above it
        assert arm.reference is None or names.index(arm.reference) < names.index(arm.name)


@pytest.mark.parametrize("backbone", ablation.BACKBONES)
def test_each_form_changes_preset_best_and_stands_below_its_plain_arm(backbone):
    arms = {arm.name: arm for arm in make_forms(backbone)}
    assert len(arms) == len(make_forms(backbone)) == 3 + len(FORMS) + 2
    for name, changes in FORMS.items():
        arm = arms[f"best with {name}"]
        assert arm.adapter and arm.reference == "plain"
        assert arm.config == AdapterConfig.best(**changes) != arms["best"].config
    plain_towers, adapted = list(arms.values())[-2:]
    assert adapted.reference == plain_towers.name and plain_towers.config == adapted.config
    schema = make_conflict(400)[1]
    sizes = [
        models.parameter_counts(ablation.build(arm, backbone, schema, seed=1))["parameters"]
        for arm in (arms["plain"], plain_towers, adapted)
    ]
    assert len(set(sizes)) == 3  # the other backbone is another network
    names = list(arms)
    for arm in arms.values():
        assert arm.reference is None or names.index(arm.reference) < names.index(arm.name)


@pytest.mark.parametrize("preset", [None, "best"])
def test_an_arm_trains_as_its_preset_does(preset, monkeypatch):
    from hamur import training

    class Stop(Exception):
        pass

    given = {}

    def record(*_, **options):
        given.update(options)
        raise Stop

    monkeypatch.setattr(training, "Trainer", record)
    config = AblationConfig(**SMALL, preset=preset)
    splits, schema = ablation.load_data(config, load_movielens)
    with pytest.raises(Stop):
        ablation.run_arm(make_forms("mlp")[0], config, splits, schema, 1)
    recipe = {name: given.get(name) for name in ("embedding_decay", "averaging")}
    tuned = dict(embedding_decay=1e-3, averaging=0.998)
    assert recipe == (tuned if preset else dict.fromkeys(tuned))


@pytest.mark.parametrize("backbone", ablation.BACKBONES)
def test_every_arm_builds_and_matched_ones_have_the_parameters(backbone):
    schema = make_conflict(400)[1]
    counts = {}
    for arm in make_arms():
        if arm.name.startswith(("plain", "paper", "official")) and " with " not in arm.name:
            model = ablation.build(arm, backbone, schema, seed=1)
            counts[arm.name] = models.parameter_counts(model)["parameters"]
    for preset in ablation.PRESETS:
        plain, target = counts[f"plain, {preset} towers"], counts[preset]
        assert plain < target
        assert counts[f"plain, {preset} towers, matched"] == pytest.approx(target, rel=0.02)


def test_backbones_are_those_of_the_package():
    assert tuple(models.HAMUR) == ablation.BACKBONES


def fake_run(monkeypatch, trained):
    """An arm's result in the place of its training: its AUC is told by name and seed."""

    def run_arm(arm, config, splits, schema, seed):
        trained.append((arm.name, seed))
        value = 0.7 + 0.01 * (seed - 2022) + 0.1 * arm.adapter
        entry = {"auc": value, "macro_auc": value, "worst_auc": value, "logloss": 0.5}
        report = entry | {"domains": {"0": {"auc": value}, "1": {"auc": None}}}
        return {"parameters": 1234, "valid": report, "test": report}

    monkeypatch.setattr(ablation, "run_arm", run_arm)


def test_the_table_holds_every_arm_and_a_second_start_trains_nothing(tmp_path, monkeypatch, capsys):
    trained = []
    fake_run(monkeypatch, trained)
    options = {**SMALL, "save_dir": str(tmp_path)}
    run_study(AblationConfig(**options), load_movielens)
    names = [arm.name for arm in make_arms()]
    assert trained == [(name, 2022) for name in names]
    rows = json.loads((tmp_path / "ablation.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == names
    assert rows[0]["difference"] is None and rows[0]["auc_domain_1"] is None
    by_name = {row["arm"]: row for row in rows}
    assert by_name["paper"]["difference"] == pytest.approx(0.1)
    assert by_name["paper"]["reference"] == "plain, paper towers"
    with (tmp_path / "ablation.csv").open() as file:
        assert [row["arm"] for row in csv.DictReader(file)] == names
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    assert len(lines) == 4 + len(names)
    assert capsys.readouterr().out.strip() == "\n".join(lines).strip()

    run_study(AblationConfig(**{**options, "seeds": 2}), load_movielens)
    assert trained[len(names) :] == [(name, 2023) for name in names]
    rows = json.loads((tmp_path / "ablation.json").read_text())["rows"]
    assert rows[0]["seeds"] == 2 and rows[0]["auc"] == pytest.approx(0.705)
    assert rows[2]["verdict"] == "above"  # a constant difference has no spread


def test_another_study_in_the_same_folder_is_refused(tmp_path, monkeypatch):
    fake_run(monkeypatch, [])
    options = {**SMALL, "save_dir": str(tmp_path)}
    run_study(AblationConfig(**options), load_movielens)
    with pytest.raises(ValueError, match=r"finished run, which had --learning_rate.*another"):
        run_study(AblationConfig(**{**options, "learning_rate": 0.5}), load_movielens)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--backbone", "deepfm"], "known are mlp, dcn_md, wd_md"),
        (["--preset", "paper"], "--preset is 'paper'"),
        (["--arms", "nothing"], "matches none of the arms"),
        (["--arms", "("], "is no regular expression"),
        (["--dataset_path", "no/such/folder"], "no/such/folder"),
        (["--seeds", "0"], "must be at least 1"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(flags, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, [text], ablation.main, load_movielens, "x.py", "description", flags)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_script_trains_arms_on_the_conflict_data(tmp_path):
    """The real script on three arms; from another folder, nothing mocked."""
    import subprocess

    flags = ["--rows", "400", "--epoch", "1", "--batch_size", "128", "--seeds", "1", "--arms", FEW]
    command = [sys.executable, str(EXAMPLE), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "runs/ablation/ablation.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == [
        "plain, paper towers",
        "paper",
        "paper with side of official",
    ]
    assert all(0 <= row["auc"] <= 1 and row["auc_domain_1"] is not None for row in rows)
    assert "paper with side of official" in done.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:norm_inference")
@pytest.mark.parametrize(("preset", "arms"), [(None, make_arms()), ("best", make_forms("mlp"))])
def test_the_whole_study_completes_on_the_conflict_data(preset, arms, tmp_path):
    options = {**SMALL, "rows": 1_000, "preset": preset}
    rows = run_study(AblationConfig(**options, save_dir=str(tmp_path)), load_movielens)
    assert [row["arm"] for row in rows] == [arm.name for arm in arms]
    assert all(row["auc"] is not None for row in rows)
