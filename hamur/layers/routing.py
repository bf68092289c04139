"""Routing: which rows each of the D domain towers computes, over one set of parameters.

A routed layer sees a tuple of tensors, one per tower, and a ``layout`` that describes them:

========  ==============================================  ===================================
kind      rows of tower d                                 used for
========  ==============================================  ===================================
single    all rows, there is one tower                    shared backbones
slices    rows [start_d, start_d + q_d), own domain       training, bulk prediction, D <= 8
grouped   chunks of own rows, one (n, s, H) tensor        the same by one batched product, any D
sorted    all rows in one tensor, by domain               the same by fused kernels, any D
masked    all rows; statistics from its own domain        any composition: serving, export
all       all rows; statistics from all rows              ``tower_rows="all"``, the public code
========  ==============================================  ===================================

``slices``, ``grouped`` and ``sorted`` need the quotas: D Python ints, the rows being sorted by
domain.  Their logits and gradients equal those of ``masked``; they cost one tower per row, the last
two kinds D towers per row.  Statistics are taken with row weights, so a filler row (weight 0)
counts nowhere.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops.primitive import constexpr

from hamur.kernels.cells import bounds_of
from hamur.layers.instance import instance_matmul

MAX_UNROLLED_DOMAINS = 8


# A layout is a plain tuple, made by `single_layout`, `all_rows_layout` and `make_layout` (compiled
# code loses the constants in any other record).  The positions of its entries:
KIND = 0  # a kind of the table above
WEIGHTS = 1  # row weights of a tower's rows: tuple of (1, rows) float32; one (n, 1, s) if grouped
OWN_WEIGHTS = 2  # the same, 0 outside the tower's own domain
DOMAIN = 3  # (B,) int32 in row order
QUOTAS = 4  # rows of each tower; () where every tower sees all rows
TABLE = 5  # grouped only: (n,) int32 tower of each chunk,
ORDER = 6  # (n * s,) int32 row behind each place, and
INVERSE = 7  # (B,) int32 place of each row


def chunk_plan(quotas, chunk_rows):
    """Cut each domain's rows into chunks of ``chunk_rows`` rows; the last chunk of a domain is
    padded.

    Returns (table (n,), order (n * s,), real (n * s,), inverse (B,)) as NumPy arrays: the tower of
    each chunk, the row behind each place (0 at padding), 1.0 at real places, and the place of each
    row.
    """
    table, order, real = [], [], []
    start = 0
    for domain, rows in enumerate(quotas):
        chunks = -(-rows // chunk_rows)
        places = np.arange(chunks * chunk_rows)
        table += [domain] * chunks
        order.append(np.where(places < rows, start + places, 0))
        real.append(places < rows)
        start += rows
    order = np.concatenate(order)
    real = np.concatenate(real)
    inverse = np.flatnonzero(real)
    table, order, inverse = (np.asarray(a, np.int32) for a in (table, order, inverse))
    return table, order, real.astype(np.float32), inverse


def chunk_rows_for(quotas):
    """Half the mean quota, a multiple of 8, so that padding stays below a third."""
    return max(8, int(sum(quotas) / len(quotas) / 2) // 8 * 8)


@constexpr
def _numbers(count):
    # Of the type of the ids, or the exported ONNX compares numbers of two types.
    return Tensor(np.arange(count, dtype=np.int32).reshape(1, -1))


@constexpr
def _plan_tensors(quotas):
    rows = chunk_rows_for(quotas)
    table, order, real, inverse = chunk_plan(quotas, rows)
    shape = (len(table), 1, rows)
    return Tensor(table), Tensor(order), Tensor(real.reshape(shape)), Tensor(inverse)


def in_one(layout):
    """Whether the towers' rows lie in one tensor, as the fused kernels read them."""
    return layout[KIND] == "single" or layout[KIND] == "sorted"


def bounds(layout):
    """Where the rows of each tower begin and end, (T + 1,) int32; of layouts ``in_one``."""
    if layout[KIND] == "sorted":
        return bounds_of(layout[QUOTAS])
    return bounds_of((layout[WEIGHTS][0].shape[1],))


def fused(layer, layout):
    """Whether a layer calls its fused kernel: for rows sorted for it, and in training.  Exported
    graphs and second derivatives need MindSpore's own."""
    if layer.fused is None or layout is None:
        return False
    return layout[KIND] == "sorted" or (layout[KIND] == "single" and layer.training)


def single_layout(domain, weight, fused=False):
    """All rows in one tower.  weight (B,) float32; fused as in `make_layout`."""
    weights = (weight.reshape(1, -1),)
    if fused:
        return ("sorted", weights, weights, domain, (weight.shape[0],))
    return ("single", weights, weights, domain, ())


def all_rows_layout(layout, num_towers):
    """A single layout for towers that all see its rows; no tower has rows of its own."""
    if num_towers == 1:
        return layout
    weights = layout[WEIGHTS] * num_towers
    return ("all", weights, weights, None, ())


def members(domain, num_domains):
    """(B,) int32 -> (B, D) float32, 1 in the column of a row's domain."""
    return (domain.reshape(-1, 1) == _numbers(num_domains)).astype(ms.float32)


