"""Dense layers of D towers with stacked parameters, and the hidden block that every backbone uses.

    hidden block:  Dense -> batch norm -> ReLU -> Dropout

Dense weights and biases start uniform in +-1/sqrt(in), as in the public code.
"""

from mindspore import nn, ops

from hamur import kernels
from hamur.kernels.cells import Dense, Product
from hamur.layers.embedding import Dropout
from hamur.layers.norm import DomainBatchNorm
from hamur.layers.parameters import bias, kernel
from hamur.layers.primitives import matmul
from hamur.layers.routing import KIND, TABLE, bounds, fused


def tower_product(xs, weight, layout):
    """x @ W of each tower; weight (T, in, out), or (1, in, out) shared by the towers."""
    if weight.shape[0] == 1:
        matrix = weight.reshape(weight.shape[1:])
        return tuple([matmul(x, matrix) for x in xs])
    if layout[KIND] == "grouped":
        return (ops.bmm(xs[0], ops.gather(weight, layout[TABLE], 0)),)
    return tuple([matmul(x, matrix) for x, matrix in zip(xs, ops.unstack(weight))])


def add_rows(xs, rows, layout):
    """Add one row of numbers per tower: rows (T, H) or (1, H)."""
    if layout[KIND] == "grouped":
        if rows.shape[0] > 1:
            rows = ops.gather(rows, layout[TABLE], 0)
        return (xs[0] + rows.expand_dims(1),)
    pieces = (rows,) * len(xs) if rows.shape[0] == 1 else ops.split(rows, 1, 0)
    return tuple([ops.bias_add(x, row.reshape(-1)) for x, row in zip(xs, pieces)])


class TowerDense(nn.Cell):
    """y = x W_t + b_t for tower t.  xs tuple of (rows, in) -> tuple of (rows, out).

    A subclass may generate W and b: see ``matrices``.
    """

    def __init__(self, rng, in_dim, out_dim, num_towers=1):
        super().__init__()
        self.weight = kernel(rng, (num_towers, in_dim, out_dim), in_dim)
        self.bias = bias(rng, (num_towers, out_dim), in_dim)
        self.fused = Dense() if kernels.enabled() else None

    def matrices(self):
        """W (T, in, out) and b (T, out)."""
        return self.weight, self.bias

    def construct(self, xs, layout):
        weight, bias = self.matrices()
        if fused(self, layout):
            return (self.fused(xs[0], weight, bias, bounds(layout)),)
        return add_rows(tower_product(xs, weight, layout), bias, layout)


class HiddenBlock(nn.Cell):
    """Dense -> norm -> ReLU -> Dropout of T towers; ``norm`` are the arguments of DomainBatchNorm,
    ``dense`` the class of the product.

    Inputs:  xs tuple of (rows, in), layout, keep: None or the (B, out) dropout mask (see Dropout).
    Outputs: tuple of (rows, out).
    """

    def __init__(
        self, rng, in_dim, out_dim, num_towers=1, dropout=0.0, norm=None, dense=TowerDense
    ):
        super().__init__()
        self.dense = dense(rng, in_dim, out_dim, num_towers)
        self.norm = DomainBatchNorm(out_dim, num_towers, relu=True, **(norm or {}))
        self.dropout = Dropout(dropout)
        self.fused = Product() if kernels.enabled() else None

    def construct(self, xs, layout, keep=None):
        weight, bias = self.dense.matrices()
        if fused(self, layout):
            xs = (self.fused(xs[0], weight, bounds(layout)),)
        else:
            xs = tower_product(xs, weight, layout)
        xs = self.norm(xs, layout, bias)
        return self.dropout(xs, layout, keep)


class TowerMLP(nn.Cell):
    """A stack of hidden blocks, T towers side by side.

    Inputs:  xs tuple of (rows, in), layout, keep: () or a dropout mask per block.
    Outputs: tuple of (rows, hidden_dims[-1]).
    """

    def __init__(
        self, rng, in_dim, hidden_dims, num_towers=1, dropout=0.0, norm=None, dense=TowerDense
    ):
        super().__init__()
        widths = (in_dim, *hidden_dims)
        self.blocks = nn.CellList(
            [
                HiddenBlock(rng, widths[i], widths[i + 1], num_towers, dropout, norm, dense)
                for i in range(len(hidden_dims))
            ]
        )

    def construct(self, xs, layout, keep=()):
        for number, block in enumerate(self.blocks):
            xs = block(xs, layout, keep[number] if keep else None)
        return xs
