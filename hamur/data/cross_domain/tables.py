"""Any two tables of (user, item, rating, timestamp[, category]), csv, tsv or parquet, as a pair.

What looks like exchanged columns, milliseconds or no ratings at all is refused before it can make a
model of nonsense.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.cross_domain.checks import LOOKED_AT, check_exchanged, check_times, first_of_equal
from hamur.data.cross_domain.dataset import CrossDomainData, Interactions
from hamur.data.cross_domain.join import join_pair
from hamur.data.encode import Codes, factorise
from hamur.data.errors import DataFileNotFoundError, DataFormatError, DataValueError
from hamur.data.text import reader
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows, Policy
from hamur.data.text.lines import FileFormat, read_header
from hamur.data.text.reader import Rows

ROLES = ("user", "item", "rating", "timestamp", "category")
COLUMNS = "user=user,item=item,rating=rating,timestamp=timestamp"
NONE = "none"
TIME_UNITS = {"s": 1, "ms": 1000}
_MOST_RATINGS = 21
UNKNOWN_CATEGORY = "unknown"
_KINDS = {"user": "text", "item": "text", "rating": "float", "timestamp": "int", "category": "text"}


def load_pair(
    source_table: str | Path,
    target_table: str | Path,
    columns: str = COLUMNS,
    separator: str | None = None,
    header: bool = True,
    time_unit: str = "s",
    rating_max: float = 5.0,
    positive_above: float = 3.0,
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    id_order: str = "value",
    allow_same: bool = False,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
) -> CrossDomainData:
    """The pair of two tables, which name their users alike.

    columns: "user=A,item=B,rating=C,timestamp=D[,category=E]", the names in the header, or numbers
        from 1 in a file without one.  timestamp=none: the order of the file is that of time in
        histories, two rows of each user are drawn by split_seed for validation and test, and every
        source row may be used.  rating=none: every row is a positive one.
    separator: None is a comma, or a tab in .tsv and .dat files.
    positive_above, split, split_seed, vocabulary, id_order: see `join_pair`.
    Raises:  DataError, of the kind that `hamur.data.errors` names.
    """
    roles = parse_columns(columns)
    if time_unit not in TIME_UNITS:
        raise ValueError(f"time_unit is {time_unit!r}; use one of {tuple(TIME_UNITS)}")
    paths = [Path(path).expanduser() for path in (source_table, target_table)]
    for path in paths:
        if not path.is_file():
            raise DataFileNotFoundError("no such file", file=path, remedy="check the path")
    if paths[0].samefile(paths[1]) and not allow_same:
        raise DataFormatError(
            "the same file for both domains",
            file=paths[0],
            remedy="give two files, or allow_same=True",
        )
    policy, domains, files = Policy(on_bad_rows, max_bad_fraction), [], {}
    for name, path in zip(_names(paths), paths):
        bad_rows = BadRows(path, policy)
        rows = _read(path, roles, separator, header, bad_rows)
        begin = 2 if header and path.suffix != ".parquet" else 1
        domains.append(_interactions(name, rows, roles, time_unit, rating_max, begin, bad_rows))
        files[name] = {"files": {path.name: bad_rows.counts()}}
    return join_pair(
        *domains,
        split=split,
        split_seed=split_seed,
        vocabulary=vocabulary,
        id_order=id_order,
        positive_above=positive_above,
        found={"domains": files},
    )


def parse_columns(columns: str) -> dict[str, str]:
    """role -> column.  Raises ValueError."""
    roles = dict(part.split("=", 1) for part in columns.split(",") if "=" in part)
    wrong = [role for role in roles if role not in ROLES]
    if wrong or not all(roles.get(role, NONE) != NONE for role in ("user", "item")):
        raise ValueError(f"columns is {columns!r}; use {COLUMNS}[,category=category]")
    return {role: column for role, column in roles.items() if column != NONE}


def _names(paths: list[Path]) -> list[str]:
    names = [path.name.split(".")[0] for path in paths]
    if names[0] == names[1]:
        names = [f"{path.resolve().parent.name}_{name}" for path, name in zip(paths, names)]
    return names if names[0] != names[1] else [f"{names[0]}_source", f"{names[1]}_target"]


def _read(
    path: Path, roles: dict[str, str], separator: str | None, header: bool, bad_rows: BadRows
) -> Rows:
    """The columns of the roles, by role, in file order."""
    if path.suffix == ".parquet":
        return _read_parquet(path, roles, bad_rows)
    if separator is None:
        separator = "\t" if path.suffix in (".tsv", ".dat") else ","
    names = None
    if header:
        present = read_header(path, separator)
    else:
        present = [str(n + 1) for n in range(len(read_header(path, separator)))]
        names = tuple(present)
    _check_present(path, roles, present)
    kinds = {column: _KINDS[role] for role, column in roles.items()}
    rows = reader.read_rows(path, FileFormat(kinds, separator, names), bad_rows)
    return Rows({role: rows.columns[column] for role, column in roles.items()}, rows.lines)


def _check_present(path: Path, roles: dict[str, str], present: list[str]) -> None:
    for role, column in roles.items():
        if column not in present:
            raise DataFormatError(
                f"no column for {role!r}",
                file=path,
                line=1,
                column=column,
                value=", ".join(present),
                remedy="name the columns: " + COLUMNS,
            )


def _read_parquet(path: Path, roles: dict[str, str], bad_rows: BadRows) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        _check_present(path, roles, pyarrow.parquet.read_schema(path).names)
        table = pyarrow.parquet.read_table(path, columns=list(roles.values()))
    except pyarrow.ArrowInvalid as error:
        raise DataFormatError(
            f"no parquet file ({str(error).splitlines()[0]})",
            file=path,
            remedy="write it again",
        ) from None
    columns, lines, good = {}, np.arange(1, len(table) + 1), np.ones(len(table), bool)
    bad_rows.rows_read = len(table)
    for role, name in roles.items():
        series = table[name].to_pandas()
        if _KINDS[role] == "text":
            right = series.notna().to_numpy()
            columns[role] = pd.Categorical(series.astype(str))
        else:
            numbers = pd.to_numeric(series, errors="coerce").to_numpy(float)
            right = np.isfinite(numbers)
            columns[role] = np.where(right, numbers, 0)
        if role == "timestamp":
            right &= columns[role] == np.floor(columns[role])
            columns[role] = columns[role].astype(np.int64)
        good &= _reject(~right & good, series, lines, role, "a value of its kind", bad_rows)
    return Rows(columns, lines).keep(good)


def _reject(bad, cells, lines, role: str, expected: str, bad_rows: BadRows) -> np.ndarray:
    def error(row: int) -> DataValueError:
        value = cells[row]
        return DataValueError(
            "not a usable value",
            file=bad_rows.path,
            line=int(lines[row]),
            column=role,
            value=value.item() if isinstance(value, np.generic) else value,
            expected=expected,
            remedy=SKIP_REMEDY,
        )

    return bad_rows.add_where(bad, lines, f"bad value in {role}", error)


def _interactions(
    name: str,
    rows: Rows,
    roles: dict[str, str],
    time_unit: str,
    rating_max: float,
    rows_from: int,
    bad_rows: BadRows,
) -> Interactions:
    """rows_from: the line of the file's first row."""
    check_exchanged(bad_rows.path, rows, roles)
    if "rating" in roles:
        rating = rows.columns["rating"]
        if len(np.unique(rating[:LOOKED_AT])) > _MOST_RATINGS:
            raise DataFormatError(
                f"more than {_MOST_RATINGS} different ratings",
                file=bad_rows.path,
                column=roles["rating"],
                value=np.unique(rating[:LOOKED_AT])[:4].tolist(),
                expected=f"ratings 0..{rating_max:g}",
                remedy="name the rating column, or rating=none",
            )
        bad = (rating < 0) | (rating > rating_max)
        expected = f"0..{rating_max:g}; see rating_max"
        rows = rows.keep(_reject(bad, rating, rows.lines, roles["rating"], expected, bad_rows))
    if "timestamp" in roles:
        rows = check_times(rows, "timestamp", roles["timestamp"], TIME_UNITS[time_unit], bad_rows)
    for role in ("user", "item"):
        cells = rows.columns[role]
        empty = np.isin(cells.codes, np.flatnonzero(np.asarray(cells.categories) == ""))
        rows = rows.keep(_reject(empty, cells, rows.lines, role, "a name", bad_rows))
    codes = {role: _codes(rows.columns[role]) for role in ("user", "item")}
    keys = [codes["user"].codes, codes["item"].codes]
    keys += [rows.columns[role] for role in ("rating", "timestamp") if role in roles]
    users = rows.columns["user"]
    good = first_of_equal(keys, rows.lines, roles["user"], lambda row: users[row], bad_rows)
    bad_rows.raise_if_any()
    found = Interactions(
        name,
        codes["user"],
        codes["item"],
        item_categories(codes["item"], rows.columns.get("category")),
        rows.lines - rows_from,
        rows.columns["rating"].astype(np.float32) if "rating" in roles else None,
        rows.columns["timestamp"] if "timestamp" in roles else None,
    )
    return found if good.all() else found.take(np.flatnonzero(good))


def _codes(cells: pd.Categorical) -> Codes:
    return factorise(cells.remove_unused_categories())


def item_categories(item: Codes, category: pd.Categorical | None) -> Codes:
    """One for each item, that of its first row; without the column all are "unknown"."""
    size = len(item.values)
    if category is None:
        return Codes(np.zeros(size, np.int32), np.array([UNKNOWN_CATEGORY]))
    first = np.unique(item.codes, return_index=True)[1]
    of_rows = factorise(category)
    codes = np.full(size, -1, np.int32)
    codes[item.codes[first]] = of_rows.codes[first]
    return Codes(codes, of_rows.values)
