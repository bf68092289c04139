"""Implicit feedback: behaviours that tell what users took, and not how they liked it.

The sequence files of ABXI (afk: food and kitchen, abe: beauty and electronics) as a pair:

    <name>_50_preprocessed.txt   one user per line: user item|unixtime item|unixtime ...
    map_item_50.txt              JSON: product number -> [item, domain 0 or 1]
    map_user_50.txt              JSON: reviewer -> user; read for the names, if it is there

They hold no ratings and no categories, so every behaviour is a positive one; `with_negatives` adds
unobserved items as negative rows.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hamur import errors
from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER, CrossDomainData, Interactions
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.cross_domain.tables import check_times, interactions_of, without_repeated
from hamur.data.schema import Schema, thaw
from hamur.data.table import Splits, Table
from hamur.data.text.bad_rows import MAX_LINE_MIB, SKIP_REMEDY, BadRows, Policy
from hamur.data.text.lines import text_lines
from hamur.data.text.reader import Rows
from hamur.files import read_json

SEQUENCES, ITEMS, USERS = "*_preprocessed.txt", "map_item_*.txt", "map_user_*.txt"
_FETCH = "fetch the file again"
_ROUNDS = 20  # drawings before a user who took nearly everything gets fewer negatives


class _Item(NamedTuple):
    name: str
    domain: int


def load_abxi_pair(
    folder: str | Path,
    source_domain: int = 0,
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
) -> CrossDomainData:
    """The pair of the two domains of the files in `folder`; source_domain: 0 or 1.

    split, split_seed, vocabulary: see `JoinRules`.  A bad behaviour is a bad row: see
    `hamur.data.text.bad_rows`.
    Raises:  DataError; EmptySplitError: no behaviour of a domain.
    """
    if source_domain not in (0, 1):
        raise ValueError(f"`source_domain` is {source_domain}; use 0 or 1")
    rules = JoinRules(split, split_seed, vocabulary)
    folder = Path(folder).expanduser()
    path, items = _only(folder, SEQUENCES), _items(_only(folder, ITEMS))
    named = read_json(_only(folder, USERS), remedy=_FETCH) if any(folder.glob(USERS)) else {}
    users = {str(number): name for name, number in named.items()}
    bad_rows = BadRows(path, Policy(on_bad_rows, max_bad_fraction, max_line_mib))
    rows = check_times(_behaviours(bad_rows, items), "timestamp", "s", bad_rows)
    rows = without_repeated(rows, "user", bad_rows)
    bad_rows.raise_if_any()
    numbers = (source_domain, 1 - source_domain)
    domains = [_domain(path, rows, number, items, users) for number in numbers]
    return join_pair(*domains, rules, {"files": {path.name: bad_rows.counts()}})


def _domain(
    path: Path, rows: Rows, number: int, items: dict[str, _Item], users: dict[str, str]
) -> Interactions:
    """The behaviours of domain 0 or 1, under their names."""
    positions = np.flatnonzero([items[item].domain == number for item in rows.columns["item"]])
    if not len(positions):
        raise errors.EmptySplitError(
            f"no behaviour of domain {number}",
            file=path,
            expected="behaviours of the domains 0 and 1",
            remedy="use the item map that belongs to these sequences",
        )
    user, item, time = (rows.columns[role][positions] for role in ("user", "item", "timestamp"))
    columns = {
        "user": pd.Categorical([users.get(user_number, user_number) for user_number in user]),
        "item": pd.Categorical([items[item_number].name for item_number in item]),
        "timestamp": time,
    }
    return interactions_of(f"{path.name.split('_')[0]}{number}", Rows(columns, positions))


def _only(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise errors.DataFileNotFoundError(
            f"{len(files)} files {pattern}",
            file=folder,
            expected="one of them",
            remedy="give the folder of one ABXI pair",
        )
    return files[0]


def _items(path: Path) -> dict[str, _Item]:
    """Number as text -> name and domain."""
    items: dict[str, _Item] = {}
    for name, entry in read_json(path, remedy=_FETCH).items():
        right = isinstance(entry, list) and len(entry) == 2 and entry[1] in (0, 1)
        if not right or str(entry[0]) in items:
            raise errors.DataFormatError(
                "an item without number and domain of its own",
                file=path,
                column=name,
                value=entry,
                expected="[number, 0 or 1], a number once",
                remedy="use the item map that belongs to these sequences",
            )
        items[str(entry[0])] = _Item(name, entry[1])
    return items


def _behaviours(bad_rows: BadRows, items: dict[str, _Item]) -> Rows:
    """user, item (numbers as text) and timestamp of every behaviour; lines: of the users."""
    cells: list[tuple[str, str, int, int]] = []
    for line, text in text_lines(bad_rows.path, bad_rows.policy.max_line):
        user, *behaviours = text.split() or [""]
        for behaviour in behaviours:
            item, _, time = behaviour.partition("|")
            bad_rows.rows_read += 1
            if item in items and time.isascii() and time.isdigit() and len(time) < 19:
                cells.append((user, item, int(time), line))
            else:
                bad_rows.add(line, "bad behaviour", _error(bad_rows.path, line, behaviour))
    user, item, time, line = zip(*cells) if cells else ((), (), (), ())
    columns = {"user": pd.Categorical(user), "item": pd.Categorical(item)}
    return Rows(columns | {"timestamp": np.array(time, np.int64)}, np.array(line, int))


def _error(path: Path, line: int, behaviour: str) -> errors.DataValueError:
    return errors.DataValueError(
        "not a behaviour",
        file=path,
        line=line,
        value=behaviour,
        expected="item|unixtime, of an item in the map",
        remedy=SKIP_REMEDY,
    )


def with_negatives(pair: CrossDomainData, number: int, seed: int) -> CrossDomainData:
    """The pair with `number` unobserved items, label 0, after every positive row of the source and
    of target training; after those of validation and test too, if all rows are positive ones.

    Items are uniform among those of the vocabulary that the user has nowhere in the domain; a user
    who has nearly all of them may get fewer.  A negative has the time and the row_id of the
    positive before it, see `observed`.
    Raises:  ValueError: number below 1, or no user lacks an item.
    """
    if number < 1:
        raise ValueError(f"number of negatives is {number}; it must be at least 1.")
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    implicit = all((part.labels == 1).all() for part in pair.target)
    taken = [
        _user_items(pair.source.sparse),
        np.concatenate([_user_items(part.sparse) for part in pair.target]),
    ]
    source = _extended(rng, pair.source, number, taken[0], pair.source_categories)
    parts = (
        _extended(rng, part, number, taken[1], pair.target_categories)
        if implicit or part is pair.target.train
        else part
        for part in pair.target
    )
    details = {"negatives": {"a_positive": number, "seed": seed}}
    return dataclasses.replace(
        pair,
        source=source,
        target=Splits(*parts),
        source_schema=_with_details(pair.source_schema, details),
        target_schema=_with_details(pair.target_schema, details),
    )


def observed(table: Table) -> np.ndarray:
    """(N,) bool: the rows of the data, without those of `with_negatives`."""
    row_id = np.asarray(table.row_id)
    return np.append(True, row_id[1:] != row_id[:-1])[: len(row_id)]


def _extended(
    rng: np.random.Generator, table: Table, number: int, taken: np.ndarray, categories: np.ndarray
) -> Table:
    positive = np.flatnonzero(np.asarray(table.labels[:, 0]) == 1)
    behind = np.repeat(positive, number)
    user = np.asarray(table.sparse[:, USER])[behind].astype(np.int64)
    item = np.zeros(len(behind), np.int64)
    missing = np.arange(len(behind) if len(categories) > 1 else 0)
    for _ in range(_ROUNDS):
        item[missing] = rng.integers(1, len(categories), len(missing))
        missing = missing[np.isin(user[missing] << 32 | item[missing], taken)]
    drawn = item > 0
    drawn[missing] = False
    behind, item = behind[drawn], item[drawn]
    if len(positive) and not len(behind):
        raise ValueError(
            f"no user lacks an item: {len(categories) - 1} items in the vocabulary, and nothing to "
            "draw negatives from. Use a table of more items, or `train_negatives=0`."
        )
    rows = np.concatenate([np.arange(len(table)), behind])
    order = np.argsort(rows, kind="stable")  # a negative follows its positive
    new = np.arange(len(rows)) >= len(table)
    extended = table.take(rows)
    sparse, labels = np.array(extended.sparse), np.array(extended.labels)
    sparse[new, ITEM], sparse[new, CATEGORY] = item, categories[item]
    labels[new] = 0
    return dataclasses.replace(extended, sparse=sparse, labels=labels).take(order)


def _user_items(sparse: np.ndarray) -> np.ndarray:
    """Ascending, user and item in one number."""
    sparse = np.asarray(sparse, np.int64)
    return np.unique(sparse[:, USER] << 32 | sparse[:, ITEM])


def _with_details(schema: Schema, details: dict) -> Schema:
    return dataclasses.replace(schema, split=thaw(schema.split) | details)
