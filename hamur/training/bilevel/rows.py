"""Rows of a pair as the two levels read them: source candidates, histories, batches.

A batch row is a target row and one source behaviour of the same user, drawn from the user's pool.
Everything is drawn and cut by array operations for thousands of rows at a time; random streams are
made of (seed, purpose, number), so that a run may stop and go on anywhere and the two levels never
disturb each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER, UserHistories
from hamur.data.cross_domain.implicit import observed
from hamur.data.errors import EmptySplitError
from hamur.data.table import Table
from hamur.models.conet import FieldSizes
from hamur.training.bilevel.batch import NONE, Batch, cut

# Purposes of random streams.
SHUFFLE, CANDIDATE, UPPER, DEV, HOLD_OUT, EVALUATION, NEGATIVES = range(7)
CHUNK = 4096  # rows whose histories are cut at once
MIN_DEV_ROWS = 2  # training rows of a user who may give one to the development set


def stream(*keys: int) -> np.random.Generator:
    """The random stream of these numbers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(k) for k in keys])))


@dataclass(frozen=True)
class RowRules:
    """Which behaviours a row may see.

    causal: histories are strictly earlier than what they explain; else as published (all positives
    before the user's validation row, or of training), which tells labels.
    source_pool: "before_row" or "before_valid"; hold_out: share of the users with enough rows whose
    last training row becomes a development row, 0 = development rows are the training rows.
    replace_missing: a user without pool gets source item 1 with label 0, as published.
    """

    length: int = 50
    causal: bool = True
    source_pool: str = "before_row"
    hold_out: float = 1 / 3
    replace_missing: bool = False
    seed: int = 2022


