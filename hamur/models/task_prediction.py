"""Logits of several tasks for many preferences in one pass over a table, and the graphs that serve
them."""

import tempfile

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.data.batches import prefetch
from hamur.metrics.fronts import check_preference
from hamur.models.prediction import (
    Predictor,
    Probabilities,
    Served,
    equal_pieces,
    open_rows,
    pieces,
)
from hamur.models.protocol import ServingGraph

BATCH_SIZE = 4096
POINTS = 2**14  # rows times preferences of a call, 3 KiB of memory each
EXPERT_ROWS = 1024  # rows of a call of the experts alone
BLOCK = 32  # preferences that share one pass; their hidden units live at the same time
NUMBERS = (1, 8, BLOCK)  # of preferences, in the calls for any table
MEMORY_MAP_BYTES = 2**30


class RowScores(nn.Cell):
    """sparse (B, F) int32, dense (B, C), preference (B, T) or (1, T) -> logits (B, T).

    Inference for a fixed model: `refresh` computes the products of embeddings and weights once
    (FactoredFieldEmbedding.embedded_weight), and every batch reuses them.  Call it again when the
    weights have changed.
    """

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model
        self.of_experts, self.of_gate = map(self.room, model.instance_weights())

    def room(self, weight):
        """A Parameter for the embedded form of a weight; None where the products need none."""
        if weight is None or not self.model.embedding.factored:
            return None
        zeros = np.zeros((self.model.embedding.columns, weight.shape[1]), np.float32)
        return Parameter(Tensor(zeros), name=f"{weight.name}.embedded", requires_grad=False)

    def refresh(self):
        """Read the weights again."""
        rooms = self.of_experts, self.of_gate
        for room, weight in zip(rooms, self.model.instance_weights()):
            if room is not None:
                room.set_data(Tensor(self.model.embedding.embedded_weight(weight)))

    def construct(self, sparse, dense, preference):
        instance, weight = self.model.embedding(sparse, dense), ops.ones_like(dense[:, 0])
        outputs = self.model.expert_outputs(instance, weight, (), self.of_experts)
        return self.model.per_row(instance, outputs, self.model.features(preference), self.of_gate)


class ExpertPart(nn.Cell):
    """The part of RowScores before any preference: sparse, dense -> (B, X, H)."""

    def __init__(self, scores):
        super().__init__(auto_prefix=False)
        self.model, self.of_experts = scores.model, scores.of_experts

    def construct(self, sparse, dense):
        instance, weight = self.model.embedding(sparse, dense), ops.ones_like(dense[:, 0])
        return self.model.expert_outputs(instance, weight, (), self.of_experts)


class PreferencePart(nn.Cell):
    """The part after it, at all preferences: sparse, dense, outputs (B, X, H), features (R, V) ->
    (B, R, T)."""

    def __init__(self, scores):
        super().__init__(auto_prefix=False)
        self.model, self.of_gate = scores.model, scores.of_gate

    def construct(self, sparse, dense, outputs, features):
        instance, weight = self.model.embedding(sparse, dense), ops.ones_like(dense[:, 0])
        return self.model.from_features(instance, outputs, features, weight, (), self.of_gate)


