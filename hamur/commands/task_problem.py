"""What a multi-task model is trained for: its options and data, its network and its trainer."""

from functools import partial
from typing import NamedTuple

import numpy as np

from hamur import models, training
from hamur.commands.multi_task_config import OFFICIAL, TaskOptions
from hamur.commands.script import make_trainer
from hamur.reporting import front
from hamur.training.preference.samplers import evaluation_preferences, official_preferences

NETWORK_FLAGS = (
    *("head", "gate", "gate_anchor", "expert_kind", "tower_norm", "calibrator", "meta_order"),
)


class Problem(NamedTuple):
    """What a model is trained for: a resolved configuration and its data.

    entropy (T,): H_k of the training rows; truth: of generated test rows, else None.
    """

    config: TaskOptions
    splits: tuple
    schema: object
    entropy: np.ndarray
    truth: object = None

    @property
    def offsets(self) -> np.ndarray:
        return score_offsets(self.splits.train.labels)

    def entries(self, preferences, logits) -> list[dict]:
        """Figures of logits (N, R, T) on the test rows."""
        test, names = self.splits.test, self.schema.labels
        return front.front_entries(preferences, logits, test, self.entropy, names)


def score_offsets(labels: np.ndarray) -> np.ndarray:
    """b_k = logit of the base rate, (T,)."""
    rates = labels.mean(axis=0, dtype=np.float64)
    return np.log(rates / (1.0 - rates))


def build(problem: Problem):
    """The model of a configuration; the training labels set the offsets of a shared score."""
    from mindspore import Tensor

    config = problem.config
    flags = {name: getattr(config, name) for name in NETWORK_FLAGS}
    network = models.MultiTaskConfig(
        preset=config.preset,
        embed_dim=config.embed_dim,
        num_experts=config.expert_num,
        **{name: value for name, value in flags.items() if value is not None},
    )
    construct = models.MULTI_TASK[config.model_name]
    model = construct(problem.schema, config=network, seed=config.init_seed)
    if getattr(model, "offsets", None) is not None:
        model.offsets.set_data(Tensor(problem.offsets.astype(np.float32)))
    return model


def preferences_of(config: TaskOptions, num_tasks: int) -> np.ndarray:
    """(R, T) at which a model is evaluated; the even preference for models that take none."""
    if config.model_name != "pomoe":
        return np.full((1, num_tasks), 1.0 / num_tasks, np.float32)
    if config.preset == OFFICIAL and config.eval_preferences == 5:
        return official_preferences()
    return evaluation_preferences(num_tasks, config.eval_preferences)


def criterion_of(config: TaskOptions) -> str:
    """What picks the best epoch, of those of `TaskEvaluation`."""
    if config.preset == OFFICIAL:
        return "auc_hypervolume"
    return "hypervolume" if config.model_name == "pomoe" else "negative_loss"


def task_trainer(problem: Problem, model, fixed: tuple | None = None, **changes):
    """The trainer of a configuration; fixed: one preference for all steps."""
    config, entropy = problem.config, problem.entropy
    steps = -(-len(problem.splits.train) // config.batch_size)
    if config.model_name == "metaheac" and config.meta_order != "none":
        step = partial(training.meta_step, steps_per_epoch=steps)
    else:
        options = training.PreferenceOptions(
            tuple(entropy),
            config.epochs * steps,
            scalarisation=config.scalarisation or "linear",
            loss_norm=config.loss_norm or "none",
            sampler=config.sampler or "angles",
            number=config.preferences_per_step or 1,
            anneal_power=config.anneal_power or 2.0,
            dirichlet_alpha=config.numbers("dirichlet_alpha"),
            ideal=config.numbers("ideal"),
            fixed=fixed,
        )
        step = partial(training.preference_step, options=options)
    if fixed is not None:
        preferences, criterion = np.array([fixed]), "weighted_loss"
    else:
        preferences, criterion = preferences_of(config, model.num_tasks), criterion_of(config)
    evaluation = partial(
        training.TaskEvaluation, preferences=preferences, entropy=entropy, weights=fixed
    )
    return make_trainer(config, step, criterion=criterion, evaluation=evaluation, **changes)


def logits_of(model, table, preferences) -> np.ndarray:
    """(N, R, T)"""
    from hamur.training.prediction import graph_mode, predictor_of

    with graph_mode():
        return predictor_of(model).logits(table, preferences)
