"""Folders of models that nobody trained: what a run writes, with initial weights."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from hamur import models
from hamur.commands import script
from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.multi_task_config import TaskConfig
from hamur.commands.ranking import RankingConfig, build_model
from hamur.reporting import results
from hamur.training.checkpoint import save_weights, snapshot


def write_run(folder: Path, name: str, splits, schema, noise=0.2, **options):
    """The folder of a run of a ranking or multi-task model; returns the model.

    noise: its standard deviation, added to every weight."""
    if name in models.RANKING:
        config = RankingConfig(**options, model_name=name, save_dir=str(folder))
        model = build_model(dataclasses.replace(config, init_seed=3), schema)
    else:
        config = TaskConfig(model_name=name, save_dir=str(folder), preset="pareto", **options)
        sizes = models.MultiTaskConfig(embed_dim=4, num_experts=3, expert_dims=(8, 6))
        model = models.MULTI_TASK[name](schema, config=sizes, seed=3)
    return _write(folder, config, model, splits, schema, schema, noise)


def write_pair_run(folder: Path, name: str, pair, rules: dict):
    """The folder of a run of a cross-domain model; returns the model."""
    from hamur.data.cross_domain.collate import FieldSizes

    config = CrossDomainConfig(model_name=name, save_dir=str(folder))
    sizes = FieldSizes(*pair.target_schema.vocab_sizes, *pair.source_schema.vocab_sizes[1:])
    model = models.CROSS_DOMAIN[name](sizes, None, 3)
    schema = dataclasses.replace(pair.schema, fields=model.schema.fields)
    about = pair.target, pair.target_schema, schema
    return _write(folder, config, model, *about, 0.2, cross_domain=rules)


def _write(folder, config, model, splits, data_schema, schema, noise, **further):
    rng = np.random.default_rng(4)
    description = results.run_description(config, model.config, "a_script", splits, data_schema)
    with contextlib.redirect_stdout(None):
        script.open_run(config, description, model, lambda *_: None, None, schema, **further)
    script._held.close()
    for parameter in model.trainable_params():  # no score of nothing but 0.5
        added = rng.normal(scale=noise, size=parameter.shape).astype(np.float32)
        parameter.set_data(type(parameter)(parameter.asnumpy() + added))
    save_weights(folder / "model.safetensors", snapshot(model))
    return model
