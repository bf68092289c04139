"""The columns of a delimited text file: fast when all is well, precise when it is not.

Values are parsed by pandas' C reader in blocks of lines; only where it objects does a slower path
look for the row, the column and the value to name.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.errors import DataValueError, EmptySplitError
from hamur.data.text import lines as text_lines
from hamur.data.text.bad_rows import SKIP_REMEDY, Rejects
from hamur.data.text.lines import Layout

MISSING = -1
_DTYPES = {"int": "int64", "category": "int64", "float": "float64", "text": "category"}
_PATTERNS = {
    "int": r"\d{1,18}(\.0*)?",
    "category": r"(\d{1,18}(\.0*)?)?",
    "float": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
}
_EXPECTED = {
    "int": "a whole number >= 0",
    "category": "a whole number >= 0 or nothing",
    "float": "a finite number",
}

Column = np.ndarray | pd.Categorical


@dataclass(frozen=True)
class Rows:
    """columns: name -> (N,) int64 ("int"), int32 or int64 ("category"), float64 ("float") or
    pandas Categorical ("text"); lines (N,), where they stand in the file."""

    columns: dict[str, Column]
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def keep(self, good: np.ndarray) -> "Rows":
        """The rows where `good` (N,) bool is set; this object if that is all of them."""
        if good.all():
            return self
        columns = {name: column[good] for name, column in self.columns.items()}
        return Rows(columns, self.lines[good])


def read_rows(path: Path, layout: Layout, rejects: Rejects) -> Rows:
    """All rows of a file whose cells have the right form; the others go to `rejects`.

    Cells of a "category" column that are empty become MISSING.  `rejects.settle` is left to the
    caller, who has more to check.
    Raises:  DataFormatError: separator, encoding; TruncatedFileError; EmptySplitError: no row.
    """
    names = layout.names or tuple(text_lines.read_header(path, layout.separator))
    blocks = []
    for block, first_line in text_lines.whole_lines(path, skip_header=layout.names is None):
        if not blocks:
            text_lines.check_separator(path, block, layout, len(names))
        blocks.append(parse_block(block, first_line, layout, names, rejects))
        if rejects and rejects.policy.on_bad_rows == "error":
            break  # a later line cannot be the first bad one
    if not blocks:
        raise EmptySplitError("the file has no row", file=path, remedy="check how it was made")
    columns = {name: _concatenate([b.columns[name] for b in blocks]) for name in layout.kinds}
    rows = Rows(columns, np.concatenate([block.lines for block in blocks]))
    rejects.rows_read = len(rows) + sum(rejects.dropped.values())
    return rows


def parse_block(
    block: bytes, first_line: int, layout: Layout, names: Sequence[str], rejects: Rejects
) -> Rows:
    """The rows of a block of whole lines; those that cannot be used go to `rejects`."""
    text_lines.check_no_nul(rejects.path, block, first_line)
    block, numbers = text_lines.well_formed(block, first_line, layout, names, rejects)
    text_lines.check_encoding(rejects.path, block, numbers, layout.encoding)
    return _parse(block, numbers, layout, names, rejects)


def _parse(
    block: bytes, numbers: np.ndarray, layout: Layout, names: Sequence[str], rejects: Rejects
) -> Rows:
    """A block of well-formed lines, of these line numbers, as columns."""
    reader = dict(
        sep=layout.mark.decode(),
        header=None,
        names=names,
        usecols=list(layout.kinds),
        quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
        encoding=layout.encoding,
        na_filter=False,
        skip_blank_lines=False,
    )
    if not block:
        return Rows({name: _empty(kind) for name, kind in layout.kinds.items()}, numbers)
    dtypes = {name: _DTYPES[kind] for name, kind in layout.kinds.items()}
    try:
        with np.errstate(invalid="ignore"):  # "inf" where a whole number has to be
            frame = pd.read_csv(io.BytesIO(block), dtype=dtypes, **reader)
    except (ValueError, OverflowError):
        sound = False
    else:
        columns = {name: _values(frame[name], kind) for name, kind in layout.kinds.items()}
        sound = all(_is_sound(columns[name], kind) for name, kind in layout.kinds.items())
    if sound:
        return Rows(columns, numbers)
    frame = pd.read_csv(io.BytesIO(block), dtype=str, **reader)
    return _parse_cells(frame, numbers, layout, names, rejects)


def _empty(kind: str) -> Column:
    return pd.Categorical([]) if kind == "text" else np.empty(0, _DTYPES[kind])


def _values(series: pd.Series, kind: str) -> Column:
    if kind == "text":
        return series.array
    values = series.to_numpy()
    # Data sets of many id columns are large: half the memory wherever the ids fit.
    small = kind == "category" and values.max(initial=0) < 2**31
    return values.astype(np.int32) if small else values


def _is_sound(column: Column, kind: str) -> bool:
    if kind == "text":
        return True
    return bool(np.isfinite(column).all() if kind == "float" else (column >= 0).all())


def _parse_cells(
    frame: pd.DataFrame,
    numbers: np.ndarray,
    layout: Layout,
    names: Sequence[str],
    rejects: Rejects,
) -> Rows:
    """A block with a bad or a missing cell: all cells as text, judged by pattern."""
    good, columns = np.ones(len(frame), bool), {}
    for name, kind in layout.kinds.items():
        cells = frame[name].str.strip()
        if kind == "text":
            columns[name] = pd.Categorical(frame[name])
            continue
        right = cells.str.fullmatch(_PATTERNS[kind]).to_numpy(bool)
        if kind == "float":  # 1e400 looks like a number and is none
            right = right & np.isfinite(cells.where(right, "0").astype(np.float64).to_numpy())

        def error(row: int, name=name, kind=kind) -> DataValueError:
            return DataValueError(
                "not a usable value",
                file=rejects.path,
                line=int(numbers[row]),
                column=name,
                column_number=names.index(name) + 1,
                value=frame[name].iloc[row],
                expected=_EXPECTED[kind],
                remedy=SKIP_REMEDY,
            )

        good &= rejects.add_where(~right & good, numbers, f"bad value in {name}", error)
        cells = cells.where(right, "0").replace("", str(MISSING))
        if kind != "float":
            cells = cells.str.replace(r"\.0*$", "", regex=True)
        columns[name] = _values(cells.astype(_DTYPES[kind]), kind)
    return Rows(columns, numbers).keep(good)


def _concatenate(parts: list[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.Categorical):
        return pd.api.types.union_categoricals(parts)
    return np.concatenate(parts)
