"""The kernels of the ranking models, and of every training step, as cells with their gradients.

Rows of T towers lie one after the other in one tensor: tower t has the rows bounds[t] to
bounds[t + 1] - 1 of a (T + 1,) int32 tensor.  A parameter with one entry in front is shared by the
towers.  float32; first derivatives only.
"""

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import signature
from mindspore.ops.primitive import constexpr

from hamur.kernels.build import library


@constexpr
def bounds_of(quotas):
    """The bounds of towers with so many rows each, (T + 1,) int32."""
    return Tensor(np.cumsum((0, *quotas)).astype(np.int32))


def kernel(name, outputs, shapes, writes="", ordered=True):
    """The primitive of a kernel with so many outputs, of the type of its first input; shapes: the
    shapes of the inputs -> those of the outputs, in a tuple if there are several.

    writes: a letter per input, "w" for a parameter that is updated in place.  ordered: other
    readers of these parameters come before or after, as written; without, the runtime copies
    fewer parameters.
    """

    def types(*inputs):
        return inputs[0] if outputs == 1 else (inputs[0],) * outputs

    primitive = ops.Custom(f"{library()}:{name}", shapes, types, func_type="aot")
    if writes:  # else the runtime may hand over a copy
        use = {"r": signature.sig_rw.RW_READ, "w": signature.sig_rw.RW_WRITE}
        inputs = [signature.make_sig(f"input{i}", use[how]) for i, how in enumerate(writes)]
        primitive.set_signatures(inputs)
        primitive.add_prim_attr("side_effect_mem", ordered)
    return primitive


class Product(nn.Cell):
    """y = x W_t for the rows of tower t.

    Inputs:  x (R, I), weight (T | 1, I, O), bounds.   Outputs: (R, O).
    """

    def __init__(self):
        super().__init__()
        self.forward = kernel("product_forward", 1, lambda x, w, *_: [x[0], w[2]])
        self.backward = kernel("product_backward", 2, lambda x, w, *_: (x, w))

    def construct(self, x, weight, bounds):
        return self.forward(x, weight, bounds)

    def bprop(self, x, weight, bounds, out, dout):
        dx, dweight = self.backward(x, weight, dout, bounds)
        return dx, dweight, ops.zeros_like(bounds)


class Dense(nn.Cell):
    """y = x W_t + b_t for the rows of tower t.

    Inputs:  x (R, I), weight (T | 1, I, O), bias (T | 1, O), bounds.   Outputs: (R, O).
    """

    def __init__(self):
        super().__init__()
        self.forward = kernel("product_forward", 1, lambda x, w, *_: [x[0], w[2]])
        self.backward = kernel("dense_backward", 3, lambda x, w, *_: (x, w, [w[0], w[2]]))

    def construct(self, x, weight, bias, bounds):
        return self.forward(x, weight, bias, bounds)

    def bprop(self, x, weight, bias, bounds, out, dout):
        dx, dweight, dbias = self.backward(x, weight, dout, bounds)
        return dx, dweight, dbias, ops.zeros_like(bounds)


class Norm(nn.Cell):
    """`hamur.layers.norm.DomainBatchNorm`: normalises with the statistics of the batch, or the
    running ones where it has too few rows, and moves the running ones in place.

    Inputs:  x (R, H), weight (R,), gamma and beta (T | 1, H), bias (T | 1, H), the parameters mean
        and variance (G, H), G = T or 1 for statistics pooled over the towers, options (5,):
        min_rows, step of the running statistics, and 0 or 1 for ReLU, unbiased, pooled; bounds.
    Outputs: y (R, H), and what the gradient needs (5, T, H).
    """

    def __init__(self):
        super().__init__()
        forward = lambda x, *rest: (x, [5, rest[-1][0] - 1, x[1]])  # noqa: E731
        self.forward = kernel("norm_forward", 2, forward, "rrrrrwwrr", ordered=False)
        backward = lambda x, y, dy, saved, gamma, bias, *_: (x, gamma, gamma, bias)  # noqa: E731
        self.backward = kernel("norm_backward", 4, backward)

    def construct(self, x, weight, gamma, beta, bias, mean, variance, options, bounds):
        return self.forward(x, weight, gamma, beta, bias, mean, variance, options, bounds)

    def bprop(self, x, weight, gamma, beta, bias, mean, variance, options, bounds, out, dout):
        dx, dgamma, dbeta, dbias = self.backward(
            x, out[0], dout[0], out[1], gamma, bias, weight, options, bounds
        )
        fixed = mean, variance, options, bounds
        zeros = tuple([ops.zeros_like(value) for value in fixed])
        return dx, ops.zeros_like(weight), dgamma, dbeta, dbias, *zeros


