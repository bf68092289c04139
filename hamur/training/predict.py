"""Prediction: one pass over a table, whatever the number of metrics computed from it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.training.preference import prediction as task_prediction
from hamur.training.preference.prediction import TaskPredictor

BATCH_SIZE = 16384


@contextmanager
def graph_mode() -> Iterator[None]:
    """Compile what runs inside: MindSpore starts uncompiled, where a step takes far longer."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=before)


class Forward(nn.Cell):
    """The model at evaluation, compiled for one composition of the batch."""

    def __init__(self, model, quotas):
        super().__init__(auto_prefix=False)
        self.model = model
        self.quotas = quotas

    def construct(self, sparse, dense, domain, weight, multi_ids=None, multi_weight=None):
        return self.model(sparse, dense, domain, weight, self.quotas, (), multi_ids, multi_weight)


class Predictor:
    """Predicts tables with one model; compiled forms are kept, so that later passes are fast.

    Rows are brought into batches of fixed quotas a domain (each row computes its own tower only)
    and the result into the table's order.  With ``norm_inference="batch"`` a score depends on the
    rows of its batch: batches then follow the table's order, and a warning is given once.
    """

    def __init__(self, model, batch_size=BATCH_SIZE):
        self.model, self.batch_size = model, batch_size
        self.compiled = {}
        self.quotas = None
        self.warned = False

    def batches(self, table):
        """The table in batches whose composition is compiled already, where it fits one."""
        config = self.model.config
        if config.enabled and config.norm_inference == "batch":
            self.check_batch_statistics(len(table))
            return ShuffledBatches(table, self.batch_size, 0, shuffle=False)
        own = DomainBatches(
            table, self.batch_size, 0, shuffle=False, num_domains=self.model.num_domains
        )
        if self.quotas is not None and self.fits(own):
            return DomainBatches(table, self.batch_size, 0, quotas=self.quotas, shuffle=False)
        self.quotas = own.quotas
        return own

    def fits(self, own):
        """Whether the quotas of the last table serve this one with a quarter more rows or, unless
        the table is far smaller, one batch more: that takes milliseconds, compiling seconds."""
        if len(self.quotas) != len(own.quotas):
            return False
        steps = 1
        for mine, last in zip(own.quotas, self.quotas):
            if mine and not last:
                return False
            steps = max(steps, -(-mine * own.steps // last) if last else 1)
        rows, own_rows = steps * sum(self.quotas), own.steps * sum(own.quotas)
        return rows - own_rows <= max(0.25 * own_rows, min(sum(self.quotas), 4 * own_rows))

    def check_batch_statistics(self, rows):
        """Warn once that scores depend on the batch.

        Raises:  ValueError: a batch of one row, which has no variance.
        """
        last = rows % self.batch_size
        if rows < 2 or last == 1:
            raise ValueError(
                "norm_inference='batch' normalises with the rows of the prediction batch, but the "
                f"last batch of {rows} rows by {self.batch_size} has one row. Use "
                "norm_inference='running', or another batch_size."
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
            columns = (batch.sparse, batch.dense, batch.domain, batch.weight, *batch.padded)
            out = forward(*map(Tensor, columns)).asnumpy()
            real = batch.row_id >= 0
            logits[batch.row_id[real]] = out[real]
        return logits

    def __call__(self, table):
        logits = self.logits(table).astype(np.float64)
        return 1.0 / (1.0 + np.exp(-logits))


def predictor_of(model, batch_size=None):
    """The model's own predictor: validation and later predictions share what is compiled."""
    kind, default = Predictor, BATCH_SIZE
    if hasattr(model, "num_tasks"):
        kind, default = TaskPredictor, task_prediction.BATCH_SIZE
    batch_size = default if batch_size is None else batch_size
    predictor = getattr(model, "_predictor", None)
    if predictor is None or predictor.batch_size != batch_size:
        predictor = kind(model, batch_size)
        object.__setattr__(model, "_predictor", predictor)
    return predictor


def predict(model, table, batch_size=None, preference=None):
    """Probabilities (N,) float64 of a table, in its order: sigmoid of float32 logits, in float64.

    Multi-task models give (N, T) float32; pomoe takes a preference (T,), by default the even one,
    or several at once as (R, T) and then gives (N, R, T).
    Raises:  ValueError: a row that does not fit the model's schema, batch statistics
        (``norm_inference="batch"``) of a batch with one row, a preference that is not on the
        simplex or that the model does not take.
    """
    table.validate(model.schema)
    takes = getattr(model, "takes_preferences", False)
    if preference is not None and not takes:
        raise ValueError(f"{type(model).__name__} takes no preference; only pomoe does.")
    with graph_mode():
        predictor = predictor_of(model, batch_size)
        if not hasattr(model, "num_tasks"):
            return predictor(table)
        probabilities = predictor(table, preference)
    return probabilities if np.ndim(preference) == 2 else probabilities[:, 0]