class PairRows:
    """The tables of a pair, the development rows taken out, and batches of any rows of them."""

    def __init__(self, pair, rules: RowRules):
        self.pair, self.rules = pair, rules
        self.sizes = FieldSizes(
            *pair.target_schema.vocab_sizes, *pair.source_schema.vocab_sizes[1:]
        )
        self.source = UserHistories.of(pair.source)
        self.source_positives = UserHistories.positives(pair.source)
        self.train, self.dev = self.divide(pair.target.train)
        self.target_positives = UserHistories.positives(self.train)
        train_length = max(self.longest(self.source_positives), self.longest(self.target_positives))
        # Padding beyond the longest history changes a masked mean by nothing, but costs time.
        self.length = max(1, min(rules.length, train_length)) if rules.causal else rules.length

    def longest(self, behaviours: UserHistories) -> int:
        users = np.arange(1, self.sizes.user)
        begin, end = behaviours.before(users, np.full(len(users), np.iinfo(np.int64).max // 2))
        return int((end - begin).max(initial=0))

    def divide(self, train: Table) -> tuple[Table, Table]:
        """(training rows, development rows).

        Raises:  EmptySplitError: rows are to be held out, but no user has two training rows.
        """
        if not self.rules.hold_out:
            return train, train
        own = np.flatnonzero(observed(train))
        user = train.sparse[own, USER]
        last = np.flatnonzero(np.append(user[1:] != user[:-1], True))
        counts = np.diff(np.append(-1, last))
        able = own[last[counts >= MIN_DEV_ROWS]]
        number = round(self.rules.hold_out * len(able))
        if not number:
            raise EmptySplitError(
                "no development row: a row can be held out of users with 4 target rows only, one "
                f"each for test, validation and training besides; {len(able)} have them",
                expected="dev_mode holdout needs some such users",
                remedy="use --dev_mode reuse, or a pair with more rows",
            )
        chosen = np.sort(stream(self.rules.seed, HOLD_OUT).permutation(able)[:number])
        held = np.isin(train.row_id, train.row_id[chosen])  # with the negatives of a row
        return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))

    def pool(self, rows: Table) -> tuple[np.ndarray, np.ndarray]:
        """(begin, end) (N,): positions in the source table of each target row's candidates."""
        return self.pair.pool(self.source, rows, self.rules.source_pool)

    def draw(self, rows: Table, rng: np.random.Generator) -> np.ndarray:
        """(N,) one source row for each target row, uniform in its pool; NONE for an empty pool."""
        begin, end = self.pool(rows)
        chosen = begin + (rng.random(len(begin)) * (end - begin)).astype(np.int64)
        return np.where(end > begin, np.minimum(chosen, end - 1), NONE)

    def draw_several(self, rows: Table, number: int | None, seed: int, split: int) -> np.ndarray:
        """(N, K) source rows without replacement, NONE where a pool has fewer; None = all.

        The draw of a row depends on (seed, user, split) only: every arm, seed and batch size of a
        study sees the same candidates.
        """
        begin, end = self.pool(rows)
        sizes = end - begin
        width = max(1, int(sizes.max(initial=0)) if number is None else number)
        drawn = np.full((len(rows), width), NONE)
        users = rows.sparse[:, USER]
        for row in np.flatnonzero(sizes):
            k = min(width, sizes[row])
            if k == sizes[row]:
                drawn[row, :k] = np.arange(begin[row], end[row])
            else:
                rng = stream(seed, users[row], split)
                drawn[row, :k] = begin[row] + np.sort(rng.choice(sizes[row], k, replace=False))
        return drawn

    def assemble(
        self, rows: Table, source_row: np.ndarray, pad: int | None = None, histories: bool = True
    ) -> Batch:
        """The batch of these target rows and source rows, filled up to `pad` rows."""
        number = len(rows) if pad is None else pad
        fill = np.minimum(np.arange(number), len(rows) - 1)
        mask = (np.arange(number) < len(rows)).astype(np.float32)
        source_row = np.asarray(source_row)[fill]
        target, label = rows.sparse[fill], rows.labels[fill, 0]
        effect = (source_row != NONE).astype(np.float32)
        table = self.pair.source
        at = np.maximum(source_row, 0)
        has = source_row != NONE
        item, category = (np.where(has, table.sparse[at, f], 0) for f in (ITEM, CATEGORY))
        source_label = np.where(has, table.labels[at, 0], 0)
        if self.rules.replace_missing:  # item 1 is a real item, whose vector then reaches the score
            item = np.where(has, item, 1)
            category = np.where(has, category, self.pair.source_categories[1])
        raw = np.stack(
            [
                np.stack([target[:, USER], item, category], axis=1),
                np.stack([target[:, USER], target[:, ITEM], target[:, CATEGORY]], axis=1),
            ]
        )
        offsets = self.sizes.offsets
        history, real = None, None
        if histories:
            history, real = self.histories(rows, fill, source_row)
        return Batch(
            ids=(raw + offsets[[[0, 3, 4], [0, 1, 2]]][:, None]).astype(np.int32),
            known=(raw > 0).astype(np.float32)[..., None],
            labels=np.stack([source_label, label]).astype(np.float32),
            effect=effect,
            mask=mask,
            share=mask / np.float32(len(rows)),
            category=category.astype(np.int32),
            history=history,
            real=real,
            source_row=source_row,
            target_row=np.where(mask > 0, fill, NONE),
        )

    def histories(
        self, rows: Table, fill: np.ndarray, source_row: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(2, B, L, 2) joined ids and (2, B, L) real positions of both histories."""
        user, time = rows.sparse[fill, USER], rows.time[fill]
        offsets = self.sizes.offsets
        endless = np.full(len(user), np.iinfo(np.int64).max // 2)
        has = source_row != NONE
        if self.rules.causal:
            source_time = np.where(has, self.pair.source.time[np.maximum(source_row, 0)], -endless)
            target_time = time
        else:
            source_time = self.pair.valid_time[user] if self.pair.timed else endless
            target_time = endless
        ids = np.empty((2, len(user), self.length, 2), np.int32)
        real = np.empty((2, len(user), self.length), np.float32)
        pairs = ((self.source_positives, source_time, 3), (self.target_positives, target_time, 1))
        for side, (behaviours, limit, field) in enumerate(pairs):
            item, category, lengths = behaviours.last(user, limit, self.length)
            ids[side, ..., 0] = item + offsets[field]
            ids[side, ..., 1] = category + offsets[field + 1]
            real[side] = np.arange(self.length) < lengths[:, None]
        if self.rules.causal:
            real[0] *= has[:, None]
        return ids, real

    def lower_batches(self, epoch: int, size: int, histories: bool) -> Iterator[Batch]:
        """The shuffled training rows of an epoch, one freshly drawn source behaviour each."""
        order = stream(self.rules.seed, SHUFFLE, epoch).permutation(len(self.train))
        drawn = self.draw(self.train, stream(self.rules.seed, CANDIDATE, epoch))
        yield from self.batches(self.train, order, drawn[order], size, histories)

    def batches(
        self, table: Table, order: np.ndarray, source_row: np.ndarray, size: int, histories: bool
    ) -> Iterator[Batch]:
        """Batches of `size` rows in this order; the last one is filled with rows of mask 0."""
        per_chunk = max(1, CHUNK // size) * size
        for begin in range(0, len(order), per_chunk):
            chosen = order[begin : begin + per_chunk]
            steps = -(-len(chosen) // size)
            chunk = self.assemble(
                table.take(chosen), source_row[begin : begin + per_chunk], steps * size, histories
            )
            for step in range(steps):
                yield cut(chunk, step * size, size, len(chosen), order[begin:])

    def steps(self, size: int) -> int:
        """Lower steps of an epoch."""
        return -(-len(self.train) // size)
