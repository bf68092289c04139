"""The last job of a field of Ali-CCP that keeps its lists (multi="mean"): the lists in ids."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hamur.data.ali_ccp.keys import RawPart
from hamur.data.ali_ccp.rows import Rows
from hamur.data.arrays import array_path, write_array
from hamur.data.multi_valued import cut
from hamur.data.streaming.parts import batches, lists
from hamur.data.streaming.streamed import VOCABULARY, Lookup

_AT_ONCE = 1 << 20  # entries


def write_common_lists(
    folder: Path, parts: list[RawPart], name: str, vocabulary: Path, max_len: int
) -> dict:
    """A job: the lists of a field of the common rows, each stored once."""
    pieces = ((batch, None) for part in parts for batch in batches(part.folder))
    return _write(folder, pieces, sum(p.rows for p in parts), name, vocabulary, max_len)


def write_lists(folder: Path, rows: Rows, name: str, vocabulary: Path, max_len: int) -> dict:
    """A job: the lists of a field of the skeleton rows."""
    pieces = ((batch, places) for batch, places, _, _ in rows.blocks())
    return _write(folder, pieces, rows.rows, name, vocabulary, max_len)


def _write(folder: Path, pieces: Iterable[tuple], rows: int, name, vocabulary, max_len) -> dict:
    """array.{offsets,ids,values}.npy.

    How many entries remain is known when all rows have been seen: until then ids and values wait
    in files without a header.
    """
    lookup = Lookup(np.load(vocabulary / VOCABULARY))
    waiting = {end: folder / end for end in ("ids", "values")}
    total = 0

    def offsets() -> Iterator[np.ndarray]:
        nonlocal total
        yield np.zeros(1, np.int64)
        with waiting["ids"].open("wb") as ids_file, waiting["values"].open("wb") as values_file:
            for batch, places in pieces:
                raw, values, ends = lists(batch, name, places)
                ids, values, ends = cut(lookup.encode(raw), values, ends, max_len)
                ids.tofile(ids_file)
                values.tofile(values_file)
                yield ends[1:] + total
                total += len(ids)

    entries = {
        ".offsets": write_array(array_path(folder, ".offsets"), "int64", (rows + 1,), offsets())
    }
    for end, dtype in (("ids", "int32"), ("values", "float32")):
        path = array_path(folder, f".{end}")
        entries[f".{end}"] = write_array(path, dtype, (total,), _stored(waiting[end], dtype))
        waiting[end].unlink()
    return {"arrays": entries}


def _stored(path: Path, dtype: str) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while len(block := np.fromfile(file, dtype, _AT_ONCE)):
            yield block
