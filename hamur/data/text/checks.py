"""What rows must hold beyond the type of their cells: allowed values, unique keys, partners.

Each check adds the offending rows to the file's `BadRows` and returns the others.
"""

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.cells import MISSING
from hamur.data.text.rows import Rows
from hamur.errors import DataError, DataValueError, DuplicateRowError, JoinError


def _plain(cell) -> int | float | str:
    """A cell as Python's own."""
    return cell.item() if isinstance(cell, np.generic) else cell


def allowed(
    rows: Rows,
    column: str,
    values: Collection,
    bad_rows: BadRows,
    kind: type[DataError] = DataValueError,
    problem: str = "not an allowed value",
    remedy: str = SKIP_REMEDY,
    reason: str | None = None,
) -> Rows:
    """The rows whose `column` has one of `values`; an error of this kind for the others."""
    cells, values = rows.columns[column], list(values)
    bad = ~pd.Series(cells).isin(values).to_numpy()

    def describe(row: int) -> tuple:
        value = _plain(cells[row])
        text = f"{problem}; {(cells == value).sum()} rows have it"
        value = "" if type(value) is int and value == MISSING else value
        return text, value, "one of " + ", ".join(map(str, values)), remedy

    reason = reason or f"{problem} in {column}"
    return without(rows, bad, reason, bad_rows, kind, column, describe)


def unique(rows: Rows, keys: tuple[str, ...], bad_rows: BadRows) -> Rows:
    """The first row of every combination of these columns; DuplicateRowError for the others."""
    columns, name = [rows.columns[key] for key in keys], " and ".join(keys)
    codes = [pd.factorize(column)[0].astype(np.int64) for column in columns]
    joined = codes[0]
    for code in codes[1:]:
        joined = joined * (code.max(initial=0) + 1) + code

    def value(row: int) -> int | str | tuple:
        key = tuple(_plain(column[row]) for column in columns)
        return key if len(key) > 1 else key[0]

    return first_of_each(rows, joined, name, bad_rows, value)


def first_of_each(
    rows: Rows,
    group: np.ndarray,
    column: str,
    bad_rows: BadRows,
    value: Callable[[int], object],
    reason: str | None = None,
    problem: str = "the same {0} is in line {1} already",
    expected: str = "every key once",
) -> Rows:
    """The first row of each value of `group` (N,); DuplicateRowError for the others.  value: row ->
    what the error shows of it."""

    def describe(row: int) -> tuple:
        first = rows.lines[np.argmax(group == group[row])]
        remedy = "remove one of the rows, or keep the first with `on_bad_rows='skip'`"
        return problem.format(column, first), value(row), expected, remedy

    bad, reason = pd.Series(group).duplicated().to_numpy(), reason or f"repeated {column}"
    return without(rows, bad, reason, bad_rows, DuplicateRowError, column, describe)


def without_partner(
    rows: Rows, alone: np.ndarray, key: str, name: str, bad_rows: BadRows, reason: str, show=_plain
) -> Rows:
    """The rows but those that are `alone` (N,) bool, whose key is not in the file of this name;
    JoinError for them.  show: key -> what the error shows of it."""
    keys = pd.unique(rows.columns[key][alone])
    problem = f"{alone.sum()} rows of {len(keys)} keys have no partner in {name}"
    remedy = f"fetch the matching {name}, or leave such rows out with `on_bad_rows='skip'`"
    why = problem, list(map(show, keys[:5].tolist())), f"only keys of {name}", remedy
    return without(rows, alone, reason, bad_rows, JoinError, key, lambda row: why)


def implied(
    rows: Rows, consequence: str, condition: str, drop_as: str | None, bad_rows: BadRows
) -> Rows:
    """The rows but those where `consequence` is 1 and `condition` is 0, such as purchases without
    a click.  These are excluded by definition under the name drop_as, or are bad (None)."""
    bad = (rows.columns[consequence] == 1) & (rows.columns[condition] == 0)
    if drop_as is not None:
        bad_rows.excluded.update({drop_as: int(bad.sum())} if bad.any() else {})
        return rows.keep(~bad)
    problem = f"{consequence} without {condition}"
    why = problem, 1, f"0 where {condition} is 0", SKIP_REMEDY
    return without(rows, bad, problem, bad_rows, DataValueError, consequence, lambda row: why)


def usable(
    rows: Rows, bad: np.ndarray, name: str, expected: str, bad_rows: BadRows, column: str = ""
) -> Rows:
    """The rows where `bad` (N,) bool is not set; DataValueError with the cell in the column
    `name` for the others.  column: what the file calls it."""
    cells, column = rows.columns[name], column or name

    def describe(row: int) -> tuple:
        return "not a usable value", _plain(cells[row]), expected, SKIP_REMEDY

    return without(rows, bad, f"bad value in {column}", bad_rows, DataValueError, column, describe)


def without(
    rows: Rows,
    bad: np.ndarray,
    reason: str,
    bad_rows: BadRows,
    kind: type[DataError],
    column: str,
    describe: Callable[[int], tuple],
) -> Rows:
    """The rows where `bad` (N,) bool is not set; describe: row -> problem, value, what was expected
    and the remedy, for the errors of the others."""

    def error(row: int) -> DataError:
        problem, value, expected, remedy = describe(row)
        place = {"file": bad_rows.path, "line": int(rows.lines[row]), "column": column}
        return kind(problem, value=value, expected=expected, remedy=remedy, **place)

    return rows.keep(bad_rows.add_where(bad, rows.lines, reason, error))
