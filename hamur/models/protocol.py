"""What models and training expect of each other."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from mindspore import Parameter, Tensor, nn

from hamur.data.schema import Schema


class ParameterGroup(NamedTuple):
    """Parameters that the optimiser treats alike."""

    parameters: tuple[Parameter, ...]
    table: bool  # rows of an embedding, with another decay; lazy embeddings update some rows only
    decayed: bool  # by decoupled weight decay, which spares biases, scales and shifts of norms
    penalised: bool  # by coupled L2; in the public codes every parameter is


class ServingGraph(NamedTuple):
    """A cell to export."""

    cell: nn.Cell
    inputs: tuple[Tensor, ...]  # of any number of rows
    names: tuple[str, ...]  # of the inputs


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
        """What ``predict`` calls, see `hamur.models.prediction.Predictor`."""

    def serving_graph(self) -> ServingGraph:
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
