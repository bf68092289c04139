"""What the rows of a pair's domains must hold: times in seconds, and no row twice."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hamur.data.errors import DataFormatError, DataValueError, DuplicateRowError
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.reader import Rows

EARLIEST, LATEST, MILLISECONDS = 10**8, 4 * 10**9, 10**11
_ASIN = re.compile(r"B0[A-Z0-9]{8}|\d{9}[\dX]")
_REVIEWER = re.compile(r"A[A-Z0-9]{9,20}")
LOOKED_AT, _MOST = 10_000, 0.95


def expected_time(value) -> str:
    """What a time should have been, with a guess at what it is."""
    looks = isinstance(value, (int, np.integer)) and value > MILLISECONDS
    hint = "; these look like milliseconds, see time_unit" if looks else ""
    return f"whole seconds since 1970, {EARLIEST}..{LATEST}{hint}"


def check_times(rows: Rows, role: str, column: str, per_second: int, bad_rows: BadRows) -> Rows:
    """The rows with a possible time, which is in seconds afterwards."""
    given = rows.columns[role]
    time = given // per_second

    def error(row: int) -> DataValueError:
        return DataValueError(
            "not a usable time",
            file=bad_rows.path,
            line=int(rows.lines[row]),
            column=column,
            value=int(given[row]),
            expected=expected_time(time[row]),
            remedy=SKIP_REMEDY,
        )

    bad = (time < EARLIEST) | (time > LATEST)
    good = bad_rows.add_where(bad, rows.lines, f"bad value in {column}", error)
    return Rows(rows.columns | {role: time}, rows.lines).keep(good)


def first_of_equal(
    keys: Sequence[np.ndarray],
    lines: np.ndarray,
    column: str,
    name: Callable[[int], str],
    bad_rows: BadRows,
) -> np.ndarray:
    """(N,) bool: not the repetition of an earlier row in all keys; name: a row's user.

    lines ascend.  Repetitions go to `bad_rows` as DuplicateRowError.
    """
    order = np.lexsort(keys)  # stable: the earlier line comes first
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    repeated = np.zeros(len(order), bool)
    repeated[order[1:]] = same
    begins = np.append([True], ~same)[: len(order)]
    group = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    first = np.empty(len(order), np.int64)
    first[order] = order[group]

    def error(row: int) -> DuplicateRowError:
        return DuplicateRowError(
            f"line {lines[first[row]]} says the same already",
            file=bad_rows.path,
            line=int(lines[row]),
            column=column,
            value=str(name(row)),
            expected="every combination of user, item, rating and time once",
            remedy="remove one of the lines, or keep the first with --on_bad_rows skip",
        )

    return bad_rows.add_where(repeated, lines, "repeated row", error)


def check_exchanged(path: Path, rows: Rows, roles: dict[str, str]) -> None:
    """Raises DataFormatError where users look like Amazon's products and items like its users."""
    if not len(rows):
        return  # every row was bad, which is told at the end of the file
    looked, found = min(len(rows), LOOKED_AT), []
    for role, pattern in (("user", _ASIN), ("item", _REVIEWER)):
        cells = rows.columns[role][:LOOKED_AT]
        found.append(sum(bool(pattern.fullmatch(str(cell))) for cell in cells))
    if min(found) >= _MOST * looked:
        raise DataFormatError(
            f"user and item columns look swapped: column {roles['user']!r} holds product numbers "
            f"and {roles['item']!r} reviewer ids in {min(found)} of the first {looked} rows",
            file=path,
            column=roles["user"],
            value=str(rows.columns["user"][0]),
            expected=f"user={roles['item']},item={roles['user']}",
            remedy="exchange the two in columns",
        )
