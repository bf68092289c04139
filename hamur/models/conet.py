"""CoNet and CoNet-S: the label of a target behaviour, with or without a source behaviour beside it.

One row is a target behaviour (user, item, category) and one source behaviour of the same user; the
two cross-connected towers share the user's embedding (arXiv 1804.06769).
"""

import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from hamur.data.cross_domain.collate import SOURCE_FIELDS, TARGET_FIELDS, Candidates
from hamur.data.schema import SPARSE, FieldSpec, Schema
from hamur.layers.cross_connection import cross_towers, single_tower
from hamur.layers.importance import Importance, initial_phi
from hamur.layers.parameters import spared, table
from hamur.layers.primitives import matmul
from hamur.models.prediction import (
    BATCH_SIZE,
    Predictor,
    Probabilities,
    Served,
    equal_pieces,
    open_rows,
    pieces,
    sigmoid,
)
from hamur.models.protocol import ServingGraph, parameter_groups


@dataclass(frozen=True)
class CoNetConfig:
    """Sizes and initial values.

    hidden: widths of the towers; slope: of the activation below 0 (official 0, ReLU, which leaves
    some seeds at a constant output); embed_std: initial standard deviation of the tables (official
    1.0); zero_padding: row 0 of every table reads as 0 (official: a random vector).
    Raises:  ValueError: a width < 1, a slope outside [0, 1), a negative embed_std.
    """

    embed_dim: int = 10
    hidden: tuple[int, ...] = (64, 32, 16, 8)
    slope: float = 0.05
    embed_std: float = 0.3
    zero_padding: bool = True

    def __post_init__(self):
        if min(self.embed_dim, *self.hidden) < 1:
            raise ValueError(
                f"`embed_dim` and hidden must be at least 1, got {self.embed_dim} and "
                f"{self.hidden}."
            )
        if not 0.0 <= self.slope < 1.0:
            raise ValueError(f"slope must lie in [0, 1), got {self.slope}.")
        if not self.embed_std >= 0.0:
            raise ValueError(f"`embed_std` must be at least 0, got {self.embed_std}.")

    @classmethod
    def official(cls, **changes) -> "CoNetConfig":
        """As the public code computes."""
        return dataclasses.replace(cls(slope=0.0, embed_std=1.0, zero_padding=False), **changes)

    @property
    def widths(self) -> tuple[int, ...]:
        return (3 * self.embed_dim, *self.hidden)


class CrossDomainModel(nn.Cell):
    """What CoNet and CoNet-S share: a joined table, and what trains, predicts and serves them.

    The columns of `schema` are the fields of `FieldSizes`, each 0 where unknown (of CoNet-S the
    first three); a score that averages several source behaviours is the mean over one row each.
    """

    batches = "shuffled"

    def __init__(self, sizes, config=None, seed=2022):
        super().__init__()
        self.sizes, self.config = sizes, config or CoNetConfig()
        fields = sizes._fields if self.towers == 2 else sizes._fields[:3]
        specs = (FieldSpec(name, SPARSE, size) for name, size in zip(fields, sizes))
        self.schema = Schema("cross_domain", tuple(specs))
        rng = np.random.Generator(np.random.PCG64(seed))
        # The rows of CoNet-S are the same as in CoNet, where they come first.
        self.table = table(initial_table(rng, sizes[: len(fields)], self.config))
        self.add_layers(rng)

    def parameter_groups(self):
        return parameter_groups(self.trainable_params())

    def predictor(self, batch_size=None):
        return FieldPredictor(self, batch_size)

    def serving_graph(self):
        inputs = tuple(open_rows() for _ in self.schema.fields)
        checks = [(size,) for size in self.schema.vocab_sizes]
        graph = Served(Probabilities(FieldLogits(self)), checks)
        return ServingGraph(graph, inputs, self.schema.sparse_names)


class CoNet(CrossDomainModel):
    """Two cross-connected towers over a joined embedding table.

    Inputs:  ids (2, B, 3) int32 rows of the joined table, source tower first (see `FieldSizes`);
        id_mask (2, B, 3, 1) float32, 1 where the field's own id is not 0.
    Outputs: logits (2, B) float32, source first.
    `replace` is a third head on the target tower, which only the upper level fits and reads.
    """

    towers = 2

    def add_layers(self, rng):
        weights = []
        for layer, (inputs, outputs) in enumerate(pairwise(self.config.widths)):
            for name, shape in (("private", (2, inputs, outputs)), ("shared", (inputs, outputs))):
                value = linear(rng, inputs, shape)
                weights.append(Parameter(Tensor(value), name=f"cross.{layer}.{name}"))
        self.cross = ParameterTuple(weights)
        last = self.config.hidden[-1]
        self.head_weight = Parameter(Tensor(linear(rng, last, (2, last, 1))), name="head.weight")
        self.head_bias = spared(linear(rng, last, (2, 1, 1)), "head.bias")
        # Not in trainable_params: the lower level neither reads nor moves it.
        self.replace_weight = Parameter(
            Tensor(linear(rng, last, (last, 1))), name="replace.weight", requires_grad=False
        )
        self.replace_bias = Parameter(
            Tensor(linear(rng, last, (1,))), name="replace.bias", requires_grad=False
        )

    def theta(self):
        """The lower level's parameters: table, private and shared of each layer, head."""
        return (self.table, *self.cross, self.head_weight, self.head_bias)

    def construct(self, ids, id_mask):
        return conet_logits(
            embed(self.table, ids, id_mask, self.config.zero_padding),
            self.cross,
            self.head_weight,
            self.head_bias,
            self.config.slope,
        )

    def features(self, ids, id_mask):
        """Last hidden layer of the target tower, (B, H)."""
        x = embed(self.table, ids, id_mask, self.config.zero_padding)
        return cross_towers(x, self.cross, self.config.slope)[1]


