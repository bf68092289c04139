"""Which rows are for training, validation and test.

The rule and `split_seed` alone decide it: never the training seed, so that runs can be compared.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hamur.data.arrays import blocks
from hamur.errors import EmptySplitError

SPLITS = ("train", "valid", "test")
TRAIN_SHARE, VALID_SHARE = 0.8, 0.1
Index = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Split:
    """rule: "random", "temporal" (or "time"), "user_temporal", "last" (row of each group for test,
    the one before for validation) or "column" (of the words train, valid and test); of files that
    are train, valid and test "files", or "halves" of all but the first; of pairs of a train and a
    test file "last search pages".

    seed: where the rule draws; valid_fraction: of the last search pages; fractions: of "random" and
    "time"; column: of "column".
    """

    rule: str
    seed: int | None = None
    valid_fraction: float = VALID_SHARE
    fractions: tuple[float, ...] = (TRAIN_SHARE, VALID_SHARE, VALID_SHARE)
    column: str | None = None

    def __post_init__(self):
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"`split_seed` is {self.seed}; it must be at least 0")
        parts = self.fractions
        if len(parts) != 3 or min(parts) <= 0 or abs(sum(parts) - 1) > 1e-9:
            raise ValueError(
                f"the fractions of the split are {list(parts)}; use three of train, valid and test "
                "that are above 0 and add up to 1"
            )


def divide(
    split: Split,
    lengths: Sequence[int],
    group: np.ndarray | None,
    time: np.ndarray | None,
    part: np.ndarray | None = None,
) -> Index:
    """Positions of the rows of each split, counted over all files.

    lengths: rows of each file; part (N,): 0, 1 or 2, of the rule "column".
    """
    num_rows, ends = sum(lengths), np.cumsum(lengths)
    if split.rule == "random":
        return random_split(num_rows, split.seed, split.fractions)
    if split.rule in ("temporal", "time"):
        return temporal_split(time, split.fractions)
    if split.rule == "user_temporal":
        return user_temporal_split(group, time)
    if split.rule == "last":
        return last_split(group, time)
    if split.rule == "column":
        return tuple(np.flatnonzero(part == number) for number in range(3))
    if split.rule == "files":
        return tuple(np.split(np.arange(num_rows), ends[:-1]))
    if split.rule == "halves":
        valid, test = halves(num_rows - ends[0], split.seed)
        return np.arange(ends[0]), ends[0] + valid, ends[0] + test
    part = np.repeat(np.arange(len(lengths)) % 2 * 2, lengths)
    for start, end in zip((ends - lengths)[::2], ends[::2]):
        part[start:end] = last_pages(group[start:end], split.valid_fraction)
    return tuple(np.flatnonzero(part == number) for number in range(3))


def _cuts(num_rows: int, fractions: Sequence[float]) -> list[int]:
    train = int(fractions[0] * num_rows)
    return [train, train + int(fractions[1] * num_rows)]


def random_split(
    num_rows: int, split_seed: int, fractions: Sequence[float] = Split.fractions
) -> Index:
    """8:1:1 of a permutation; positions in ascending order, (n,) int64 each."""
    order = np.random.Generator(np.random.PCG64(split_seed)).permutation(num_rows)
    return tuple(np.sort(part) for part in np.split(order, _cuts(num_rows, fractions)))


def temporal_split(time: np.ndarray, fractions: Sequence[float] = Split.fractions) -> Index:
    """8:1:1 by time; a cut moves forward until the time changes, so no moment is divided.

    On MovieLens-1M this is mostly a test of users never seen before: each user rated within days.
    """
    order = np.argsort(time, kind="stable")
    sorted_time, num_rows = time[order], len(time)
    cuts = _cuts(num_rows, fractions)
    for i, cut in enumerate(cuts):
        if 0 < cut < num_rows:
            cuts[i] = int(np.searchsorted(sorted_time, sorted_time[cut - 1], side="right"))
    return tuple(np.sort(part) for part in np.split(order, cuts))


def user_temporal_split(user: np.ndarray, time: np.ndarray) -> Index:
    """Of every user the last max(1, tenth) rows are for test, as many before them for validation.

    Rows of equal time keep their order in the file.
    """
    return _last_rows(
        user, time, lambda counts: np.maximum(1, (VALID_SHARE * counts).astype(np.int64))
    )


def last_split(group: np.ndarray, time: np.ndarray | None) -> Index:
    """Of every group of at least three rows the last is for test, the one before for validation;
    by time, or in the order of the file."""
    return _last_rows(group, time, lambda counts: (counts >= 3).astype(np.int64))


def _last_rows(
    group: np.ndarray, time: np.ndarray | None, share: Callable[[np.ndarray], np.ndarray]
) -> Index:
    """share: rows of each group (n,) -> how many of them are for test, and how many for valid."""
    order = np.lexsort((group,) if time is None else (time, group))  # stable
    _, first, counts = np.unique(group[order], return_index=True, return_counts=True)
    from_end = np.repeat(first + counts, counts) - np.arange(len(group))  # 1 = the last row
    held_out = np.repeat(share(counts), counts)
    part = np.where(from_end <= held_out, 2, np.where(from_end <= 2 * held_out, 1, 0))
    return tuple(np.sort(order[part == number]) for number in range(3))


def last_pages(page: np.ndarray, fraction: float) -> np.ndarray:
    """(N,) bool: the rows of the search pages that appear last, as few whole pages as hold this
    share.  By first appearance in the file, since the ids of pages do not ascend."""
    number, ids = pd.factorize(page)
    held = np.cumsum(np.bincount(number, minlength=len(ids))[::-1])  # rows of the last 1, 2, ...
    pages = 1 + int(np.searchsorted(held, fraction * len(number)))
    return number >= len(ids) - pages


def halves(num_rows: int, split_seed: int = 2022) -> tuple[np.ndarray, np.ndarray]:
    """(valid, test) positions of the public Ali-CCP rule.

    The first ceil(n / 2) entries of the legacy generator's permutation are for test, which is what
    scikit-learn's train_test_split(test_size=0.5, random_state=split_seed) gives.
    """
    order = np.random.RandomState(split_seed).permutation(num_rows)
    test = -(-num_rows // 2)
    return np.sort(order[test:]), np.sort(order[:test])


def hash_half(sample_id: np.ndarray, split_seed: int) -> np.ndarray:
    """(n,) bool, whether a test row is for validation: bit 0 of splitmix64(sample_id xor seed)."""
    with np.errstate(over="ignore"):
        z = (sample_id.astype(np.uint64) ^ np.uint64(split_seed)) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) & np.uint64(1)).astype(bool)


def check_parts(rows: dict[str, int], rule: str) -> None:
    """Raises EmptySplitError for a split without rows."""
    for part, count in rows.items():
        if not count:
            raise EmptySplitError(
                f"split {part!r} has no row after the rule {rule!r}",
                value=rows,
                expected="at least one row in each split",
                remedy="use more rows or another split",
            )


def fingerprint(row_ids: np.ndarray) -> str:
    """sha256 of the sorted ids of a split: a changed random stream shows."""
    digest, last = hashlib.sha256(), None
    for rows in blocks(len(row_ids)):  # of a large cache the ids ascend: no copy of all is needed
        ids = np.asarray(row_ids[rows]).astype("<i8")
        if (ids[1:] < ids[:-1]).any() or (last is not None and ids[0] < last):
            return hashlib.sha256(np.sort(row_ids).astype("<i8").tobytes()).hexdigest()
        digest.update(ids.tobytes())
        last = ids[-1]
    return digest.hexdigest()
