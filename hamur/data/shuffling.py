"""The order of an epoch: random, the same for the same seed, and near enough in the files.

A table of up to SMALL rows is permuted as a whole.  Of a larger one, blocks of neighbouring rows
are taken in random order, as many as make a window, and the rows of a window are permuted.  So an
epoch reads every part of a memory-mapped file once, and what it needs in memory, the positions and
the pages it has touched, is that of one window whatever the number of rows.
"""

from collections.abc import Callable, Iterator

import numpy as np

SMALL, WINDOW, BLOCK = 1 << 20, 1 << 18, 1 << 13  # rows


def windows(rows: int, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
    """Positions (n,), ascending inside a block, that together are 0..rows-1; rng None: in order."""
    dtype = np.int32 if rows < 2**31 else np.int64  # half the memory wherever the positions fit
    starts = np.arange(0, rows, BLOCK, dtype=dtype)
    size = len(starts)
    if rng is not None and rows > SMALL:
        starts, size = rng.permutation(starts), WINDOW // BLOCK
    for chosen in np.split(starts, range(size, len(starts), size)):
        blocks = [np.arange(at, min(at + BLOCK, rows), dtype=dtype) for at in chosen]
        yield np.concatenate(blocks)


class Streams:
    """The rows of each group, in the order of an epoch, handed out as they are asked for.

    group: (rows,) -> positions of a window -> which group (n,) each belongs to, 0..num_groups-1.
    """

    def __init__(
        self,
        rows: int,
        num_groups: int,
        group: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator | None,
    ):
        self._group, self._rng, self._windows = group, rng, windows(rows, rng)
        self._waiting = [[np.empty(0, np.int32)] for _ in range(num_groups)]
        self._first: list[np.ndarray | None] = [None] * num_groups

    def take(self, g: int, count: int) -> np.ndarray:
        """The next `count` rows of group g; fewer once it has no more."""
        waiting = self._waiting[g]
        while sum(map(len, waiting)) < count and self._load():
            pass
        rows = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
        self._waiting[g] = [rows[count:]]
        return rows[:count]

    def again(self, g: int, places: np.ndarray) -> np.ndarray:
        """Rows of group g that were or will be handed out, to fill a batch; row 0 of the table
        where the group has none."""
        while self._first[g] is None and self._load():
            pass
        first = self._first[g]
        return 0 * places if first is None else first[places % len(first)]

    def _load(self) -> bool:
        """One more window, if there is one."""
        found = next(self._windows, None)
        if found is None:
            return False
        group = self._group(found)
        for g, waiting in enumerate(self._waiting):
            rows = found[group == g]
            if self._rng is not None:
                rows = self._rng.permutation(rows)
            waiting.append(rows)
            if self._first[g] is None and len(rows):
                self._first[g] = rows
        return True
