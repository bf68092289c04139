"""First jobs of a preparation of AliExpress: ranges of the raw files as columns, and their join.

A part is one Arrow file, a record batch for each block of lines: of a user file `search_id` and
`line`, of an item file `page` (the place of its page in the user file), `label` and `line`; of both
the processed columns, numbers as float32 and categories as int32 (-1: empty).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hamur.data.aliexpress.files import ITEM, ITEM_LABEL, ITEM_NAMES, USER, USER_NAMES
from hamur.data.errors import DataFormatError, DuplicateRowError, TruncatedFileError
from hamur.data.streaming.parts import PART, batches, column
from hamur.data.streaming.sources import blocks_of_lines
from hamur.data.text import lines, reader
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.checks import allowed, with_partner

KEYS, PLACES = "keys.npy", "places.npy"
ORDER, COUNTS = "order.npy", "counts.npy"
_BLOCK_ROWS = 1 << 16


def read_users(folder: Path, source, start: int, stop: int | None, policy: Policy) -> dict:
    """A job: the pages whose lines begin in [start, stop)."""

    def columns(rows: reader.Rows, _: BadRows) -> tuple[reader.Rows, dict]:
        return rows, {"search_id": rows.columns["user_1"]}

    return _read(folder, source, start, stop, policy, USER, USER_NAMES, columns)


def read_items(
    folder: Path, source, start: int, stop: int | None, policy: Policy, keys: Path, users: str
) -> dict:
    """A job: the shown items whose lines begin in [start, stop), each with its page.

    keys: the folder of `sort_pages`; users: the name of the user file.
    """
    known, places = (np.load(keys / name, mmap_mode="r") for name in (KEYS, PLACES))

    def columns(rows: reader.Rows, bad_rows: BadRows) -> tuple[reader.Rows, dict]:
        rows = allowed(rows, ITEM_LABEL, (0, 1, 2), bad_rows)
        rows = with_partner(rows, "item_1", known, Path(users), bad_rows)
        page = places[np.searchsorted(known, rows.columns["item_1"])]
        label = rows.columns[ITEM_LABEL].astype(np.int8)
        return rows, {"page": page.astype(np.int32), "label": label}

    return _read(folder, source, start, stop, policy, ITEM, ITEM_NAMES, columns)


def _read(folder, source, start, stop, policy, layout, names, columns) -> dict:
    bad_rows = BadRows(Path(source.name), policy)
    writer, read, kept, fatal = None, 0, 0, None
    with pa.OSFile(str(folder / PART), "wb") as file:
        try:
            for block in blocks_of_lines(source, start, stop):
                if not start and not read:
                    lines.check_separator(bad_rows.path, block, layout, len(layout.names))
                rows = reader.parse_block(block, read + 1, layout, layout.names, bad_rows)
                rows, own = columns(rows, bad_rows)
                own["line"] = rows.lines.astype(np.int32)
                batch = pa.record_batch(own | {names[k]: _narrow(rows, k, layout) for k in names})
                if writer is None:
                    writer = pa.ipc.new_file(file, batch.schema)
                writer.write_batch(batch)
                kept += batch.num_rows
                read += block.count(b"\n") + (not block.endswith(b"\n"))
                if bad_rows and policy.on_bad_rows == "error":
                    break  # a later line cannot be the first bad one
        except DataFormatError as error:  # of the file, not of a row: no skipping helps
            fatal = [type(error).__name__, dict(error.parts)]
            if isinstance(error, TruncatedFileError):  # its text counts lines from `start`
                fatal[1]["problem"] = "the file ends early, inside this line"
        finally:
            if writer is not None:
                writer.close()
    bad_rows.rows_read = read
    return bad_rows.report() | {"lines": read, "rows": kept, "fatal": fatal}


def _narrow(rows: reader.Rows, name: str, layout) -> np.ndarray:
    dtype = np.int32 if layout.kinds[name] == "category" else np.float32
    return rows.columns[name].astype(dtype)


@dataclass(frozen=True)
class RawPart:
    """A finished part: its folder, the lines it was read from, the rows that it holds."""

    folder: Path
    lines: int
    rows: int


def sort_pages(folder: Path, parts: list[RawPart], name: str, policy: Policy) -> dict:
    """A job: the search ids of a user file, ascending, and their places in it.

    A repeated page is a bad row, of which the first one stays.
    """
    ids, numbers, before = [], [], 0
    for part in parts:
        for batch in batches(part.folder):
            ids.append(column(batch, "search_id"))
            numbers.append(column(batch, "line").astype(np.int64) + before)
        before += part.lines
    ids = np.concatenate([np.empty(0, np.int64), *ids])
    numbers = np.concatenate([np.empty(0, np.int64), *numbers])
    keys, places = np.unique(ids, return_index=True)  # of equal ones the first
    np.save(folder / KEYS, keys)
    np.save(folder / PLACES, places.astype(np.int32))
    bad_rows = BadRows(Path(name), policy)
    repeated = np.ones(len(ids), bool)
    repeated[places] = False

    def error(row: int) -> DuplicateRowError:
        first = numbers[places[np.searchsorted(keys, ids[row])]]
        return DuplicateRowError(
            f"line {first} is this page already",
            file=name,
            line=int(numbers[row]),
            column="user_1",
            value=int(ids[row]),
            expected="every page once",
            remedy="remove one of the rows, or keep the first with --on_bad_rows skip",
        )

    bad_rows.add_where(repeated, numbers, "repeated page", error)
    return bad_rows.report() | {"pages": len(ids)}


def order_items(folder: Path, parts: list[RawPart], pages: int, valid_fraction: float) -> dict:
    """A job: the rows of an item file by page, inside a page as they stand; and the validation.

    order.npy (N,) is left out where the file is in this order; counts.npy (pages,): items of a
    page.  Report: rows; first_valid_page and train_rows of the tail of whole pages that holds the
    fraction (0: no validation).
    """
    columns = [column(batch, "page") for part in parts for batch in batches(part.folder)]
    page = np.concatenate([np.empty(0, np.int32), *columns])
    ordered = bool((page[1:] >= page[:-1]).all())
    if not ordered:
        np.save(folder / ORDER, np.argsort(page, kind="stable"))
    counts = np.bincount(page, minlength=pages)
    np.save(folder / COUNTS, counts)
    held = np.cumsum(counts[::-1])  # items of the last 1, 2, ... pages
    tail = 1 + int(np.searchsorted(held, valid_fraction * len(page))) if valid_fraction else 0
    first = pages - tail
    return {
        "rows": len(page),
        "ordered": ordered,
        "first_valid_page": first,
        "train_rows": int(counts[:first].sum()),
    }


@dataclass(frozen=True)
class Rows:
    """Rows begin..end-1 of an item file in the order of `order_items`.

    domain: of its country; base: how many pages stand before this file's in the cache; first_id:
    the row_id of the file's first line.
    """

    parts: list[RawPart]
    order: Path | None
    begin: int
    end: int
    domain: int
    base: int
    first_id: int

    def blocks(self, names: list[str]) -> Iterator[dict[str, np.ndarray]]:
        """These columns, block by block; "line" counts through the whole file."""
        found, starts, shifts = _all_batches(self.parts)
        order = None if self.order is None else np.load(self.order / ORDER, mmap_mode="r")
        for at in range(self.begin, self.end, _BLOCK_ROWS):
            rows = np.arange(at, min(at + _BLOCK_ROWS, self.end))
            rows = rows if order is None else np.asarray(order[rows])
            yield _gather(found, starts, shifts, rows, names)


def _all_batches(parts: list[RawPart]) -> tuple[list, np.ndarray, list[int]]:
    """Every batch, the row at which it begins, and the lines before its part."""
    found, shifts, before = [], [], 0
    for part in parts:
        for batch in batches(part.folder):
            found.append(batch)
            shifts.append(before)
        before += part.lines
    sizes = np.array([batch.num_rows for batch in found], np.int64)
    return found, np.cumsum(sizes) - sizes, shifts


def _gather(found, starts, shifts, rows: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    number = np.searchsorted(starts, rows, side="right") - 1
    result: dict[str, np.ndarray] = {}
    for n in pd.unique(number):
        chosen = number == n
        inside = rows[chosen] - starts[n]
        for name in names:
            values = column(found[n], name)
            if name not in result:
                result[name] = np.empty(len(rows), np.int64 if name == "line" else values.dtype)
            result[name][chosen] = values[inside] + (shifts[n] if name == "line" else 0)
    return result
