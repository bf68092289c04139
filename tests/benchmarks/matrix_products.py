"""The bare matrix products of a training step: a lower bound on its time with MindSpore's kernels.

Every product y = x W of the forward pass is followed by the two of its backward pass, g W' and
x' g; operands are random, and norms, activations, embeddings and the optimiser are left out.
"""

import numpy as np


def forward_products(arrays, quotas, places, every_tower_sees_all):
    """Operand shapes ((n, rows, in), (n, in, out)) of the forward products of a model.

    arrays: parameters by name. A tower reads the quota of its domain, or all rows; equal quotas are
    one batched product.
    """
    total, shapes = sum(quotas), []
    num_towers = len(arrays["output.weight"])

    def per_domain(fan_in, fan_out, shared):
        if shared and num_towers == 1:
            shapes.append(((1, total, fan_in), (1, fan_in, fan_out)))
        elif every_tower_sees_all and num_towers > 1:
            shapes.extend([((1, total, fan_in), (1, fan_in, fan_out))] * num_towers)
        elif len(set(quotas)) == 1:
            shapes.append(((len(quotas), quotas[0], fan_in), (len(quotas), fan_in, fan_out)))
        else:
            shapes.extend(((1, rows, fan_in), (1, fan_in, fan_out)) for rows in quotas)

    for name, array in arrays.items():
        if name.startswith("adapter.hyper") and name.endswith(".weight"):
            shapes.append(((1, total, array.shape[1]), (1, *array.shape[1:])))
        elif name.startswith(("tower.", "output.", "wide.")) and name.endswith(".weight"):
            per_domain(*array.shape[1:], shared=True)
        elif name.startswith("cross.weight"):
            for _ in range(array.shape[1]):
                per_domain(array.shape[2], 1, shared=True)
        elif ".w_" in name:
            per_domain(*array.shape[1:], shared=len(array) == 1)
    rank = next((a.shape[2] for n, a in arrays.items() if n.endswith(".w_ul")), 0)
    passes = num_towers if every_tower_sees_all else 1
    if rank:
        shapes.extend([((total, 1, rank), (total, rank, rank))] * (2 * len(places) * passes))
    return shapes


def compiled_products(shapes, seed=0):
    """A function without arguments that runs the products of the shapes, forward and backward."""
    import mindspore as ms
    from mindspore import Tensor, nn, ops

    random = np.random.default_rng(seed)

    def tensor(shape):
        values = random.standard_normal(shape, dtype=np.float32)
        return Tensor(values[0] if shape[0] == 1 else values)

    class Products(nn.Cell):
        def __init__(self):
            super().__init__()
            self.matmul = ops.MatMul()
            self.by_transposed = ops.MatMul(transpose_b=True)
            self.transposed_by = ops.MatMul(transpose_a=True)
            self.bmm = ops.BatchMatMul()
            self.bmm_by_transposed = ops.BatchMatMul(transpose_b=True)
            self.bmm_transposed_by = ops.BatchMatMul(transpose_a=True)

        def construct(self, inputs, weights, gradients):
            out = ()
            for x, w, g in zip(inputs, weights, gradients):
                if x.ndim == 2:
                    out = out + (
                        self.matmul(x, w),
                        self.by_transposed(g, w),
                        self.transposed_by(x, g),
                    )
                else:
                    out = out + (
                        self.bmm(x, w),
                        self.bmm_by_transposed(g, w),
                        self.bmm_transposed_by(x, g),
                    )
            return out

    ms.set_context(mode=ms.GRAPH_MODE)
    cell = Products()
    inputs = tuple(tensor(x) for x, _ in shapes)
    weights = tuple(tensor(w) for _, w in shapes)
    gradients = tuple(tensor((*x[:2], w[2])) for x, w in shapes)

    def run():
        min(cell(inputs, weights, gradients), key=lambda result: result.size).asnumpy()  # waits

    return run


def multiply_adds(shapes) -> int:
    """Of forward and backward products together."""
    return 3 * sum(x[0] * x[1] * w[1] * w[2] for x, w in shapes)
