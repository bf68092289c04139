"""AliExpress from its raw files to the cache; see `streaming.joined` for the stages.

The item files hold the shown items, each of which names its search page, a row of the user file.
Items are ordered by page; the pages at the end of the training file are the validation.  The tables
are those of the processed files; only the row ids of archives name other lines.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from hamur.data import splits
from hamur.data.aliexpress.files import (
    DENSE_COLUMNS,
    DOMAIN_SHIFT,
    GROUP,
    ITEM,
    ITEM_LABEL,
    ITEM_NAMES,
    NAME,
    PART_SHIFT,
    PARTS,
    SPARSE_COLUMNS,
    USER,
    USER_NAMES,
    Options,
    choose_countries,
    find_raw,
    raw_name,
)
from hamur.data.streaming.chunks import CHUNK, DOMAIN, POINTER, SPLIT, Chunk, batches, column
from hamur.data.streaming.jobs import Workspace, advance
from hamur.data.streaming.joined import JoinedSource, Pair, divide_rows, read_pairs
from hamur.data.streaming.plan import plan_cache
from hamur.data.streaming.prepare import CachePlan, DataSet
from hamur.data.streaming.read import RawFormat
from hamur.data.streaming.sources import Source
from hamur.data.text import lines, reader
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.checks import allowed, usable
from hamur.data.text.lines import FileFormat

_BLOCK_ROWS = 1 << 16


def describe(options: Options) -> JoinedSource:
    """The raw files and the table that these options make of them."""
    formats = [
        RawFormat(
            partial(parse_columns, file_format=file_format, names=names),
            f"{side}_1",
            tuple(name for name in names.values() if name in SPARSE_COLUMNS),
            tuple(name for name in names.values() if name in DENSE_COLUMNS),
        )
        for side, file_format, names in (("item", ITEM, ITEM_NAMES), ("user", USER, USER_NAMES))
    ]
    return JoinedSource(
        NAME,
        *formats,
        sparse=SPARSE_COLUMNS,
        dense=DENSE_COLUMNS,
        group=GROUP,
        pointer="page",
        repeated="repeated page",
        options=options,
        split_entry={
            "rule": "last search pages",
            "seed": None,
            "valid_fraction": options.valid_fraction,
            "min_count": options.min_count,
        },
        keep_unit=True,  # published numbers are in [0, 1]
    )


def build(space: Workspace, sources: list[Source], options: Options) -> CachePlan:
    """All stages; returns what the cache is made of."""
    files = {each.base: each for each in sources}
    present = list(dict.fromkeys(name[:2].upper() for name in files))
    countries = choose_countries(sources[0].path.parent, present, options.countries)
    source, pairs = describe(options), []
    for domain, country in enumerate(countries):
        for number, part in enumerate(PARTS):
            fraction = options.valid_fraction if part == "train" else None
            pairs.append(
                Pair(
                    f"{country}-{part}",
                    *(files[raw_name(country, side, part)] for side in ("item", "user")),
                    shared="pages",
                    divide=(domain, fraction),
                    first_id=1 + (domain << DOMAIN_SHIFT) + (number << PART_SHIFT),
                    key_offset=domain << DOMAIN_SHIFT,
                )
            )
    read = read_pairs(space, source, pairs)
    divided = divide_rows(space, source, read, divide)
    sources = [source for source in sources if source.base[:2].upper() in countries]
    return plan_cache(space, source, read, divided, tuple(countries), sources)


def parse_columns(
    block: bytes,
    first_line: int,
    bad_rows: BadRows,
    at_start: bool,
    file_format: FileFormat,
    names: dict[str, str],
) -> dict[str, np.ndarray]:
    """The processed columns of a block, and of an item file the labels; see `RawFormat`."""
    if at_start:
        lines.check_separator(bad_rows.path, block, file_format, len(file_format.names))
    rows = reader.parse_block(block, first_line, file_format, file_format.names, bad_rows)
    for raw in (raw for raw, name in names.items() if name in SPARSE_COLUMNS):
        large = rows.columns[raw] >= 1 << 31
        rows = usable(rows, large, raw, "a whole number below 2**31", bad_rows)
    columns = {}
    if ITEM_LABEL in file_format.names:
        rows = allowed(rows, ITEM_LABEL, (0, 1, 2), bad_rows)
        columns["click"] = (rows.columns[ITEM_LABEL] > 0).astype(np.int8)
        columns["conversion"] = (rows.columns[ITEM_LABEL] > 1).astype(np.int8)
    key = file_format.names[0]
    columns |= {"line": rows.lines.astype(np.int32), key: rows.columns[key]}
    for raw, name in names.items():
        dtype = np.int32 if name in SPARSE_COLUMNS else np.float32
        columns[name] = rows.columns[raw].astype(dtype)
    return columns


def divide(
    folder: Path,
    name: str,
    chunks: tuple[Chunk, ...],
    num_pages: int,
    policy: Policy,
    domain: int,
    valid_fraction: float | None,
) -> dict:
    """A job, see `divide_rows`: the rows by page, inside a page in the order of the file.

    valid_fraction: the validation is the tail of whole pages that holds this share; None: all rows
    are for testing.
    """
    page = np.concatenate([column(batch, POINTER) for batch, _ in batches(chunks)])
    reordered = bool((page[1:] < page[:-1]).any())
    if reordered:
        order = np.argsort(page, kind="stable")
        page = page[order]
        _write_reordered(folder / CHUNK, chunks, order)
    split = np.full(len(page), splits.SPLITS.index("test"), np.int8)
    rows = {"test": len(page)}
    if valid_fraction is not None:
        counts = np.bincount(page, minlength=num_pages)
        held = np.cumsum(counts[::-1])  # items of the last 1, 2, ... pages
        tail = 1 + int(np.searchsorted(held, valid_fraction * len(page)))
        train = int(counts[: num_pages - tail].sum())
        split[:train], split[train:] = 0, splits.SPLITS.index("valid")
        rows = {"train": train, "valid": len(page) - train}
    np.save(folder / SPLIT, split)
    np.save(folder / DOMAIN, np.full(len(page), domain, np.int8))
    advance(len(page))
    return BadRows(Path(name), policy).report() | {"rows": rows, "reordered": reordered}


def _write_reordered(path: Path, chunks: tuple[Chunk, ...], order: np.ndarray) -> None:
    """One chunk of all rows in this order, whose lines count through the file."""
    blocks, writer = list(batches(chunks)), None
    ends = np.cumsum([len(batch) for batch, _ in blocks])
    with pa.OSFile(str(path), "wb") as file:
        for start in range(0, len(order), _BLOCK_ROWS):
            rows = order[start : start + _BLOCK_ROWS]
            numbers, pieces = np.searchsorted(ends, rows, side="right"), []
            for number in np.unique(numbers):
                batch, lines_before = blocks[number]
                places = rows[numbers == number] - (ends[number] - len(batch))
                columns = {name: batch.column(name).take(places) for name in batch.schema.names}
                columns["line"] = column(batch, "line")[places].astype(np.int64) + lines_before
                pieces.append(pa.record_batch(columns))
            back = np.argsort(np.argsort(numbers, kind="stable"))
            table = pa.Table.from_batches(pieces).take(back)
            writer = writer or pa.ipc.new_file(file, table.schema)
            writer.write_table(table)
        writer.close()


DATASET = DataSet(NAME, Options, find_raw, build)
