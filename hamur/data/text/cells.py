"""Cells of text: what each kind may hold, exact numbers, and where a fast parser may be wrong."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import pandas as pd

from hamur.data.text import times
from hamur.data.text.blocks import long_line

MISSING = -1
MISSING_WORDS = ("", "NA", "NaN", "nan", "null", "NULL", "None", r"\N")
NAMES = ("id", "text", "code")  # kinds of which cells are names
DTYPES = {"int": "int64", "category": "int64", "float": "float64", "time": "int64"}
DTYPES["number"] = "float64"
DTYPES |= dict.fromkeys(NAMES, "category")
MAX_CELL = 1 << 16  # characters of a text
LARGEST = float(np.finfo(np.float32).max)  # which every number becomes
_PATTERNS = {"int": times.NUMBER, "float": times.NUMBER, "category": f"({times.NUMBER})?"}
_WHOLE = re.compile(r"[+-]?0*[0-9]{1,19}(\.0*)?")
EXPECTED = {
    "int": "a whole number >= 0",
    "category": "a whole number >= 0 or nothing",
    "float": f"a finite number of at most {LARGEST:.2g}",
    "time": times.EXPECTED,
    "id": "a name: text or a whole number, and not " + ", ".join(MISSING_WORDS[1:]),
}
_TEXT = f"text of at most {MAX_CELL:,} characters, or a number that a float holds exactly"
EXPECTED |= dict.fromkeys(("text", "code"), _TEXT)
EXPECTED["number"] = EXPECTED["float"] + ", or nothing"
_FLAGS = {"True": "1", "TRUE": "1", "true": "1", "False": "0", "FALSE": "0", "false": "0"}
_BLANKS = (b" ", b"\t", b"\v", b"\f", b"\r")
_PARTED = re.compile(rb"[0-9.][eE][ \t\v\f\r]")
_SMALL, _EXACT = 1e-8, 2**53

Column = np.ndarray | pd.Categorical


@dataclass(frozen=True)
class Cells:
    """A column: values (N,); right (N,) bool, whether the cell may be; show: row -> the cell."""

    values: Column
    right: np.ndarray
    show: Callable[[int], object]


class Doubts:
    """What a block holds that a fast parser may have read otherwise; looked for once at most."""

    def __init__(self, block: bytes, mark: bytes):
        self.block, self.mark = block, mark

    @cached_property
    def long_line(self) -> bool:
        return long_line(self.block, MAX_CELL) >= 0

    # pandas counts leading zeros among the 17 digits that it looks at; a float32 has 8.
    @cached_property
    def zeros(self) -> bool:
        return 8 * b"0" in self.block

    @cached_property
    def small(self) -> bool:
        return self.zeros and b"." + 8 * b"0" in self.block

    @cached_property
    def padded(self) -> bool:
        starts = (self.mark + 9 * b"0", b"\n" + 9 * b"0")
        at_start = self.block.startswith(9 * b"0")
        return self.zeros and (at_start or any(start in self.block for start in starts))

    @cached_property
    def nothing_else(self) -> bool:
        return self.zeros and 16 * b"0" in self.block

    @cached_property
    def parted(self) -> bool:
        """Whether a number may end before its exponent does: pandas skips blanks there."""
        marks = (e + blank for blank in _BLANKS if blank in self.block for e in (b"e", b"E"))
        return any(mark in self.block for mark in marks) and bool(_PARTED.search(self.block))

    def sound(self, series: pd.Series, kind: str) -> bool:
        """Whether the column holds what its text says; if not, a slower reader has to tell."""
        if DTYPES[kind] == "category":
            return not self.long_line or int(series.cat.categories.str.len().max()) <= MAX_CELL
        values = series.to_numpy()
        if kind == "number":  # of which NaN is a missing cell
            series, kind = series.dropna(), "float"
            values = series.to_numpy()
        if kind != "float" and values.dtype in (np.int64, bool):
            return bool((values >= 0).all())
        if values.dtype != np.float64:
            return False
        size = np.abs(values)
        if self.padded or self.parted or (self.nothing_else and (size == 0).any()):
            return False
        if kind != "float":
            return bool(((values >= 0) & (size < _EXACT) & (values == np.floor(values))).all())
        least = size.min(initial=np.inf, where=size > 0)
        return bool((size <= LARGEST).all()) and not (least < _SMALL and self.small)


def small(values: np.ndarray, kind: str) -> np.ndarray:
    """Data sets of many id columns are large: half the memory wherever the ids fit."""
    narrow = kind == "category" and values.max(initial=0) < 2**31
    return values.astype(np.int32) if narrow else values


def words_and_numbers(missing: Iterable[str]) -> tuple[list[str], list[float]]:
    """The texts that mean a missing number, NaN among them, and the values of those that are
    numbers."""
    numeric = [word for word in missing if re.fullmatch(times.NUMBER, word)]
    words = {*missing, "NaN", "nan"} - {*numeric}
    return sorted(words), list(map(float, numeric))


def numbers(
    texts: pd.Series, kind: str, unit: str | None, missing: Iterable[str] = MISSING_WORDS
) -> tuple[np.ndarray, np.ndarray]:
    """Text as numbers, MISSING (NaN of "number") where it is none or missing; and (N,) bool whether
    the cell may be.

    unit, missing: see `FileFormat`.
    """
    texts = texts.astype(str).str.strip().replace(_FLAGS)
    if kind == "time":
        return times.numbers_of(texts, unit)
    if kind == "number":
        words, odd = words_and_numbers(missing)
        empty = texts.isin(["", *words]).to_numpy()
        values, right = numbers(texts.where(~empty, "0"), "float", unit)
        return np.where(empty | np.isin(values, odd), np.nan, values), right
    right = texts.str.fullmatch(_PATTERNS[kind]).to_numpy(bool)
    texts = texts.where(right, "0")
    if kind != "float":
        whole = [_whole(text) for text in texts]
        fits = np.array([number is not None for number in whole], bool)
        return np.array([number or 0 for number in whole], np.int64), right & fits
    values = texts.astype(np.float64).to_numpy()
    return values, right & (np.abs(values) <= LARGEST)


def _whole(text: str) -> int | None:
    """The number from 0 to 2^63 - 1 that it is, MISSING for "", None where it is none: digits are
    exact, other forms such as 1e4 are floats that hold every whole number."""
    if not text:
        return MISSING
    if _WHOLE.fullmatch(text):
        number = int(Decimal(text))
        return number if 0 <= number < 2**63 else None
    value = float(text)
    return int(value) if value.is_integer() and 0 <= value < _EXACT else None
