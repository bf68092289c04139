"""Which rows of two domains make a pair: those of common users, the target ones divided."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hamur.data import splits
from hamur.data.cross_domain.dataset import Interactions
from hamur.data.encode import MISSING
from hamur.errors import DataFormatError, EmptySplitError, JoinError

MIN_ROWS = 3  # of a user in the target domain: one each for training, validation and test
_REMEDY = "check that both files come from data sets that name their users alike"


class Matched(NamedTuple):
    """Rows of the users who have a target training row.

    users: their names, in the order of their ids 1, 2, ...; source_user, target_user: ids of the
    rows, 0 of a target row of a user who is left out; parts: positions of the target rows; early:
    source rows that training may see; valid_time: by id, 0 first; counts: of users.
    """

    users: np.ndarray
    source: Interactions
    source_user: np.ndarray
    target: Interactions
    target_user: np.ndarray
    parts: splits.Index
    early: np.ndarray
    valid_time: np.ndarray
    timed: bool
    counts: dict[str, int]


def match(source: Interactions, target: Interactions, split: str, split_seed: int) -> Matched:
    """Divide the target rows and leave out who has none to train on.

    Raises:  JoinError: no common user; EmptySplitError; ValueError: global_time without times.
    """
    users, source_user, target_user = _common_users(source, target)
    timed = source.time is not None and target.time is not None
    source, source_user = _sorted(source, source_user)
    target, target_user = _sorted(target, target_user)
    parts, dropped = _divide(target, target_user, split, split_seed, timed)
    valid_time = np.zeros(len(users), np.int64)
    valid_time[target_user[parts[1]]] = target.time[parts[1]]
    if split == "global_time":  # the earliest one of all users
        valid_time[:] = target.time[parts[1]].min(initial=np.iinfo(np.int64).max)
    trained = np.zeros(len(users), bool)
    trained[target_user[parts[0]]] = True
    parts = tuple(part[trained[target_user[part]]] for part in parts)
    splits.check_parts(dict(zip(splits.SPLITS, map(len, parts))), split)
    usable = np.flatnonzero(trained[source_user])
    source, source_user = source.take(usable), source_user[usable]
    early = source.time < valid_time[source_user] if timed else np.ones(len(source), bool)
    ids = np.zeros(len(users), np.int32)
    ids[trained] = 1 + np.arange(trained.sum())
    return Matched(
        users[trained],
        source,
        ids[source_user],
        target,
        ids[target_user],
        parts,
        early,
        np.concatenate([[0], valid_time[trained]]),
        timed,
        {"shared": len(users), **dropped, "kept": int(trained.sum())},
    )


def _common_users(
    source: Interactions, target: Interactions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of the users in both domains, ascending, and (N,) the position of each row's user
    among them, -1 for others."""
    both, at_source, at_target = np.intersect1d(
        source.user.values, target.user.values, assume_unique=True, return_indices=True
    )
    if not len(both):
        text = (
            f"0 users in both files: {len(source.user.values)} in {source.name}, "
            f"{len(target.user.values)} in {target.name}"
        )
        if exchanged := _exchanged(source, target):
            raise DataFormatError(text + exchanged, remedy="exchange the two columns there")
        raise JoinError(text, remedy=_REMEDY)
    positions = []
    for column, at in ((source.user, at_source), (target.user, at_target)):
        position = np.full(len(column.values), MISSING)
        position[at] = np.arange(len(both))
        positions.append(position[column.codes])
    return both, *positions


def _exchanged(source: Interactions, target: Interactions) -> str:
    """What a look at the item columns says about exchanged columns."""
    for what, (a, b) in {
        f"the source ({source.name})": (source.item, target.user),
        f"the target ({target.name})": (source.user, target.item),
        "both tables": (source.item, target.item),
    }.items():
        alike = a.values.dtype.kind == b.values.dtype.kind  # not dtype: text has its width there
        shared = len(np.intersect1d(a.values, b.values)) if alike else 0
        if shared:
            return f"; with the columns user and item exchanged in {what} {shared} would be shared"
    return ""


def _sorted(rows: Interactions, user: np.ndarray) -> tuple[Interactions, np.ndarray]:
    """The rows of common users by user, time and file.  Without times, the position within the
    user takes their place."""
    order = np.flatnonzero(user != MISSING)
    keys = (user[order],) if rows.time is None else (rows.time[order], user[order])
    order = order[np.lexsort(keys)]  # stable
    rows, user = rows.take(order), user[order]
    if rows.time is None:
        _, first, counts = np.unique(user, return_index=True, return_counts=True)
        rows = replace(rows, time=np.arange(len(user)) - np.repeat(first, counts))
    return rows, user


def _divide(
    target: Interactions, user: np.ndarray, split: str, split_seed: int, timed: bool
) -> tuple[splits.Index, dict[str, int]]:
    """Positions of train, valid and test, and how many users the rule left out and why."""
    if split == "global_time":
        if not timed:
            raise ValueError("`split='global_time'` needs a timestamp column")
        parts = splits.temporal_split(target.time)
        return parts, {"without_training_row": len(np.setdiff1d(user, user[parts[0]]))}
    order = np.arange(len(user))
    if not timed:  # any two rows of the user
        order = np.lexsort(
            (np.random.Generator(np.random.PCG64(split_seed)).random(len(user)), user)
        )
    _, first, counts = np.unique(user, return_index=True, return_counts=True)
    if not (counts >= MIN_ROWS).any():
        raise EmptySplitError(
            f"no user has {MIN_ROWS} rows in {target.name}",
            value=int(counts.max(initial=0)),
            expected="one row each for training, validation and test",
            remedy="use more rows, or `split='global_time'`",
        )
    long_enough = np.repeat(counts >= MIN_ROWS, counts)
    from_end = np.repeat(first + counts, counts) - np.arange(len(user))  # 1 = last
    parts = tuple(
        np.sort(order[long_enough & part]) for part in (from_end > 2, from_end == 2, from_end == 1)
    )
    return parts, {"too_few_target_rows": int((counts < MIN_ROWS).sum())}
