"""Which rows are for training, validation and test.

The rule and `split_seed` alone decide it: never the training seed, so that runs can be compared.
"""

import hashlib

import numpy as np

from hamur.data.arrays import blocks
from hamur.data.errors import EmptySplitError

SPLITS = ("train", "valid", "test")
TRAIN_SHARE, VALID_SHARE = 0.8, 0.1
Index = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_split(num_rows: int, split_seed: int) -> Index:
    """8:1:1 of a permutation; positions in ascending order, (n,) int64 each."""
    order = np.random.Generator(np.random.PCG64(split_seed)).permutation(num_rows)
    train = int(TRAIN_SHARE * num_rows)
    parts = np.split(order, [train, train + int(VALID_SHARE * num_rows)])
    return tuple(np.sort(part) for part in parts)


def temporal_split(time: np.ndarray) -> Index:
    """8:1:1 by time; a cut moves forward until the time changes, so no moment is divided.

    On MovieLens-1M this is mostly a test of users never seen before: each user rated within days.
    """
    order = np.argsort(time, kind="stable")
    sorted_time, num_rows = time[order], len(time)
    first = int(TRAIN_SHARE * num_rows)
    cuts = [first, first + int(VALID_SHARE * num_rows)]
    for i, cut in enumerate(cuts):
        if 0 < cut < num_rows:
            cuts[i] = int(np.searchsorted(sorted_time, sorted_time[cut - 1], side="right"))
    return tuple(np.sort(part) for part in np.split(order, cuts))


def user_temporal_split(user: np.ndarray, time: np.ndarray) -> Index:
    """Of every user the last max(1, tenth) rows are for test, as many before them for validation.

    Rows of equal time keep their order in the file.
    """
    order = np.lexsort((time, user))  # stable
    _, first, counts = np.unique(user[order], return_index=True, return_counts=True)
    held_out = np.maximum(1, (VALID_SHARE * counts).astype(np.int64))
    from_end = np.repeat(first + counts, counts) - np.arange(len(user))  # 1 = the user's last row
    held_out = np.repeat(held_out, counts)
    part = np.where(from_end <= held_out, 2, np.where(from_end <= 2 * held_out, 1, 0))
    return tuple(np.sort(order[part == number]) for number in range(3))


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
