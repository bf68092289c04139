"""What the front of a preference model is compared with, and what is trained for it."""

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from hamur.commands.multi_task_config import OFFICIAL, PREFERENCE_FLAGS
from hamur.commands.script import stop_if_interrupted
from hamur.commands.task_problem import Problem, build, logits_of, task_trainer
from hamur.metrics.exact_front import exact_front
from hamur.reporting import front, results
from hamur.same_run import load_or_train
from hamur.training.preference.samplers import evaluation_preferences


def compared_fronts(problem: Problem, preferences, alone: bool) -> dict:
    """Entries of the fronts that a preference model is compared with, [] of those not asked for.

    posthoc: the shared score that the probabilities of an mmoe imply; reference: one model per
    preference; exact: the best that any shared score reaches on generated rows, in expectation.
    What is trained for it is kept in compared/, so that a run that is resumed does not repeat it.
    """
    config = problem.config
    folder = Path(config.save_dir) / "compared"
    if not config.resume:
        shutil.rmtree(folder, ignore_errors=True)
    about = {"options": dataclasses.asdict(config)}
    about["data"] = {"fingerprint": results.fingerprint(problem.splits)}

    def kept(name: str, figures: Callable) -> list[dict]:
        return load_or_train(folder / name, about, lambda: {"entries": figures()}, replace=True)[
            "entries"
        ]

    entries = {"posthoc": [], "reference": [], "exact": []}
    if alone:
        return entries
    if config.posthoc and len(problem.schema.labels) == 2:
        if not config.quiet:
            print("\nmmoe, which the front is compared with (--no-posthoc trains none):")
        entries["posthoc"] = kept("posthoc", lambda: posthoc_entries(problem, preferences))
    if config.reference_front:
        points = evaluation_preferences(len(problem.schema.labels), config.reference_front)
        for number, point in enumerate(points):
            figures = partial(reference_entries, problem, point)
            entries["reference"] += kept(f"reference-{number}", figures)
    if problem.truth is not None and config.head == "shared_score":
        entries["exact"] = exact_entries(problem, preferences)
    return entries


def train_compared(problem: Problem, fixed: tuple | None = None, **changes) -> np.ndarray:
    """Logits (N, R, T) on the test rows of a model trained with changed options, saved nowhere."""
    config = dataclasses.replace(problem.config, save_dir=None, resume=False, **changes)
    problem = problem._replace(config=config)
    model = build(problem)
    run = task_trainer(problem, model, fixed).fit(model, problem.splits.train, problem.splits.valid)
    stop_if_interrupted(run)
    return logits_of(model, problem.splits.test, fixed and np.array([fixed]))


def reference_entries(problem: Problem, preference: np.ndarray) -> list[dict]:
    """Figures of a model of the same network, seed and budget that only sees one preference."""
    if problem.config.preset == OFFICIAL:  # its loss cannot hold a fixed preference still
        raise ValueError("--reference_front is for --preset pareto.")
    changes = dict(scalarisation="linear", loss_norm="entropy", ideal=None)
    logits = train_compared(problem, tuple(float(r) for r in preference), **changes)
    return problem.entries(preference[None], logits)


def posthoc_entries(problem: Problem, preferences) -> list[dict]:
    """Figures of the shared score that the probabilities of an mmoe imply, of the same sizes and
    budget, its weights not averaged: that is its own default, and an average changes so slowly that
    no epoch would ever count as worse and stop it early."""
    changes = dict.fromkeys(PREFERENCE_FLAGS) | dict(model_name="mmoe", preset="pareto")
    logits = train_compared(problem, averaging=0.0, **changes)[:, 0]
    logits = front.posthoc_logits(logits, preferences, problem.offsets, problem.entropy)
    return problem.entries(preferences, logits)


def exact_entries(problem: Problem, preferences) -> list[dict]:
    """Expected figures of the best shared score at each preference."""
    names, entropy = problem.schema.labels, problem.entropy
    losses, aucs = exact_front(problem.truth.probability, problem.offsets, preferences, entropy)
    entries = []
    for preference, ne, auc in zip(preferences, losses, aucs):
        columns = zip(names, auc.tolist(), ne.tolist(), (ne * entropy).tolist())
        tasks = {n: {"auc": a, "ne": e, "logloss": loss, "gauc": None} for n, a, e, loss in columns}
        entries.append({"preference": [float(r) for r in preference], "tasks": tasks})
    return entries


def at_preferences(problem: Problem, model, entries: list[dict], others: list[dict]) -> list[dict]:
    """The model's entries at the preferences of others: more points alone have more volume."""
    points = [entry["preference"] for entry in others]
    if points == [entry["preference"] for entry in entries]:
        return entries
    points = np.array(points)
    return problem.entries(points, logits_of(model, problem.splits.test, points))
