"""Any two tables of (user, item, rating, timestamp[, category]), csv, tsv or Parquet, as a pair.

What looks like exchanged columns or no ratings at all is refused before it can make a model of
nonsense.  The same checks serve the readers of one data set.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hamur import errors
from hamur.data.cross_domain.dataset import CrossDomainData, Interactions
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.encode import MISSING, Codes, factorise
from hamur.data.parquet import is_parquet
from hamur.data.text import checks, reader, times
from hamur.data.text.bad_rows import MAX_LINE_MIB, SKIP_REMEDY, BadRows, Policy
from hamur.data.text.lines import SEPARATORS, FileFormat
from hamur.data.text.reader import Rows

COLUMNS = "user=user,item=item,rating=rating,timestamp=timestamp"
NONE = "none"
UNKNOWN_CATEGORY = "unknown"
_KINDS = {"user": "id", "item": "id", "rating": "float", "timestamp": "time", "category": "code"}
_SEPARATOR = re.compile(r"\\t|\t|[ !#-~]+")  # ASCII without quotes and line ends
_TABS = (".tsv", ".dat", ".inter")
_MAX_RATINGS = 21  # different ones
_ASIN = re.compile(r"B0[A-Z0-9]{8}|\d{9}[\dX]")
_REVIEWER = re.compile(r"A[A-Z0-9]{9,20}")
_INSPECTED, _MIN_SHARE = 10_000, 0.95  # first rows, and the share of them that decides
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableFormat:
    """How both tables of a pair are written.

    columns: "user=A,item=B,rating=C,timestamp=D[,category=E]", the names in the header, or numbers
        from 1 in a file without one.  timestamp=none: the order of the file is that of time in
        histories, two rows of each user are drawn by split_seed for validation and test, and every
        source row may be used.  rating=none: every row is a positive one.
    separator: None is a comma, or a tab in .tsv, .dat and .inter files.  time_unit: "s", "ms", "us"
        or "ns"; None: each table's own, by the magnitude of its times.
    Raises:  ValueError: columns that name no user or item; another time_unit.
    """

    columns: str = COLUMNS
    separator: str | None = None
    header: bool = True
    time_unit: str | None = None
    rating_max: float = 5.0

    def __post_init__(self):
        named = {role for role, column in self._parts().items() if column != NONE}
        if set(self._parts()) - set(_KINDS) or not named >= {"user", "item"}:
            raise ValueError(f"`columns` is {self.columns!r}; use {COLUMNS}[,category=category]")
        if self.time_unit not in (None, *times.UNITS):
            raise ValueError(f"`time_unit` is {self.time_unit!r}; use one of {tuple(times.UNITS)}")
        if self.separator is not None and not _SEPARATOR.fullmatch(self.separator):
            raise ValueError(f"`separator` is {self.separator!r}; use , ; | :: or \\t, a tab")

    def _parts(self) -> dict[str, str]:
        return dict(part.split("=", 1) for part in self.columns.split(",") if "=" in part)

    @property
    def roles(self) -> dict[str, str]:
        """role -> column, without the roles that are none."""
        named = {role: column for role, column in self._parts().items() if column != NONE}
        return {role: reader.plain_name(column) for role, column in named.items()}

    def first_line(self, path: Path) -> int:
        """The line of a file's first row."""
        return 2 if self.header and not is_parquet(path) else 1

    def of_file(self, path: Path) -> FileFormat:
        """Raises:  DataFormatError: the file lacks a column."""
        tabs = path.name.removesuffix(".gz").endswith(_TABS)
        separator = (self.separator or ("\t" if tabs else ",")).replace("\\t", "\t")
        present, names = reader.column_names(path, separator), None
        seen = [mark for mark in SEPARATORS if mark in present[0]] if len(present) == 1 else []
        if seen and not is_parquet(path):
            raise errors.DataFormatError(
                f"one column only, which looks separated by {seen[0]!r}",
                file=path,
                line=1,
                value=present[0],
                expected=f"columns separated by {separator!r}",
                remedy="name what separates them with `separator`",
            )
        if not self.header and not is_parquet(path):
            present = names = tuple(str(n + 1) for n in range(len(present)))
        for role, column in self.roles.items():
            if column not in present:
                raise errors.DataFormatError(
                    f"no column for {role!r}",
                    file=path,
                    line=1,
                    column=column,
                    value=", ".join(present),
                    remedy=f"name the columns: `columns='{COLUMNS}'`",
                )
        kinds = {column: _KINDS[role] for role, column in self.roles.items()}
        return FileFormat(kinds, separator, names, time_unit=self.time_unit)


