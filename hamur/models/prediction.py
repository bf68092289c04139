"""One pass of a ranking or cross-domain model over a table, and the graphs that serve them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.interrupts import keyboard
from hamur.models.protocol import ServingGraph

BATCH_SIZE = 16384


@contextmanager
def graph_mode() -> Iterator[None]:
    """Compile what runs inside: MindSpore starts uncompiled, where a step takes far longer."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with keyboard():
            yield
    finally:
        ms.set_context(mode=before)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), float64."""
    with np.errstate(over="ignore"):  # exp(800) is as good as infinity here
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def open_rows(shape=(), dtype=ms.int32) -> Tensor:
    """An input of a serving graph: any number of rows, each of this shape."""
    return Tensor(shape=(None, *shape), dtype=dtype)


class Probabilities(nn.Cell):
    """The sigmoid of a cell's logits, for serving."""

    def __init__(self, cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, *inputs):
        return ops.sigmoid(self.cell(*inputs))


class Forward(nn.Cell):
    """A ranking model at evaluation, compiled for one composition of the batch.

    quotas None: every row passes all towers and takes its own domain's, so that the number of rows
    and their domains are free.
    """

    def __init__(self, model, quotas=None):
        super().__init__(auto_prefix=False)
        self.model = model
        self.quotas = quotas

    def construct(self, sparse, dense, domain, multi_ids=None, multi_weight=None, weight=None):
        return self.model(sparse, dense, domain, weight, self.quotas, (), multi_ids, multi_weight)


class RankingPredictor:
    """Predicts tables with one model; compiled forms are kept, so that later passes are fast.

    Rows are brought into batches of fixed quotas per domain (each row computes its own tower only)
    and the result into the table's order.  With ``norm_inference="batch"`` a score depends on the
    rows of its batch: batches then follow the table's order, and a warning is given once.
    """

    takes_preferences = False

    def __init__(self, model, batch_size=None):
        self.model, self.batch_size = model, batch_size or BATCH_SIZE
        self.compiled = {}
        self.quotas = None
        self.warned = False

    def batches(self, table):
        """The table in batches whose composition is compiled already, where it fits one."""
        if self.model.batch_statistics:
            self.check_batch_statistics(len(table))
            return ShuffledBatches(table, self.batch_size, 0, shuffle=False)
        domains = self.model.schema.num_domains
        batches = DomainBatches(table, self.batch_size, 0, shuffle=False, num_domains=domains)
        if self.quotas is not None and self.fits(batches):
            return DomainBatches(table, self.batch_size, 0, quotas=self.quotas, shuffle=False)
        self.quotas = batches.quotas
        return batches

    def fits(self, batches):
        """Whether the quotas of the last table serve this one with a quarter more rows or, unless
        the table is far smaller, one batch more: that takes milliseconds, compiling seconds."""
        if len(self.quotas) != len(batches.quotas):
            return False
        steps = 1
        for quota, compiled in zip(batches.quotas, self.quotas):
            if quota and not compiled:
                return False
            steps = max(steps, -(-quota * batches.steps // compiled) if compiled else 1)
        rows, least = steps * sum(self.quotas), batches.steps * sum(batches.quotas)
        return rows - least <= max(0.25 * least, min(sum(self.quotas), 4 * least))

    def check_batch_statistics(self, rows):
        """Warn once that scores depend on the batch.

        Raises:  ValueError: a batch of one row, which has no variance.
        """
        last = rows % self.batch_size
        if rows < 2 or last == 1:
            raise ValueError(
                "norm_inference='batch' normalises with the rows of the prediction batch, but the "
                f"last batch of {rows} rows by {self.batch_size} has one row. Use "
                "another `batch_size`, or `norm_inference='running'`."
            )
        if not self.warned:
            self.warned = True
            warnings.warn(
                "norm_inference='batch': a score depends on the other rows of its batch, as in the "
                "public code.",
                stacklevel=4,
            )

    def logits(self, table):
        """(N,) float32 logits in the table's order."""
        batches = self.batches(table)
        forward = self.compiled.get(batches.quotas)
        if forward is None:
            forward = self.compiled[batches.quotas] = Forward(self.model, batches.quotas)
        forward.set_train(False)
        logits = np.empty(len(table), np.float32)
        for batch in batches.epoch(0):
            lists = map(Tensor, batch.padded) if batch.padded else (None, None)
            columns = map(Tensor, (batch.sparse, batch.dense, batch.domain))
            out = forward(*columns, *lists, Tensor(batch.weight)).asnumpy()
            real = batch.row_id >= 0
            logits[batch.row_id[real]] = out[real]
        return logits

    def __call__(self, table, preference=None):
        return sigmoid(self.logits(table))


def ranking_graph(model) -> ServingGraph:
    """Inputs sparse (B, F) int32, dense (B, C) float32, domain (B,) int32; of a model with lists
    also multi_ids (B, S) int32 and multi_weight (B, S) float32, as `multi_valued.padded` makes
    them.  Outputs: probabilities (B,)."""
    schema = model.schema
    if model.batch_statistics:
        raise ValueError(
            "norm_inference='batch' scores a row with the statistics of its batch, which cannot be "
            "served. Export a model trained with norm_inference='running'."
        )
    inputs = (
        open_rows((schema.num_sparse,)), open_rows((schema.num_dense,), ms.float32), open_rows(),
    )  # fmt: skip
    if schema.multi:
        shape = (sum(spec.max_len for spec in schema.multi),)
        inputs += (open_rows(shape), open_rows(shape, ms.float32))
    return ServingGraph(Probabilities(Forward(model)), inputs)
