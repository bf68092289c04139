"""The guard against features that contain the label and rows that are in two splits."""

import warnings
from functools import partial
from itertools import combinations

import numpy as np

from hamur.data.arrays import blocks
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table
from hamur.errors import LeakageError

# Outcomes and what is measured after them; none can be known when a model has to score.
_OUTCOMES = (
    "click purchase conversion rating overall label is_click is_like long_view play_time_ms "
    "profile_stay_time comment_stay_time helpful"
)
FORBIDDEN = frozenset(_OUTCOMES.split())
LIMIT = 0.95
# A chance AUC of 0.95 is out of reach of so many rows, and of a class (its standard error is at
# most 0.1); more than MAX_ROWS changes no verdict and costs seconds.
MIN_ROWS, MIN_CLASS_ROWS, MAX_ROWS = 200, 10, 100_000
_SAMPLED_AT_ONCE = 4096
CHANCE = 1e-6  # of equal labels in all rows of a value, below which it is no chance


def check_splits(tables: Splits) -> None:
    """Raises LeakageError when a row_id is in two splits."""
    for (first, a), (second, b) in combinations(zip(SPLITS, tables), 2):
        common = _common(a.row_id, b.row_id)
        if len(common):
            raise LeakageError(
                f"{len(common)} rows are in both {first} and {second}",
                column="row_id",
                value=common[:5].tolist(),
                expected="disjoint splits",
                remedy="split again by row",
            )
    for table in tables:
        table.release()


