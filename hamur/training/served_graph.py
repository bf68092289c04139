"""An exported graph as a function of arrays or of tables, whatever runs it."""

from collections.abc import Callable, Mapping

import numpy as np

from hamur.data.multi_valued import padded
from hamur.metrics.fronts import check_preference

BATCH_SIZE = 4096  # rows of a table in one call


class ServedGraph:
    """probabilities = scorer(sparse, dense, ...) of an exported graph; no rows have none.

    inputs: {name: (sizes, dtype)} in order, -1 for the number of rows; run(arrays) -> scores.
    sizes: numbers of rows to which a table's calls are filled up, where a new one costs time.
    A preference is (T,), or (B, T) for one per row.
    Raises:  ValueError: inputs of another number, shape or type, or of different numbers of rows.
    """

    def __init__(self, path, inputs: Mapping[str, tuple], run: Callable, sizes=()):
        self.path, self.inputs, self.run, self.sizes = path, inputs, run, sizes

    def __call__(self, *inputs) -> np.ndarray:
        arrays = [np.ascontiguousarray(values) for values in inputs]
        rows, preferences = next((len(array) for array in arrays if array.ndim), 0), None
        if "preference" in self.inputs and arrays:
            arrays[-1] = np.atleast_2d(arrays[-1])  # it is the last one
            preferences = 1 if len(arrays[-1]) == 1 else rows
        expected = self.expected(rows, preferences)
        found = [(array.shape, array.dtype) for array in arrays]
        if found != expected:
            raise ValueError(
                f"{self.path} takes {_listed(expected)} for {rows} rows, got {_listed(found)}."
            )
        if not rows:  # a graph may end the process then; a row of zeros tells the scores' shape
            arrays = [np.zeros(*one) for one in self.expected(1, 1)]
        return self.run(arrays)[:rows]

    def expected(self, rows, preferences) -> list[tuple]:
        """(shape, dtype) of each input."""
        counts = {"preference": preferences}
        return [
            (tuple(counts.get(name, rows) if size < 0 else size for size in sizes), np.dtype(kind))
            for name, (sizes, kind) in self.inputs.items()
        ]

    def of_table(self, table, preference=None) -> np.ndarray:
        """(N,) or (N, T) float32 of a table, in calls of BATCH_SIZE rows; see `inputs_of`."""
        scores = []
        for start in range(0, max(len(table), 1), BATCH_SIZE):
            rows = np.arange(start, min(start + BATCH_SIZE, len(table)))
            size = next((size for size in self.sizes if size >= len(rows) > 0), len(rows))
            filled = self.inputs_of(table, preference, np.resize(rows, size))
            scores.append(self(*filled)[: len(rows)])
        return np.concatenate(scores)

    def inputs_of(self, table, preference=None, rows=slice(None)) -> list[np.ndarray]:
        """What to call it with, of rows of a table, whose columns the inputs name; of a
        cross-domain model they are its sparse columns.

        preference: (T,) or (N, T), by default the even one.
        Raises:  ValueError: no preference, or one that the model does not take.
        """
        columns = {"sparse": table.sparse, "dense": table.dense, "domain": table.domain}
        if "sparse" not in self.inputs:
            columns = dict(zip(self.inputs, table.sparse.T, strict=True))
        found = {name: column[rows] for name, column in columns.items() if name in self.inputs}
        if table.multi_valued:
            found |= padded(table.multi_valued, np.arange(len(table))[rows])
        if "preference" in self.inputs:
            tasks = self.inputs["preference"][0][-1]
            each = np.asarray(np.full(tasks, 1 / tasks) if preference is None else preference)
            found["preference"] = check_preference(each[rows] if each.ndim == 2 else each, tasks)
        elif preference is not None:
            raise ValueError("the model takes no preference; only pomoe does.")
        return [np.asarray(found[name], kind) for name, (_, kind) in self.inputs.items()]


def _listed(inputs) -> str:
    return ", ".join(f"{dtype} {shape}" for shape, dtype in inputs) or "nothing"
