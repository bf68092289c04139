"""Sums over the workers of a training (`hamur.workers`), inside compiled cells.

A loss that sums over rows sums over the workers too, so that each has the loss L of the whole
batch.  Differentiating it, the gradient of a sum over the workers is the sum of their gradients, so
each of N gets N times its part of dL/dw, and dL/dw is the mean over the workers (`GradientMean`).
"""

import json
from collections.abc import Callable
from functools import cache
from io import BytesIO

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.sparse_tensor import RowTensorInner

from hamur import workers


class AllSum(nn.Cell):
    """The sum over the workers of a float32 tensor of any shape; of one process the tensor.

    ``joined`` sums several tensors of equally many rows, (T, n) each, in one exchange: a small one
    takes as long as a kilobyte.
    """

    def __init__(self):
        super().__init__()
        self.reduce = ops.AllReduce() if workers.connected() else None

    def construct(self, x):
        return x if self.reduce is None else self.reduce(x.reshape(-1)).reshape(x.shape)

    def joined(self, tensors):
        if self.reduce is None:
            return tensors
        widths = tuple([tensor.shape[1] for tensor in tensors])
        return _split_columns(self.reduce(ops.concat(tensors, 1)), widths)


def _split_columns(x, widths):
    pieces, start = (), 0
    for width in widths:
        pieces, start = pieces + (x[:, start : start + width],), start + width
    return pieces


class GatheredRows(nn.Cell):
    """Rows of a table, whose gradient is the sum over the workers: they exchange the ids and the
    gradients of the rows that they have read, where that is less than the table.

    Inputs:  table (V, E), ids (B, S) int32.   Outputs: (B, S, E).
    """

    def __init__(self):
        super().__init__()
        self.gather = ops.AllGather() if workers.connected() else None

    def construct(self, table, ids):
        return ops.gather(table, ids, 0)

    def bprop(self, table, ids, out, dout):
        read, rows = self.gather(ids.reshape(-1)), self.gather(dout.reshape(-1, table.shape[1]))
        return ops.unsorted_segment_sum(rows, read, table.shape[0]), ops.zeros_like(ids)


class GradientMean(nn.Cell):
    """Gradients of the loss of the whole batch, from those that each worker has of it.

    parameters: whose gradients come, in this order.  summed: which are sums over the workers
    already (`GatheredRows`).  by_rows: which are a RowTensor of the rows that a worker has read;
    these are gathered, ids and rows.  scale: None for the mean over the workers, 1.0 for the sum.
    """

    def __init__(self, parameters, summed, by_rows, scale=None):
        super().__init__()
        self.number = workers.count()
        self.scale = 1.0 / self.number if scale is None else scale
        self.summed, self.by_rows = tuple(summed), tuple(by_rows)
        self.shapes = tuple(parameter.shape for parameter in parameters)
        apart = [each or rows for each, rows in zip(self.summed, self.by_rows)]
        self.sizes = tuple(int(np.prod(s)) for s, each in zip(self.shapes, apart) if not each)
        self.joined = not any(self.by_rows)  # beside a RowTensor, types are known too late for it
        if workers.connected():
            self.reduce, self.gather = ops.AllReduce(), ops.AllGather()

    def construct(self, gradients):
        if self.number == 1:
            return gradients
        pieces = self.in_one(gradients) if self.joined else ()
        place, result = 0, ()
        for number in range(len(self.shapes)):
            gradient = gradients[number]
            if self.by_rows[number]:
                ids, rows = self.gather(gradient.indices), self.gather(gradient.values)
                gradient = RowTensorInner(ids, rows * self.scale, self.shapes[number])
            elif self.summed[number]:
                gradient = gradient * self.scale
            elif self.joined:
                gradient, place = pieces[place].reshape(self.shapes[number]), place + 1
            else:
                gradient = self.reduce(gradient) * self.scale
            result = result + (gradient,)
        return result

    def in_one(self, gradients):
        """One exchange for all of them."""
        flat = ()
        for number in range(len(self.shapes)):
            if not self.summed[number]:
                flat = flat + (gradients[number].reshape(-1),)
        return ops.split(self.reduce(ops.concat(flat)) * self.scale, self.sizes)


def rows_are_smaller(rows: int, table_rows: int, width: int) -> bool:
    """Whether ids and rows (rows, width) that each worker has read are fewer numbers to exchange
    than the whole table: N (rows + ids) gathered against twice the table, as a ring sums it."""
    number = workers.count()
    return number > 1 and number * rows * (width + 1) < 2 * table_rows * width


class _Broadcast(nn.Cell):
    """The tensors of the first worker."""

    def __init__(self):
        super().__init__()
        self.send = ops.Broadcast(0)

    def construct(self, *tensors):
        return self.send(tensors)


class _Gather(nn.Cell):
    """(n, ...) of each worker, one after the other."""

    def __init__(self):
        super().__init__()
        self.gather = ops.AllGather()

    def construct(self, x):
        return self.gather(x)


_gathering, _broadcasting, _summing = map(cache, (_Gather, _Broadcast, AllSum))


def share_weights(cell: nn.Cell) -> None:
    """Give every worker the parameters that the first one has."""
    if workers.count() > 1:
        parameters = list(cell.get_parameters())
        sent = _Broadcast()(*(Tensor(parameter) for parameter in parameters))
        for parameter, value in zip(parameters, sent, strict=True):
            parameter.set_data(Tensor(value.asnumpy()))


def from_first(make: Callable[[], tuple[dict, dict] | None]) -> tuple[dict, dict] | None:
    """(parts {part: {name: array}}, JSON-able values) that the first worker makes, or None, on
    every worker."""
    if workers.count() == 1:
        return make()
    data = b""
    if workers.rank() == 0 and (made := make()) is not None:
        parts, values = made
        places = [(part, name) for part, arrays in parts.items() for name in arrays]
        arrays = [parts[part][name] for part, name in places]
        head = np.frombuffer(json.dumps([places, list(parts), values]).encode(), np.uint8)
        np.savez(file := BytesIO(), head, *arrays)
        data = file.getvalue()
    data = _bytes_of_first(data)
    if not data:
        return None
    with np.load(BytesIO(data)) as loaded:
        head, *arrays = (loaded[name] for name in loaded.files)
    places, names, values = json.loads(head.tobytes())
    parts = {name: {} for name in names}
    for (part, name), array in zip(places, arrays, strict=True):
        parts[part][name] = array
    return parts, values


def _bytes_of_first(data: bytes) -> bytes:
    (size,) = _broadcasting()(Tensor(np.array([len(data)], np.int64)))
    size = int(size.asnumpy()[0])
    if not size:
        return b""
    words = np.zeros(-(-size // 4), np.int32)
    words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    (words,) = _Broadcast()(Tensor(words))
    return words.asnumpy().tobytes()[:size]


def any_worker(flag: bool) -> bool:
    """Whether the flag of one of the workers is set."""
    if workers.count() == 1:
        return flag
    return bool(_summing()(Tensor(np.array([flag], np.float32))).asnumpy()[0] > 0)


def own_rows(rows: int) -> np.ndarray:
    """Positions of the rows of a table that this worker scores; a last worker repeats its last."""
    size = -(-rows // workers.count())
    return np.minimum(workers.rank() * size + np.arange(size), rows - 1)


def gathered(scores: np.ndarray, rows: int) -> np.ndarray:
    """(rows, ...) float32 scores of all rows, from those that each worker has of its `own_rows`."""
    return _gathering()(Tensor(scores, ms.float32)).asnumpy()[:rows]
