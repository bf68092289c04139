"""Rows of a pair as models read them: source candidates, histories, batches.

A batch row is a target row and one source behaviour of the same user, drawn from the user's pool.
Everything is drawn and cut by array operations for thousands of rows at a time; random streams are
made of (seed, purpose, number), so that a run may stop and resume anywhere and the two levels of
bi-level training never disturb each other.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hamur.data.cross_domain.dataset import (
    CATEGORY,
    ENDLESS,
    ITEM,
    USER,
    CrossDomainData,
    UserHistories,
)
from hamur.data.cross_domain.implicit import observed
from hamur.data.schema import Schema
from hamur.data.table import Table
from hamur.errors import EmptySplitError
from hamur.workers import Share

# Purposes of random streams.
SHUFFLE, CANDIDATE, UPPER, DEV, HOLD_OUT, EVALUATION, NEGATIVES = range(7)
VALID, TEST = 1, 2  # splits in the streams of evaluation
CHUNK = 4096  # rows whose histories are cut at once
ROWS = 1024  # of all histories in a step, so that nearly equal pairs share its compiled form
MIN_DEV_ROWS = 2  # training rows of a user who may give one to the development set
NONE = -1  # no source behaviour


def stream(*keys: int) -> np.random.Generator:
    """The random stream of these numbers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(k) for k in keys])))


class FieldSizes(NamedTuple):
    """Rows of each embedding table, row 0 (padding or unknown) included."""

    user: int
    target_item: int
    target_category: int
    source_item: int
    source_category: int

    @property
    def offsets(self) -> np.ndarray:
        """First row of every field in the joined table, (5,) int32."""
        return np.cumsum((0, *self[:-1])).astype(np.int32)


SOURCE_FIELDS, TARGET_FIELDS = (0, 3, 4), (0, 1, 2)  # of FieldSizes: what each tower reads


