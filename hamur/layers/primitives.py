"""Matrix products as primitives, and the cross entropy with derivatives of every order.

``ops.matmul`` differentiates through explicit transposes of its operands, copies as large as the
operands; the primitives differentiate into products with transposed reading.

A factor of a long tensor that has one number per row, or per column, is best written out by a
product with ones: the kernels for operands of different shapes keep two 8-byte positions for every
number of the result, four times its memory, and take up to twice the time of product and factor
together.
"""

from mindspore import ops

matmul = ops.MatMul()  # a @ b
matmul_ta = ops.MatMul(transpose_a=True)  # a' @ b
matmul_tb = ops.MatMul(transpose_b=True)  # a @ b'


def softplus(x):
    """log(1 + e^x) = m + log1p(e^-m - 1 + e^(x-m)),  m = max(x, 0) held constant.

    The usual relu(x) + log(1 + e^-|x|) has the same values, but its first derivative at exactly 0
    comes out as 0 in place of 1/2 and its second as 0 in place of 1/4: a parameter that starts at
    0 would never move.  The fused kernels have no second derivative, and that of log (not log1p)
    rounds by the way it is cut among threads, so that a resumed run would differ in the last bit.
    Any shape, float32.
    """
    most = ops.stop_gradient(ops.relu(x))
    return most + ops.log1p((ops.exp(-most) - 1.0) + ops.exp(x - most))


def cross_entropies(logits, labels):
    """Binary cross entropy of each entry, log(1 + e^z) - z y; equal shapes in, the same out."""
    return softplus(logits) - logits * labels