class Bottleneck(nn.Cell):
    """The products of an adapter cell (`hamur.layers.adapter`), before its norm:

        a = h W_ul, b = a I, z = sigmoid(b W_ur + b_u), c = z W_vl, d = c I, change = d W_vr

    Inputs:  hidden (R, H), instance (R, K, K), left and right (R, 2, K): slots that receive the
        factors of dI = sum_k left_k' right_k (`hamur.layers.instance`), w_ul (S, H, K),
        w_ur (S, K, M), b_u (S', M), w_vl (S, M, K), w_vr (S, K, H), bounds; S, S' = T or 1.
    Outputs: change (R, H), and (R, 4 K + M) for the gradient.
    """

    def __init__(self):
        super().__init__()
        saved = lambda h, i, ul, ur, *_: (h, [h[0], 4 * ul[2] + ur[2]])  # noqa: E731
        self.forward = kernel("cell_forward", 2, saved)
        slot = lambda h, i: [h[0], 2, i[1]]  # noqa: E731
        backward = lambda h, i, *rest: (h, slot(h, i), slot(h, i), *rest[:5])  # noqa: E731
        self.backward = kernel("cell_backward", 8, backward)

    def construct(self, hidden, instance, left, right, w_ul, w_ur, b_u, w_vl, w_vr, bounds):
        return self.forward(hidden, instance, w_ul, w_ur, b_u, w_vl, w_vr, bounds)

    def bprop(
        self, hidden, instance, left, right, w_ul, w_ur, b_u, w_vl, w_vr, bounds, out, dout
    ):  # fmt: skip
        dhidden, dleft, dright, *matrices = self.backward(
            hidden, instance, w_ul, w_ur, b_u, w_vl, w_vr, bounds, out[1], dout[0]
        )
        return (
            dhidden, ops.zeros_like(instance), dleft, dright, *matrices, ops.zeros_like(bounds),
        )  # fmt: skip


class Cross(nn.Cell):
    """`hamur.layers.cross.CrossNetwork`.

    Inputs:  x (R, P), weight and bias (T, L, P), bounds.
    Outputs: (R, P), and (R, 2 L + 1) for the gradient.
    """

    def __init__(self):
        super().__init__()
        saved = lambda x, w, *_: (x, [x[0], 2 * w[1] + 1])  # noqa: E731
        self.forward = kernel("cross_forward", 2, saved)
        self.backward = kernel("cross_backward", 3, lambda x, w, *_: (x, w, w))

    def construct(self, x, weight, bias, bounds):
        return self.forward(x, weight, bias, bounds)

    def bprop(self, x, weight, bias, bounds, out, dout):
        dx, dweight, dbias = self.backward(x, weight, bias, bounds, out[1], dout[0])
        return dx, dweight, dbias, ops.zeros_like(bounds)


class Encoder(nn.Cell):
    """`hamur.layers.encoder.EncoderLayer`.

    Inputs:  x (B, T * E); the parameters in a tuple: weight and bias of project (E, 3 E) and join
        (E, E), scale and shift (E,), weight and bias of widen (E, F) and narrow (F, E), scale and
        shift (E,).
    Outputs: (B, T * E).
    """

    def __init__(self):
        super().__init__()
        self.forward = kernel("encoder_forward", 1, lambda x, *_: x)
        self.backward = kernel("encoder_backward", 13, lambda *inputs: inputs[:13])

    def construct(self, x, parameters):
        return self.forward(x, *parameters)

    def bprop(self, x, parameters, out, dout):
        gradients = self.backward(x, *parameters, dout)
        return gradients[0], gradients[1:]


class Embed(nn.Cell):
    """Rows of a joined table.

    Inputs:  table (V, E), ids (B, F) and offsets (1, F) int32.   Outputs: (B, F, E).
    """

    def __init__(self):
        super().__init__()
        self.forward = kernel("embed_forward", 1, lambda table, ids, _: [*ids, table[1]])
        self.backward = kernel("embed_backward", 1, lambda table, *_: table)

    def construct(self, table, ids, offsets):
        return self.forward(table, ids, offsets)

    def bprop(self, table, ids, offsets, out, dout):
        gradient = self.backward(table, ids, offsets, dout)
        return gradient, ops.zeros_like(ids), ops.zeros_like(offsets)


class CrossEntropy(nn.Cell):
    """sum(w (log(1 + e^z) - z y)) / sum(w).  logits, labels, weight (R,) -> scalar, and its
    gradient (R,)."""

    def __init__(self):
        super().__init__()
        self.forward = kernel("cross_entropy", 2, lambda z, *_: ([], z))

    def construct(self, logits, labels, weight):
        return self.forward(logits, labels, weight)

    def bprop(self, logits, labels, weight, out, dout):
        return out[1] * dout[0], ops.zeros_like(labels), ops.zeros_like(weight)


def adam_kernel(number):
    """One update of all parameters, in place: see `hamur.training.optimizer.Adam`.

    Inputs:  (4,) beta1, beta2, epsilon, decoupled; learning rate; decays (N,); the powers of
        beta1 and beta2; then w, m, v and gradient of each of ``number`` parameters.   Outputs:
        scalar.
    """
    return kernel("adam", 1, lambda *_: [], "rrrww" + "wwwr" * number)