def load_pair(
    source_table: str | Path,
    target_table: str | Path,
    table_format: TableFormat = TableFormat(),
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    positive_above: float = 3.0,
    allow_same: bool = False,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
) -> CrossDomainData:
    """The pair of two tables, which name their users alike.

    split, split_seed, vocabulary, positive_above: see `JoinRules`.
    allow_same: the same file may be given twice.
    Raises:  DataError, of the kind that `hamur.errors` names.
    """
    rules = JoinRules(split, split_seed, vocabulary, positive_above)
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    paths = [Path(path).expanduser() for path in (source_table, target_table)]
    for path in paths:
        if not (path.is_file() or is_parquet(path)):
            problem = "no .parquet file in the folder" if path.is_dir() else "no such file"
            raise errors.DataFileNotFoundError(problem, file=path, remedy="check the path")
    if paths[0].samefile(paths[1]) and not allow_same:
        raise errors.DataFormatError(
            "the same file for both domains",
            file=paths[0],
            remedy="give two files, or `allow_same=True`",
        )
    domains, files = [], {}
    for name, path in zip(_names(paths), paths):
        bad_rows = BadRows(path, policy)
        rows = _read(table_format, bad_rows)
        domains.append(interactions_of(name, rows, table_format.first_line(path)))
        files[name] = {"files": {path.name: bad_rows.counts()}}
    return join_pair(*domains, rules, {"domains": files})


def _names(paths: list[Path]) -> list[str]:
    names = [path.name.split(".")[0] for path in paths]
    if names[0] == names[1]:
        names = [f"{path.resolve().parent.name}_{name}" for path, name in zip(paths, names)]
    return names if names[0] != names[1] else [f"{names[0]}_source", f"{names[1]}_target"]


def _read(table_format: TableFormat, bad_rows: BadRows) -> Rows:
    """The columns of the roles, by role, in file order, checked."""
    roles, path = table_format.roles, bad_rows.path
    rows = reader.read_rows(path, table_format.of_file(path), bad_rows)
    rows = Rows({role: rows.columns[column] for role, column in roles.items()}, rows.lines)
    _check_exchanged(path, rows, roles)
    if "rating" in roles:
        rows = _check_ratings(rows, roles["rating"], table_format.rating_max, bad_rows)
    if "timestamp" in roles:
        given = table_format.time_unit
        unit = given or _detected_unit(rows, roles["timestamp"], path)
        rows = check_times(rows, roles["timestamp"], unit, bad_rows, bool(given))
    rows = without_repeated(rows, roles["user"], bad_rows)
    bad_rows.raise_if_any()
    return rows


def _check_ratings(rows: Rows, column: str, rating_max: float, bad_rows: BadRows) -> Rows:
    """The rows with a rating from 0 to rating_max; other columns than ratings are refused."""
    rating = rows.columns["rating"]
    different = np.unique(rating[:_INSPECTED])
    if len(different) > _MAX_RATINGS:
        raise errors.DataFormatError(
            f"more than {_MAX_RATINGS} different ratings",
            file=bad_rows.path,
            column=column,
            value=different[:4].tolist(),
            expected=f"ratings 0..{rating_max:g}",
            remedy="name the rating column, or none: `columns='...,rating=none'`",
        )
    bad, expected = (rating < 0) | (rating > rating_max), f"0..{rating_max:g}; see `rating_max`"
    return checks.usable(rows, bad, "rating", expected, bad_rows, column)


