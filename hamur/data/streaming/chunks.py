"""Raw files as chunks: one Arrow file per range of lines, read back block by block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hamur.data.arrays import load_array
from hamur.data.multi_valued import spans
from hamur.data.schema import DOMAIN_FIELD
from hamur.data.streaming.jobs import advance

CHUNK = "chunk.arrow"
POINTER = "dimension"  # column of a fact file: the place of the partner in the dimension file
SPLIT, DOMAIN = "split.npy", "domain.npy"  # of the job that divides the rows of a fact file
ABSENT = -1  # of an id


class Chunk(NamedTuple):
    """A finished range of a raw file: its folder, the lines it was read from, the rows it holds."""

    folder: Path
    lines: int
    rows: int


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """A column of numbers as an array."""
    return batch.column(name).to_numpy()


def batches(chunks: Iterable[Chunk]) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The blocks of rows of a file, memory-mapped, each with the number of lines before its
    chunk."""
    lines_before = 0
    for chunk in chunks:
        path = chunk.folder / CHUNK
        if path.stat().st_size:
            with pa.memory_map(str(path)) as file:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number), lines_before
        lines_before += chunk.lines


@dataclass(frozen=True)
class Block:
    """The rows of a batch that belong to a table; see `FileRows`."""

    batch: pa.RecordBatch
    places: np.ndarray | slice
    domain: np.ndarray | None
    offsets: dict[str, int]

    def __len__(self) -> int:
        return len(self.batch) if isinstance(self.places, slice) else len(self.places)

    def column(self, name: str) -> np.ndarray:
        """(n,) values of a column of numbers; DOMAIN_FIELD is the domain of every row."""
        if name == DOMAIN_FIELD:
            return self.domain
        values = column(self.batch, name)[self.places]
        return values.astype(np.int64) + self.offsets[name] if name in self.offsets else values

    def lists(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ids (m,), values (m,), offsets (n+1,)) of a column of lists."""
        ids, values = (self.batch.column(f"{name}.{end}") for end in ("ids", "values"))
        rows = np.arange(len(self.batch))[self.places]
        places, offsets = spans(ids.offsets.to_numpy(), rows)
        return ids.values.to_numpy()[places], values.values.to_numpy()[places], offsets

    def entries(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every id of a field, its row in this block, and its place in the list of that row."""
        if f"{name}.ids" not in self.batch.schema.names:
            ids = self.column(name)
            rows = np.flatnonzero(ids != ABSENT)
            return ids[rows], rows, np.zeros(len(rows), np.int64)
        ids, _, offsets = self.lists(name)
        rows = np.repeat(np.arange(len(self)), np.diff(offsets))
        return ids, rows, np.arange(len(ids)) - offsets[rows]


@dataclass(frozen=True)
class FileRows:
    """Rows of one raw file, in the order of its chunks.

    offsets: column -> number to add to its values (lines become row ids, places in the dimension
        file become places in the cache).
    divided: folder with split.npy (number of the split of every row of the file, or -1) and
        domain.npy; the rows are those of `split`.  None: all rows.
    """

    chunks: tuple[Chunk, ...]
    rows: int
    offsets: dict[str, int] = field(default_factory=dict)
    divided: Path | None = None
    split: int = 0

    def blocks(self) -> Iterator[Block]:
        if self.divided is not None:
            splits, domains = (load_array(self.divided / n) for n in (SPLIT, DOMAIN))
        seen = 0
        for batch, lines_before in batches(self.chunks):
            places, domain, offsets = slice(None), None, self.offsets
            if self.divided is not None:
                rows = slice(seen, seen + len(batch))
                places = np.flatnonzero(splits[rows] == self.split)
                domain = domains[rows][places]
                offsets = offsets | {"line": offsets["line"] + lines_before}
            seen += len(batch)
            block = Block(batch, places, domain, offsets)
            if len(block):
                yield block
            advance(len(block))


def all_blocks(tables: Iterable[FileRows]) -> Iterator[Block]:
    """The blocks of several files, one file after the other."""
    for table in tables:
        yield from table.blocks()


def total(tables: Iterable[FileRows]) -> int:
    """The rows of several files."""
    return sum(table.rows for table in tables)