@dataclass(frozen=True, eq=False)
class Histories:
    """The positive behaviours of all users, by user and time, first those of the source.

    rows (M, 2) int32: item and category in the joined table, filled up to a multiple of ROWS;
    padding (2, 2): what those of a
    side are beyond the end of a history; length: L, that of the longest.
    """

    rows: np.ndarray
    padding: np.ndarray
    length: int

    def padded(self, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(2, B, L, 2) ids and (2, B, L) float32 masks of spans (2, B, 2)."""
        place = spans[..., :1] + np.arange(self.length, dtype=np.int32)
        real = np.arange(self.length) < spans[..., 1:]
        ids = self.rows[np.where(real, place, 0)]
        ids = np.where(real[..., None], ids, self.padding[:, None, None])
        return ids, real.astype(np.float32)


class Batch(NamedTuple):
    """Rows of one batch, fillers of row_mask 0 included; the source tower comes first.

    ids (2, B, 3) int32 in the joined table of all fields; id_mask (2, B, 3, 1), 0 for unknown ids;
    labels (2, B) float32; has_source (B,) 1 with a source behaviour; row_mask (B,) 1 for a real
    row, 0 for a filler; row_weight (B,) row_mask / number of real rows; source_category (B,) int32;
    spans (2, B, 2) int32: first position in `histories.rows` and length of both histories, None
    where they are not read; source_row, target_row (B,) positions in the tables, NONE for none.
    """

    ids: np.ndarray
    id_mask: np.ndarray
    labels: np.ndarray
    has_source: np.ndarray
    row_mask: np.ndarray
    row_weight: np.ndarray
    source_category: np.ndarray
    spans: np.ndarray | None
    histories: Histories
    source_row: np.ndarray
    target_row: np.ndarray

    @property
    def history(self) -> np.ndarray | None:
        """(2, B, L, 2) int32 item and category in the joined table."""
        return None if self.spans is None else self.histories.padded(self.spans)[0]

    @property
    def history_mask(self) -> np.ndarray | None:
        """(2, B, L) float32, 1 where a history is."""
        return None if self.spans is None else self.histories.padded(self.spans)[1]

    def cut(self, begin: int, size: int, number: int, order: np.ndarray) -> "Batch":
        """Rows begin..begin+size of a chunk of `number` real rows; target_row becomes the row of
        the table that `order` names."""
        parts = self._at(slice(begin, begin + size))
        real = min(size, number - begin)
        parts["target_row"] = np.full(size, NONE)
        parts["target_row"][:real] = order[begin : begin + real]
        parts["row_weight"] = parts["row_mask"] / np.float32(real)
        return Batch(**parts)

    def of(self, share: Share) -> "Batch":
        """A worker's rows of a whole batch; its fillers have the masks and weights of none."""
        parts = self._at(share.order)
        for name in ("row_mask", "row_weight"):
            parts[name] = parts[name] * share.own.astype(np.float32)
        parts["target_row"] = np.where(share.own, parts["target_row"], NONE)
        return Batch(**parts)

    def _at(self, rows: slice | np.ndarray) -> dict:
        """The fields at these rows, by name."""
        parts = self._asdict()
        for name, value in parts.items():
            if name in _TOWERS and value is not None:
                parts[name] = np.ascontiguousarray(value[:, rows])
            elif name not in (*_TOWERS, "histories"):
                parts[name] = value[rows]
        return parts


_TOWERS = ("ids", "id_mask", "labels", "spans")  # first axis: the tower


@dataclass(frozen=True)
class RowRules:
    """Which behaviours a row may see.

    causal: histories are strictly earlier than what they explain; else official (all positives
    before the user's validation row, or of training), which tells labels.
    source_pool: "before_row" or "before_valid"; hold_out: share of the users with enough rows whose
    last training row becomes a development row, 0 = development rows are the training rows.
    replace_missing: a user without pool gets source item 1 with label 0, as in the public code.
    """

    length: int = 50
    causal: bool = True
    source_pool: str = "before_row"
    hold_out: float = 1 / 3
    replace_missing: bool = False
    seed: int = 2022


class CrossDomainRows:
    """The tables of two domains, the development rows taken out, and batches of any rows of them.

    harmful: (source rows,) bool, the rows of a generated pair whose ratings mislead, or None; only
    reports and the variant "oracle" read it.
    """

    def __init__(
        self,
        pair: CrossDomainData,
        rules: RowRules | None = None,
        harmful: np.ndarray | None = None,
    ):
        self.pair, self.rules, self.harmful = pair, rules or RowRules(), harmful
        rules = self.rules
        self.sizes = FieldSizes(
            *pair.target_schema.vocab_sizes, *pair.source_schema.vocab_sizes[1:]
        )
        self.source = UserHistories.of(pair.source)
        self.source_positives = UserHistories.positives(pair.source)
        self.train, self.dev = self.divide(pair.target.train)
        self.target_positives = UserHistories.positives(self.train)
        longest = max(self.longest(self.source_positives), self.longest(self.target_positives))
        # Padding beyond the longest history changes a masked mean by nothing, but costs time.
        self.length = max(1, min(rules.length, longest)) if rules.causal else rules.length
        self.histories = self.all_histories()

    def __len__(self) -> int:
        """Training rows."""
        return len(self.train)

    @property
    def labels(self) -> np.ndarray:
        """Of the training rows, (N, 1)."""
        return self.train.labels

    def validate(self, schema: Schema) -> None:
        """ValueError where the schema of a model has other fields."""
        if schema.vocab_sizes != tuple(self.sizes[: schema.num_sparse]):
            raise ValueError(
                f"the model was made for fields of {schema.vocab_sizes} ids, these rows have "
                f"{tuple(self.sizes)}; build it with `rows.sizes`."
            )

    def longest(self, histories: UserHistories) -> int:
        """Rows of the user with most of them."""
        begin, end = histories.before(np.arange(1, self.sizes.user), ENDLESS)
        return int((end - begin).max(initial=0))

    def divide(self, train: Table) -> tuple[Table, Table]:
        """(training rows, development rows).

        Raises:  EmptySplitError: rows are to be held out, but no user has two training rows.
        """
        if not self.rules.hold_out:
            return train, train
        rows = np.flatnonzero(observed(train))
        user = train.sparse[rows, USER]
        last = np.flatnonzero(np.append(user[1:] != user[:-1], True))
        counts = np.diff(np.append(-1, last))
        eligible = rows[last[counts >= MIN_DEV_ROWS]]
        number = round(self.rules.hold_out * len(eligible))
        if not number:
            raise EmptySplitError(
                "no development row: a row can be held out of users with 4 target rows only, one "
                f"each for test, validation and training besides; {len(eligible)} have them",
                expected="`dev_mode='holdout'` needs some such users",
                remedy="use `dev_mode='reuse'`, or a pair with more rows",
            )
        dev = np.sort(stream(self.rules.seed, HOLD_OUT).permutation(eligible)[:number])
        held_out = np.isin(train.row_id, train.row_id[dev])  # with the negatives of a row
        return train.take(np.flatnonzero(~held_out)), train.take(np.flatnonzero(held_out))

    def pool(self, rows: Table) -> tuple[np.ndarray, np.ndarray]:
        """(begin, end) (N,): positions in the source table of each target row's candidates."""
        return self.pair.pool(self.source, rows, self.rules.source_pool)

    def draw(self, rows: Table, rng: np.random.Generator, pool: tuple | None = None) -> np.ndarray:
        """(N,) one source row for each target row, uniform in its pool, which is found anew where
        it is not given; NONE for an empty pool."""
        begin, end = self.pool(rows) if pool is None else pool
        drawn = begin + (rng.random(len(begin)) * (end - begin)).astype(np.int64)
        return np.where(end > begin, np.minimum(drawn, end - 1), NONE)

    def candidates(self, rows: Table, number: int | None, seed: int, split: int) -> "Candidates":
        """Target rows with `number` source rows each, drawn without replacement; None = all.

        The draw of a row depends on (seed, user, split) only: every variant, seed and batch size of
        a study sees the same candidates.
        """
        drawn = draw_candidates(*self.pool(rows), rows.sparse[:, USER], number, seed, split)
        return Candidates(self, rows, drawn)

    def negative_items(
        self, positives: Table, number: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(U, number) ids of items of the training rows that the user has in no split, 0 where a
        user has fewer, and (U,) how many there are.

        A number above that of the items is all of them.
        """
        splits = [part.sparse[observed(part), :2] for part in self.pair.target]
        user, item = np.concatenate(splits).T
        order = np.argsort(user, kind="stable")
        user, item = user[order], item[order]
        trained = np.unique(self.train.sparse[observed(self.train), ITEM])
        trained = trained[trained > 0]
        number = min(number, len(trained))
        items = np.zeros((len(positives), number), np.int32)
        for row, person in enumerate(positives.sparse[:, USER]):
            begin, end = np.searchsorted(user, (person, person + 1))
            eligible = trained[~np.isin(trained, item[begin:end])]
            count = min(number, len(eligible))
            rng = stream(seed, person, NEGATIVES)
            items[row, :count] = rng.choice(eligible, count, replace=False)
        return items, (items > 0).sum(1)

    def collate(
        self, rows: Table, source_row: np.ndarray, pad: int | None = None, histories: bool = True
    ) -> Batch:
        """The batch of these target rows and source rows, filled up to `pad` rows."""
        number = len(rows) if pad is None else pad
        fill = np.minimum(np.arange(number), len(rows) - 1)
        row_mask = (np.arange(number) < len(rows)).astype(np.float32)
        source_row = np.asarray(source_row)[fill]
        has = source_row != NONE
        source_label = np.where(has, self.pair.source.labels[np.maximum(source_row, 0), 0], 0)
        fields = self.fields(rows.sparse[fill], source_row)
        ids = np.stack([fields[:, SOURCE_FIELDS], fields[:, TARGET_FIELDS]])
        offsets = self.sizes.offsets[[SOURCE_FIELDS, TARGET_FIELDS]]
        return Batch(
            ids=(ids + offsets[:, None]).astype(np.int32),
            id_mask=(ids > 0).astype(np.float32)[..., None],
            labels=np.stack([source_label, rows.labels[fill, 0]]).astype(np.float32),
            has_source=has.astype(np.float32),
            row_mask=row_mask,
            row_weight=row_mask / np.float32(len(rows)),
            source_category=fields[:, 4].astype(np.int32),
            spans=self.spans(rows, fill, source_row) if histories else None,
            histories=self.histories,
            source_row=source_row,
            target_row=np.where(row_mask > 0, fill, NONE),
        )

    def fields(self, target: np.ndarray, source_row: np.ndarray) -> np.ndarray:
        """(N, 5) ids in the order of `FieldSizes`, of target rows (N, 3) and source rows (N,)."""
        return joined_fields(target, self.pair.source.sparse, source_row, self.replaced)

    @property
    def replaced(self) -> tuple[int, int]:
        """Item and category of a row without a source behaviour."""
        # Item 1 is a real item, whose vector then reaches the score.
        return (1, self.pair.source_categories[1]) if self.rules.replace_missing else (0, 0)

    def all_histories(self) -> Histories:
        """The positives of both sides by their rows of the joined table."""
        padding = self.sizes.offsets[[[3, 4], [1, 2]]]
        sides = (self.source_positives, self.target_positives)
        parts = [np.stack((each.item, each.category), 1) + at for each, at in zip(sides, padding)]
        number = sum(map(len, parts))
        parts.append(np.tile(padding[:1], (ROWS - number % ROWS, 1)))
        return Histories(np.concatenate(parts).astype(np.int32), padding, self.length)

    def spans(self, rows: Table, fill: np.ndarray, source_row: np.ndarray) -> np.ndarray:
        """(2, B, 2) int32: first position in `histories.rows` and length of both histories."""
        user, time = rows.sparse[fill, USER], rows.time[fill]
        has = source_row != NONE
        if self.rules.causal:
            source_time = np.where(has, self.pair.source.time[np.maximum(source_row, 0)], -ENDLESS)
            target_time = time
        else:
            source_time = self.pair.valid_time[user] if self.pair.timed else ENDLESS
            target_time = ENDLESS
        spans = np.empty((2, len(user), 2), np.int32)
        sides = ((self.source_positives, source_time), (self.target_positives, target_time))
        first = 0
        for side, (histories, limit) in enumerate(sides):
            begin, end = histories.before(user, limit)
            lengths = np.minimum(end - begin, self.length)
            spans[side] = np.stack((first + end - lengths, lengths), 1)
            first += len(histories.item)
        if self.rules.causal:
            spans[0, :, 1] *= has
        return spans

    def batches(
        self, table: Table, order: np.ndarray, source_row: np.ndarray, size: int, histories: bool
    ) -> Iterator[Batch]:
        """Batches of `size` rows in this order; the last one is filled with rows of mask 0."""
        per_chunk = max(1, CHUNK // size) * size
        for begin in range(0, len(order), per_chunk):
            rows = order[begin : begin + per_chunk]
            steps = -(-len(rows) // size)
            chunk = self.collate(
                table.take(rows), source_row[begin : begin + per_chunk], steps * size, histories
            )
            for step in range(steps):
                yield chunk.cut(step * size, size, len(rows), order[begin:])


def draw_candidates(
    begin: np.ndarray, end: np.ndarray, users: np.ndarray, number: int | None, seed: int, split: int
) -> np.ndarray:
    """(N, K) source rows of the pools begin..end-1 (N,) of users (N,); NONE where one has fewer."""
    sizes = end - begin
    width = max(1, int(sizes.max(initial=0)) if number is None else number)
    drawn = np.full((len(sizes), width), NONE)
    for row in np.flatnonzero(sizes):
        k = min(width, sizes[row])
        if k == sizes[row]:
            drawn[row, :k] = np.arange(begin[row], end[row])
        else:
            rng = stream(seed, users[row], split)
            drawn[row, :k] = begin[row] + np.sort(rng.choice(sizes[row], k, replace=False))
    return drawn


def joined_fields(
    target: np.ndarray, source: np.ndarray, source_row: np.ndarray, replaced: tuple[int, int]
) -> np.ndarray:
    """(N, 5) ids in the order of `FieldSizes`, of target rows (N, 3) and the rows (N,) of source
    (M, 3); replaced: item and category of NONE."""
    has = source_row != NONE
    of_source = np.tile(np.asarray(replaced, target.dtype), (len(target), 1))
    of_source[has] = source[source_row[has]][:, [ITEM, CATEGORY]]
    return np.column_stack([target[:, [USER, ITEM, CATEGORY]], of_source])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Target rows and the source rows (N, K) that each is scored with, NONE where it has fewer."""

    rows: CrossDomainRows
    table: Table
    source_row: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        return self.table.labels

    def validate(self, schema: Schema) -> None:
        """ValueError where the schema of a model has other fields."""
        self.rows.validate(schema)

    def pairs(self, num_fields: int) -> tuple[np.ndarray, Table]:
        """(target row (M,), table (M,)): a row for each source candidate of each target row, in
        their order, whose columns are the first fields of `FieldSizes`, 5 or 3.

        A target row without a candidate is there once, without a source behaviour, as are all of
        them for a model that reads no source field.
        """
        used = self.source_row != NONE
        used[:, 0] = True
        if num_fields == len(TARGET_FIELDS):
            used[:, 1:] = False
        row, draw = np.nonzero(used)
        table = self.table.take(row)
        sparse = self.rows.fields(table.sparse, self.source_row[row, draw])
        sparse = np.ascontiguousarray(sparse[:, :num_fields])
        return row, dataclasses.replace(table, sparse=sparse, domain=np.zeros_like(table.domain))

    def means(self, row: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(N,) mean of the values (M,) of each target row's candidates."""
        counts = np.bincount(row, minlength=len(self))
        return np.bincount(row, values, len(self)) / np.maximum(counts, 1)

    def take(self, index: np.ndarray) -> "Candidates":
        """Those rows, in that order."""
        return Candidates(self.rows, self.table.take(index), self.source_row[index])


class CrossDomainBatches:
    """The training rows in batches of `batch_size`, shuffled anew in each epoch, one freshly drawn
    source behaviour per row.

    histories: batches hold the histories that learned weights are computed from.
    """

    quotas = None  # rows of both domains are beside each other, not divided into blocks

    def __init__(self, rows: CrossDomainRows, batch_size: int, seed: int, histories: bool):
        self.rows, self.batch_rows, self.seed, self.histories = rows, batch_size, seed, histories
        self.steps = -(-len(rows) // batch_size)
        self.share: Share | None = None

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of epoch `number`, from 1, or this worker's share of each."""
        train = self.rows.train
        order = stream(self.seed, SHUFFLE, number - 1).permutation(len(train))
        source_row = self.rows.draw(train, stream(self.seed, CANDIDATE, number - 1))[order]
        batches = self.rows.batches(train, order, source_row, self.batch_rows, self.histories)
        yield from batches if self.share is None else (b.of(self.share) for b in batches)