def _detected_unit(rows: Rows, column: str, path: Path) -> str:
    unit = times.unit_of(rows.columns["timestamp"]) or "s"
    if unit != "s":
        text = "%s: the times in column %r are read as %s, which they look like"
        _log.warning(text, path, column, times.UNITS[unit])
    return unit


def check_times(rows: Rows, column: str, unit: str, bad_rows: BadRows, given: bool = False) -> Rows:
    """The rows with a possible timestamp, which is in seconds afterwards; column: its name; unit:
    of the times until then; given: by the user."""
    raw = rows.columns["timestamp"]

    def describe(row: int) -> tuple:
        looks = times.unit_of(raw[row : row + 1]) if given else None
        remedy = SKIP_REMEDY if looks is None else f"use `time_unit={looks!r}`, or leave it out"
        return "not a usable time", int(raw[row]), times.expected(raw[row], unit), remedy

    bad, reason = ~times.is_plausible(raw, unit), f"bad value in {column}"
    rows = Rows(rows.columns | {"timestamp": raw // times.PER_SECOND[unit]}, rows.lines)
    return checks.without(rows, bad, reason, bad_rows, errors.DataValueError, column, describe)


def without_repeated(rows: Rows, column: str, bad_rows: BadRows) -> Rows:
    """The rows but those that repeat an earlier one in user, item, rating and timestamp;
    DuplicateRowError for them.  column: the name of the user's."""
    keys = {role: cells for role, cells in rows.columns.items() if role != "category"}
    codes = {k: c.codes if isinstance(c, pd.Categorical) else c for k, c in keys.items()}
    group = pd.DataFrame(codes).groupby(list(codes), sort=False).ngroup().to_numpy()

    def user(row: int) -> str:
        return str(rows.columns["user"][row])

    expected = "every combination of user, item, rating and time once"
    about = (user, "repeated row", "the row repeats line {1}", expected)
    return checks.first_of_each(rows, group, column, bad_rows, *about)


def _check_exchanged(path: Path, rows: Rows, roles: dict[str, str]) -> None:
    """Raises DataFormatError where users look like Amazon's products and items like its users."""
    inspected, matches = min(len(rows), _INSPECTED), []
    for role, pattern in (("user", _ASIN), ("item", _REVIEWER)):
        cells = rows.columns[role][:_INSPECTED]
        matches.append(sum(bool(pattern.fullmatch(str(cell))) for cell in cells))
    if inspected and min(matches) >= _MIN_SHARE * inspected:  # without rows, all were bad
        raise errors.DataFormatError(
            f"user and item columns look swapped: column {roles['user']!r} holds product numbers "
            f"and {roles['item']!r} reviewer ids in {min(matches)} of the first {inspected} rows",
            file=path,
            column=roles["user"],
            value=str(rows.columns["user"][0]),
            expected=f"user={roles['item']},item={roles['user']}",
            remedy="exchange the two in `columns`",
        )


def interactions_of(name: str, rows: Rows, first_line: int = 0) -> Interactions:
    """The columns user, item, rating, timestamp and category of `rows`, the last three if there
    are any; first_line: of the file's first row."""
    cells = rows.columns

    def codes(role: str) -> Codes:
        column = cells[role]
        text = isinstance(column, pd.Categorical)
        return factorise(column.remove_unused_categories() if text else column)

    item, rating = codes("item"), cells.get("rating")
    return Interactions(
        name=name,
        user=codes("user"),
        item=item,
        category=item_categories(item, cells.get("category")),
        row_id=rows.lines - first_line,
        rating=None if rating is None else rating.astype(np.float32),
        time=cells.get("timestamp"),
    )


def item_categories(item: Codes, category: pd.Categorical | None) -> Codes:
    """One per item, that of its first row; without the column all are "unknown"."""
    size = len(item.values)
    if category is None:
        return Codes(np.zeros(size, np.int32), np.array([UNKNOWN_CATEGORY]))
    first = np.unique(item.codes, return_index=True)[1]
    of_rows = factorise(category)
    codes = np.full(size, MISSING, np.int32)
    codes[item.codes[first]] = of_rows.codes[first]
    return Codes(codes, of_rows.values)
