"""Calls of an exported graph, without one."""

import numpy as np
import pytest

from hamur.data.table import Table
from hamur.training.served_graph import BATCH_SIZE, ServedGraph


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 17, BATCH_SIZE + 3])
def test_rows_of_a_table_fill_calls_of_few_sizes(rows):
    seen = []

    def run(arrays):
        seen.append(len(arrays[0]))
        return arrays[0][:, 0].astype(np.float32)

    graph = ServedGraph("graph", {"sparse": ((-1, 1), np.int32)}, run, (1, 4, 16, BATCH_SIZE))
    sparse = np.arange(rows, dtype=np.int32)[:, None]
    dense, labels = np.empty((rows, 0), np.float32), np.zeros((rows, 1), np.int8)
    scores = graph.of_table(Table(sparse, dense, labels, np.zeros(rows, np.int32)))
    np.testing.assert_array_equal(scores, np.arange(rows, dtype=np.float32))
    assert set(seen) <= {1, 4, 16, BATCH_SIZE}
