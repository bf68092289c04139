"""Matrix products as primitives.

``ops.matmul`` differentiates through explicit transposes of its operands, copies as large as the
operands; the primitives differentiate into products with transposed reading.
"""

from mindspore import ops

product = ops.MatMul()  # a @ b
product_ta = ops.MatMul(transpose_a=True)  # a' @ b
product_tb = ops.MatMul(transpose_b=True)  # a @ b'
