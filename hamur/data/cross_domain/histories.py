"""What each user did in one domain, in the order of time: ranges and last items without loops."""

from dataclasses import dataclass

import numpy as np

from hamur.data.table import Table

USER, ITEM, CATEGORY = range(3)  # the sparse columns of a pair's tables
_TIME_BITS = 34  # seconds after the earliest row: 500 years
_LATEST = (1 << _TIME_BITS) - 1


@dataclass(frozen=True)
class Behaviours:
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
    def of(cls, table: Table, chosen: np.ndarray | None = None) -> "Behaviours":
        """Of the rows of a table of a pair where chosen (N,) bool is set; equal times keep their
        order."""
        rows = np.arange(len(table)) if chosen is None else np.flatnonzero(chosen)
        time = np.asarray(table.time)
        start = int(time.min(initial=0)) if len(time) else 0
        user = np.asarray(table.sparse[:, USER])[rows]
        key = _keys(user, time[rows], start)
        order = np.argsort(key, kind="stable")
        rows = rows[order]
        item, category = (np.asarray(table.sparse[:, f])[rows] for f in (ITEM, CATEGORY))
        return cls(key[order], item, category, rows, start)

    @classmethod
    def positives(cls, table: Table) -> "Behaviours":
        """Of the rows with label 1."""
        return cls.of(table, np.asarray(table.labels[:, 0]) == 1)

    def before(
        self, user: np.ndarray, time: np.ndarray, inclusive: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(begin, end) (B,): each user's rows strictly earlier than `time`, or not later.

        They are positions begin..end-1 in `item`, `category` and `row`.
        """
        begin = np.searchsorted(
            self.key, _keys(user, np.full(np.shape(user), self.start), self.start)
        )
        side = "right" if inclusive else "left"
        end = np.searchsorted(self.key, _keys(user, time, self.start), side)
        return begin, end

    def last(
        self, user: np.ndarray, time: np.ndarray, length: int, inclusive: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The last `length` rows before `time`: item (B, L), category (B, L), lengths (B,) int32.

        Oldest first, right-padded with 0.
        """
        begin, end = self.before(user, time, inclusive)
        lengths = np.minimum(end - begin, length)
        position = (end - lengths)[:, None] + np.arange(length)
        real = np.arange(length) < lengths[:, None]
        position = np.where(real, position, 0)
        if not len(self.item):
            empty = np.zeros(position.shape, np.int32)
            return empty, empty.copy(), lengths.astype(np.int32)
        item, category = (np.where(real, c[position], 0) for c in (self.item, self.category))
        return item.astype(np.int32), category.astype(np.int32), lengths.astype(np.int32)


def _keys(user: np.ndarray, time: np.ndarray, start: int) -> np.ndarray:
    later = np.clip(np.asarray(time, np.int64) - start, 0, _LATEST)
    return (np.asarray(user, np.int64) << _TIME_BITS) + later
