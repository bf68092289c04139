"""A model in plain values, as it travels between processes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """Arrays by parameter name, and what these do not tell."""

    backbone: str  # "mlp", "dcn" or "wd"
    arrays: dict[str, np.ndarray]
    vocab_sizes: tuple[int, ...]
    quotas: tuple[int, ...]  # rows of each domain in a step
    places: tuple[int, ...]  # 1-based hidden layers followed by a cell
    instance_head: str
    instance_scale: float
    norm_group: str
    norm_variance: str
    tower_norm: str
    tower_rows: str
    dropout: float  # of the hidden blocks
    embedding_dropout: float


def plan_of(name, model, quotas):
    """The plan of one of our models by public name, for steps with these rows of each domain."""
    config, sizes = model.config, model.sizes
    rank = config.rank or sizes.rank
    return Plan(
        backbone=name.split("_")[0],
        arrays={p.name: p.asnumpy().copy() for p in model.get_parameters()},
        vocab_sizes=model.schema.vocab_sizes,
        quotas=quotas,
        places=tuple(model.adapter_layers) if config.enabled else (),
        instance_head=config.instance_head,
        instance_scale=rank**-0.5 if config.instance_scale is None else config.instance_scale,
        norm_group=config.norm_group,
        norm_variance=config.norm_variance,
        tower_norm=config.tower_norm,
        tower_rows=config.tower_rows,
        dropout=sizes.dropout,
        embedding_dropout=config.embedding_dropout,
    )
