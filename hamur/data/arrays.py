"""The arrays of a cache: written in one pass, read memory-mapped.

`write_array` streams a .npy file and its checksum.  `Pieces` is one column of a Table from several
memory-mapped files: ids in the narrowest type that holds them, and rows that many rows share (the
features of a user, of a search page) stored once.
"""

import hashlib
import io
import mmap
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

ARRAY = "array.npy"  # in the folder of the job that writes it
# What the arrays of a cache may be: NumPy follows the pointers of a file of objects.
_NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NUMBERS += ("float32", "float64")
_TEXT = re.compile(r"<U[1-9][0-9]{0,6}")
_VIEWED_ROWS = 1 << 16
BLOCK_ROWS = 1 << 20
_loading = threading.Lock()


class Part(NamedTuple):
    """Columns of a table in a cache: file, without .npy; columns: the places in the table that the
    columns of the file take (none for a whole column); rows: the file with the row of each row."""

    file: str
    columns: tuple[int, ...] = ()
    rows: str | None = None


def array_path(folder: Path, end: str = "") -> Path:
    """Where a job writes its array, or that of several whose name ends so."""
    return folder / ARRAY.replace(".npy", f"{end}.npy")


def narrowest(size: int) -> np.dtype:
    """The smallest integer type for ids 0..size-1; int32 rather than uint32, as in a batch."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.int32)


def known_dtype(name: str) -> np.dtype:
    """The type that a manifest names.  Raises ValueError for one that no array of a cache has."""
    if name not in _NUMBERS and not _TEXT.fullmatch(name):
        raise ValueError(f"the type {name[:24]!r} is none of an array")
    return np.dtype(name).newbyteorder("<")


def header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What a .npy file of this type and shape begins with."""
    text = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(text, about | {"shape": tuple(shape)})
    return text.getvalue()


def write_array(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> dict:
    """Writes blocks of rows one after the other as a .npy file, little-endian and in C order.

    Returns the file's entry in the manifest of the cache: bytes, sha256, dtype, shape.
    Raises:  ValueError: the blocks have another number of rows than `shape` says.
    """
    dtype = np.dtype(dtype).newbyteorder("<")
    digest, rows = hashlib.sha256(), 0
    with path.open("wb") as file:
        first = header(dtype, shape)
        file.write(first)
        digest.update(first)
        for block in blocks:
            data = np.ascontiguousarray(block, dtype).data
            rows += len(block)
            file.write(data)
            digest.update(data)
        size = file.tell()
    if rows != shape[0]:
        raise ValueError(f"{path.name}: {rows} rows were written for the shape {shape}")
    return {
        "bytes": size,
        "sha256": digest.hexdigest(),
        "dtype": str(dtype),
        "shape": list(map(int, shape)),
    }


def load_array(path: Path) -> np.ndarray:
    """The array of a .npy file that a job wrote, memory-mapped."""
    # NumPy parses the header as Python, at which several threads of CPython 3.11 that do so at once
    # can fail with a SystemError.
    with _loading:
        return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Piece:
    """columns: the places that `values` (n, len(columns)) takes; rows (N,): which row of `values`
    belongs to each row of the table, or None for the same one."""

    values: np.ndarray
    columns: tuple[int, ...]
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)


class ArrayView:
    """Read-only, and like an array for what a Table does with its columns: `shape`, `dtype`, `len`,
    `take`, indexing by rows and by (rows, column), and `np.asarray`, which reads it all."""

    def __init__(self, shape: tuple[int, ...], dtype):
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices, axis: int = 0, out=None, mode: str = "raise") -> np.ndarray:
        """The rows at these positions, in memory."""
        return self[np.asarray(indices)]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], self.dtype if dtype is None else dtype)


class Pieces(ArrayView):
    """(N, width) array put together from pieces when rows of it are asked for."""

    def __init__(self, pieces: Iterable[Piece], dtype: np.dtype):
        self.pieces = tuple(pieces)
        width = sum(len(piece.columns) for piece in self.pieces)
        super().__init__((len(self.pieces[0]), width), dtype)
        places = sorted(place for piece in self.pieces for place in piece.columns)
        widths = [piece.values.shape[1:] == (len(piece.columns),) for piece in self.pieces]
        if places != list(range(width)) or not all(widths):
            raise ValueError(f"the pieces of {width} columns hold {places}")

    def take(self, indices, axis: int = 0, out=None, mode: str = "raise") -> np.ndarray:
        indices = np.asarray(indices)
        result = np.empty((len(indices), self.shape[1]), self.dtype) if out is None else out
        for piece in self.pieces:
            rows = indices if piece.rows is None else piece.rows.take(indices)
            result[:, piece.columns] = piece.values.take(rows, axis=0)
        return result

    def __getitem__(self, key):
        rows, column = key if isinstance(key, tuple) else (key, slice(None))
        index = np.arange(len(self))[rows]
        if isinstance(column, (int, np.integer)):
            return self._column(range(self.shape[1])[column])[rows]
        if index.ndim == 0:
            return self.take(index[None])[0][column]
        return self.take(index)[:, column]

    def _column(self, column: int) -> "PieceColumn":
        piece = next(piece for piece in self.pieces if column in piece.columns)
        place = piece.columns.index(column)
        return PieceColumn(replace(piece, columns=(place,)), self.dtype)


class ColumnSubset(ArrayView):
    """(N, width) array of some columns of another, which is not copied."""

    def __init__(self, values, columns: Iterable[int]):
        self.values, self.columns = values, list(columns)
        super().__init__((len(values), len(self.columns)), values.dtype)

    def take(self, indices, axis: int = 0, out=None, mode: str = "raise") -> np.ndarray:
        return self.values.take(np.asarray(indices), axis=0)[:, self.columns]

    def __getitem__(self, key):
        rows, column = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(column, (int, np.integer)):
            return self.values[rows, self.columns[column]]
        return self.values[rows][..., self.columns][..., column]


class PieceColumn(ArrayView):
    """(N,) column that is one column of a piece."""

    def __init__(self, piece: Piece, dtype: np.dtype):
        self.piece = piece
        super().__init__((len(piece),), dtype)
        if piece.columns[0] not in range(piece.values.shape[1]):
            raise ValueError(f"no column {piece.columns[0]} of {piece.values.shape[1]}")

    def __getitem__(self, rows) -> np.ndarray:
        rows = rows if self.piece.rows is None else self.piece.rows[rows]
        return self.piece.values[rows, self.piece.columns[0]].astype(self.dtype)


def blocks(rows: int, size: int = _VIEWED_ROWS) -> Iterable[slice]:
    """The slices that go through an array in pieces."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def release(column) -> None:
    """Gives back the memory that reading a memory-mapped column has taken.

    The pages stay in the system's cache; without this, the resident size of a process that reads
    all rows at random grows to the size of the files.
    """
    if isinstance(column, ColumnSubset):
        return release(column.values)
    if isinstance(column, (Pieces, PieceColumn)):
        for piece in column.pieces if isinstance(column, Pieces) else (column.piece,):
            release(piece.values)
            if piece.rows is not None:
                release(piece.rows)
        return
    while column is not None and not isinstance(column, mmap.mmap):
        column = getattr(column, "base", None)
    if column is not None and hasattr(column, "madvise"):
        column.madvise(mmap.MADV_DONTNEED)


def pieces(column: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """These rows (n,) of a column, None for all, block by block: a memory-mapped one is given back
    what reading it took."""
    for part in blocks(len(column if rows is None else rows), BLOCK_ROWS):
        yield column[part if rows is None else rows[part]]
        release(column)
