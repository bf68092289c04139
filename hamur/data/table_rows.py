"""The rows of a table as its description says: read, joined with feature tables, checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import Columns
from hamur.data.domains import Domain
from hamur.data.label_rules import parse_label
from hamur.data.text import checks
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.cells import MISSING, Column
from hamur.data.text.lines import FileFormat
from hamur.data.text.reader import Rows, read_rows
from hamur.errors import DataValueError, UnknownDomainError

_REQUIRED = ("int", "float", "time", "id")  # kinds without a missing cell


@dataclass(frozen=True)
class Join:
    """A feature table, whose row of the same key (unique there) gives its columns to a row.

    left, right: the key in the table and here; derive: (its rows, bad_rows) -> rows with the
        columns to give, None if they have them.
    optional: a row without partner has missing cells; otherwise, and where a column is of a kind
        that has none, it is a bad row.
    """

    path: Path
    left: str
    file_format: FileFormat
    derive: Callable[[Rows, BadRows], Rows] | None = None
    right: str | None = None
    optional: bool = False

    def read(self, columns: Columns, bad_rows: BadRows) -> "Partner":
        """Raises:  DataError: the first bad row, such as one whose key was there before."""
        key = self.right or self.left
        rows = read_rows(self.path, self.file_format, bad_rows)
        rows = rows if self.derive is None else self.derive(rows, bad_rows)
        rows = _known_domain(rows, columns.domain, bad_rows)
        if isinstance(rows.columns[key], pd.Categorical):
            rows = rows.keep(np.asarray(rows.columns[key] != ""))
        rows = checks.unique(rows, (key,), bad_rows)
        bad_rows.raise_if_any()
        cells = {name: column for name, column in rows.columns.items() if name != key}
        kinds = {columns.kinds.get(name) for name in cells}
        optional = self.optional and not kinds & set(_REQUIRED)
        index = pd.Index(np.asarray(rows.columns[key]))
        return Partner(cells, index, self.left, self.path.name, optional)


@dataclass(frozen=True)
class Partner:
    """A feature table by its key; alone: how many rows had none here."""

    cells: Mapping[str, Column]
    index: pd.Index
    left: str
    name: str
    optional: bool
    alone: list[int] = field(default_factory=lambda: [0])

    def join(self, rows: Rows, bad_rows: BadRows) -> Rows:
        key = rows.columns[self.left]
        if isinstance(key, pd.Categorical):
            place = self.index.get_indexer(key.categories.to_numpy(object))[key.codes]
        else:
            place = self.index.get_indexer(key)
        alone = place < 0
        self.alone[0] += int(alone.sum())
        if not self.optional:
            about = self.left, self.name, bad_rows, f"no partner in {self.name}"
            rows, place = checks.without_partner(rows, alone, *about), place[~alone]
        cells = {name: _taken(column, place) for name, column in self.cells.items()}
        return Rows(rows.columns | cells, rows.lines)


def _taken(column: Column, place: np.ndarray) -> Column:
    """The cells at these positions, a missing one at -1."""
    if (place >= 0).all():
        return column[place]
    if not isinstance(column, pd.Categorical):
        missing = np.nan if column.dtype.kind == "f" else MISSING
        return np.append(column, np.array([missing], column.dtype))[place]
    if "" not in column.categories:
        column = column.add_categories("")
    codes = np.append(column.codes, column.categories.get_loc(""))[place]
    return pd.Categorical.from_codes(codes, dtype=column.dtype)


def read_file(
    bad_rows: BadRows,
    columns: Columns,
    file_format: FileFormat | None = None,
    partners: Sequence[Partner] = (),
) -> Rows:
    """The rows of one file that fit the description, with the columns of their partners.

    file_format: None: comma-separated with a header.
    Raises:  DataError: the first bad row of a file, see `BadRows.raise_if_any`.
    """
    separators = {spec.column: spec.separator for spec in columns.multi}
    file_format = file_format or FileFormat(columns.kinds, separators=separators)
    rows = checked(read_rows(bad_rows.path, file_format, bad_rows), columns, partners, bad_rows)
    bad_rows.raise_if_any()
    return rows


def checked(rows: Rows, columns: Columns, partners: Sequence[Partner], bad_rows: BadRows) -> Rows:
    """The rows of a block that fit the description, with the columns of their partners; the others
    go to `bad_rows`."""
    own = set(rows.columns)
    rows = _allowed(rows, columns, own, bad_rows)
    if columns.key:
        rows = checks.unique(rows, columns.key, bad_rows)
    for partner in partners:
        rows = partner.join(rows, bad_rows)
    rows = _allowed(rows, columns, set(rows.columns) - own, bad_rows)
    rows = _known_domain(rows, columns.domain, bad_rows)
    if columns.implies:
        rows = checks.implied(rows, *columns.implies, columns.drop_implied, bad_rows)
    cells = dict(rows.columns)
    for name in columns.dense:
        if columns.kinds[name] == "float":
            cells[name] = cells[name].astype(np.float32)
    return Rows(cells, rows.lines)


def _allowed(rows: Rows, columns: Columns, names: set[str], bad_rows: BadRows) -> Rows:
    for column, values in columns.allowed.items():
        if column in names:
            rows = checks.allowed(rows, column, values, bad_rows)
    for column, *_ in map(parse_label, columns.labels.values()):
        if column in names and isinstance(rows.columns[column], pd.Categorical):
            why = "a label is missing", "", "text", SKIP_REMEDY
            about = f"no value in {column}", bad_rows, DataValueError, column
            missing = np.asarray(rows.columns[column] == "")
            rows = checks.without(rows, missing, *about, lambda row, why=why: why)
    return rows


def _known_domain(rows: Rows, domain: Domain | None, bad_rows: BadRows) -> Rows:
    """The rows of known domains, where the file has the column that says it."""
    if domain is None or domain.column not in rows.columns or not domain.closed:
        return rows
    column, cells = domain.column, rows.columns[domain.column]
    known = domain.ids(cells) != MISSING
    if domain.drop_others:
        bad_rows.excluded[f"other {column}"] += int((~known).sum())
        return rows.keep(known)
    about = UnknownDomainError, "no domain", domain.remedy
    if not domain.first and not domain.bins:
        return checks.allowed(rows, column, domain.values, bad_rows, *about)
    names = "one of " + ", ".join(domain.groups)

    def describe(row: int) -> tuple:
        return "no domain", cells[row], names, domain.remedy

    about = f"no domain in {column}", bad_rows, UnknownDomainError, column
    return checks.without(rows, ~known, *about, describe)
