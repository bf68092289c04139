"""Two domains with the same users: behaviours in a source domain help in a target domain.

    label   rating > 3               sparse  user, item, category        dense  none

Items and categories have ids of their own in each domain, users one for both.  Every target row
belongs to training, validation or test; time determines which source rows a model may use for it,
see `CrossDomainData.pool`.  `join.join_pair` makes one of the rows of any two domains.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hamur.data.columns import Columns
from hamur.data.encode import Codes
from hamur.data.schema import Schema
from hamur.data.table import Splits, Table

FIELDS = ("user", "item", "category")
USER, ITEM, CATEGORY = range(3)  # positions of FIELDS in Table.sparse
LABEL = "like"
# Raw rows of either domain, as `Predictor` takes them: users and items by name; a category is that
# of the item, and read where the item is unknown; times, if any, order histories.
RAW = Columns(
    {"user": "code", "item": "code", "category": "code", "timestamp": "time"},
    {},
    sparse=("user", "item"),
    time="timestamp",
)
POOLS = ("before_row", "before_valid")
_TIME_BITS = 34  # seconds after the earliest row: 500 years
_LATEST = (1 << _TIME_BITS) - 1
ENDLESS = np.iinfo(np.int64).max // 2  # later than any time


@dataclass(frozen=True)
class Interactions:
    """N rows of one domain before encoding.

    user, item: Codes (N,); category: Codes of the items, (number of item values,), -1 = unknown;
    rating (N,) float32, or None where every row is a positive one; time (N,) int64 seconds, or
    None; row_id (N,) int64: position in the file.
    """

    name: str
    user: Codes
    item: Codes
    category: Codes
    row_id: np.ndarray
    rating: np.ndarray | None = None
    time: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.row_id)

    def take(self, rows: np.ndarray) -> "Interactions":
        """Those rows, in that order."""

        def part(column):
            return None if column is None else column[rows]

        return replace(
            self,
            user=self.user.take(rows),
            item=self.item.take(rows),
            row_id=self.row_id[rows],
            rating=part(self.rating),
            time=part(self.time),
        )


@dataclass(frozen=True)
class UserHistories:
    """Rows by user, and by time within a user.

    key (M,) int64 ascending: user and time; item, category, row (M,): ids, and the row's position
    in the table it was made from; start: the earliest time.
    """

    key: np.ndarray
    item: np.ndarray
    category: np.ndarray
    row: np.ndarray
    start: int

    @classmethod
    def of(cls, table: Table, where: np.ndarray | None = None) -> "UserHistories":
        """Of the rows of a table, or those where `where` (N,) bool is set; equal times keep their
        order."""
        rows = np.arange(len(table)) if where is None else np.flatnonzero(where)
        time = np.asarray(table.time)
        start = int(time.min(initial=0)) if len(time) else 0
        user = np.asarray(table.sparse[:, USER])[rows]
        key = _keys(user, time[rows], start)
        order = np.argsort(key, kind="stable")
        rows = rows[order]
        item, category = (np.asarray(table.sparse[:, f])[rows] for f in (ITEM, CATEGORY))
        return cls(key[order], item, category, rows, start)

    @classmethod
    def positives(cls, table: Table) -> "UserHistories":
        """Of the rows with label 1."""
        return cls.of(table, np.asarray(table.labels[:, 0]) == 1)

    @cached_property
    def first(self) -> np.ndarray:
        """First row of every user up to the last one that has any, then the number of rows."""
        users = int(self.key[-1] >> _TIME_BITS) + 2 if len(self.key) else 1
        return np.searchsorted(self.key, np.arange(users, dtype=np.int64) << _TIME_BITS)

    def before(
        self, user: np.ndarray, time: np.ndarray | int, inclusive: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(begin, end) (B,): each user's rows strictly earlier than `time`, or not later.

        They are positions begin..end-1 in `item`, `category` and `row`.
        """
        begin = self.first[np.minimum(user, len(self.first) - 1)]
        side = "right" if inclusive else "left"
        end = np.searchsorted(self.key, _keys(user, time, self.start), side)
        return begin, end


def _keys(user: np.ndarray, time: np.ndarray | int, start: int) -> np.ndarray:
    later = np.clip(np.asarray(time, np.int64) - start, 0, _LATEST)
    return (np.asarray(user, np.int64) << _TIME_BITS) + later


@dataclass(frozen=True, eq=False)
class CrossDomainData:
    """Encoded rows of a source and a target domain with common users.

    source: all source rows of the users; target: the divided target rows.  Tables are sorted by
    user, then time, then file; sparse columns are user, item, category; row_id is the row's
    position in its file (after the header); domain is 0 in the source, 1 in the target.
    source_schema, target_schema: the sizes; schema.split holds the rules and counts.
    source_categories, target_categories (items,) int32: category id of each item id.
    names: "user", "source_item", "target_item", "source_category", "target_category" -> the raw
        value of every id, "" for id 0.
    valid_time (U,) int64: when a user's validation begins (index: user id); training may use no
        source row from then on.
    timed: False where there is no time; times are then positions, and pools are whole.
    """

    source: Table
    target: Splits
    source_schema: Schema
    target_schema: Schema
    source_categories: np.ndarray
    target_categories: np.ndarray
    names: dict[str, np.ndarray]
    valid_time: np.ndarray
    timed: bool = True

    @property
    def num_users(self) -> int:
        """Without id 0."""
        return self.source_schema.vocab_sizes[USER] - 1

    @property
    def schema(self) -> Schema:
        """Of a row with a source behaviour: user, item and category of the target, item and
        category of the source, with their encoders; raw rows have the columns `RAW`."""
        from hamur.encoders import encoders_of  # which is above this module

        of_source = self.source_schema.fields[1:]
        fields = [replace(spec, name=f"target_{spec.name}") for spec in self.target_schema.fields]
        fields[0] = self.target_schema.fields[0]
        fields += [replace(spec, name=f"source_{spec.name}") for spec in of_source]
        arrays = {f"vocab/{name}": values[1:] for name, values in self.names.items()}
        for side in ("source", "target"):
            arrays[f"category/{side}_item"] = getattr(self, f"{side}_categories")
        about = self.target_schema
        schema = Schema(about.name, tuple(fields), about.labels, group="user", split=about.split)
        return replace(schema, encoders=encoders_of(schema, RAW, arrays, {}))

    def usable(self) -> np.ndarray:
        """(N,) bool: the source rows before the user's validation row: training may see them."""
        if not self.timed:
            return np.ones(len(self.source), bool)
        return np.asarray(self.source.time) < self.valid_time[self.source.sparse[:, USER]]

    def pool(
        self,
        histories: UserHistories,
        rows: Table,
        rule: str = "before_row",
        inclusive: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(begin, end) (B,): the source rows begin..end-1 that may accompany each target row.

        histories: of the source, whose table is in their order.
        rule: "before_row", those strictly earlier than the row, or "before_valid", than the user's
        validation row.  inclusive: not later, as the public code has it.
        """
        if rule not in POOLS:
            raise ValueError(f"rule is {rule!r}; use one of {POOLS}")
        user = np.asarray(rows.sparse[:, USER])
        if not self.timed:
            return histories.before(user, ENDLESS, True)
        time = rows.time if rule == "before_row" else self.valid_time[user]
        return histories.before(user, time, inclusive)
