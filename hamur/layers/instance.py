"""Products with the instance matrices, whose gradient is written once for all of them.

Every cell multiplies two vectors per row by I (K, K), so with n products y_k = x_k I of a row

    dL/dI = sum_k x_k' dy_k = X' dY,       X, dY (n, K).

I is by far the largest tensor of a step.  Automatic differentiation writes one (B, K, K) tensor per
product and adds them; here the products hand their factors back, and one batched product makes the
sum.
"""

import mindspore as ms
from mindspore import nn, ops

batched = ops.BatchMatMul()
batched_ta = ops.BatchMatMul(transpose_a=True)
batched_tb = ops.BatchMatMul(transpose_b=True)

PRODUCTS = 2  # of a cell: on the way down and on the way up


class SharedInstanceGradient(nn.Cell):
    """Identity on the instance matrices; forms dL/dI of ``products`` products as one of them.

    The other outputs are pairs of gradient slots, zeros that nobody reads: a product gives its
    factors (x, dy) to its pair in place of their gradients, so that they meet here.

    Inputs:  instance (B, K, K), vectors m per row in a product.
    Outputs: (instance, slot, slot, slot, ...), a slot is (B, m, K).
    """

    def __init__(self, products):
        super().__init__()
        self.products = products

    def construct(self, instance, vectors):
        rows, rank, _ = instance.shape
        out = (instance,)
        for _ in range(2 * self.products):  # apart and not constant, or gradients get lost
            out = out + (ops.depend(ops.zeros((rows, vectors, rank), ms.float32), instance),)
        return out

    def bprop(self, instance, vectors, out, dout):
        lefts, rights = (), ()
        for number in range(self.products):
            lefts = lefts + (dout[1 + 2 * number],)
            rights = rights + (dout[2 + 2 * number],)
        return batched_ta(ops.concat(lefts, 1), ops.concat(rights, 1)), vectors


class SlotMatmul(nn.Cell):
    """x @ I, x (B, m, K): gives (x, dy) to its slots and nothing to I itself."""

    def construct(self, x, instance, left, right):
        return batched(x, instance)

    def bprop(self, x, instance, left, right, out, dout):
        return batched_tb(dout, instance), ops.zeros_like(instance), x, dout


slot_matmul = SlotMatmul()


def gradient_slots(shared, instance, vectors, cells, pairs=PRODUCTS):
    """One (instance, pair, ...) per cell; shared: a ``SharedInstanceGradient`` of ``pairs``
    products per cell.  A fused cell has one pair for both of its products."""
    out = shared(instance, vectors)
    slots = ()
    for cell in range(cells):
        entry = (out[0],)
        for pair in range(pairs):
            first = 1 + 2 * (pairs * cell + pair)
            entry = entry + (out[first : first + 2],)
        slots = slots + (entry,)
    return slots


def instance_matmul(x, instance, number):
    """x (B, m, K) times I: a plain (B, K, K) tensor, or an entry of ``gradient_slots``."""
    if isinstance(instance, tuple):
        pair = instance[1 + number]
        return slot_matmul(x, instance[0], pair[0], pair[1])
    return batched(x, instance)
