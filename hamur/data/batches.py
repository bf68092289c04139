"""Batches of constant shape for training: an epoch uses every row exactly once.

Static shapes let the training step be compiled once; rows ordered by domain with fixed quotas let
a domain's tower read one slice.  Rows that are missing in a batch are fillers: repeated rows of
weight 0, which count in no loss and in no batch statistic.

The order of an epoch is random, the same for the same seed, and near enough in the files.  A table
of up to SMALL rows is permuted as a whole.  Of a larger one, blocks of neighbouring rows are taken
in random order, as many as make a window, and the rows of a window are permuted.  So an epoch reads
every part of a memory-mapped file once, and what it needs in memory, the positions and the pages it
has touched, is that of one window whatever the number of rows.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from hamur.data.arrays import blocks
from hamur.data.multi_valued import padded
from hamur.data.table import Table
from hamur.workers import Share

SMALL, WINDOW, BLOCK = 1 << 20, 1 << 18, 1 << 13  # rows
_FILLER = -1
_RELEASE_EVERY = 8  # steps; keeps the resident part of a memory-mapped table small


class DomainBatches:
    """Batches with a fixed number of rows of each domain, contiguous, in domain order.

    With S = ceil(N / batch_size) steps an epoch, domain d has the quota q_d = ceil(N_d / S).  Its
    rows are spread evenly, so a step holds q_d real rows, or one fewer and one filler; a domain
    with fewer rows than steps still comes up, one row a step.  The domains take turns with the
    fillers, so that the real rows of two steps differ by one at most.

    quotas: rows of each domain in a step, to feed a model that is compiled for them; by default
        from this table.  With them S is the least number of steps that holds every row.
    num_domains: D, where the table may lack the last domains; a domain without rows has quota 0.
    Attributes: quotas (D,), steps S, batch_rows = sum of the quotas.  batch_rows may exceed
        batch_size by less than D rows.  share: the part of each batch that `epoch` gives, None =
        the whole.
    Raises:  ValueError: empty table, batch_size < 1, quotas that give a domain of the table no row.
    """

    def __init__(
        self,
        table: Table,
        batch_size: int,
        seed: int,
        quotas: Sequence[int] | None = None,
        shuffle: bool = True,
        num_domains: int = 0,
    ):
        self.table, self.seed, self.shuffle = table, seed, shuffle
        steps = _steps(table, batch_size)
        least = num_domains if quotas is None else len(quotas)
        counts = _count(table.domain, least)
        if quotas is None:
            quotas = -(-counts // steps)
        else:
            quotas = np.asarray(quotas)
            if len(counts) > len(quotas) or np.any((counts > 0) & (quotas < 1)):
                raise ValueError(
                    f"quotas {quotas.tolist()} leave no room for a domain of the table, whose "
                    f"rows per domain are {counts.tolist()}"
                )
            steps = max(1, int((-(-counts // np.maximum(quotas, 1))).max()))
        self.quotas = tuple(int(quota) for quota in quotas)
        self.steps, self.batch_rows = steps, sum(self.quotas)
        self.share: Share | None = None
        self._counts = np.append(counts, np.zeros(len(quotas) - len(counts), np.int64))
        self._domain = np.repeat(np.arange(len(quotas), dtype=np.int32), self.quotas)

    def epoch(self, number: int) -> Iterator[Table]:
        """The batches of one epoch, prepared ahead by a thread; the same for the same number.

        Each has sparse (R, F) int32, dense (R, C) float32, labels (R, T) float32, domain (R,)
        int32, weight (R,) float32 and row_id (R,) int64, the position in the table or -1 for a
        filler, with R = batch_rows; of a table with lists also `multi_valued.padded`.
        """
        domain = self._domain if self.share is None else self._domain[self.share.order]
        return prefetch(gather(self.table, self._plan(number), domain, self.share))

    def _plan(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For every step positions (R,) and which of them are real rows, (R,) bool."""
        domain = _view(self.table.domain)
        streams = Streams(
            len(self.table),
            len(self.quotas),
            lambda rows: domain.take(rows),
            _generator(self.seed, number) if self.shuffle else None,
        )
        # A step holds the whole part of its share of a domain; the rest take turns.
        shares = [divmod(int(rows), self.steps) for rows in self._counts]
        turns = np.cumsum([0] + [more for _, more in shares])
        fillers = [0] * len(shares)
        for step in range(self.steps):
            positions, real = [], []
            for d, (quota, (least, more)) in enumerate(zip(self.quotas, shares)):
                filled = least + int((step - turns[d]) % self.steps < more)
                rows = streams.take(d, filled)
                spare = np.arange(fillers[d], fillers[d] + quota - filled)
                if len(spare):
                    rows = np.concatenate((rows, streams.repeat(d, spare)))
                fillers[d] += len(spare)
                positions.append(rows)
                real.append(np.arange(quota) < filled)
            yield np.concatenate(positions), np.concatenate(real)