def _common(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Values of both; of ascending columns, as in a large cache, without a copy of either."""
    if not (_ascends(a) and _ascends(b)):
        return np.intersect1d(a, b)
    common = []
    for rows in blocks(len(a)):
        ids = np.asarray(a[rows])
        low, high = np.searchsorted(b, [ids[0], ids[-1] + 1])
        common.append(np.intersect1d(ids, b[low:high], assume_unique=True))
    return np.concatenate(common)


def _ascends(column: np.ndarray) -> bool:
    rows = (column[max(part.start - 1, 0) : part.stop] for part in blocks(len(column)))
    return all((part[1:] > part[:-1]).all() for part in rows)


def check_features(
    train: Table,
    schema: Schema,
    allow: tuple[str, ...] = (),
    limit: float = LIMIT,
    equal: bool = False,
) -> None:
    """Raises LeakageError for a feature that is an outcome by name, or that alone has an AUC of
    `limit` against a label: dense columns by value, sparse ones by the mean label of their id in
    the other half of the rows, lists by the mean of that over their ids.  Labels of fewer than 10
    rows of a class are not judged.  allow: features to leave out of the check.
    equal: nor may a feature tell the classes apart by one value of each, in however few rows.
    Warns:   UserWarning: with `equal`, all rows of one value of a yes-or-no feature have one label.
    """
    for name in (spec.name for spec in schema.fields):
        if name in FORBIDDEN and name not in allow:
            raise LeakageError(
                "an outcome cannot be a feature",
                column=name,
                remedy=f"drop the column, or `allow_leakage=({name!r},)`",
            )
    if len(train) < MIN_ROWS and not equal:
        return
    rows = np.linspace(0, len(train) - 1, min(len(train), MAX_ROWS)).astype(np.int64)
    sample = _sample(train, rows)
    if equal:
        _check_equal(sample, schema, allow)
        _warn_of_outcomes(sample, schema, allow)
    if len(train) < MIN_ROWS:
        return
    for t, label_name in enumerate(schema.labels):
        label = sample.labels[:, t]
        if min((label == 1).sum(), (label == 0).sum()) < MIN_CLASS_ROWS:
            continue
        check = partial(_check, label_name, len(label), allow, limit)
        single = np.ones(len(label), np.int64)
        for c, name in enumerate(schema.dense_names):
            check(name, sample.dense[:, c], single, label)
        for f, (name, size) in enumerate(zip(schema.sparse_names, schema.vocab_sizes)):
            check(name, *_mean_label_of_ids(sample.sparse[:, f], label, size))
        for spec, lists in zip(schema.multi, sample.multi_valued):
            scores = _mean_label(lists.ids, label, spec.vocab_size, np.diff(lists.offsets))
            check(spec.name, scores, single, label)


def _check_equal(sample: Table, schema: Schema, allow: tuple[str, ...]) -> None:
    columns = zip((*schema.sparse_names, *schema.dense_names), (*sample.sparse.T, *sample.dense.T))
    for name, column in columns:
        for label_name, label in zip(schema.labels, sample.labels.T):
            sides = [column[label == value] for value in (0, 1)]
            same = [len(side) > 0 and (side == side[0]).all() for side in sides]
            if all(same) and sides[0][0] != sides[1][0] and name not in allow:
                raise LeakageError(
                    f"the column is the label {label_name!r}",
                    column=name,
                    expected="a column that is known before the outcome",
                    remedy=f"drop the column, or `allow_leakage=({name!r},)`",
                )


def _warn_of_outcomes(sample: Table, schema: Schema, allow: tuple[str, ...]) -> None:
    """Of a feature of two values, one of which settles a label as a purchase settles the click."""
    fields = zip(schema.sparse_names, schema.vocab_sizes, sample.sparse.T)
    for name, ids in ((n, ids) for n, size, ids in fields if size == 3 and n not in allow):
        for label_name, label in zip(schema.labels, sample.labels.T):
            for side in (label[ids == 1], label[ids == 2]):
                settled = len(side) > 0 and (side == side[0]).all()
                if settled and (label == side[0]).mean() ** len(side) < CHANCE:
                    warnings.warn(
                        f"the label {label_name!r} is {side[0]:.0f} in all {len(side):,} rows of "
                        f"one value of {name!r}; if that is known only after the outcome, leave it "
                        f"out with `ignore={name!r}`",
                        stacklevel=2,
                    )


def _sample(table: Table, rows: np.ndarray) -> Table:
    """`table.take(rows)`; of a memory-mapped table only few pages stay in memory meanwhile."""
    names, parts = ("sparse", "dense", "labels", "domain"), []
    for part in blocks(len(rows), _SAMPLED_AT_ONCE):
        parts.append([getattr(table, name).take(rows[part], axis=0) for name in names])
        table.release()
    lists = tuple(column.take(rows) for column in table.multi_valued)
    table.release()
    return Table(*map(np.concatenate, zip(*parts)), multi_valued=lists)


def _mean_label_of_ids(
    ids: np.ndarray, label: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each id in each half of the rows: its mean label over the other half, the overall mean if
    it is not there; its rows, and how many of them are positive."""
    overall = label.mean()
    halves = [(np.bincount(ids[h::2], minlength=size), np.bincount(ids[h::2], label[h::2], size))
              for h in (0, 1)]  # fmt: skip
    groups = []
    for (rows, positives), (others, other_positives) in (halves, halves[::-1]):
        used = np.flatnonzero(rows)
        mean = np.full(len(used), overall)
        np.divide(other_positives[used], others[used], out=mean, where=others[used] > 0)
        groups.append((mean, rows[used], positives[used]))
    return tuple(map(np.concatenate, zip(*groups)))


def _mean_label(ids: np.ndarray, label: np.ndarray, size: int, lengths: np.ndarray) -> np.ndarray:
    """(N,) mean, over the list of a row, of the mean label of an id over the rows of the other
    half; the overall mean if there is none.

    lengths (N,): of the rows' lists, which ids are, one behind the other.
    """
    overall = label.mean()
    row = np.repeat(np.arange(len(label)), lengths)
    half, label = row % 2, label[row]
    scores = np.empty(len(ids))
    for side in (0, 1):
        other = half != side
        rows = np.bincount(ids[other], minlength=size)
        positives = np.bincount(ids[other], label[other], size)
        mean = np.divide(positives, rows, out=np.full(size, overall), where=rows > 0)
        scores[half == side] = mean[ids[half == side]]
    sums = np.bincount(row, scores, len(lengths))
    return np.divide(sums, lengths, out=np.full(len(lengths), overall), where=lengths > 0)


def _check(
    label_name: str,
    num_rows: int,
    allow,
    limit: float,
    name: str,
    scores: np.ndarray,
    rows: np.ndarray,
    positives: np.ndarray,
) -> None:
    """Groups of rows (G,): the score of each, how many rows it has, and how many positive ones."""
    order = np.argsort(scores)
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan))
    rows, positives = (np.add.reduceat(each[order], starts) for each in (rows, positives))
    negatives = rows - positives
    wins = (positives * (np.cumsum(negatives) - negatives / 2)).sum()  # ties are half a win
    value = wins / (positives.sum() * negatives.sum())  # AUC (Mann-Whitney)
    value = max(value, 1 - value)
    if value >= limit and name not in allow:
        raise LeakageError(
            f"the column alone predicts {label_name!r} with an AUC of {value:.4f} on "
            f"{num_rows} training rows",
            column=name,
            expected=f"below {limit}",
            remedy=f"drop the column, or `allow_leakage=({name!r},)`",
        )