def make_layout(domain, weight, quotas, num_domains, tower_rows, fused=False):
    """The layout of a batch: domain (B,) int32, weight (B,) float32, quotas None or D ints;
    fused: for layers that call the fused kernels.

    Raises:  ValueError: quotas for another number of domains or rows.
    """
    if quotas is not None:
        rows = weight.shape[0]
        if len(quotas) != num_domains or sum(quotas) != rows:
            raise ValueError(
                f"quotas are {quotas}, but there are {num_domains} domains and {rows} rows: they "
                "hold the rows of each domain, in this order, and sum to the rows of the batch."
            )
    if tower_rows == "all" or quotas is None:
        row, ids = weight.reshape(1, -1), domain.reshape(1, -1)
        own = tuple([row * (ids == d).astype(ms.float32) for d in range(num_domains)])
        if tower_rows == "all":
            return ("all", (row,) * num_domains, own, domain, ())
        return ("masked", own, own, domain, ())
    if fused:
        weights = (weight.reshape(1, -1),)
        return ("sorted", weights, weights, domain, quotas)
    if num_domains <= MAX_UNROLLED_DOMAINS:
        weights = ()
        for piece, rows in zip(_slices(weight, quotas), quotas):
            weights = weights + (piece.reshape(1, -1) if rows else ops.zeros((1, 1), ms.float32),)
        return ("slices", weights, weights, domain, quotas)
    table, order, real, inverse = _plan_tensors(quotas)
    weights = (ops.gather(weight, order, 0).reshape(real.shape) * real,)
    return ("grouped", weights, weights, domain, quotas, table, order, inverse)


class _SplitRows(nn.Cell):
    """ops.split over rows; its gradient joins the pieces' gradients, where the built-in one pads
    each with zeros and adds."""

    def construct(self, x, quotas):
        return ops.split(x, quotas, 0)

    def bprop(self, x, quotas, out, dout):
        return ops.concat(dout, 0), quotas


_split_rows = _SplitRows()


def _slices(x, quotas):
    """The rows of each domain; one with quota 0 gets a row that counts nowhere.

    (Products over no rows leave their result uninitialised.)
    """
    if len(quotas) == 1:  # whose gradient would come as a tensor, not as a tuple of one
        return (x,)
    if 0 not in quotas:
        return _split_rows(x, quotas)
    pieces = ()
    start = 0
    for rows in quotas:
        pieces = pieces + (x[start : start + rows] if rows else x[0:1],)
        start += rows
    return pieces


def dispatch(x, layout):
    """x (B, ...) in row order -> the tuple of tensors that the towers see."""
    if in_one(layout):
        return (x,)
    if layout[KIND] == "slices":
        return _slices(x, layout[QUOTAS])
    if layout[KIND] == "grouped":
        shape = layout[WEIGHTS][0].shape
        return (ops.gather(x, layout[ORDER], 0).reshape(shape[0], shape[2], x.shape[-1]),)
    return (x,) * len(layout[WEIGHTS])


def combine(xs, layout):
    """The towers' tensors -> (B, H) in row order, each row from the tower of its own domain."""
    if in_one(layout):
        return xs[0]
    if layout[KIND] == "slices":
        present = ()
        for x, rows in zip(xs, layout[QUOTAS]):
            if rows:
                present = present + (x,)
        return ops.concat(present, 0)
    if layout[KIND] == "grouped":
        return ops.gather(xs[0].reshape(-1, xs[0].shape[-1]), layout[INVERSE], 0)
    own = xs[0]
    column = layout[DOMAIN].reshape(-1, 1)
    for number in range(1, len(xs)):
        own = ops.select((column == number).broadcast_to(own.shape), xs[number], own)
    return own


def times_instance(xs, instance, layout, number):
    """Per-row product x @ I for every tower: xs of (rows, K), instance (B, K, K) in row order.

    The instance matrices are by far the largest tensor of a step, so they are never cut or copied:
    the small vectors are brought to row order instead.  number: of the product within its cell.
    """
    if layout[KIND] == "all" or layout[KIND] == "masked":
        products = instance_matmul(ops.stack(xs, 1), instance, number)  # (B, D, K)
        return ops.unstack(products, 1)
    rows = combine(xs, layout).expand_dims(1)
    return dispatch(instance_matmul(rows, instance, number).squeeze(1), layout)


def merge_rows(xs, weights, layout):
    """The towers' tensors as one (R, H), with their membership (R, T) and weight (R, 1)."""
    if layout[KIND] == "grouped":
        rows = xs[0].reshape(-1, xs[0].shape[-1])
        places = weights[0].shape[2]
        members = _members(_repeat_each(layout[TABLE], places), len(layout[QUOTAS]))
        return rows, members, weights[0].reshape(-1, 1)
    if len(xs) == 1:
        weight = weights[0].reshape(-1, 1)
        if layout[KIND] == "sorted":
            return xs[0], _block_members(layout[QUOTAS]), weight
        return xs[0], ops.ones_like(weight), weight
    counts = tuple([x.shape[0] for x in xs])
    return ops.concat(xs, 0), _block_members(counts), ops.concat(weights, 1).reshape(-1, 1)


def split_rows(rows, xs):
    """Undo merge_rows: (R, H) -> tensors with the rows of xs."""
    if len(xs) == 1:
        return (rows.reshape(xs[0].shape),)
    sizes = tuple([x.shape[0] for x in xs])
    return _slices(rows, sizes)


@constexpr
def _repeat_each(table, times):
    return Tensor(np.repeat(table.asnumpy(), times))


@constexpr
def _members(owner, num_towers):
    return Tensor(np.eye(num_towers, dtype=np.float32)[owner.asnumpy()])


@constexpr
def _block_members(counts):
    return Tensor(np.repeat(np.eye(len(counts), dtype=np.float32), counts, axis=0))