class TaskForward(nn.Cell):
    """The model at evaluation: (B, R, T) logits; R = 1 for a model without preferences."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, sparse, dense, preferences):
        if self.model.takes_preferences:
            return self.model(sparse, dense, preferences)
        return self.model(sparse, dense).expand_dims(1)


def call_rows(limit, preferences):
    """Rows, at most limit, of a call that scores them at so many preferences."""
    rows = BATCH_SIZE
    while rows > 1 and rows * preferences > POINTS:
        rows //= 2
    return min(rows, limit)


class TaskPredictor(Predictor):
    """Predicts tables with one multi-task model, a batch in one call per block of preferences."""

    def __init__(self, model, batch_size=None):
        super().__init__(model, batch_size or BATCH_SIZE)
        self.takes_preferences = model.takes_preferences
        self.rows = {}  # of a batch, by the number of preferences that share it

    def make(self, rows, preferences):
        return TaskForward(self.model)

    def prepare(self):
        """Before a pass."""
        self.model.set_train(False)

    def read(self, preferences):
        """The last input of the forward pass, from preferences (R, T) float32."""
        return Tensor(preferences)

    def rows_of_batch(self, limit, preferences):
        """Rows of a batch, at most limit."""
        return call_rows(limit, preferences)

    def run(self, sparse, dense, blocks):
        """Yields (first row, first preference, logits (B, R, T)) of (start, block) pairs."""
        inputs = Tensor(sparse), Tensor(dense)
        for start, block in blocks:
            yield 0, start, self.cell(len(sparse), len(block))(*inputs, block).asnumpy()

    def logits(self, table, preferences=None):
        """(N, R, T) float32 in the table's order, in a memory map above 1 GiB.

        preferences (R, T); None for models without.
        """
        preferences = self.checked(preferences)
        blocks = _blocks(preferences)
        rows = self.batch_rows(len(table), len(blocks[0][1]))
        return self.of_calls(table, equal_pieces(len(table), rows), blocks, len(preferences))

    def of_calls(self, table, plan, blocks, number):
        """The logits at a number of preferences in blocks; plan: of the rows, as `pieces` gives."""
        result = _allocate((len(table), number, self.model.num_tasks))
        self.prepare()
        blocks = [(start, self.read(block)) for start, block in blocks]
        for positions, sparse, dense in prefetch(batches(table, plan)):
            for begin, start, out in self.run(sparse, dense, blocks):
                rows_of = positions[begin : begin + len(out)]  # none of a call of filled rows
                out = out[: len(rows_of), : number - start]
                result[rows_of, start : start + out.shape[1]] = out
        return result

    def checked(self, preferences):
        """(R, T); R = 1 for a model without preferences, and the even one by default."""
        tasks = self.model.num_tasks
        if preferences is None:
            preferences = np.full((1, tasks), 1.0 / tasks)
        preferences = check_preference(np.atleast_2d(preferences), tasks)
        return preferences if self.takes_preferences else preferences[:1]

    def ready(self, table, preferences=None):
        size = len(_blocks(self.checked(preferences))[0][1])
        return 0 < self.rows.get(size, 0) <= len(table)

    def batch_rows(self, rows, preferences):
        """Rows of a batch: tables larger than the last one keep its batch, so that nothing is
        compiled again."""
        if not 0 < self.rows.get(preferences, 0) <= rows:
            limit = min(self.batch_size, rows)
            self.rows[preferences] = self.rows_of_batch(limit, preferences)
        return self.rows[preferences]

    def __call__(self, table, preferences=None):
        """Probabilities float32: (N, R, T) at preferences (R, T), (N, T) at one or by default."""
        return self.probabilities(self.logits(table, preferences), preferences)

    def any_rows(self, table, preferences, limit):
        checked = self.checked(preferences)
        size = next((size for size in NUMBERS if size >= len(checked)), BLOCK)
        plan = pieces(len(table), self.rows_of_batch(min(limit, BATCH_SIZE), size))
        logits = self.of_calls(table, plan, _blocks(checked, size), len(checked))
        return self.probabilities(logits, preferences)

    def probabilities(self, logits, preferences):
        for start in range(0, len(logits), 65536):  # no second array of this size
            part = logits[start : start + 65536]
            part[...] = 0.5 * (1.0 + np.tanh(0.5 * part))
        return logits if np.ndim(preferences) == 2 else logits[:, 0]


class StagedPredictor(TaskPredictor):
    """The same in two stages: the experts of many rows, once whatever the number of preferences,
    then all preferences of a few rows at a time.  The experts' products want many rows; what rows
    times preferences take in memory is given back after every call."""

    def __init__(self, model, batch_size=None):
        super().__init__(model, batch_size)
        self.scores = RowScores(model)

    def make(self, rows, preferences):
        return (PreferencePart if preferences else ExpertPart)(self.scores)

    def prepare(self):
        super().prepare()
        self.scores.refresh()

    def read(self, preferences):
        return self.model.features(Tensor(preferences))

    def rows_of_batch(self, limit, preferences):
        """A multiple of the rows of a call of the second stage."""
        limit = min(limit, EXPERT_ROWS)
        rows = call_rows(limit, preferences)
        return -(-limit // rows) * rows

    def run(self, sparse, dense, blocks):
        preferences = blocks[0][1].shape[0]
        experts, rows = self.cell(len(sparse), 0), call_rows(len(sparse), preferences)
        outputs = experts(Tensor(sparse), Tensor(dense)).asnumpy()
        rest = self.cell(rows, preferences)
        for begin in range(0, len(sparse), rows):
            inputs = [Tensor(a[begin : begin + rows]) for a in (sparse, dense, outputs)]
            for start, block in blocks:
                yield begin, start, rest(*inputs, block).asnumpy()


def batches(table, plan):
    """(positions of the real rows, sparse, dense) of each batch of a plan, see `pieces`."""
    for index, real in plan:
        sparse = np.asarray(table.sparse).take(index, axis=0).astype(np.int32, copy=False)
        dense = np.asarray(table.dense).take(index, axis=0).astype(np.float32)
        yield index[real], sparse, dense


def _blocks(preferences, size=None):
    """[(start, preferences of one compiled shape)]; the last block repeats its last preference.

    size: of a block; by default as few blocks as BLOCK allows, all alike."""
    if size is None:
        size = -(-len(preferences) // -(-len(preferences) // BLOCK))
    blocks = []
    for start in range(0, len(preferences), size):
        block = preferences[start : start + size]
        fill = np.repeat(block[-1:], size - len(block), axis=0)
        blocks.append((start, np.concatenate([block, fill]).astype(np.float32)))
    return blocks


def _allocate(shape):
    if 4 * np.prod(shape, dtype=np.int64) <= MEMORY_MAP_BYTES:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:  # the map keeps it; it is gone with the array
        return np.memmap(file, np.float32, "w+", shape=shape)


def preference_graph(model) -> ServingGraph:
    """Inputs sparse, dense, preference (B, T) or (1, T); outputs probabilities (B, T)."""
    scores = RowScores(model)
    scores.refresh()
    graph = Served(Probabilities(scores), (model.schema.vocab_sizes, None, None))
    preference = open_rows((model.num_tasks,), ms.float32)
    inputs = (*instance_inputs(model.schema), preference)
    return ServingGraph(graph, inputs, ("sparse", "dense", "preference"))


def task_graph(model) -> ServingGraph:
    """Inputs sparse, dense; outputs probabilities (B, T)."""
    graph = Served(Probabilities(model), (model.schema.vocab_sizes, None))
    return ServingGraph(graph, instance_inputs(model.schema), ("sparse", "dense"))


def instance_inputs(schema):
    """sparse (B, F) int32 and dense (B, C) float32, any number of rows."""
    return open_rows((schema.num_sparse,)), open_rows((schema.num_dense,), ms.float32)
