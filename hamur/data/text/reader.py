"""The columns of a delimited text or Parquet file: fast when all is well, precise when it is not.

Cells of text are parsed by pandas' C reader in blocks of lines; only where it objects does a
slower path look for the row, the column and the value to name.
"""

import csv
import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hamur.data import parquet
from hamur.data.arrow_cells import plain_texts
from hamur.data.text import lines as text_lines
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.blocks import count_lines
from hamur.data.text.cells import (
    DTYPES,
    EXPECTED,
    MAX_CELL,
    NAMES,
    Cells,
    Column,
    Doubts,
    numbers,
    small,
    words_and_numbers,
)
from hamur.data.text.checks import usable
from hamur.data.text.lines import FileFormat
from hamur.data.text.records import LINE_END, records
from hamur.data.text.rows import Rows, concatenate, plain_names
from hamur.errors import DataError, DataFormatError, DataValueError, EmptySplitError

THREADS = min(4, os.cpu_count() or 1)
_TYPE = re.compile(r":(token|float)(_seq)?$")


def column_names(
    source: Path | pa.Table, separator: str = ",", encoding: str = "utf-8"
) -> list[str]:
    """Of a table, or in the header of a text file, without their types."""
    if isinstance(source, pa.Table) or parquet.is_parquet(source):
        return parquet.column_names(source)
    return [plain_name(name) for name in text_lines.read_header(source, separator, encoding)]


def plain_name(name: str) -> str:
    """A column's name without the type that RecBole's files add, as in "user_id:token"."""
    return _TYPE.sub("", name)


def read_rows(path: Path | pa.Table, file_format: FileFormat, bad_rows: BadRows) -> Rows:
    """All rows of a file, text or Parquet, whose cells have the right form; the others go to
    `bad_rows`.

    Cells of a "category" column that are empty become MISSING.  The caller, who has more to check,
    calls `bad_rows.raise_if_any`.
    Raises:  DataFormatError: separator, encoding; TruncatedFileError; EmptySplitError: no row.
    """
    blocks = list(read_blocks(path, file_format, bad_rows))
    if not blocks:
        problem, remedy = "the file has no row", "check how it was made"
        raise EmptySplitError(problem, file=bad_rows.path, remedy=remedy)
    columns = {name: concatenate([b.columns[name] for b in blocks]) for name in file_format.kinds}
    return Rows(columns, np.concatenate([block.lines for block in blocks]))


def read_blocks(
    source: Path | pa.Table, file_format: FileFormat, bad_rows: BadRows
) -> Iterator[Rows]:
    """The rows of `read_rows` in blocks, each in bounded memory; none of a source without rows.

    source: a file, or a table in memory, see `frames.as_arrow`.
    """
    if not file_format.kinds:
        return
    blocks = _tables if isinstance(source, pa.Table) or parquet.is_parquet(source) else _lines
    strict, of_caller = bad_rows.policy.on_bad_rows == "error", 0  # of rows counted already
    for rows in blocks(source, file_format, bad_rows):
        for name, kind in file_format.kinds.items():
            if kind in ("code", "id"):
                rows = _plain(rows, name, kind, file_format, bad_rows)
        bad_rows.rows_read += len(rows)
        before = bad_rows.dropped.total()
        yield rows
        of_caller += bad_rows.dropped.total() - before
        if strict and bad_rows:
            break  # a later line cannot be the first bad one
    bad_rows.rows_read += bad_rows.dropped.total() - of_caller


def _tables(source: Path | pa.Table, file_format: FileFormat, bad_rows: BadRows) -> Iterator[Rows]:
    last, names = 0, parquet.column_names(source)
    for columns in parquet.read_blocks(source, file_format):
        first, last = last + 1, last + len(next(iter(columns.values())).right)
        yield _usable(columns, np.arange(first, last + 1), file_format, names, bad_rows)


def _lines(path: Path, file_format: FileFormat, bad_rows: BadRows) -> Iterator[Rows]:
    header = path, file_format.separator, file_format.encoding
    names = file_format.names or tuple(column_names(*header))
    for name in file_format.kinds:
        if names.count(name) > 1:
            raise DataFormatError(
                "two columns of one name", file=path, line=1, column=name, remedy="rename one"
            )
    skip_header, max_line = file_format.names is None, bad_rows.policy.max_line
    blocks = text_lines.whole_lines(path, skip_header, max_line, file_format.encoding)
    multiline = file_format.multiline and file_format.quoted and len(file_format.separator) == 1
    if multiline:
        blocks = records(blocks, file_format, len(names), path, max_line)

    def parse(number: int, block: bytes, lines: int | np.ndarray) -> tuple[Rows, BadRows]:
        if not number:
            text_lines.check_separator(path, block, file_format, len(names))
        part = type(bad_rows)(path, bad_rows.policy)
        rows = parse_block(block, lines, file_format, names, part)
        return _with_line_ends(rows) if multiline and LINE_END in block else rows, part

    for rows, part in _in_order(parse, blocks):
        bad_rows.join(part)
        yield rows


def _in_order(function: Callable, calls: Iterable[tuple]) -> Iterator:
    """What the function returns for its number and these arguments, in their order, by threads:
    parsers written in C let the interpreter go on meanwhile."""
    waiting, calls, failed = deque(), enumerate(calls), None
    with ThreadPoolExecutor(THREADS) as pool:
        while waiting or calls:
            try:
                number, arguments = next(calls)
                waiting.append(pool.submit(function, number, *arguments))
            except StopIteration:
                calls = None
            except DataError as error:  # whatever is wrong before comes first
                calls, failed = None, error
            while waiting and (calls is None or len(waiting) > THREADS):
                yield waiting.popleft().result()
    if failed is not None:
        raise failed


