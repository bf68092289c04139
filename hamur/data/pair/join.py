"""The rows of two domains -> a pair: common users, split of the target, vocabularies, tables."""

import numpy as np

from hamur.data import encode, splits
from hamur.data.encode import MISSING, Vocabulary
from hamur.data.errors import DataFormatError, EmptySplitError, JoinError
from hamur.data.pair.behaviours import CATEGORY, ITEM, USER
from hamur.data.pair.pair import FIELDS, LABEL, Interactions, Pair
from hamur.data.schema import SPARSE, FieldSpec, Schema
from hamur.data.table import Splits, Table

SPLITS = ("leave_two_out", "global_time")
VOCABULARIES = ("train", "all")
MIN_ROWS = 3  # of a user in the target domain: one each for training, validation and test
_REMEDY = "check that both files come from data sets that name their users alike"


def join_pair(
    source: Interactions,
    target: Interactions,
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    positive_above: float = 3.0,
    found: dict | None = None,
) -> Pair:
    """The pair of two domains' rows.

    Users of both domains stay, those with too few target rows leave.  Vocabularies hold what
    training may see: target training rows, and source rows before the user's validation row;
    vocabulary="all" takes every row, as the public code does.  found: entries for schema.split.
    Raises:  JoinError: no common user; DataFormatError: there would be some with columns exchanged;
        EmptySplitError.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; use one of {SPLITS}")
    if vocabulary not in VOCABULARIES:
        raise ValueError(f"vocabulary is {vocabulary!r}; use one of {VOCABULARIES}")
    users, source_user, target_user = _common_users(source, target)
    read = {"source": len(source), "target": len(target)}
    read |= {"source_users": len(source.user.values), "target_users": len(target.user.values)}
    timed = source.time is not None and target.time is not None
    source, source_user = _sorted(source, source_user)
    target, target_user = _sorted(target, target_user)
    parts, dropped = _divide(target, target_user, split, split_seed, timed)
    valid_time = _valid_time(target, target_user, parts[1], len(users), split)
    trained = np.zeros(len(users), bool)
    trained[target_user[parts[0]]] = True
    parts = tuple(part[trained[target_user[part]]] for part in parts)
    splits.check_parts(dict(zip(splits.PARTS, map(len, parts))), split)
    kept = trained[source_user]
    source, source_user = source.take(np.flatnonzero(kept)), source_user[kept]
    early = source.time < valid_time[source_user] if timed else np.ones(len(source), bool)
    ids = np.zeros(len(users), np.int32)  # users of no training row are left out: no id
    ids[trained] = 1 + np.arange(trained.sum())
    fitted = [
        _Encoded(source, ids[source_user], early, vocabulary),
        _Encoded(target, ids[target_user], _mask(parts[0], len(target)), vocabulary),
    ]
    found = {
        "rule": split,
        "seed": None if timed else split_seed,
        "vocabulary": vocabulary,
        "positive_above": positive_above,
        "read": read,
        "users": {"shared": len(users), **dropped, "kept": int(trained.sum())},
        **(found or {}),
    }
    domains = (source.name, target.name)
    name = "-".join(domains)
    whole, divided = fitted[0].table(positive_above, 0), fitted[1].table(positive_above, 1)
    tables = Splits(*(divided.take(part) for part in parts))
    sources = {**found, "rows": {"usable": int(early.sum()), "all": len(source)}}
    targets = {**found, "rows": dict(zip(splits.PARTS, map(len, tables)))}
    return Pair(
        source=whole,
        target=tables,
        source_schema=fitted[0].schema(name, domains, int(trained.sum()), sources),
        target_schema=fitted[1].schema(name, domains, int(trained.sum()), targets),
        source_categories=fitted[0].item_category,
        target_categories=fitted[1].item_category,
        names={"user": _named(users[trained])}
        | fitted[0].names("source")
        | fitted[1].names("target"),
        valid_time=np.concatenate([[0], valid_time[trained]]),
        timed=timed,
        ratings=_ratings(source, target, parts),
    )


def _ratings(
    source: Interactions, target: Interactions, parts: splits.Index
) -> dict[str, np.ndarray]:
    """Pair.ratings; empty where one domain has none."""
    if source.rating is None or target.rating is None:
        return {}
    divided = {name: target.rating[part] for name, part in zip(splits.PARTS, parts)}
    return {"source": source.rating, **divided}


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
    user stands for it."""
    chosen = np.flatnonzero(user != MISSING)
    keys = (user[chosen],) if rows.time is None else (rows.time[chosen], user[chosen])
    chosen = chosen[np.lexsort(keys)]  # stable
    user = user[chosen]
    rows = rows.take(chosen)
    if rows.time is None:
        _, first, counts = np.unique(user, return_index=True, return_counts=True)
        rows = Interactions(
            **{**vars(rows), "time": np.arange(len(user)) - np.repeat(first, counts)}
        )
    return rows, user


