"""The figures of the step's benchmark: the fixed cost of a line, and the kernels of a graph."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from profile_step import kernels_of, number_line
from train_step import fixed_costs


def test_fixed_cost_is_the_time_of_no_rows():
    points = []
    for rows in (64, 2048, 8192):
        ours = {"median_ms": 2 + 0.01 * rows, "fastest_ms": 1 + 0.01 * rows}
        other = {"median_ms": 3 + 0.02 * rows, "fastest_ms": 2.5 + 0.02 * rows}
        points.append({"rows": rows, "results": {"ours": ours, "routed": other}})
    found = fixed_costs(points)
    assert found["ours"]["median_ms"] == pytest.approx(2)
    assert found["routed"]["fastest_ms"] == pytest.approx(2.5)
    assert found["routed"]["ratio"] == pytest.approx(1.5)


class Products(nn.Cell):
    def construct(self, x):
        return ops.relu(ops.matmul(x, x)) + ops.matmul(x, x + 1)


def test_kernels_of_a_step_are_counted_by_kind():
    cell, x = Products(), ms.Tensor(np.ones((5, 5), np.float32))
    cell(x)
    kernels = kernels_of(lambda: cell(x).asnumpy(), steps=3)
    kinds, places, numbers, times = zip(*kernels)
    assert sorted(kinds) == ["Add", "Add", "MatMul", "MatMul", "ReLU"]
    assert len(set(places)) == 5 and set(numbers) == {1} and min(times) > 0
    assert number_line([("Mul", "", 9, 0.1)] + kernels, 1) == "14: 9 Mul, 5 others"
