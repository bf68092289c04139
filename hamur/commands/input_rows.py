"""The rows of an input in their order, bad ones too, and their cells as they stand there."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hamur.data import parquet
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import read_blocks


class AllBadRows(BadRows):
    """Those of the input, with the lines of all of them."""

    def __init__(self, path: Path, policy: Policy):
        super().__init__(path, policy)
        self.lines = []

    def add(self, line, reason, error):
        super().add(line, reason, error)
        self.lines.append(line)

    def add_where(self, bad, lines, reason, make_error):
        self.lines.extend(lines[np.flatnonzero(bad)])
        return super().add_where(bad, lines, reason, make_error)

    def join(self, part):
        super().join(part)
        self.lines.extend(part.lines)

    def take(self, last: float) -> np.ndarray:
        """The lines up to this one that nobody has taken, ascending."""
        lines = np.unique(self.lines).astype(int)
        self.lines = lines[lines > last].tolist()
        return lines[lines <= last]


def cells_of(path: Path, file_format: FileFormat, names: Sequence[str]) -> Iterator[pd.DataFrame]:
    """These columns as they stand in the input, in blocks, by line."""

    def frame(arrays: Iterator[pa.Array], lines: np.ndarray) -> pd.DataFrame:
        plain = (a.cast(a.type.value_type) if pa.types.is_dictionary(a.type) else a for a in arrays)
        return pd.DataFrame(dict(zip(names, map(pd.arrays.ArrowExtensionArray, plain))), lines)

    first = 1
    for part in parquet.parts(path) if parquet.is_parquet(path) else ():
        for batch in parquet.batches(part, list(names)):
            yield frame(map(batch.column, names), np.arange(first, first := first + len(batch)))
    if not parquet.is_parquet(path):
        as_text = replace(file_format, kinds=dict.fromkeys(names, "text"))
        for rows in read_blocks(path, as_text, BadRows(path, Policy("skip", 1.0))):
            yield frame((pa.array(rows.columns[name]) for name in names), rows.lines)


class Kept:
    """Columns of the input, by line."""

    def __init__(self, blocks: Iterator[pd.DataFrame], names: Sequence[str]):
        self.blocks = blocks
        self.rest = pd.DataFrame(columns=list(names), index=np.empty(0, int))

    def of(self, lines: np.ndarray) -> pd.DataFrame:
        """Of these lines, ascending and above those of the last call; nothing in a line that has
        another number of cells."""
        last = lines[-1] if len(lines) else 0
        while not len(self.rest) or self.rest.index[-1] < last:
            if (more := next(self.blocks, None)) is None:
                break
            self.rest = pd.concat((self.rest, more)) if len(self.rest) else more
        found, self.rest = self.rest.reindex(lines), self.rest.loc[last + 1 :]
        return found
