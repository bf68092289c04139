"""Logits of several tasks for many preferences in one pass over a table."""

import tempfile

import numpy as np
from mindspore import Tensor, nn

from hamur.data.batches import prefetch
from hamur.training.multi_task.samplers import check_preference
from hamur.training.multi_task.scores import FeatureScores

BATCH_SIZE = 4096
POINTS = 2**15  # rows times preferences of a batch: more take memory (15 KiB each) and no less time
BLOCK = 32  # preferences that share one pass; their hidden units live at the same time
MEMORY_MAP_BYTES = 2**30


class TaskForward(nn.Cell):
    """The model at evaluation: (B, R, T) logits; R = 1 for a model without preferences."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def refresh(self):
        """Nothing is kept of the weights; compare FeatureScores."""

    def read(self, preferences):
        """The last input of the forward pass, of preferences (R, T) float32."""
        return Tensor(preferences)

    def construct(self, sparse, dense, preferences):
        if self.model.takes_preferences:
            return self.model(sparse, dense, preferences)
        return self.model(sparse, dense).expand_dims(1)


class TaskPredictor:
    """Predicts tables with one multi-task model; embeddings and experts run once a batch, whatever
    the number of preferences (above 32: once a block of 32)."""

    def __init__(self, model, batch_size=BATCH_SIZE):
        self.model, self.batch_size = model, batch_size
        forward = FeatureScores if hasattr(model, "from_features") else TaskForward
        self.forward = forward(model)
        self.rows = {}  # of a batch, by the number of preferences that share it

    def logits(self, table, preferences=None):
        """(N, R, T) float32 in the table's order, in a memory map above 1 GiB.

        preferences (R, T); None for models without.
        """
        if preferences is None:
            preferences = np.full((1, self.model.num_tasks), 1.0 / self.model.num_tasks)
        preferences = check_preference(np.atleast_2d(preferences), self.model.num_tasks)
        number = len(preferences) if self.model.takes_preferences else 1
        blocks = _blocks(preferences[:number])
        result = _allocate((len(table), number, self.model.num_tasks))
        self.forward.set_train(False)
        self.forward.refresh()
        blocks = [(start, self.forward.read(block)) for start, block in blocks]
        rows = self.batch_rows(len(table), blocks[0][1].shape[0])
        for positions, sparse, dense in prefetch(self.batches(table, rows)):
            inputs = Tensor(sparse), Tensor(dense)
            for start, block in blocks:
                out = self.forward(*inputs, block).asnumpy()
                out = out[: len(positions), : number - start]
                result[positions, start : start + out.shape[1]] = out
        return result

    def batch_rows(self, rows, preferences):
        """Rows of a batch: tables larger than the last one keep its batch, so that nothing is
        compiled again."""
        kept = self.rows.get(preferences, 0)
        if not 0 < kept <= rows:
            size = self.batch_size
            while size > 1 and size * preferences > POINTS:
                size //= 2
            kept = self.rows[preferences] = min(size, rows)
        return kept

    def batches(self, table, rows):
        """(positions, sparse, dense): the last batch is filled with repeated rows."""
        for start in range(0, len(table), rows):
            taken = np.arange(start, start + rows)
            real = taken[taken < len(table)]
            index = taken % len(table)
            sparse = np.asarray(table.sparse).take(index, axis=0).astype(np.int32, copy=False)
            yield real, sparse, np.asarray(table.dense).take(index, axis=0).astype(np.float32)

    def __call__(self, table, preferences=None):
        """Probabilities (N, R, T) float32."""
        probabilities = self.logits(table, preferences)
        for start in range(0, len(probabilities), 65536):  # no second array of this size
            part = probabilities[start : start + 65536]
            part[...] = 0.5 * (1.0 + np.tanh(0.5 * part))
        return probabilities


def _blocks(preferences):
    """[(start, preferences of one compiled shape)]; the last block repeats its last preference."""
    count = -(-len(preferences) // BLOCK)
    size = -(-len(preferences) // count)
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
