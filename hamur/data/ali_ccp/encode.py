"""The last jobs of a preparation of Ali-CCP: vocabularies, and the arrays of the cache."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hamur.data.ali_ccp.keys import RawPart
from hamur.data.ali_ccp.parts import VALUED
from hamur.data.ali_ccp.rows import Rows
from hamur.data.arrays import ARRAY, write_array
from hamur.data.encode import Scaler
from hamur.data.streaming.parts import batches, column, lists
from hamur.data.streaming.streamed import VOCABULARY, IdCounts, Lookup, extent


def count_common(folder: Path, rows: Rows, num_common: int) -> dict:
    """A job: counts.npy and first.npy (num_common,) int64, the training rows of a common row."""
    counts, first = np.zeros(num_common, np.int64), np.full(num_common, np.iinfo(np.int64).max)
    seen = 0
    for batch, places, _, _ in rows.blocks():
        common = column(batch, "common")[places]
        counts += np.bincount(common, minlength=num_common)
        known, at = np.unique(common, return_index=True)
        first[known] = np.minimum(first[known], at + seen)
        seen += len(common)
    np.save(folder / "counts.npy", counts)
    np.save(folder / "first.npy", first)
    return {"rows": seen}


def fit_skeleton(folder: Path, rows: Rows, name: str, min_count: int) -> dict:
    """A job: the vocabulary of a field of the skeleton rows, and the extent of its values."""
    counts, values, seen = IdCounts(), [], 0
    for batch, places, _, _ in rows.blocks():
        ids, row, place = _entries(batch, name, places)
        counts.add(ids, _order(row + seen, place))
        seen += len(places)
        if name in VALUED:
            values.append(np.array(extent([column(batch, f"D{name}")[places]])))
    return _save(folder, counts, min_count, values)


def fit_common(
    folder: Path, parts: list[RawPart], name: str, min_count: int, weights: Path
) -> dict:
    """A job: the same for a field of the common rows, each as often as it has training rows."""
    weight, first = (
        np.load(weights / f"{each}.npy", mmap_mode="r") for each in ("counts", "first")
    )
    counts, values, seen = IdCounts(), [], 0
    for part in parts:
        for batch in batches(part.folder):
            own = slice(seen, seen + len(batch))
            used = np.flatnonzero(weight[own] > 0)
            ids, row, place = _entries(batch, name, used)
            row = used[row] + seen
            counts.add(ids, _order(first[row], place), weight[row])
            if name in VALUED:
                values.append(np.array(extent([column(batch, f"D{name}")[used]])))
            seen += len(batch)
    return _save(folder, counts, min_count, values)


def _entries(batch, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every id of a field in these rows of a block, the place of its row in `rows`, and its place
    in the row: of a field that is no list, at most one a row."""
    if f"{name}.ids" not in batch.schema.names:
        ids = column(batch, name)[rows]
        present = np.flatnonzero(ids >= 0)
        return ids[present], present, 0
    ids, _, offsets = lists(batch, name, rows)
    row = np.repeat(np.arange(len(rows)), np.diff(offsets))
    return ids, row, np.arange(len(ids)) - offsets[row]


def _order(row: np.ndarray, place: np.ndarray | int) -> np.ndarray:
    """Numbers that ascend with the row and, within a row, with the place in the list."""
    return (np.asarray(row) << 32) + place


def _save(folder: Path, counts: IdCounts, min_count: int, values: list) -> dict:
    known, _ = counts.known(min_count)
    np.save(folder / VOCABULARY, known)
    return {"size": len(known) + 1, "range": extent(values)}


def write_common_ids(
    folder: Path, parts: list[RawPart], vocabularies: list[tuple[str, Path]], dtype: str
) -> dict:
    """A job: the ids of fields of the common rows, (n, fields)."""
    lookups = _lookups(vocabularies)

    def blocks() -> Iterator[np.ndarray]:
        for part in parts:
            for batch in batches(part.folder):
                yield _encode(batch, lookups, slice(None), None, dtype)

    shape = (sum(part.rows for part in parts), len(lookups))
    return write_array(folder / ARRAY, dtype, shape, blocks())


