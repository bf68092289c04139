"""The rows of two domains -> a pair: vocabularies, tables, schemas."""

import numpy as np

from hamur.data import encode, splits
from hamur.data.cross_domain.dataset import (
    CATEGORY,
    FIELDS,
    ITEM,
    LABEL,
    USER,
    CrossDomainData,
    Interactions,
)
from hamur.data.cross_domain.match import Matched, match
from hamur.data.encode import Vocabulary
from hamur.data.schema import SPARSE, FieldSpec, Schema
from hamur.data.table import Splits, Table

SPLITS = ("leave_two_out", "global_time")
VOCABULARIES = ("train", "all")
ID_ORDERS = ("value", "public")


def join_pair(
    source: Interactions,
    target: Interactions,
    split: str = "leave_two_out",
    split_seed: int = 2022,
    vocabulary: str = "train",
    id_order: str = "value",
    positive_above: float = 3.0,
    found: dict | None = None,
) -> CrossDomainData:
    """The pair of two domains' rows.

    Users of both domains stay, those with too few target rows leave.  Vocabularies hold what
    training may see: target training rows, and source rows before the user's validation row;
    vocabulary="all" takes every row, as the public code does.  Ids of items and categories ascend
    with the names; id_order="public" numbers items as they first appear in the sorted table, and
    categories as in the file that tells them, or else in that table.  found: entries for
    schema.split.
    Raises:  JoinError: no common user; DataFormatError: there would be some with columns exchanged;
        EmptySplitError.
    """
    for name, value, known in (
        ("split", split, SPLITS),
        ("vocabulary", vocabulary, VOCABULARIES),
        ("id_order", id_order, ID_ORDERS),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use one of {known}")
    read = {"source": len(source), "target": len(target)}
    read |= {"source_users": len(source.user.values), "target_users": len(target.user.values)}
    rows = match(source, target, split, split_seed)
    train = _mask(rows.parts[0], len(rows.target))
    fitted = [
        _Encoded(rows.source, rows.source_user, rows.early, vocabulary, id_order),
        _Encoded(rows.target, rows.target_user, train, vocabulary, id_order),
    ]
    found = {
        "rule": split,
        "seed": None if rows.timed else split_seed,
        "vocabulary": vocabulary,
        "id_order": id_order,
        "positive_above": positive_above,
        "read": read,
        "users": rows.counts,
        **(found or {}),
    }
    whole, divided = fitted[0].table(positive_above, 0), fitted[1].table(positive_above, 1)
    tables = Splits(*(divided.take(part) for part in rows.parts))
    sources = {**found, "rows": {"usable": int(rows.early.sum()), "all": len(whole)}}
    targets = {**found, "rows": dict(zip(splits.SPLITS, map(len, tables)))}
    domains = (source.name, target.name)
    name = "-".join(domains)
    return CrossDomainData(
        source=whole,
        target=tables,
        source_schema=fitted[0].schema(name, domains, len(rows.users), sources),
        target_schema=fitted[1].schema(name, domains, len(rows.users), targets),
        source_categories=fitted[0].item_category,
        target_categories=fitted[1].item_category,
        names={"user": _named(rows.users)} | fitted[0].names("source") | fitted[1].names("target"),
        valid_time=rows.valid_time,
        timed=rows.timed,
        ratings=_ratings(rows),
    )


def _ratings(rows: Matched) -> dict[str, np.ndarray]:
    """CrossDomainData.ratings; empty where one domain has none."""
    if rows.source.rating is None or rows.target.rating is None:
        return {}
    divided = {n: rows.target.rating[part] for n, part in zip(splits.SPLITS, rows.parts)}
    return {"source": rows.source.rating, **divided}


def _mask(rows: np.ndarray, length: int) -> np.ndarray:
    """(length,) bool, true at the positions `rows`."""
    mask = np.zeros(length, bool)
    mask[rows] = True
    return mask


class _Encoded:
    """One domain's rows with vocabularies fitted on the rows that training may see."""

    def __init__(
        self,
        rows: Interactions,
        user: np.ndarray,
        fit: np.ndarray,
        vocabulary: str,
        id_order: str,
    ):
        self.rows, self.user = rows, user
        fit = np.flatnonzero(fit) if vocabulary == "train" else np.arange(len(rows))
        of_rows = rows.category.take(rows.item.codes)
        orders = ("value", "value")
        if id_order == "public":
            ranked = rows.category_rank is not None
            orders = ("first", rows.category_rank if ranked else "first")
        self.item: Vocabulary = encode.fit_vocabulary(rows.item, fit, orders[0])
        self.category: Vocabulary = encode.fit_vocabulary(of_rows, fit, orders[1])
        self.categories = self.category.encode(of_rows)
        # By code and not by value: text ids of numbers ascend otherwise than the numbers do.
        ids = self.item.ids[: len(rows.item.values)]
        known = np.argsort(ids, kind="stable")[(ids == encode.UNKNOWN).sum() :]
        category = self.category.encode(rows.category.take(known))
        self.item_category = np.concatenate([[encode.UNKNOWN], category]).astype(np.int32)

    def table(self, positive_above: float, domain: int) -> Table:
        """All rows in the sorted order; a rating above positive_above is a positive one."""
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
        """Of `table`; num_users without id 0."""
        sizes = (num_users + 1, self.item.size, self.category.size)
        fields = tuple(FieldSpec(field, SPARSE, size) for field, size in zip(FIELDS, sizes))
        return Schema(name, fields, (LABEL,), domains, group=FIELDS[USER], split=found)

    def names(self, prefix: str) -> dict[str, np.ndarray]:
        """What `CrossDomainData.names` holds of this domain; prefix: source or target."""
        pairs = ((FIELDS[ITEM], self.item), (FIELDS[CATEGORY], self.category))
        return {f"{prefix}_{field}": _named(fitted.values) for field, fitted in pairs}


def _named(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[""], np.asarray(values).astype(str)])