class WeightedCoNet(CoNet):
    """CoNet and phi, the importance of its source behaviours, which bi-level training learns.

    importance: how weights are made of phi (see `Importance`); gate_start: see `initial_phi`.
    Neither phi nor the head of the development loss is a trainable parameter: only the upper level
    moves them, and a score reads neither.
    """

    def __init__(self, sizes, config=None, seed=2022, importance=None, gate_start="zero"):
        super().__init__(sizes, config, seed)
        self.importance = importance or Importance()
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
        prior = 1.0 if self.importance.prior == "relu" else 0.0
        categories = sizes.source_category - 1
        arrays = initial_phi(rng, self.config.embed_dim, categories, prior, gate_start)
        self.phi = ParameterTuple(
            [
                Parameter(Tensor(value), name=f"phi.{name}", requires_grad=False)
                for name, value in arrays.items()
            ]
        )
        start = np.append(self.replace_weight.asnumpy(), self.replace_bias.asnumpy())
        self.dev_head = Parameter(  # its fit is in float64
            Tensor(start.astype(np.float64)), name="upper.head", requires_grad=False
        )


class CoNetS(CrossDomainModel):
    """CoNet-S: the target tower alone, x' = act(x W); it reads no source column.

    Inputs:  ids (1, B, 3) int32, id_mask (1, B, 3, 1) float32.  Outputs: logits (1, B) float32.
    """

    towers = 1

    def add_layers(self, rng):
        widths = self.config.widths
        self.tower = ParameterTuple(
            [
                Parameter(Tensor(linear(rng, inputs, (inputs, outputs))), name=f"tower.{layer}")
                for layer, (inputs, outputs) in enumerate(pairwise(widths))
            ]
        )
        last = widths[-1]
        self.head_weight = Parameter(Tensor(linear(rng, last, (last, 1))), name="head.weight")
        self.head_bias = spared(linear(rng, last, (1,)), "head.bias")

    def theta(self):
        return (self.table, *self.tower, self.head_weight, self.head_bias)

    def construct(self, ids, id_mask):
        x = embed(self.table, ids, id_mask, self.config.zero_padding)
        x = single_tower(x[0], self.tower, self.config.slope)
        return (matmul(x, self.head_weight) + self.head_bias).reshape(1, -1)


class FieldLogits(nn.Cell):
    """One (B,) int32 per field of the model's schema, 0 = unknown -> target logits (B,)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.towers = model, model.towers
        self.fields = SOURCE_FIELDS + TARGET_FIELDS if model.towers == 2 else TARGET_FIELDS
        self.offsets = tuple(int(model.sizes.offsets[field]) for field in self.fields)

    def construct(self, *ids):
        rows, id_mask = (), ()
        for place in range(len(self.fields)):
            field = ids[self.fields[place]]
            rows = rows + (field + self.offsets[place],)
            id_mask = id_mask + ((field > 0).astype(ms.float32),)
        rows = ops.stack(rows, -1).reshape(-1, self.towers, 3).transpose(1, 0, 2)
        id_mask = ops.stack(id_mask, -1).reshape(-1, self.towers, 3, 1).transpose(1, 0, 2, 3)
        return self.model(rows, id_mask)[-1]


class FieldPredictor(Predictor):
    """Predicts tables whose sparse columns are the model's fields, in batches of one shape: of
    batch_size rows, whatever the table, or of BATCH_SIZE at most."""

    def make(self, rows):
        return FieldLogits(self.model)

    def ready(self, table, preference=None):
        return self.batch_size is not None

    def __call__(self, table, preference=None):
        """Probabilities (N,) float64; of Candidates the means over those of each target row."""

        def plan(rows):
            return equal_pieces(rows, self.batch_size or min(BATCH_SIZE, max(rows, 1)))

        return self.of_calls(table, plan)

    def any_rows(self, table, preference, limit):
        return self.of_calls(table, lambda rows: pieces(rows, limit))

    def of_calls(self, table, plan):
        if isinstance(table, Candidates):
            row, pairs = table.pairs(self.model.schema.num_sparse)
            return table.means(row, self.of_calls(pairs, plan))
        logits = np.empty(len(table), np.float32)
        for index, real in plan(len(table)):
            ids = np.asarray(table.sparse).take(index, axis=0).astype(np.int32)
            out = self.cell(len(index))(*map(Tensor, ids.T.copy())).asnumpy()
            logits[index[real]] = out[real]
        return sigmoid(logits)


def embed(table, ids, id_mask, zero_padding):
    """Gathered and joined fields, (towers, B, 3E)."""
    x = ops.gather(table, ids, 0)
    if zero_padding:
        x = x * id_mask  # also keeps the gradient from row 0, which therefore stays as it began
    return x.reshape(ids.shape[0], ids.shape[1], -1)


def conet_logits(x, cross, head_weight, head_bias, slope):
    """Logits (2, B) of embedded rows x (2, B, 3E); pure in all its arguments."""
    hidden = cross_towers(x, cross, slope)
    return (ops.bmm(hidden, head_weight) + head_bias).reshape(2, -1)


def initial_table(rng, sizes, config):
    """The joined table (sum of sizes, E), Normal(0, embed_std); rows 0 are 0 if read so."""
    rows = rng.standard_normal((sum(sizes), config.embed_dim), np.float32)
    rows *= np.float32(config.embed_std)
    if config.zero_padding:
        rows[np.cumsum((0, *sizes[:-1]))] = 0.0
    return rows


def linear(rng, fan_in, shape):
    """Uniform in +-1/sqrt(fan_in), weights and biases alike."""
    bound = 1.0 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)
