"""What models and training expect of each other."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from mindspore import Parameter, Tensor, nn

from hamur.data.schema import Schema

BATCHES = ("quota", "shuffled", "ordered")


class ParameterGroup(NamedTuple):
    """Parameters that the optimiser treats alike.

    table: rows of an embedding, with a decay of their own; with lazy embeddings a step updates the
        rows of its batch only.
    decayed: decoupled weight decay acts on them; it spares biases, scales and shifts of norms.
    penalised: coupled L2 acts on them; in the public codes on every parameter.
    """

    parameters: tuple[Parameter, ...]
    table: bool
    decayed: bool
    penalised: bool


class ServingGraph(NamedTuple):
    """A cell to export, its inputs (a Tensor, dynamic in the number of rows), and what its file
    name ends with before ``.mindir``."""

    cell: nn.Cell
    inputs: tuple[Tensor, ...]
    suffix: str = ""


class Model(Protocol):
    """An ``nn.Cell`` that `hamur.training.Trainer`, ``predict`` and ``export`` take.

    ``RankingModel``, ``MultiTaskModel`` and ``CoNet`` are the three families; a new network of a
    family inherits all of this.

    schema: columns of the tables that the model reads.
    batches: how training forms batches: fixed rows per domain ("quota"), rows in random order
        ("shuffled") or in the order of the table ("ordered").
    """

    schema: Schema
    batches: str

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """The trainable parameters, each in one group."""

    def predictor(self, batch_size: int | None = None) -> Callable:
        """What ``predict`` calls: predictor(table, preference or None) -> probabilities."""

    def serving_graphs(self) -> tuple[ServingGraph, ...]:
        """What ``export`` writes.  Raises ValueError for a model whose scores cannot be served."""


def parameter_groups(parameters: Iterable[Parameter], spare=False) -> tuple[ParameterGroup, ...]:
    """Parameters in groups by what their layers said (`hamur.layers.parameters`).

    spare: coupled L2 spares what decoupled decay spares.  Of layers that say nothing (MindSpore's
    own), parameters of one dimension are spared: biases, and scales and shifts of norms.
    """
    groups = {}
    for parameter in parameters:
        table = getattr(parameter, "is_table", False)
        decayed = getattr(parameter, "decayed", len(parameter.shape) > 1)
        groups.setdefault((table, decayed), []).append(parameter)
    return tuple(
        ParameterGroup(tuple(members), table, decayed, decayed or not spare)
        for (table, decayed), members in groups.items()
    )


def parameter_counts(model: Model) -> dict[str, int]:
    """{"parameters": trainable ones without embeddings, "embedding_parameters": those of the
    tables}."""
    counts = {"parameters": 0, "embedding_parameters": 0}
    for group in model.parameter_groups():
        name = "embedding_parameters" if group.table else "parameters"
        counts[name] += int(sum(parameter.size for parameter in group.parameters))
    return counts
