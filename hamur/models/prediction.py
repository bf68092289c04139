"""One pass of a model over a table, that of the ranking models, and the graphs that serve them."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur.data.batches import DomainBatches, ShuffledBatches, gather
from hamur.interrupts import keyboard
from hamur.models.protocol import ServingGraph

BATCH_SIZE = 16384
# Rows of a call for any table: powers of two, of which few up to 64 rows, where a call costs the
# same whatever its rows.
SIZES = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096)
LARGE = 2**20  # rows whose own composition is worth the seconds of compiling for it
KEPT = 32  # compiled graphs of a predictor
_one_at_a_time = threading.RLock()


@contextmanager
def graph_mode() -> Iterator[None]:
    """Compile what runs inside: MindSpore starts uncompiled, where a step takes far longer.

    One thread at a time is inside, the others wait: MindSpore's mode is that of the process, and
    compiled cells called from two threads at once crash it.
    """
    with _one_at_a_time:
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


def pieces(rows, limit=BATCH_SIZE):
    """Calls that cover a table of so many rows with SIZES, at most limit unless that is below 1:
    positions (size,) in the table and which are real rows, the last call being filled up."""
    start, sizes = 0, [size for size in SIZES if size <= max(limit, 1)]
    while start < rows:
        size = next((size for size in sizes if rows - start <= size), sizes[-1])
        yield from equal_pieces(rows, size, start, start + size)
        start += size


def equal_pieces(rows, size, start=0, end=None):
    """The same in calls of one size, over rows start to end of the table."""
    for begin in range(start, rows if end is None else end, size):
        positions = np.arange(begin, begin + size)
        yield positions % rows, positions < rows


class Probabilities(nn.Cell):
    """The sigmoid of a cell's logits."""

    def __init__(self, cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, *inputs):
        return ops.sigmoid(self.cell(*inputs))


class Served(nn.Cell):
    """A cell for inputs that nobody has checked: no value makes it fail (a graph that failed once
    may fail again) or score a row as another one.

    checks: for each of the first inputs vocabulary sizes, where it holds ids: those outside read as
        0, 'unknown'; a number D, where it holds domain ids: NaN outside 0..D-1; None, where it
        holds numbers: NaN where one is not finite (ReLU and sigmoid make finite values of NaN).
    """

    def __init__(self, cell, checks):
        super().__init__(auto_prefix=False)
        self.cell = cell
        kinds = {tuple: "ids", list: "ids", int: "domain", type(None): "numbers"}
        self.kinds = tuple(kinds[type(check)] for check in checks)
        self.sizes = tuple(Tensor(np.asarray(check or 1, np.int32)) for check in checks)
        self.nan = Tensor(np.float32(np.nan))

    def construct(self, *inputs):
        known, good = (), True
        for place in range(len(self.kinds)):
            values, kind, sizes = inputs[place], self.kinds[place], self.sizes[place]
            if kind == "numbers":
                good = ops.logical_and(good, ops.isfinite(values).all(axis=1))
            else:
                inside = ops.logical_and(values >= 0, values < sizes)
                if kind == "ids":
                    values = ops.select(inside, values, ops.zeros_like(values))
                else:
                    good = ops.logical_and(good, inside)
            known = known + (values,)
        scores = self.cell(*known, *inputs[len(self.kinds) :])
        if "numbers" not in self.kinds and "domain" not in self.kinds:
            return scores
        good = good.reshape((-1,) + (1,) * (scores.ndim - 1))
        return ops.where(good, scores, self.nan)


class Predictor:
    """What every predictor shares: two ways over a table, and the graphs compiled for them.

    predictor(table, preference) -> probabilities: in large calls compiled for the table's rows and
        domains; for a table that is scored again and again, as at validation.
    any_rows(table, preference, limit): the same in calls of SIZES rows, at most limit: whatever the
        table, the same few graphs.
    ready(table, preference): whether the first way is compiled for tables like this one, or worth
        it.
    make(*key): a new cell for one shape of inputs.
    """

    takes_preferences = False

    def __init__(self, model, batch_size=None):
        self.model, self.batch_size = model, batch_size
        self.compiled = {}

    def cell(self, *key):
        """The cell of one shape; with the last of it that is KEPT shapes ago goes its graph."""
        cell = self.compiled.pop(key) if key in self.compiled else self.make(*key)
        self.compiled[key] = cell  # the last one used stands last
        while len(self.compiled) > KEPT:
            del self.compiled[next(iter(self.compiled))]
        return cell


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


