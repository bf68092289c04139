"""Fronts that a preference model is held against: a model a preference, the post-hoc score of a
per-task model, and the exact front of generated data."""

import dataclasses

import numpy as np

from hamur import models
from hamur.commands import multi_task_training as task_training
from hamur.commands.multi_task_config import PREFERENCE_FLAGS
from hamur.metrics.exact_front import exact_front
from hamur.reporting import front
from hamur.training.predict import graph_mode, predictor_of
from hamur.training.preference.samplers import evaluation_preferences


def logits_of(model, table, preferences=None) -> np.ndarray:
    """(N, R, T) float32."""
    with graph_mode():
        return predictor_of(model).logits(table, preferences)


def reference_entries(config, splits, schema, entropy) -> list[dict]:
    """Train one model of the same network, data, seed and budget for every preference."""
    points = evaluation_preferences(len(schema.labels), config.reference_front)
    entries = []
    for preference in points:
        model = train_fixed(config, splits, schema, entropy, preference)
        logits = logits_of(model, splits.test, preference[None])
        entries += front.front_entries(
            preference[None], logits, splits.test, entropy, schema.labels
        )
    return entries


def train_fixed(config, splits, schema, entropy, preference):
    """A model that only ever sees one preference, with linear weights."""
    if config.preset == "published":  # its loss cannot hold a fixed preference still
        raise ValueError("--reference_front is for --preset pareto.")
    config = dataclasses.replace(config, scalarisation="linear", loss_norm="entropy", ideal=None)
    network = task_training.network_config(config)
    model = task_training.build(config, network, schema, splits.train.labels)
    fixed = tuple(float(r) for r in preference)
    trainer = task_training.make_trainer(config, model, entropy, len(splits.train), fixed)
    trainer.fit(model, splits.train, splits.valid)
    return model


def train_per_task(config, splits, schema, entropy):
    """An mmoe of the same sizes and budget, its weights not averaged: that is its own default, and
    an average changes so slowly that no epoch would ever count as worse and stop it early."""
    none = dict.fromkeys(PREFERENCE_FLAGS) | dict(averaging=0.0, resume=False)
    config = dataclasses.replace(config, model_name="mmoe", preset="pareto", **none)
    network = task_training.network_config(config)
    model = models.MULTI_TASK["mmoe"](schema, config=network, seed=config.init_seed)
    trainer = task_training.make_trainer(config, model, entropy, len(splits.train))
    trainer.fit(model, splits.train, splits.valid)
    return model


def posthoc_entries(config, splits, schema, entropy, preferences) -> list[dict]:
    """The shared score that the probabilities of an mmoe imply at each preference."""
    model = train_per_task(config, splits, schema, entropy)
    offsets = task_training.score_offsets(splits.train.labels)
    logits = logits_of(model, splits.test)[:, 0]
    logits = front.posthoc_logits(logits, preferences, offsets, entropy)
    return front.front_entries(preferences, logits, splits.test, entropy, schema.labels)


def exact_entries(truth, train, entropy, names, preferences) -> list[dict]:
    """The best that any shared score reaches on the test rows of generated data, in expectation."""
    offsets = task_training.score_offsets(train.labels)
    losses, areas = exact_front(truth.probability, offsets, preferences, entropy)
    return [
        {
            "preference": [float(r) for r in preference],
            "tasks": {
                name: {
                    "auc": float(area),
                    "ne": float(loss),
                    "logloss": float(loss * h),
                    "gauc": None,
                }
                for name, loss, area, h in zip(names, by_loss, by_area, np.asarray(entropy))
            },
        }
        for preference, by_loss, by_area in zip(preferences, losses, areas)
    ]
