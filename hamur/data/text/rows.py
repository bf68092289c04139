"""Typed rows of any source, and the plain form of their names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hamur.data.text.cells import Column

_WHOLE = re.compile(r"(-?\d+)\.0*")
_PLAIN = {"true": "True", "TRUE": "True", "false": "False", "FALSE": "False", "-0": "0"}


@dataclass(frozen=True)
class Rows:
    """columns: name -> (N,) int64 ("int", "time"), int32 or int64 ("category"), float64 ("float",
    "number", where NaN is missing) or pandas Categorical (NAMES); lines (N,), their numbers in the
    file, in Parquet from 1."""

    columns: dict[str, Column]
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def keep(self, good: np.ndarray) -> "Rows":
        """The rows where `good` (N,) bool is set; this object if that is all of them."""
        if good.all():
            return self
        columns = {name: column[good] for name, column in self.columns.items()}
        return Rows(columns, self.lines[good])


def plain_names(
    column: pd.Categorical, missing: Iterable[str]
) -> tuple[pd.Categorical, np.ndarray]:
    """The column with plain text, see `plain_text`, and "" for blanks and the words that mean a
    missing cell; and (N,) bool where it is missing."""
    texts = pa.array(column.categories, pa.large_string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    words = ["", *map(plain_text, missing)]
    empty = pc.or_(pc.is_in(texts, pa.array(words, texts.type)), pc.utf8_is_space(texts))
    empty = empty.to_numpy(zero_copy_only=False).copy()
    odd = pc.or_(pc.match_substring(texts, "."), pc.is_in(texts, pa.array(_PLAIN, texts.type)))
    odd = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
    if not len(odd) and not empty.any():
        return column, np.zeros(len(column), bool)
    plain = column.categories.to_numpy(object, copy=True)
    plain[odd] = list(map(plain_text, plain[odd]))
    empty[odd] |= np.isin(plain[odd], words)
    plain[empty] = ""
    place, distinct = pd.factorize(plain)
    return pd.Categorical.from_codes(place[column.codes], distinct), empty[column.codes]


def plain_text(text: str) -> str:
    """Whole numbers as the number, of 1.0 and 1. too, and booleans as pandas and Python do."""
    number = _WHOLE.fullmatch(text)
    text = number[1] if number else text
    return _PLAIN.get(text, text)


def concatenate(parts: list[Column]) -> Column:
    """One column from the same column of several blocks or files."""
    parts = [part for part in parts if len(part)] or parts[:1]  # the type of an empty one varies
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.Categorical):
        return pd.api.types.union_categoricals(parts)
    return np.concatenate(parts)
