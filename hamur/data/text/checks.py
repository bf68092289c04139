"""What rows must hold beyond the type of their cells: allowed values, unique keys, partners.

Each check remembers the offending rows in the file's `BadRows` and returns the others.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.errors import (
    DataError,
    DataValueError,
    DuplicateRowError,
    JoinError,
    UnknownDomainError,
)
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.reader import MISSING, Rows


def allowed(rows: Rows, column: str, values: Collection[int], bad_rows: BadRows) -> Rows:
    """The rows whose `column` has one of `values`; DataValueError for the others."""
    good = np.isin(rows.columns[column], list(values))
    return _allowed(rows, column, good, values, bad_rows, DataValueError, "not an allowed value")


def known_domain(
    rows: Rows,
    column: str,
    known: np.ndarray,
    values: Collection,
    bad_rows: BadRows,
    remedy: str = SKIP_REMEDY,
) -> Rows:
    """The rows whose domain is known, (N,) bool, by `column`; UnknownDomainError for the others."""
    return _allowed(rows, column, known, values, bad_rows, UnknownDomainError, "no domain", remedy)


def _allowed(
    rows: Rows,
    column: str,
    good: np.ndarray,
    values: Collection,
    bad_rows: BadRows,
    error_class: type[DataError],
    problem: str,
    remedy: str = SKIP_REMEDY,
) -> Rows:
    cells = rows.columns[column]

    def error(row: int) -> DataError:
        return error_class(
            f"{problem}; {(cells == cells[row]).sum()} rows have it",
            file=bad_rows.path,
            line=int(rows.lines[row]),
            column=column,
            value=_shown(cells[row]),
            expected="one of " + ", ".join(map(str, values)),
            remedy=remedy,
        )

    return rows.keep(bad_rows.add_where(~good, rows.lines, f"{problem} in {column}", error))


def _shown(cell: str | np.integer) -> str | int:
    return cell if isinstance(cell, str) else "" if cell == MISSING else int(cell)


def unique(rows: Rows, keys: tuple[str, ...], bad_rows: BadRows) -> Rows:
    """The first row of every combination of these columns; DuplicateRowError for the others."""
    columns = [rows.columns[key] for key in keys]
    name = " and ".join(keys)
    if len(columns) == 1:
        repeated = pd.Series(columns[0]).duplicated().to_numpy()
    else:
        codes = [pd.factorize(column)[0].astype(np.int64) for column in columns]
        joined = codes[0]
        for code in codes[1:]:
            joined = joined * (code.max(initial=0) + 1) + code
        repeated = pd.Series(joined).duplicated().to_numpy()

    def error(row: int) -> DuplicateRowError:
        same = np.logical_and.reduce([column == column[row] for column in columns])
        key = tuple(int(column[row]) for column in columns)
        return DuplicateRowError(
            f"{name} stand in line {rows.lines[np.argmax(same)]} already",
            file=bad_rows.path,
            line=int(rows.lines[row]),
            column=name,
            value=key if len(key) > 1 else key[0],
            expected="every key once",
            remedy="remove one of the rows, or keep the first with --on_bad_rows skip",
        )

    return rows.keep(bad_rows.add_where(repeated, rows.lines, f"repeated {name}", error))


def with_partner(
    rows: Rows, key: str, partners: np.ndarray, partner_file: Path, bad_rows: BadRows
) -> Rows:
    """The rows whose key stands in another file too; JoinError for the others."""
    cells = rows.columns[key]
    alone = ~np.isin(cells, partners)

    def error(row: int) -> JoinError:
        keys = pd.unique(cells[alone])
        return JoinError(
            f"{alone.sum()} rows of {len(keys)} keys have no partner in {partner_file.name}",
            file=bad_rows.path,
            line=int(rows.lines[row]),
            column=key,
            value=keys[:5].tolist(),
            expected=f"only keys of {partner_file.name}",
            remedy=f"fetch the matching {partner_file.name}, or use --on_bad_rows skip",
        )

    reason = f"no partner in {partner_file.name}"
    return rows.keep(bad_rows.add_where(alone, rows.lines, reason, error))


def implied(
    rows: Rows, consequence: str, condition: str, drop_as: str | None, bad_rows: BadRows
) -> Rows:
    """The rows but those where `consequence` is 1 and `condition` is 0, such as purchases without
    a click.  These are excluded by definition under the name drop_as, or are bad (None)."""

    def error(row: int) -> DataValueError:
        return DataValueError(
            f"{consequence} without {condition}",
            file=bad_rows.path,
            line=int(rows.lines[row]),
            column=consequence,
            value=1,
            expected=f"0 where {condition} is 0",
            remedy=SKIP_REMEDY,
        )

    bad = (rows.columns[consequence] == 1) & (rows.columns[condition] == 0)
    if drop_as is None:
        bad_rows.add_where(bad, rows.lines, f"{consequence} without {condition}", error)
    elif bad.any():
        bad_rows.excluded[drop_as] += int(bad.sum())
    return rows.keep(~bad)
