"""The last jobs of a preparation: the arrays of the cache, in ids and scaled numbers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hamur.data.arrays import ARRAY, array_path, load_array, write_array
from hamur.data.encode import Scaler
from hamur.data.multi_valued import cut
from hamur.data.streaming.chunks import FileRows, all_blocks, total
from hamur.data.streaming.vocabulary import VOCABULARY, Lookup

_ENTRIES_AT_ONCE = 1 << 20


def write_columns(
    folder: Path,
    tables: Sequence[FileRows],
    columns: Sequence[tuple[str, Path | None]],
    dtype: str,
    flat: bool = False,
) -> dict:
    """A job: (N, columns) array of ids; of a column without a vocabulary's folder the values as
    they are.  flat: (N,), of a single column."""
    lookups = [(name, vocabulary and _lookup(vocabulary)) for name, vocabulary in columns]

    def arrays() -> Iterator[np.ndarray]:
        for block in all_blocks(tables):
            values = [
                lookup.encode(block.column(name)) if lookup else block.column(name)
                for name, lookup in lookups
            ]
            yield values[0] if flat else np.stack(values, axis=1)

    shape = (total(tables),) if flat else (total(tables), len(columns))
    return write_array(folder / ARRAY, dtype, shape, arrays())


def write_numbers(
    folder: Path, tables: Sequence[FileRows], scales: Sequence[tuple[str, tuple[float, float]]]
) -> dict:
    """A job: (N, columns) float32 of the numbers, scaled from (low, high) to [0, 1]."""
    scalers = {name: Scaler(*scale) for name, scale in scales}
    clipped = dict.fromkeys(scalers, 0)

    def arrays() -> Iterator[np.ndarray]:
        for block in all_blocks(tables):
            columns = []
            for name, scaler in scalers.items():
                values = block.column(name)
                clipped[name] += scaler.outside(values)
                columns.append(scaler.scale(values))
            yield np.stack(columns, axis=1)

    entry = write_array(folder / ARRAY, "float32", (total(tables), len(scales)), arrays())
    return entry | {"clipped": clipped}


def write_lists(
    folder: Path, tables: Sequence[FileRows], name: str, vocabulary: Path, max_len: int
) -> dict:
    """A job: array.{offsets,ids,values}.npy of a multi-valued field.

    How many entries remain is known when all rows have been seen: until then ids and values wait
    in files without a header.
    """
    lookup, entries = _lookup(vocabulary), 0
    waiting = {end: folder / end for end in ("ids", "values")}

    def offsets() -> Iterator[np.ndarray]:
        nonlocal entries
        yield np.zeros(1, np.int64)
        with waiting["ids"].open("wb") as ids_file, waiting["values"].open("wb") as values_file:
            for block in all_blocks(tables):
                raw, values, ends = block.lists(name)
                ids, values, ends = cut(lookup.encode(raw), values, ends, max_len)
                ids.tofile(ids_file)
                values.tofile(values_file)
                yield ends[1:] + entries
                entries += len(ids)

    path = array_path(folder, ".offsets")
    arrays = {".offsets": write_array(path, "int64", (total(tables) + 1,), offsets())}
    for end, dtype in (("ids", "int32"), ("values", "float32")):
        path = array_path(folder, f".{end}")
        arrays[f".{end}"] = write_array(path, dtype, (entries,), _stored(waiting[end], dtype))
        waiting[end].unlink()
    return {"arrays": arrays}


def _lookup(vocabulary: Path) -> Lookup:
    return Lookup(load_array(vocabulary / VOCABULARY))


def _stored(path: Path, dtype: str) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while len(block := np.fromfile(file, dtype, _ENTRIES_AT_ONCE)):
            yield block
