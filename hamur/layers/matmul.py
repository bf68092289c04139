"""Matrix products as primitives.

``ops.matmul`` differentiates through explicit transposes of its operands, copies as large as the
operands; the primitives differentiate into products with transposed reading.

A factor of a long tensor that has one number a row, or a column, is best written out by a product
with ones: the kernels for operands of different shapes keep two 8-byte positions for every number
of the result, four times its memory, and take up to twice the time of product and factor together.
"""

from mindspore import ops

product = ops.MatMul()  # a @ b
product_ta = ops.MatMul(transpose_a=True)  # a' @ b
product_tb = ops.MatMul(transpose_b=True)  # a @ b'
