"""The kernels of ``attention.cc`` and ``conet.cc`` as cells: what bi-level training of CoNet
computes in every step.  float32; first derivatives only."""

from mindspore import nn, ops

from hamur.kernels.cells import kernel


class RaggedAttention(nn.Cell):
    """The perceptron's attention over histories of any lengths: it touches the positions that there
    are, not the padding, and has the logits of one history at a time.

    Inputs:  table (R, E); rows (M, 2) int32 of the table; spans (2, B, 2) int32, first position
        and length of the source's and the target's history; candidate (B, 2E); query, key_value,
        output: see `importance.phi_shapes`.
    Outputs: (B, 8E), what `importance.pooled_attention` gives where keys are masked and the mean is
        over the real positions; its gradient reaches the three weights alone.
    """

    def __init__(self):
        super().__init__()
        self.forward = kernel(
            "Attention", 1, lambda table, rows, spans, candidate, *_: [spans[1], 8 * table[1]]
        )
        self.backward = kernel(
            "AttentionGradient", 3,
            lambda table, rows, spans, candidate, query, key_value, output, by: (
                query, key_value, output,
            ),
        )  # fmt: skip

    def construct(self, table, rows, spans, candidate, query, key_value, output):
        return self.forward(table, rows, spans, candidate, query, key_value, output)

    def bprop(self, table, rows, spans, candidate, query, key_value, output, out, dout):
        inputs = table, rows, spans, candidate
        of_query, of_key_value, of_output = self.backward(*inputs, query, key_value, output, dout)
        zeros = ()
        for each in inputs:
            zeros = zeros + (ops.zeros_like(each),)
        return (*zeros, of_query, of_key_value, of_output)


def behaviour_weights():
    """`Importance` with weights of "sigmoid", without a gradient.

    Inputs:  table, rows, spans as above; ids (2, B, 3), mask (2, B, 3, 1), category, has_source,
        row_weight (B,); form (4,): `Importance.form`; the tensors of phi.
    Outputs: g (B,), weights (2, B) of the rows' losses.
    """
    return kernel(
        "BehaviourWeights", 2, lambda table, rows, spans, ids, *_: ([ids[1]], [2, ids[1]])
    )


def conet_gradient(layers):
    """CoNet's weighted loss and its gradient, for so many cross-connected layers.

    Inputs:  table (R, E), ids (2, B, 3) int32, mask (2, B, 3, 1), labels (2, B), weights (2, B),
        slope (1,), head_weight (2, H, 1), head_bias (2, 1, 1), private and shared of every layer.
    Outputs: sum of weights x cross entropy and its target part, scalars; the gradients of every
        row's own copy of its embeddings (2, B, 3, E), of the head and of every layer.
    """

    def shapes(table, ids, mask, labels, weights, slope, *parameters):
        return ([], [], [*ids, table[1]], *parameters)

    return kernel("ConetGradient", 5 + 2 * layers, shapes)


def conet_features(width):
    """The last layer of CoNet's target tower, of so many numbers.

    Inputs:  table, ids, mask, slope, private and shared of every layer, as above.
    Outputs: (B, width).
    """
    return kernel("ConetFeatures", 1, lambda table, ids, *_: [ids[1], width])
