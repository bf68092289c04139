"""The last jobs of a preparation of AliExpress: vocabularies, and the arrays of the cache.

The features of a search page are stored once; an item row points to its page.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamur.data.aliexpress.files import LABELS
from hamur.data.aliexpress.parts import COUNTS, RawPart, Rows
from hamur.data.arrays import ARRAY, write_array
from hamur.data.encode import Scaler
from hamur.data.streaming.parts import batches, column
from hamur.data.streaming.streamed import VOCABULARY, IdCounts, Lookup, extent


@dataclass(frozen=True)
class Pages:
    """The pages of one user file.  train: the folder of `order_items` and the first page of the
    validation, for a training file, else None."""

    parts: list[RawPart]
    domain: int
    train: tuple[Path, int] | None = None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def weights(self) -> np.ndarray:
        """(pages,): training items of each page."""
        folder, first_valid = self.train
        counts = np.load(folder / COUNTS)
        counts[first_valid:] = 0
        return counts


def fit_pages(folder: Path, pages: list[Pages], names: list[str], min_count: int) -> dict:
    """A job: vocabularies or extents of columns of the training pages, by their items."""
    counts, values = _empty(names)
    for each in pages:
        weights, at = each.weights(), 0
        for part in each.parts:
            for batch in batches(part.folder):
                weight = weights[at : at + batch.num_rows]
                at += batch.num_rows
                used = np.flatnonzero(weight)
                for name in names:
                    _add(counts[name], values[name], column(batch, name)[used], weight[used])
    return _fitted(folder, counts, values, min_count)


def fit_items(folder: Path, rows: list[Rows], names: list[str], min_count: int) -> dict:
    """A job: vocabularies or extents of columns of the training items."""
    counts, values = _empty(names)
    for each in rows:
        for block in each.blocks(names):
            for name in names:
                _add(counts[name], values[name], block[name], None)
    return _fitted(folder, counts, values, min_count)


def _empty(names: list[str]) -> tuple[dict, dict]:
    return {name: IdCounts() for name in names}, {name: [] for name in names}


def _add(counts: IdCounts, values: list, cells: np.ndarray, weights: np.ndarray | None) -> None:
    if cells.dtype.kind == "f":
        values.append(np.array(extent([cells])) if len(cells) else cells)
        return
    present = np.flatnonzero(cells >= 0)
    weights = None if weights is None else weights[present]
    counts.add(cells[present].astype(np.int64), present, weights)


def _fitted(folder: Path, counts: dict, values: dict, min_count: int) -> dict:
    report = {}
    for name in counts:
        known, _ = counts[name].known(min_count, "value")
        (folder / name).mkdir()
        np.save(folder / name / VOCABULARY, known)
        report[name] = [len(known) + 1, *extent(values[name])]
    return report


def write_page_ids(folder: Path, pages: list[Pages], fields: list, dtype: str) -> dict:
    """A job: the ids of fields, (name, folder of the vocabulary), of all pages."""
    lookups = _lookups(fields)
    blocks = (_encode(_columns(b, fields), lookups, dtype) for b in _batches(pages))
    return write_array(folder / ARRAY, dtype, (_rows(pages), len(fields)), blocks)


def write_ids(folder: Path, rows: list[Rows], fields: list, dtype: str) -> dict:
    """A job: the same of items; the field without vocabulary is the domain."""
    lookups, names = _lookups(fields), [name for name, known in fields if known is not None]

    def blocks() -> Iterator[np.ndarray]:
        for each in rows:
            for block in each.blocks(names or ["label"]):
                domain = np.full(len(next(iter(block.values()))), each.domain)
                yield _encode(block | {n: domain for n, k in fields if k is None}, lookups, dtype)

    return write_array(folder / ARRAY, dtype, (_total(rows), len(fields)), blocks())


def _lookups(fields: list) -> dict[str, Lookup | None]:
    return {n: None if k is None else Lookup(np.load(k / VOCABULARY)) for n, k in fields}


def _encode(block: dict, lookups: dict[str, Lookup | None], dtype: str) -> np.ndarray:
    ids = [block[n] if known is None else known.encode(block[n]) for n, known in lookups.items()]
    return np.stack(ids, axis=1).astype(dtype)


def write_page_values(folder: Path, pages: list[Pages], scales: list) -> dict:
    """A job: the scaled numbers, (name, (low, high)), of all pages."""
    blocks = (_columns(batch, scales) for batch in _batches(pages))
    return _write_values(folder, blocks, _rows(pages), scales)


def write_values(folder: Path, rows: list[Rows], scales: list) -> dict:
    """A job: the same of items."""
    names = [name for name, _ in scales]
    blocks = (block for each in rows for block in each.blocks(names))
    return _write_values(folder, blocks, _total(rows), scales)


def _write_values(folder: Path, blocks: Iterable[dict], rows: int, scales: list) -> dict:
    scalers = {name: Scaler(*scale) for name, scale in scales}
    clipped = dict.fromkeys(scalers, 0)

    def scaled() -> Iterator[np.ndarray]:
        for block in blocks:
            for name, scaler in scalers.items():
                clipped[name] += scaler.outside(block[name])
            yield np.stack([scaler.scale(block[n]) for n, scaler in scalers.items()], axis=1)

    entry = write_array(folder / ARRAY, "float32", (rows, len(scales)), scaled())
    return entry | {"clipped": clipped}


def write_search_ids(folder: Path, pages: list[Pages], shift: int) -> dict:
    """A job: (pages, 1) int64, the country's number `shift` bits above the search id."""

    def blocks() -> Iterator[np.ndarray]:
        for each in pages:
            for batch in _batches([each]):
                yield column(batch, "search_id")[:, None] + (each.domain << shift)

    return write_array(folder / ARRAY, "int64", (_rows(pages), 1), blocks())


def write_labels(folder: Path, rows: list[Rows], labels: tuple[str, ...]) -> dict:
    """A job: 1 for a click, and 1 for a purchase."""
    return _write(
        folder, rows, "label", "int8", (len(labels),),
        lambda label, _: np.stack([label > LABELS.index(n) for n in labels], axis=1),
    )  # fmt: skip


def write_domain(folder: Path, rows: list[Rows], _: None) -> dict:
    return _write(folder, rows, "label", "int8", (), lambda c, own: np.full(len(c), own.domain))


def write_page(folder: Path, rows: list[Rows], _: None) -> dict:
    """A job: which of the cache's pages each item belongs to."""
    return _write(folder, rows, "page", "int32", (), lambda c, own: c + own.base)


def write_row_id(folder: Path, rows: list[Rows], _: None) -> dict:
    return _write(folder, rows, "line", "int64", (), lambda c, own: c + own.first_id)


def _write(folder: Path, rows: list[Rows], name: str, dtype: str, width: tuple, made) -> dict:
    blocks = (made(block[name], each) for each in rows for block in each.blocks([name]))
    return write_array(folder / ARRAY, dtype, (_total(rows), *width), blocks)


def _batches(pages: list[Pages]) -> Iterator:
    for each in pages:
        for part in each.parts:
            yield from batches(part.folder)


def _columns(batch, fields: list) -> dict[str, np.ndarray]:
    return {name: column(batch, name) for name, _ in fields}


def _rows(pages: list[Pages]) -> int:
    return sum(each.rows for each in pages)


def _total(rows: list[Rows]) -> int:
    return sum(each.end - each.begin for each in rows)


WRITERS = {
    "labels": write_labels,
    "domain": write_domain,
    "page": write_page,
    "row_id": write_row_id,
}