def parse_block(
    block: bytes,
    lines: int | np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> Rows:
    """The rows of a block of whole lines; those that cannot be used go to `bad_rows`.

    lines: the number of the first line, or of each.
    """
    if isinstance(lines, int):
        lines = np.arange(lines, lines + count_lines(block))
    text_lines.check_bytes(bad_rows.path, block, lines, file_format)
    block, lines = text_lines.well_formed(block, lines, file_format, names, bad_rows)
    text_lines.check_encoding(bad_rows.path, block, lines, file_format.coding)
    reader = dict(
        sep=file_format.mark.decode(),
        header=None,
        # Columns that nobody reads may have any names, also equal ones.
        names=[name if name in file_format.kinds else n for n, name in enumerate(names)],
        usecols=list(file_format.kinds),
        quoting=csv.QUOTE_MINIMAL if file_format.quoted else csv.QUOTE_NONE,
        encoding=file_format.coding,
        na_filter=False,
        low_memory=False,  # in one piece: no warning where text is among numbers
        skip_blank_lines=False,
        lineterminator="\n",
    )
    kinds, texts = file_format.kinds, {}
    if not block:
        none = {
            n: pd.Categorical([]) if k in NAMES else np.empty(0, DTYPES[k])
            for n, k in kinds.items()
        }
        return Rows(none, lines)
    if b'"' not in block and b"\r" not in block and file_format.coding == "utf-8":
        wanted = {names.index(name): name for name, kind in kinds.items() if kind in NAMES}
        texts = plain_texts(block, reader["sep"], len(names), wanted)
        reader["usecols"] = [name for name in kinds if name not in texts]
    # Without a type pandas says what it has read: whole numbers, or what might have lost digits.
    dtypes = {n: DTYPES[kind] for n, kind in kinds.items() if DTYPES[kind] != "int64"}
    words, odd = words_and_numbers(file_format.missing)
    missing = {name: ["", *words] for name, kind in kinds.items() if kind == "number"}
    typed = reader | dict(na_filter=bool(missing), keep_default_na=False, na_values=missing)
    try:
        frame = pd.read_csv(io.BytesIO(block), dtype=dtypes, **typed)
    except (ValueError, OverflowError):
        frame = None
    doubts = Doubts(block, file_format.mark)
    if frame is not None:
        series = {n: pd.Series(texts[n]) if n in texts else frame[n] for n in kinds}
        if all(doubts.sound(series[n], kind) for n, kind in kinds.items()):
            columns = {name: _values(series[name], kind) for name, kind in kinds.items()}
            for name in missing if odd else ():
                columns[name] = np.where(np.isin(columns[name], odd), np.nan, columns[name])
            return Rows(columns, lines)
    frame = pd.read_csv(io.BytesIO(block), dtype=str, **reader)
    columns = {
        name: _parse_cells(texts[name] if name in texts else frame[name], kind, file_format)
        for name, kind in kinds.items()
    }
    return _usable(columns, lines, file_format, names, bad_rows)


def _with_line_ends(rows: Rows) -> Rows:
    """With the line ends in cells that `records` has put other characters for."""
    end = LINE_END.decode()
    columns = {
        name: column.rename_categories(lambda text: text.replace(end, "\n"))
        if isinstance(column, pd.Categorical)
        else column
        for name, column in rows.columns.items()
    }
    return Rows(columns, rows.lines)


def _values(series: pd.Series, kind: str) -> Column:
    if DTYPES[kind] == "category":
        return series.array
    return small(series.to_numpy(DTYPES[kind]), kind)


def _parse_cells(texts: pd.Series | pd.Categorical, kind: str, file_format: FileFormat) -> Cells:
    """A column of a block with a bad or a missing cell."""
    if kind in NAMES:
        values = texts if isinstance(texts, pd.Categorical) else pd.Categorical(texts.fillna(""))
        right = (values.categories.str.len() <= MAX_CELL)[values.codes]
        return Cells(values, right, lambda row: values[row])
    values, right = numbers(texts, kind, file_format.time_unit, file_format.missing)
    return Cells(small(values, kind), right, lambda row: texts.iloc[row])


def _usable(
    columns: dict[str, Cells],
    lines: np.ndarray,
    file_format: FileFormat,
    names: Sequence[str],
    bad_rows: BadRows,
) -> Rows:
    """The rows of a block without a bad cell."""
    good = np.ones(len(lines), bool)
    for name, kind in file_format.kinds.items():

        def error(row: int, name=name, kind=kind) -> DataValueError:
            return DataValueError(
                "not a usable value",
                file=bad_rows.path,
                line=int(lines[row]),
                column=name,
                column_number=names.index(name) + 1,
                value=columns[name].show(row),
                expected=EXPECTED[kind],
                remedy=SKIP_REMEDY,
            )

        bad = ~columns[name].right & good
        good &= bad_rows.add_where(bad, lines, f"bad value in {name}", error)
    return Rows({name: column.values for name, column in columns.items()}, lines).keep(good)


def _plain(rows: Rows, name: str, kind: str, file_format: FileFormat, bad_rows: BadRows) -> Rows:
    """The rows with plain names in this column, see `plain_names`.  A missing id is a bad row."""
    column, missing = plain_names(rows.columns[name], file_format.missing)
    rows = Rows(rows.columns | {name: column}, rows.lines)
    return rows if kind == "code" else usable(rows, missing, name, EXPECTED[kind], bad_rows)
