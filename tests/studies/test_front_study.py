"""The study of fronts: its bookkeeping with arms that are not trained, and (slow) its verdict."""

import json
from itertools import product

import numpy as np
import pytest

from hamur.metrics.exact_front import best_scores
from hamur.studies import front_arms
from hamur.studies import fronts as front_study
from tests.support.commands import assert_refused

FEW = ["--rows", "8000", "--points", "5", "--seeds", "1", "--quiet"]


def pretend(self, scalarisation, model, fixed=None, step=None):
    """In place of training: the best logits there are, steered as the arm's name promises."""
    trained.append((scalarisation, fixed))
    q, preferences = self.truth.probability, self.preferences
    preferences = preferences if fixed is None else np.array([fixed])
    if model.config.head == "per_task":  # as the published form is, which cannot be steered
        return np.repeat(np.log(q / (1 - q))[:, None], len(preferences), axis=1)
    scores = [best_scores(q, self.offsets, r / self.entropy) for r in preferences]
    return np.stack(scores, axis=1)[:, :, None] + self.offsets


trained = []


@pytest.fixture
def untrained(monkeypatch):
    trained.clear()
    monkeypatch.setattr(front_arms.SeedStudy, "train", pretend)
    monkeypatch.setattr(front_arms, "RESAMPLES", 10)


@pytest.mark.parametrize("tasks", [2, 3])
def test_a_steered_arm_reaches_what_is_required_and_a_blind_one_has_no_spread(
    untrained, tmp_path, tasks, capsys
):
    arms = "linear,published,per_task" if tasks == 2 else "linear,per_task"
    argv = [*FEW, "--task_num", str(tasks), "--arms", arms, "--save_dir", str(tmp_path)]
    assert front_study.main("study", "doc", argv) == 0
    content = json.loads((tmp_path / f"study-tasks{tasks}.json").read_text())
    header, rows = front_study.summary(content, tasks)
    verdicts = {row[0]: row[-1] for row in rows}
    # Two towers beat any shared score, which is no regret of the shared score.
    assert verdicts["linear"] == "reached" and verdicts["per_task"] == ""
    for name in ("official", "per_task")[2 - len(arms.split(",")[1:]) :]:
        blind = next(row for row in rows if row[0] == name)
        assert blind[header.index("Spearman")] == "no spread"
        assert float(blind[header.index("span / reference")]) == 0.0
        assert blind[header.index("degenerate")] == "1 of 1"
    steered, posthoc = (next(r for r in rows if r[0] == n) for n in ("linear", "posthoc"))
    assert posthoc[1:6] == steered[1:6]  # of the true probabilities: the exact front
    assert steered[header.index("degenerate")] == "0 of 1"
    measures = content["seeds"][0]["measures"]
    assert measures["linear"]["regret"] == pytest.approx(0.0, abs=1e-6)
    assert measures["per_task"]["largest_gap_to_single_task"] == 0.0
    assert (tmp_path / f"study-tasks{tasks}.png").stat().st_size > 10_000
    assert "linear" in capsys.readouterr().out
    before = len(trained)
    assert front_study.main("study", "doc", argv) == 0
    assert len(trained) == before  # everything was on disk
    for option in (["--sampler", "grid"], ["--criterion", "hypervolume"]):
        trained.clear()
        assert front_study.main("study", "doc", [*argv, *option]) == 0
        # all but the models of one preference
        assert len(trained) == len(arms.split(",")) and {fixed for _, fixed in trained} == {None}
    trained.clear()
    assert front_study.main("study", "doc", [*argv, "--epoch", "3"]) == 0
    assert len(trained) == before  # another question


def test_figures_below_what_is_required_are_not_reached():
    """Spearman, shares of the reference's hypervolume and span, regret, non-dominated points."""
    assert front_study.REQUIRED[3] == (0.90, 0.95, 0.80, 0.01, 0.80)
    enough = [0.95, 0.97, 0.80, 0.01, 0.80]
    assert front_study.verdict("linear", enough, 2) == "reached"
    for place, worse in enumerate((0.94, 0.96, 0.79, 0.011, 0.79)):
        figures = enough.copy()
        figures[place] = worse
        assert front_study.verdict("linear", figures, 2) == "not reached"
    assert front_study.verdict("linear", [None, *enough[1:]], 2) == "not reached"


def test_unknown_arms_are_refused(capsys):
    words = ["--arms names 'best'; known are linear"]
    assert_refused(capsys, words, front_study.main, "study", "doc", ["--arms", "best"])
    flags = ["--task_num", "3", "--arms", "official"]
    assert_refused(capsys, [], front_study.main, "study", "doc", flags)


SEEDS = (3, 4, 5)
LARGEST_GAP = 0.02  # of NE
OF_SEED = pytest.mark.parametrize(("tasks", "seed"), list(product((2, 3), SEEDS)))


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """(tasks, seed, arms) -> what the study says of that seed; an arm is trained once a module, and
    per_task is always among them, because its post-hoc points count in the regret."""
    folder = tmp_path_factory.mktemp("study")

    def study(tasks, seed, *arms):
        argv = ["--task_num", str(tasks), "--seeds", "1", "--seed", str(seed), "--quiet"]
        argv += ["--arms", ",".join(("per_task", *arms)), "--save_dir", str(folder)]
        assert front_study.main("study", "doc", argv) == 0
        return json.loads((folder / f"study-tasks{tasks}.json").read_text())["seeds"][0]

    return study


# From two to ten minutes a case on one core; the first of a seed trains its reference models.
OF_ARM = pytest.mark.parametrize("arm", ("linear", "smooth_tchebycheff"))


@pytest.mark.slow
@OF_SEED
def test_towers_per_task_are_as_good_as_models_per_task_and_no_control_is_claimed(
    studied, tasks, seed
):
    study = studied(tasks, seed)
    measures = study["measures"]["per_task"]
    worse = np.array(study["arms"]["per_task"]) - np.array(study["single_task"])
    assert worse.max() <= LARGEST_GAP and measures["largest_gap_to_single_task"] <= LARGEST_GAP
    assert len(measures["span_ne"]) == tasks and isinstance(measures["front_degenerate"], bool)
    row = next(row for row in front_study.summary({"seeds": [study]}, tasks)[1] if "per_" in row[0])
    assert row[-1] == ""


@pytest.mark.slow
@OF_SEED
@OF_ARM
def test_one_model_reaches_the_front_and_most_of_the_span_of_a_model_per_preference(
    studied, tasks, seed, arm
):
    study = studied(tasks, seed, arm)
    measures = study["measures"]
    rows = front_study.summary({"seeds": [study]}, tasks)[1]
    assert next(row for row in rows if row[0] == arm)[-1] == "reached", measures[arm]
    assert {"posthoc", "reference", "exact"} <= set(measures)
    assert 0 < measures[arm]["hv_fraction_exact"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_published_form_gets_the_same_report(studied, seed):
    """With no threshold: its Spearman and its span are for the reader to compare."""
    study = studied(2, seed, "official", "linear")
    measures = study["measures"]
    assert set(measures["official"]) - {"reason"} == set(measures["linear"]) - {"reason"}
    assert len(study["arms"]["official"]) == len(study["arms"]["linear"]) == 11
    assert len(measures["official"]["span_ne"]) == len(measures["official"]["spearman"]) == 2
