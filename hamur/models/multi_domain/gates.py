"""The gates of PEPNet (arXiv 2302.01115), and the domain's own columns of the embedded instance."""

import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers import TowerDense


def field_columns(schema, names, embed_dim):
    """The columns of these sparse fields in the embedded instance e, in its order."""
    places = [place for place, name in enumerate(schema.sparse_names) if name in names]
    return [place * embed_dim + column for place in places for column in range(embed_dim)]


def domain_place(schema, model):
    """Which of the sparse fields is the domain's.

    Raises:  ValueError: none is.
    """
    if schema.domain_field is None:
        raise ValueError(
            f"{model} reads the domain as a feature, which these data lack: name its column by "
            "`domain`, and leave it out of `drop`."
        )
    return schema.sparse_names.index(schema.domain_field)


def without_columns(e, begin, end):
    """(B, P) -> (B, P - (end - begin))."""
    if begin == 0:  # a slice of no columns fails, or its gradient does
        return e[:, end:]
    if end == e.shape[1]:
        return e[:, :begin]
    return ops.concat((e[:, :begin], e[:, end:]), -1)


class GradientOf(nn.Cell):
    """x as it is, (B, P), with a gradient to these columns only."""

    def __init__(self, columns, width):
        super().__init__()
        mask = np.zeros((1, width), np.float32)
        mask[0, columns] = 1.0
        self.mask = Tensor(mask)

    def construct(self, x):
        return x

    def bprop(self, x, out, dout):
        return (dout * self.mask,)


class Gates(nn.Cell):
    """A gate for each of several layers, of T towers side by side (arXiv 2302.01115, Gate NU):

        gate = 2 sigmoid(Dense(ReLU(Dense(x)))),  both of the layer's width

    The first products of all gates are one.

    Inputs:  xs tuple of (rows, in), layout.
    Outputs: a tuple of (rows, width) per gate.
    """

    def __init__(self, rng, in_dim, widths, num_towers=1):
        super().__init__()
        self.hidden = TowerDense(rng, in_dim, sum(widths), num_towers)
        self.outputs = nn.CellList([TowerDense(rng, w, w, num_towers) for w in widths])
        self.widths = tuple(widths)

    def construct(self, xs, layout):
        hidden = [ops.relu(x) for x in self.hidden(xs, layout)]
        gates, start = (), 0
        for width, output in zip(self.widths, self.outputs):
            parts = tuple([x[..., start : start + width] for x in hidden])
            gates = gates + (tuple([2.0 * ops.sigmoid(x) for x in output(parts, layout)]),)
            start += width
        return gates
