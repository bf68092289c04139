"""Finished parts of a raw file: one Arrow file each, read back block by block."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

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
