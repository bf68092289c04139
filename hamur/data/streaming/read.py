"""The first jobs of a preparation: ranges of raw files become chunks, fact rows find their partner.

A chunk is one Arrow file, a record batch per block of lines: `line`, the columns that the data
set's `parse` returns, and of a fact file POINTER, the place of the row's partner in the dimension
file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hamur.data.arrays import load_array
from hamur.data.streaming.chunks import CHUNK, POINTER, Chunk, batches, column
from hamur.data.streaming.sources import blocks_of_lines
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.checks import first_of_each, without_partner
from hamur.data.text.reader import Rows
from hamur.errors import DataFormatError, TruncatedFileError

KEYS, PLACES = "keys.npy", "places.npy"
Columns = dict[str, np.ndarray | pa.Array]


@dataclass(frozen=True)
class RawFormat:
    """One of the two kinds of files of a joined source.

    parse(block, first_line, bad_rows, at_start) -> columns of the sound rows: `line` int32, `key`,
        every field as ids (ABSENT where there is none) or as lists `<field>.ids` and
        `<field>.values`, every number as float32, and what else the data set wants to know; bad
        rows go to `bad_rows`.  at_start: the block begins the file.
        Raises:  DataFormatError: the file as a whole is unusable.
    key: the column that joins; key_text formats a key for messages.
    fields, numbers: the columns that become ids and scaled numbers.
    implied: (consequence, condition, name): rows of the one without the other are impossible and
        excluded by this name.
    """

    parse: Callable[[bytes, int, BadRows, bool], Columns]
    key: str
    fields: tuple[str, ...]
    numbers: tuple[str, ...]
    key_text: str = "{}"
    implied: tuple[str, str, str] | None = None


class Partners(NamedTuple):
    """The dimension file that a fact file is joined with: its name, the folder of `sort_keys`, and
    the reason for which a row without partner is left out."""

    name: str
    keys: Path
    reason: str


def read_range(
    folder: Path,
    source,
    start: int,
    stop: int | None,
    file_format: RawFormat,
    policy: Policy,
    partners: Partners | None = None,
) -> dict:
    """A job: the rows whose lines begin in [start, stop), joined with their partners if given."""
    bad_rows = BadRows(Path(source.name), policy)
    if partners is not None:
        keys, places = (load_array(partners.keys / name) for name in (KEYS, PLACES))
    writer, lines, rows, unusable = None, 0, 0, None
    longest: dict[str, int] = {}
    with pa.OSFile(str(folder / CHUNK), "wb") as file:
        try:
            for block, lines_by_then in blocks_of_lines(source, start, stop, policy.max_line):
                at_start = start == 0 and lines == 0
                columns = file_format.parse(block, lines + 1, bad_rows, at_start)
                if partners is None:
                    batch = pa.record_batch(columns)
                else:
                    batch = _join(columns, keys, places, file_format, partners, bad_rows)
                writer = writer or pa.ipc.new_file(file, batch.schema)
                writer.write_batch(batch)
                for name in (n for n in columns if n.endswith(".ids")):
                    length = int(np.diff(batch.column(name).offsets).max(initial=0))
                    field = name.removesuffix(".ids")
                    longest[field] = max(longest.get(field, 1), length)
                rows += batch.num_rows
                lines = lines_by_then
                if bad_rows and policy.on_bad_rows == "error":
                    break  # a later line cannot be the first bad one
        except DataFormatError as error:  # of the file, not of a row: no skipping helps
            unusable = [type(error).__name__, dict(error.parts)]
            if isinstance(error, TruncatedFileError) and error.line:
                unusable[1]["problem"] = "the file ends inside this line"  # lines count from start
        finally:
            if writer is not None:
                writer.close()
    bad_rows.rows_read = lines
    sizes = {"lines": lines, "rows": rows, "unusable": unusable, "longest": longest}
    return bad_rows.report() | sizes


def _join(
    columns: Columns, keys, places, file_format: RawFormat, partners: Partners, bad_rows: BadRows
) -> pa.RecordBatch:
    """The rows that have a partner and are possible, with POINTER in place of the key."""
    key, lines = columns.pop(file_format.key), columns["line"]
    place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    keep = keys[place] == key
    if not keep.all():
        args = (~keep, file_format.key, partners.name, bad_rows, partners.reason)
        without_partner(Rows({file_format.key: key}, lines), *args, file_format.key_text.format)
    if file_format.implied is not None:
        consequence, condition, name = file_format.implied
        impossible = keep & (columns[consequence] == 1) & (columns[condition] == 0)
        bad_rows.excluded[name] += int(impossible.sum())
        keep = keep & ~impossible
    batch = pa.record_batch({POINTER: places[place], **columns})
    return batch if keep.all() else batch.filter(pa.array(keep))


def sort_keys(
    folder: Path,
    name: str,
    chunks: list[Chunk],
    file_format: RawFormat,
    policy: Policy,
    reason: str,
) -> dict:
    """A job: keys.npy (n,) of a dimension file, ascending, and places.npy (n,) int32, their rows.

    Of rows with the same key the first counts, the others are bad rows for this reason.
    """
    bad_rows = BadRows(Path(name), policy)
    keys, lines = [], []
    for batch, lines_before in batches(chunks):
        keys.append(column(batch, file_format.key))
        lines.append(column(batch, "line").astype(np.int64) + lines_before)
    keys, lines = np.concatenate(keys), np.concatenate(lines)

    def value(row: int) -> str:
        return file_format.key_text.format(keys[row])

    first_of_each(Rows({}, lines), keys, file_format.key, bad_rows, value, reason)
    distinct, places = np.unique(keys, return_index=True)  # of equal ones the first
    np.save(folder / KEYS, distinct)
    np.save(folder / PLACES, places.astype(np.int32))
    return bad_rows.report()
