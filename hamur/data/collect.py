"""Columns collected block by block: text as codes of one dictionary, in memory or in files.

In a folder every column is a raw file that is appended to, and memory-mapped at the end, so that
memory grows with the different values only, not with the rows.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hamur.data.arrays import BLOCK_ROWS, blocks, release
from hamur.data.encode import MISSING, Codes, check_lengths
from hamur.data.text.cells import Column

_NUMBER = "0|[1-9][0-9]{0,18}"


def value_order(texts: Sequence[str]) -> np.ndarray:
    """Positions (n,) of texts in the order of a vocabulary: whole numbers below 2^63 first, by
    their value, then text by code point."""
    texts = pa.array(texts, pa.large_string())
    short = pc.match_substring_regex(texts, f"^({_NUMBER})$").to_numpy(zero_copy_only=False)
    at = np.flatnonzero(short)
    numbers = texts.take(pa.array(at)).cast(pa.uint64()).to_numpy()
    numeric = at[numbers < 2**63]
    numeric = numeric[np.argsort(numbers[numbers < 2**63])]
    other = np.setdiff1d(np.arange(len(texts)), numeric)
    order = pc.sort_indices(texts.take(pa.array(other))).to_numpy()  # in UTF-8 by code point
    return np.concatenate((numeric, other[order]))


class Collector:
    """The columns of any number of blocks, as one, in memory until `move_to` names a folder.

    order: texts -> positions in the order of their codes.
    """

    def __init__(self, order: Callable[[np.ndarray], np.ndarray] = value_order):
        self.rows, self._order, self._folder = 0, order, None
        self._codes: dict[str, dict[str, int]] = {}  # column -> text -> code, "" left out
        self._parts: dict[str, list[np.ndarray]] = {}
        self._files = {}

    def add(self, columns: Mapping[str, Column]) -> None:
        """One block of N rows; all blocks have the same columns.

        columns: name -> (N,) numbers, or Categorical, of which "" is missing.
        """
        for name, column in columns.items():
            values = self._coded(name, column) if isinstance(column, pd.Categorical) else column
            self._keep(name, values)
        self.rows += len(next(iter(columns.values())))

    def move_to(self, folder: Path) -> None:
        """Writes what was kept in memory into an existing, empty folder, and all further blocks."""
        parts, self._parts, self._folder = self._parts, {}, folder
        for name, blocks_of in parts.items():
            for values in blocks_of:
                self._keep(name, values)

    def _keep(self, name: str, values: np.ndarray) -> None:
        if self._folder is None:
            self._parts.setdefault(name, []).append(values)
            return
        if name not in self._files:
            held = values.dtype  # whole numbers of another block may be larger
            wide = name not in self._codes and held.kind in "iu" and held.itemsize > 1
            held = np.dtype(np.int64) if wide else held
            path = self._folder / f"{len(self._files)}.raw"
            self._files[name] = path.open("wb"), held
        file, held = self._files[name]
        file.write(np.ascontiguousarray(values, held).data)

    def _coded(self, name: str, column: pd.Categorical) -> np.ndarray:
        """(N,) int32 codes of the column's dictionary."""
        known = self._codes.setdefault(name, defaultdict(count().__next__, {"": MISSING}))
        texts = column.categories.to_numpy(object)
        places = np.fromiter(map(known.__getitem__, texts), np.int32, len(texts))
        return np.append(places, np.int32(MISSING))[column.codes]

    def finish(self) -> dict[str, Codes | np.ndarray]:
        """name -> Codes, their values in order, or (N,) numbers; memory-mapped where they
        are in a folder."""
        columns = {}
        for name in self._parts | self._files:
            column = self._column(name)
            if name in self._codes:
                column = self._ordered(column, self._codes.pop(name))
            columns[name] = column
        return columns

    def _column(self, name: str) -> np.ndarray:
        if self._folder is None:
            parts = self._parts[name]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        file, held = self._files[name]
        file.close()
        return np.memmap(file.name, held, "r+", shape=(self.rows,))

    def _ordered(self, codes: np.ndarray, known: dict[str, int]) -> Codes:
        texts = np.array(list(known)[1:], object)
        check_lengths(pd.Index(texts))
        order = self._order(texts)
        rank = np.full(len(texts) + 1, MISSING, np.int32)
        rank[order] = np.arange(len(texts))
        for rows in blocks(len(codes), BLOCK_ROWS):
            codes[rows] = rank[codes[rows]]
            release(codes)
        return Codes(codes, np.array(texts[order], dtype=str) if len(texts) else np.empty(0, "<U1"))
