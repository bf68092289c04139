"""The rows of two domains -> cross-domain data: vocabularies, tables, schemas."""

from dataclasses import dataclass

import numpy as np

from hamur.data import encode
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
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table

SPLIT_RULES = ("leave_two_out", "global_time")
VOCABULARIES = ("train", "all")


@dataclass(frozen=True)
class JoinRules:
    """How two domains become a pair.

    split: "leave_two_out": the last two target rows of each user are for validation and test, drawn
        by split_seed where there are no times; "global_time": those of the last times of all.
    vocabulary: "train": what training may see, that is target training rows, and source rows before
        the user's validation row; "all": every row, as the public code does.
    positive_above: the label of a row is rating > positive_above.
    Raises:  ValueError: an unknown rule.
    """

    split: str = "leave_two_out"
    split_seed: int = 2022
    vocabulary: str = "train"
    positive_above: float = 3.0

    def __post_init__(self):
        for name, allowed in (("split", SPLIT_RULES), ("vocabulary", VOCABULARIES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` is {getattr(self, name)!r}; use one of {allowed}")


def join_pair(
    source: Interactions,
    target: Interactions,
    rules: JoinRules = JoinRules(),
    details: dict | None = None,
) -> CrossDomainData:
    """The pair of two domains' rows: users of both domains stay, but for those with too few target
    rows.

    details: further entries for schema.split.
    Raises:  JoinError: no common user; DataFormatError: there would be some with columns exchanged;
        EmptySplitError.
    """
    matched = match(source, target, rules.split, rules.split_seed)
    trained = np.zeros(len(matched.target), bool)
    trained[matched.parts[0]] = True
    of_source = _Encoder(matched.source, matched.source_user, matched.early, rules)
    of_target = _Encoder(matched.target, matched.target_user, trained, rules)
    whole, divided = of_source.table(domain=0), of_target.table(domain=1)
    tables = Splits(*(divided.take(part) for part in matched.parts))
    details = {**_described(rules, source, target, matched), **(details or {})}
    counts = (
        {"usable": int(matched.early.sum()), "all": len(whole)},
        dict(zip(SPLITS, map(len, tables))),
    )
    source_schema, target_schema = (
        encoder.schema((source.name, target.name), len(matched.users), details | {"rows": rows})
        for encoder, rows in zip((of_source, of_target), counts)
    )
    return CrossDomainData(
        source=whole,
        target=tables,
        source_schema=source_schema,
        target_schema=target_schema,
        source_categories=of_source.item_category,
        target_categories=of_target.item_category,
        names={"user": _names_by_id(matched.users)}
        | of_source.names("source")
        | of_target.names("target"),
        valid_time=matched.valid_time,
        timed=matched.timed,
    )


def _described(
    rules: JoinRules, source: Interactions, target: Interactions, matched: Matched
) -> dict:
    """Rules and counts, for schema.split."""
    return {
        "rule": rules.split,
        "seed": None if matched.timed else rules.split_seed,
        "vocabulary": rules.vocabulary,
        "positive_above": rules.positive_above,
        "train_ratings": _range(matched.target.rating, matched.parts[0]),
        "read": {
            "source": len(source),
            "target": len(target),
            "source_users": len(source.user.values),
            "target_users": len(target.user.values),
        },
        "users": matched.counts,
    }


def _range(rating: np.ndarray | None, rows: np.ndarray) -> list[float] | None:
    """The lowest and the largest rating of these rows."""
    return None if rating is None else [float(rating[rows].min()), float(rating[rows].max())]


class _Encoder:
    """One domain's rows, with vocabularies of the rows (N,) bool that training may see."""

    def __init__(self, rows: Interactions, user: np.ndarray, seen: np.ndarray, rules: JoinRules):
        self.rows, self.user, self.rules = rows, user, rules
        seen = np.flatnonzero(seen) if rules.vocabulary == "train" else np.arange(len(rows))
        category = rows.category.take(rows.item.codes)  # of the rows
        self.item: Vocabulary = encode.fit_vocabulary(rows.item, seen)
        self.category: Vocabulary = encode.fit_vocabulary(category, seen)
        self.categories = self.category.encode(category)
        # By code and not by value: text ids of numbers ascend otherwise than the numbers do.
        ids = self.item.ids[: len(rows.item.values)]
        by_id = np.argsort(ids, kind="stable")[(ids == encode.UNKNOWN).sum() :]
        of_items = self.category.encode(rows.category.take(by_id))
        self.item_category = np.concatenate([[encode.UNKNOWN], of_items]).astype(np.int32)

    def table(self, domain: int) -> Table:
        """All rows in the sorted order."""
        ids = (self.user, self.item.encode(self.rows.item), self.categories)
        rows, rating = len(self.rows), self.rows.rating
        liked = np.ones(rows, bool) if rating is None else rating > self.rules.positive_above
        return Table(
            sparse=np.stack(ids, axis=1).astype(np.int32),
            dense=np.empty((rows, 0), np.float32),
            labels=liked.astype(np.int8)[:, None],
            domain=np.full(rows, domain, np.int32),
            group=self.user.astype(np.int64),
            time=self.rows.time.astype(np.int64),
            row_id=self.rows.row_id,
        )

    def schema(self, domains: tuple[str, str], num_users: int, details: dict) -> Schema:
        """Of `table`; num_users without id 0."""
        sizes = (num_users + 1, self.item.size, self.category.size)
        fields = tuple(FieldSpec(field, SPARSE, size) for field, size in zip(FIELDS, sizes))
        name = "-".join(domains)
        return Schema(name, fields, (LABEL,), domains, group=FIELDS[USER], split=details)

    def names(self, side: str) -> dict[str, np.ndarray]:
        """What `CrossDomainData.names` holds of this domain; side: source or target."""
        fields = ((FIELDS[ITEM], self.item), (FIELDS[CATEGORY], self.category))
        return {f"{side}_{field}": _names_by_id(fitted.values) for field, fitted in fields}


def _names_by_id(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[""], np.asarray(values).astype(str)])