def write_ids(folder: Path, rows: Rows, vocabularies: list[tuple[str, Path]], dtype: str) -> dict:
    """A job: the ids of fields of the skeleton rows, (n, fields); without vocabulary the domain."""
    lookups = _lookups(vocabularies)
    blocks = (
        _encode(batch, lookups, places, domain, dtype) for batch, places, domain, _ in rows.blocks()
    )
    return write_array(folder / ARRAY, dtype, (rows.rows, len(lookups)), blocks)


def _lookups(vocabularies: list[tuple[str, Path | None]]) -> list[tuple[str, Lookup | None]]:
    return [
        (name, None if vocabulary is None else Lookup(np.load(vocabulary / VOCABULARY)))
        for name, vocabulary in vocabularies
    ]


def _encode(batch, lookups, places, domain, dtype: str) -> np.ndarray:
    columns = [
        domain if lookup is None else lookup.encode(column(batch, name)[places])
        for name, lookup in lookups
    ]
    return np.stack(columns, axis=1).astype(dtype)


def write_common_values(folder: Path, parts: list[RawPart], scales: list) -> dict:
    """A job: the scaled values of the common rows, (n, fields) float32."""
    pieces = ((batch, slice(None)) for part in parts for batch in batches(part.folder))
    return _write_values(folder, pieces, sum(part.rows for part in parts), scales)


def write_values(folder: Path, rows: Rows, scales: list) -> dict:
    """A job: the scaled values of the skeleton rows, (n, fields) float32."""
    pieces = ((batch, places) for batch, places, _, _ in rows.blocks())
    return _write_values(folder, pieces, rows.rows, scales)


def _write_values(folder: Path, pieces, rows: int, scales: list) -> dict:
    scalers = [(name, Scaler(*scale)) for name, scale in scales]
    clipped = dict.fromkeys((name for name, _ in scales), 0)

    def blocks() -> Iterator[np.ndarray]:
        for batch, places in pieces:
            columns = []
            for name, scaler in scalers:
                values = column(batch, name)[places]
                clipped[name] += scaler.outside(values)
                columns.append(scaler.scale(values))
            yield np.stack(columns, axis=1)

    entry = write_array(folder / ARRAY, "float32", (rows, len(scalers)), blocks())
    return entry | {"clipped": clipped}


def write_labels(folder: Path, rows: Rows, names: tuple[str, ...]) -> dict:
    """A job: the labels of these names, (N, T) int8."""
    columns = [{"click": "click", "purchase": "conversion"}[name] for name in names]
    blocks = (
        np.stack([column(batch, name)[places] for name in columns], axis=1)
        for batch, places, _, _ in rows.blocks()
    )
    return write_array(folder / ARRAY, "int8", (rows.rows, len(columns)), blocks)


def write_domain(folder: Path, rows: Rows, _: None) -> dict:
    """A job: the domain of every row, (N,) int8."""
    blocks = (domain for _, _, domain, _ in rows.blocks())
    return write_array(folder / ARRAY, "int8", (rows.rows,), blocks)


def write_pointer(folder: Path, rows: Rows, _: None) -> dict:
    """A job: where each row's common features stand, (N,) int32."""
    blocks = (column(batch, "common")[places] for batch, places, _, _ in rows.blocks())
    return write_array(folder / ARRAY, "int32", (rows.rows,), blocks)


def write_row_id(folder: Path, rows: Rows, _: None) -> dict:
    """A job: the id of every row, (N,) int32, or int64 where that is too narrow."""
    last = rows.first_id + sum(part.lines for part in rows.parts)
    dtype = "int32" if last < 2**31 else "int64"
    return write_array(
        folder / ARRAY, dtype, (rows.rows,), (row_id for _, _, _, row_id in rows.blocks())
    )


WRITERS = {
    "labels": write_labels,
    "domain": write_domain,
    "common_row": write_pointer,
    "row_id": write_row_id,
}
