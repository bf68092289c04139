"""Raw values -> ids and scaled numbers, fitted on the training rows only.

Every categorical column is first replaced by codes, positions among its distinct values; the
vocabulary is then an array from code to id, and encoding N rows is one look-up.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from hamur.data.arrays import pieces
from hamur.data.text.cells import MISSING
from hamur.errors import DataValueError

UNKNOWN = 0
_ARRAY_BYTES = 1 << 30
FIT_ON = ("train", "all")
TRANSFORMS = ("minmax", "standard", "log1p", "none")
COMPANION = "_missing"  # ends the name of a 0/1 column beside a dense one with missing cells


@dataclass(frozen=True)
class Codes:
    """codes (N,) int32, the position among `values`, or -1 for a missing cell; values (n,)
    distinct and ascending, numbers numerically and text by code point."""

    codes: np.ndarray
    values: np.ndarray

    def take(self, index: np.ndarray) -> "Codes":
        return Codes(self.codes[index], self.values)

    def categorical(self) -> pd.Categorical:
        """The same cells, "" for a missing one."""
        missing = self.codes < 0
        codes = np.where(missing, len(self.values), self.codes)
        return pd.Categorical.from_codes(codes, self.values.tolist() + [""] * int(missing.any()))


def factorise(column: np.ndarray | pd.Categorical, missing: int = MISSING) -> Codes:
    """The codes of a column of text, where "" is missing, or of whole numbers, where all up to
    `missing` are."""
    if isinstance(column, pd.Categorical):
        check_lengths(column.categories)
        values, codes = np.asarray(column.categories, dtype=str), column.codes
        missing = ""
    else:
        codes, values = pd.factorize(column)
    order = np.argsort(values)
    rank = np.empty(len(values) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(values)), MISSING  # code -1 stays -1
    gap = int(np.searchsorted(values[order], missing, side="right"))  # missing values sort first
    return Codes(np.maximum(rank - gap, MISSING)[codes], values[order][gap:])


def check_lengths(texts: pd.Index) -> None:
    """Raises DataValueError where an array of these texts, all as long as the longest, would need
    far more memory than they do."""
    lengths = texts.str.len().to_numpy() if len(texts) else np.zeros(1)
    longest = int(lengths.max())
    if 4 * longest * len(texts) > max(_ARRAY_BYTES, 256 * lengths.sum()):
        raise DataValueError(
            f"a text of {longest:,} characters among {len(texts):,} different ones",
            value=texts[int(lengths.argmax())],
            expected="texts of similar length",
            remedy="shorten it, or leave its column out",
        )


def buckets(values: np.ndarray, size: int) -> np.ndarray:
    """(n,) int64, which of `size` buckets each value is in, by a hash of its text (SipHash with the
    key of pandas): the same in every process and on every machine."""
    texts = np.asarray(values).astype(str).astype(object)
    return (pd.util.hash_array(texts, categorize=False) % np.uint64(size)).astype(np.int64)


def hashed(column: Codes, size: int) -> Codes:
    """The column with the numbers of buckets in the place of its values."""
    values, places = np.unique(buckets(column.values, size), return_inverse=True)
    return Codes(np.append(places.astype(np.int32), np.int32(MISSING))[column.codes], values)


@dataclass(frozen=True)
class Vocabulary:
    """ids (n + 1,) int32: code -> id, the last entry for missing cells; values: the known values
    in the order of their ids; size: number of ids, which includes 'unknown' (id 0) if there is
    one."""

    ids: np.ndarray
    values: np.ndarray
    size: int

    def encode(self, column: Codes) -> np.ndarray:
        """(N,) int32 ids."""
        return self.ids[column.codes]


def fit_vocabulary(
    column: Codes,
    train: np.ndarray,
    order: str = "value",
    min_count: int = 1,
    fit_on: str = "train",
) -> Vocabulary:
    """Ids 1..n for the values that occur in at least `min_count` training rows; 0 = unknown.

    train: positions of the training rows.  order: "value" (ascending) or "first" (appearance in
    the training rows, as the public Ali-CCP files are coded).
    fit_on="all" counts every row, orders by value and starts at id 0 without an 'unknown', as the
    public code does; it shows test values to the vocabulary and exists for comparison only.
    """
    if fit_on not in FIT_ON:
        raise ValueError(f"`fit_on` is {fit_on!r}; use one of {FIT_ON}")
    num_values, everything = len(column.values), fit_on == "all"
    counts, first_row, start = np.zeros(num_values + 1, np.int64), np.full(num_values, 2**62), 0
    for codes in pieces(column.codes, None if everything else train):
        counts += np.bincount(codes + 1, minlength=num_values + 1)
        if order == "first":
            rows = np.flatnonzero(codes != MISSING)[::-1]  # so that the earliest write stays
            here = np.full(num_values, 2**62)
            here[codes[rows]], start = start + rows, start + len(codes)
            first_row = np.minimum(first_row, here)
    # Without an 'unknown', missing cells are a value of their own, the first one.
    first_id, order = (int(counts[0] > 0), "value") if everything else (1, order)
    frequent = np.flatnonzero(counts[1:] >= max(min_count, 1))
    if order == "first":
        frequent = frequent[np.argsort(first_row[frequent])]
    ids = np.full(num_values + 1, UNKNOWN, np.int32)
    ids[frequent] = np.arange(first_id, first_id + len(frequent))
    return Vocabulary(ids, column.values[frequent], max(1, first_id + len(frequent)))


def grow_vocabulary(
    column: Codes, train: np.ndarray, known: np.ndarray, min_count: int = 1
) -> Vocabulary:
    """The vocabulary of an earlier table, continued: its values keep their ids 1..n, and those that
    are new and occur in at least `min_count` training rows follow, ascending.

    known: (n,) values in the order of their ids.
    """
    found = fit_vocabulary(column, train, min_count=min_count).values
    known = np.asarray(known).astype(found.dtype.type)  # text, or whole numbers
    values = np.concatenate((known, found[~np.isin(found, known)]))
    places = pd.Index(values).get_indexer(pd.Index(column.values))
    ids = np.append(places + 1, UNKNOWN).astype(np.int32)  # of no value: -1 + 1
    return Vocabulary(ids, values, len(values) + 1)


def identity_vocabulary(column: Codes, train: np.ndarray) -> Vocabulary:
    """Whole numbers that are ids already: kept up to the training maximum, above it unknown.

    Raises:  DataValueError: an id that int32 cannot hold.
    """
    codes = column.codes[train]
    largest = int(column.values[codes.max()]) if len(codes) and codes.max() >= 0 else UNKNOWN
    if largest >= 2**31:
        raise DataValueError(
            "too large for an id",
            value=largest,
            expected="ids below 2**31",
            remedy="use `encoding='train'`, which numbers the ids anew",
        )
    ids = np.where(column.values <= largest, column.values, UNKNOWN)
    ids = np.append(ids, UNKNOWN).astype(np.int32)
    return Vocabulary(ids, np.arange(1, largest + 1), largest + 1)


@dataclass(frozen=True)
class Scaler:
    """low, high: minimum and maximum of a column in the rows it was fitted on.

    transform: "minmax" to [0, 1], "log1p" the same of the logarithms, "standard" of mean 0 and
        deviation 1 (mean, deviation), "none".
    fill: what a missing cell (NaN) becomes, the mean of the scaled others; has_missing: there were
        such cells, so that a column of its own tells where.
    """

    low: float
    high: float
    transform: str = TRANSFORMS[0]
    mean: float = 0.0
    deviation: float = 1.0
    fill: float = field(default=0.0, compare=False)
    has_missing: bool = False

    def scale(self, column: np.ndarray) -> np.ndarray:
        """(N,) float32, in [0, 1] where it is minmax; values outside the fitted range are clipped.

        A column that is constant in the fitted rows becomes 0.
        """
        scaled = self._scaled(column)
        missing = np.isnan(column)
        return np.where(missing, np.float32(self.fill), scaled) if missing.any() else scaled

    def _scaled(self, column: np.ndarray) -> np.ndarray:
        if self.transform == "none":
            return column.astype(np.float32)
        if self.high == self.low:
            return np.zeros(len(column), np.float32)
        if self.transform == "standard":
            column = np.clip(column, self.low, self.high)
            return ((column - self.mean) / self.deviation).astype(np.float32)
        low, high = self.low, self.high
        if self.transform == "log1p":
            column, low, high = np.log1p(np.clip(column, low, high)), np.log1p(low), np.log1p(high)
        scaled = (column - low) / (high - low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)

    def outside(self, column: np.ndarray) -> int:
        """How many values are outside the fitted range, and so clipped."""
        if self.transform == "none":
            return 0
        return int(((column < self.low) | (column > self.high)).sum())


def fit_scaler(
    column: np.ndarray,
    train: np.ndarray,
    fit_on: str = "train",
    keep_unit: bool = False,
    transform: str = TRANSFORMS[0],
    name: str | None = None,
) -> Scaler:
    """Minimum and maximum of the training rows (or of all rows), and what a transform needs.

    name: of the column, for errors.
    keep_unit: a source that declares scaled data is left as it is if it is in [0, 1] indeed.
    Raises:  DataValueError: a negative value where logarithms are asked for.
    """
    train = None if fit_on == "all" else train
    low, high, total, count, has_missing = np.inf, -np.inf, 0.0, 0, False
    for piece in pieces(column, train):
        present = _present(piece)
        if len(present):
            low, high = min(low, float(present.min())), max(high, float(present.max()))
        total, count = total + float(present.sum(dtype=np.float64)), count + len(present)
        has_missing |= len(present) < len(piece)
    if not count:
        return Scaler(0.0, 0.0, transform, has_missing=has_missing)
    if keep_unit and low >= 0.0 and high <= 1.0:
        return Scaler(0.0, 1.0)
    if transform == "log1p" and low < 0:
        raise DataValueError(
            "a negative number has no logarithm here",
            column=name,
            value=low,
            expected="numbers >= 0",
            remedy="give the column the transform 'minmax' or 'standard'",
        )
    scaler, squares, fill = Scaler(low, high, transform), 0.0, 0.0
    if transform == "standard":
        for piece in pieces(column, train):
            squares += float(np.square(_present(piece) - total / count, dtype=np.float64).sum())
        scaler = replace(scaler, mean=total / count, deviation=(squares / count) ** 0.5 or 1.0)
    for piece in pieces(column, train):
        fill += float(scaler.scale(_present(piece)).sum(dtype=np.float64))
    return replace(scaler, fill=fill / count, has_missing=has_missing)


def _present(column: np.ndarray) -> np.ndarray:
    missing = np.isnan(column)
    return column[~missing] if missing.any() else column