class ShuffledBatches:
    """Batches of rows in random order, whatever their domain; the last one is padded.

    The interface of DomainBatches, with quotas None and batch_rows = min(batch_size, N).
    Raises:  ValueError: empty table, batch_size < 1.
    """

    quotas = None

    def __init__(self, table: Table, batch_size: int, seed: int, shuffle: bool = True):
        self.table, self.seed, self.shuffle = table, seed, shuffle
        self.steps = _steps(table, batch_size)
        self.batch_rows = min(batch_size, len(table))
        self.share: Share | None = None

    def epoch(self, number: int) -> Iterator[Table]:
        """The batches of one epoch; see DomainBatches.epoch."""
        return prefetch(gather(self.table, self._plan(number), None, self.share))

    def _plan(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = _generator(self.seed, number) if self.shuffle else None
        streams = Streams(len(self.table), 1, lambda rows: np.zeros(len(rows), np.int8), rng)
        size = self.batch_rows
        for _ in range(self.steps):
            rows = streams.take(0, size)
            spare = np.arange(size - len(rows))
            real = np.arange(size) < len(rows)
            yield np.concatenate((rows, streams.repeat(0, spare))), real


def prefetch(items: Iterable, depth: int = 2) -> Iterator:
    """The items, made by a thread that keeps at most `depth` of them ready.

    The thread ends with the last item, when the consumer stops early (leaves its loop, closes the
    iterator), or at an exception, which is raised again in the consumer.
    """
    ready: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def produce() -> None:
        try:
            for item in items:
                if stop.is_set():
                    return
                ready.put((item, None))
            ready.put((None, StopIteration()))
        except BaseException as error:  # whatever it is, it belongs to the consumer
            ready.put((None, error))

    thread = threading.Thread(target=produce, name="hamur-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, end = ready.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item
    finally:
        stop.set()
        # Room for puts that may be waiting: that of an item, and of the end behind it.
        while thread.is_alive():
            while not ready.empty():
                ready.get_nowait()
            thread.join(0.01)


def gather(
    table: Table,
    plan: Iterable[tuple[np.ndarray, np.ndarray]],
    domain: np.ndarray | None,
    share: Share | None = None,
) -> Iterator[Table]:
    """Batches of (positions, which are real rows), or this share of them, as `DomainBatches.epoch`
    gives; domain: None, or that of every batch.  One gather per column and step; no work per row in
    Python."""
    sparse, dense, labels, domains = map(
        _view, (table.sparse, table.dense, table.labels, table.domain)
    )
    for step, (positions, real) in enumerate(plan, start=1):
        if share is not None:
            positions, real = positions[share.order], real[share.order] & share.own
        weight = real.astype(np.float32)
        yield Table(
            sparse=sparse.take(positions, axis=0).astype(np.int32, copy=False),
            dense=dense.take(positions, axis=0).astype(np.float32, copy=False),
            labels=labels.take(positions, axis=0).astype(np.float32, copy=False),
            domain=domains.take(positions).astype(np.int32) if domain is None else domain,
            row_id=np.where(real, positions, _FILLER).astype(np.int64),
            weight=weight if table.weight is None else weight * table.weight[positions],
            share=share,
            **padded(table.multi_valued, positions),
        )
        if step % _RELEASE_EVERY == 0:
            table.release()


def _view(column):
    """A memory-mapped column without the map's bookkeeping, which costs microseconds an access."""
    return np.asarray(column) if isinstance(column, np.ndarray) else column


def _count(domain: np.ndarray, least: int) -> np.ndarray:
    """Rows of each domain, at least so many domains; no temporary array as long as the table."""
    counts = np.zeros(least, np.int64)
    for rows in blocks(len(domain)):
        more = np.bincount(domain[rows], minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return counts


def _steps(table: Table, batch_size: int) -> int:
    if batch_size < 1 or len(table) < 1:
        raise ValueError(
            f"`batch_size` is {batch_size} and the table has {len(table)} rows; both must be >= 1"
        )
    return -(-len(table) // batch_size)


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, number]))


def windows(rows: int, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
    """Positions (n,), ascending inside a block, that together are 0..rows-1; rng None: in order."""
    dtype = np.int32 if rows < 2**31 else np.int64  # half the memory wherever the positions fit
    starts = np.arange(0, rows, BLOCK, dtype=dtype)
    size = len(starts)
    if rng is not None and rows > SMALL:
        starts, size = rng.permutation(starts), WINDOW // BLOCK
    for window in np.split(starts, range(size, len(starts), size)):
        blocks = [np.arange(at, min(at + BLOCK, rows), dtype=dtype) for at in window]
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

    def repeat(self, g: int, places: np.ndarray) -> np.ndarray:
        """Rows of group g that were or will be handed out, to fill a batch; row 0 of the table
        where the group has none."""
        while self._first[g] is None and self._load():
            pass
        first = self._first[g]
        return 0 * places if first is None else first[places % len(first)]

    def _load(self) -> bool:
        """One more window, if there is one."""
        window = next(self._windows, None)
        if window is None:
            return False
        group = self._group(window)
        for g, waiting in enumerate(self._waiting):
            rows = window[group == g]
            if self._rng is not None:
                rows = self._rng.permutation(rows)
            waiting.append(rows)
            if self._first[g] is None and len(rows):
                self._first[g] = rows
        return True
