"""Finished parts of a raw file: one Arrow file each, read back block by block."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from hamur.data.multi_valued import spans

PART = "part.arrow"


def batches(folder: Path) -> Iterator[pa.RecordBatch]:
    """The blocks of a finished part, memory-mapped."""
    path = folder / PART
    if path.stat().st_size:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """A column of numbers as an array."""
    return batch.column(name).to_numpy()


def lists(
    batch: pa.RecordBatch, name: str, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids (n,), values (n,), offsets (R+1,)) of a column of lists in these R rows, or all."""
    ids, values = batch.column(f"{name}.ids"), batch.column(f"{name}.values")
    offsets, (ids, values) = ids.offsets.to_numpy(), (c.values.to_numpy() for c in (ids, values))
    places, offsets = spans(offsets, np.arange(len(batch)) if rows is None else rows)
    return ids[places], values[places], offsets
