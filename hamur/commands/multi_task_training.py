"""Build and train one multi-task model as a configuration asks: shared by the script, its reference
front and the study of fronts."""

from functools import partial

import numpy as np
from mindspore import Tensor

from hamur import metrics, models, training
from hamur.commands import script
from hamur.training.preference.meta import meta_step
from hamur.training.preference.samplers import evaluation_preferences, published_preferences

NETWORK_FLAGS = (
    *("head", "gate", "gate_anchor", "expert_kind", "tower_norm", "calibrator", "meta_order"),
)


def network_config(config) -> models.MultiTaskConfig:
    """The network's part of a resolved TaskConfig."""
    given = {
        name: getattr(config, name) for name in NETWORK_FLAGS if getattr(config, name) is not None
    }
    return models.MultiTaskConfig(
        preset=config.preset, embed_dim=config.embed_dim, num_experts=config.expert_num, **given
    )


def score_offsets(labels: np.ndarray) -> np.ndarray:
    """b_k = logit of the base rate, (T,)."""
    rates = labels.mean(axis=0, dtype=np.float64)
    return np.log(rates / (1.0 - rates))


def build(config, network, schema, labels):
    """The model of a resolved TaskConfig; labels (N, T) of the training rows set the offsets of a
    shared score."""
    model = models.MULTI_TASK[config.model_name](schema, config=network, seed=config.init_seed)
    if getattr(model, "offsets", None) is not None:
        model.offsets.set_data(Tensor(score_offsets(labels).astype(np.float32)))
    return model


def preferences_of(config, num_tasks: int) -> np.ndarray:
    """(R, T) at which a resolved TaskConfig's model is judged; the even one for one-point
    models."""
    if config.model_name != "pomoe":
        return np.full((1, num_tasks), 1.0 / num_tasks, np.float32)
    if config.preset == "published" and config.eval_preferences == 5:
        return published_preferences()
    return evaluation_preferences(num_tasks, config.eval_preferences)


def criterion_of(config) -> str:
    """What picks the epoch."""
    if config.preset == "published":
        return "auc_hypervolume"
    return "hypervolume" if config.model_name == "pomoe" else "negative_loss"


def make_trainer(config, model, entropy, train_rows, fixed=None, save_dir=None, **changes):
    """The trainer of a resolved TaskConfig; fixed: one preference for all steps."""
    steps = -(-train_rows // config.batch_size)
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
    judged = preferences_of(config, model.num_tasks) if fixed is None else np.array([fixed])
    settings = dict(
        criterion=criterion_of(config) if fixed is None else "weighted_loss",
        evaluation=partial(
            training.TaskEvaluation, preferences=judged, entropy=entropy, weights=fixed
        ),
        save_dir=save_dir,
        resume=config.resume and fixed is None,
    )
    step = partial(training.preference_step, options=options)
    if config.model_name == "metaheac" and config.meta_order != "none":
        step = partial(meta_step, steps_per_epoch=steps)
    return script.make_trainer(config, step, **(settings | changes))


def training_entropy(splits, schema) -> np.ndarray:
    """H_k (T,) of the training rows; ValueError for a task of one class."""
    return metrics.label_entropy(splits.train.labels, schema.labels)