class RankingPredictor(Predictor):
    """Predicts tables with one ranking model.

    A whole table is brought into batches of fixed quotas per domain (each row computes its own
    tower only) and the result into the table's order; in `any_rows` every row passes all towers.
    With ``norm_inference="batch"`` a score depends on the rows of its batch: batches then follow
    the table's order, whatever its size, and a warning is given once.
    """

    def __init__(self, model, batch_size=None):
        super().__init__(model, batch_size or BATCH_SIZE)
        self.quotas = None
        self.warned = False

    def make(self, quotas, rows):
        return Forward(self.model, quotas)

    def batches(self, table):
        """The table in batches whose composition is compiled already, where it fits one."""
        if self.model.batch_statistics:
            self.check_batch_statistics(len(table))
            return ShuffledBatches(table, self.batch_size, 0, shuffle=False)
        batches = self.by_domain(table)
        if self.quotas is not None and self.fits(batches):
            return DomainBatches(table, self.batch_size, 0, quotas=self.quotas, shuffle=False)
        self.quotas = batches.quotas
        return batches

    def by_domain(self, table):
        """Batches of the table's own composition."""
        domains = self.model.schema.num_domains
        return DomainBatches(table, self.batch_size, 0, shuffle=False, num_domains=domains)

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
        rule = "norm_inference='batch' normalises with the rows of the prediction batch"
        if rows < 2:
            raise ValueError(
                f"{rule}, which has {'one' if rows else 'no'} row. Give more rows, or "
                "`norm_inference='running'`."
            )
        if rows % self.batch_size == 1:
            raise ValueError(
                f"{rule}, but the last batch of {rows} rows by {self.batch_size} has one row. Use "
                "another `batch_size`, or `norm_inference='running'`."
            )
        if not self.warned:
            self.warned = True
            warnings.warn(
                "norm_inference='batch': a score depends on the other rows of its batch, as in the "
                "public code.",
                stacklevel=4,
            )

    def ready(self, table, preference=None):
        if self.model.batch_statistics or len(table) >= LARGE:
            return True
        if self.quotas is None or not len(table):
            return False
        return self.fits(self.by_domain(table))

    def __call__(self, table, preference=None):
        """Probabilities (N,) float64 in the table's order."""
        return sigmoid(self.logits(table))

    def any_rows(self, table, preference, limit):
        plan = pieces(len(table), limit)
        return sigmoid(self.of_calls(table, gather(table, plan, None), None))

    def logits(self, table):
        """(N,) float32 logits of the whole table, in its order."""
        batches = self.batches(table)
        return self.of_calls(table, batches.epoch(0), batches.quotas)

    def of_calls(self, table, batches, quotas):
        self.model.set_train(False)
        logits = np.empty(len(table), np.float32)
        for batch in batches:
            columns = batch.sparse, batch.dense, batch.domain
            lists = map(Tensor, batch.padded) if batch.padded else (None, None)
            forward = self.cell(quotas, len(batch))
            out = forward(*map(Tensor, columns), *lists, Tensor(batch.weight)).asnumpy()
            real = batch.row_id >= 0
            logits[batch.row_id[real]] = out[real]
        return logits


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
    checks = (schema.vocab_sizes, None, schema.num_domains)
    names = ("sparse", "dense", "domain")
    if schema.multi:
        names += ("multi_ids", "multi_weight")
        lists = [spec.vocab_size for spec in schema.multi for _ in range(spec.max_len)]
        shape, checks = (len(lists),), (*checks, lists, None)
        inputs += (open_rows(shape), open_rows(shape, ms.float32))
    return ServingGraph(Served(Probabilities(Forward(model)), checks), inputs, names)
