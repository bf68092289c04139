"""What every multi-task model shares: the tokens of an instance, task towers, masks and sizes."""

from dataclasses import dataclass

import numpy as np
from mindspore import nn, ops

from hamur.layers.embedding import FactoredFieldEmbedding
from hamur.layers.experts import ExpertStack
from hamur.layers.mlp import TowerDense, TowerMLP
from hamur.layers.routing import all_rows_layout, single_layout
from hamur.models.protocol import parameter_groups
from hamur.models.task_prediction import TaskPredictor, task_graph

PRESETS = ("pareto", "official")


@dataclass(frozen=True)
class MultiTaskConfig:
    """Sizes and forms of a multi-task network; defaults are those of the public code.

    head, gate, gate_anchor, expert_kind, tower_norm: POMoE, preset "pareto" only; see
        hamur.models.pomoe.
    """

    preset: str = "pareto"  # corrected; "official": mathematics and row order of the public code
    embed_dim: int = 128
    num_experts: int = 6
    expert_dims: tuple[int, ...] = (512, 256)
    tower_dims: tuple[int, ...] = (128, 64)
    dropout: float = 0.2
    generated_dropout: float = 0.05
    head: str = "per_task"
    gate: str = "deep"
    gate_anchor: float | None = None
    expert_kind: str = "mlp"
    tower_norm: str = "conditional"
    calibrator: float = 0.0  # weight of AITM's penalty
    meta_order: str = "second"  # of MetaHeac's outer derivative
    first_layer: str = "auto"  # form of FactoredFieldEmbedding

    def __post_init__(self):
        if self.preset == "published":  # the old spelling
            object.__setattr__(self, "preset", "official")
        if self.preset not in PRESETS:
            raise ValueError(f"unknown preset {self.preset!r}; known are {', '.join(PRESETS)}.")


class MultiTaskModel(nn.Cell):
    """A network with T logits per row; a subclass defines ``add_layers(rng)`` and
    ``tasks(instance, layout, keep)``, whose layout holds all rows and their weights.

    Inputs:  sparse (B, F) int32, dense (B, C) float32; weight None or (B,) float32, 0 on filler
        rows; keep () or one (B, width) uint8 mask for each entry of ``dropouts``, in that order.
    Outputs: logits (B, T) float32.
    """

    takes_preferences = False
    has_embedding = True

    def __init__(self, schema, config, seed):
        super().__init__()
        self.schema, self.config = schema, config
        self.num_tasks = len(schema.labels)
        rng = np.random.default_rng(seed)
        if self.has_embedding:
            self.embedding = FactoredFieldEmbedding(
                rng, schema.vocab_sizes, schema.num_dense, config.embed_dim, config.first_layer
            )
            self.instance_width = self.embedding.width
        self.mask_widths = []
        self.add_layers(rng)

    @property
    def batches(self):
        """The public code reads the rows in file order."""
        return "ordered" if self.config.preset == "official" else "shuffled"

    def parameter_groups(self):
        """The public code's L2 acts on everything, preset "pareto" spares biases and norms."""
        return parameter_groups(self.trainable_params(), spare=self.config.preset != "official")

    def predictor(self, batch_size=None):
        return TaskPredictor(self, batch_size)

    def serving_graph(self):
        return task_graph(self)

    @property
    def dropouts(self):
        """(width, rate) of each dropout mask of a training step, in the order of ``keep``."""
        rate = self.config.dropout
        return tuple((width, rate) for width in self.mask_widths) if rate else ()

    def construct(self, sparse, dense, weight=None, keep=()):
        if weight is None:
            weight = ops.ones_like(dense[:, 0])
        return self.tasks(self.embedding(sparse, dense), single_layout(None, weight), keep)

    def make_experts(self, rng, number, **options):
        """Experts, or bottoms, that read the instance."""
        config = self.config
        dims, rate = config.expert_dims, config.dropout
        return ExpertStack(rng, self.instance_width, dims, number, rate, **options)

    def make_towers(self, rng):
        """A tower per task on what the experts give."""
        config = self.config
        dims, rate = config.tower_dims, config.dropout
        return TaskTowers(rng, config.expert_dims[-1], dims, self.num_tasks, rate)


class TaskTowers(nn.Cell):
    """T towers MLP(in, dims, dropout) -> Dense(., 1), tower k on its own input.

    Inputs:  xs tuple of T tensors (B, in), layout of kind "single", keep () or a mask per hidden
        layer (shared by the towers).   Outputs: (B, T).
    """

    def __init__(self, rng, in_dim, dims, num_tasks, dropout):
        super().__init__()
        self.mlp = TowerMLP(rng, in_dim, dims, num_tasks, dropout)
        self.output = TowerDense(rng, dims[-1], 1, num_tasks)
        self.num_tasks = num_tasks

    def construct(self, xs, layout, keep=()):
        layout = all_rows_layout(layout, self.num_tasks)
        logits = self.output(self.mlp(xs, layout, keep), layout)
        return logits[0] if self.num_tasks == 1 else ops.concat(logits, 1)