def _divide(
    target: Interactions, user: np.ndarray, split: str, split_seed: int, timed: bool
) -> tuple[splits.Index, dict[str, int]]:
    """Positions of train, valid and test, and how many users the rule left out and why."""
    if split == "global_time":
        if not timed:
            raise ValueError("split 'global_time' needs a timestamp column")
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
            remedy="use more rows, or split='global_time'",
        )
    long_enough = np.repeat(counts >= MIN_ROWS, counts)
    from_end = np.repeat(first + counts, counts) - np.arange(len(user))  # 1 = last
    parts = tuple(
        np.sort(order[long_enough & chosen])
        for chosen in (from_end > 2, from_end == 2, from_end == 1)
    )
    return parts, {"too_few_target_rows": int((counts < MIN_ROWS).sum())}


def _valid_time(
    target: Interactions, user: np.ndarray, valid: np.ndarray, num_users: int, split: str
) -> np.ndarray:
    """(users,): the time of the user's validation row; the earliest one of all for global_time."""
    times = np.zeros(num_users, np.int64)
    if split == "global_time":
        times[:] = target.time[valid].min(initial=np.iinfo(np.int64).max)
    else:
        times[user[valid]] = target.time[valid]
    return times


def _mask(rows: np.ndarray, length: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[rows] = True
    return mask


class _Encoded:
    """One domain's rows with vocabularies fitted on the rows that training may see."""

    def __init__(self, rows: Interactions, user: np.ndarray, fit: np.ndarray, vocabulary: str):
        self.rows, self.user = rows, user
        fit = np.flatnonzero(fit) if vocabulary == "train" else np.arange(len(rows))
        of_rows = rows.category.take(rows.item.codes)
        self.item: Vocabulary = encode.fit_vocabulary(rows.item, fit)
        self.category: Vocabulary = encode.fit_vocabulary(of_rows, fit)
        self.categories = self.category.encode(of_rows)
        # By code and not by value: text ids of numbers ascend otherwise than the numbers do.
        ids = self.item.ids[: len(rows.item.values)]
        known = np.argsort(ids, kind="stable")[(ids == encode.UNKNOWN).sum() :]
        category = self.category.encode(rows.category.take(known))
        self.item_category = np.concatenate([[encode.UNKNOWN], category]).astype(np.int32)

    def table(self, positive_above: float, domain: int) -> Table:
        ids = (self.user, self.item.encode(self.rows.item), self.categories)
        rows, rating = len(self.rows), self.rows.rating
        liked = np.ones(rows, bool) if rating is None else rating > positive_above
        return Table(
            sparse=np.stack(ids, axis=1).astype(np.int32),
            dense=np.empty((rows, 0), np.float32),
            labels=liked.astype(np.int8)[:, None],
            domain=np.full(rows, domain, np.int32),
            group=self.user.astype(np.int64),
            time=self.rows.time.astype(np.int64),
            row_id=self.rows.row_id,
        )

    def schema(self, name: str, domains: tuple[str, str], num_users: int, found: dict) -> Schema:
        sizes = (num_users + 1, self.item.size, self.category.size)
        fields = tuple(FieldSpec(field, SPARSE, size) for field, size in zip(FIELDS, sizes))
        return Schema(name, fields, (LABEL,), domains, group=FIELDS[USER], split=found)

    def names(self, prefix: str) -> dict[str, np.ndarray]:
        pairs = ((FIELDS[ITEM], self.item), (FIELDS[CATEGORY], self.category))
        return {f"{prefix}_{field}": _named(fitted.values) for field, fitted in pairs}


def _named(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[""], np.asarray(values).astype(str)])
