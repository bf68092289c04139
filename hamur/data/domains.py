"""The domains of a table: which rows belong to which, fitted on the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from hamur.data.collect import value_order
from hamur.data.encode import MISSING, Codes
from hamur.data.text.bad_rows import SKIP_REMEDY
from hamur.data.text.rows import plain_text
from hamur.errors import DataValueError

OTHER, NO_VALUE = "other", "(no value)"  # names of domains


@dataclass(frozen=True)
class Domain:
    """The domains of a table by the values of one column.

    groups: name of each domain, in the order of the ids -> the values of `column` that belong to
        it; numbers of an "int" or "category" column, text of the other kinds.  None, before the
        rows are read: each distinct value, in the order of its frequency in training.
    bins: ascending edges of a column of numbers instead: up to the first, above it up to the
        second, ..., above the last.
    other: the name of the domain that values of too few rows were joined to.
    first: what separates the values of a cell, of which the first one counts; None: the whole cell.
    drop_others: rows of other values are left out by definition; otherwise they are bad rows, with
        this remedy, which is in no JSON.
    """

    column: str
    groups: dict[str, tuple[str | float | bool, ...]] | None = None
    drop_others: bool = False
    remedy: str = field(default=SKIP_REMEDY, compare=False)
    bins: tuple[float, ...] = ()
    other: str | None = None
    first: str | None = None

    def __post_init__(self):
        if self.first == "" or (self.other is not None and self.other not in (self.groups or ())):
            raise ValueError(
                f"the domain of {self.column!r} has no separator, or no {self.other!r}"
            )
        values = self.values if self.groups is not None else ()
        if len(set(values)) < len(values):
            raise ValueError(f"a value of {self.column!r} is in two groups of the domain, or twice")
        if list(self.bins) != sorted(set(self.bins)):
            raise ValueError(
                f"the bins of {self.column!r} are {list(self.bins)}; use ascending edges"
            )

    @property
    def closed(self) -> bool:
        """Whether rows may be of no domain."""
        return self.groups is not None and self.other is None

    @property
    def values(self) -> list:
        return [value for group in self.groups.values() for value in group]

    def ids(self, column: np.ndarray | pd.Categorical | Codes) -> np.ndarray:
        """(N,) int64 domain of each row, MISSING for a value of no domain."""
        number = {value: d for d, group in enumerate(self.groups.values()) for value in group}
        codes, values = self._values(column)
        return np.array([number.get(value, MISSING) for value in values], int)[codes]

    def _values(self, column: np.ndarray | pd.Categorical | Codes) -> tuple[np.ndarray, list]:
        """(N,) positions among values that may repeat: cells, their first parts, or bins."""
        if isinstance(column, pd.Categorical):
            codes, values = np.asarray(column.codes), column.categories.tolist()
        elif isinstance(column, Codes):
            codes, values = column.codes, [*column.values.tolist(), ""]  # at -1
        else:
            codes, values = pd.factorize(column, use_na_sentinel=False)
            values = ["" if value != value else value for value in values.tolist()]
        if self.first is not None:
            values = [plain_text(text.split(self.first)[0]) for text in values]
        if self.bins:
            values = self._bins_of(values)
        return codes, values

    def _bins_of(self, values: list) -> list[int]:
        """The number of each value's bin, MISSING without a value.  Raises DataValueError: text."""
        texts = pd.Series(values, dtype=object)
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
        missing = np.isnan(numbers)
        if wrong := [text for text in texts[missing] if isinstance(text, str) and text]:
            raise DataValueError(
                "no number, as the bins of a domain need",
                column=self.column,
                value=wrong[0],
                remedy="correct the cell, or make each value a domain by naming the column alone",
            )
        return np.where(missing, MISSING, np.searchsorted(self.bins, numbers)).tolist()

    def fit(
        self, column: np.ndarray | pd.Categorical | Codes, train: np.ndarray, min_rows: int
    ) -> tuple["Domain", np.ndarray, dict[str, int]]:
        """The domain with its groups; (N,) int64 domain of each row; and the training rows of the
        groups that were joined to `other`, which are those of fewer than min_rows.

        train: positions of the training rows.
        """
        domain = self if self.groups is not None else self._by_frequency(column, train)
        ids = domain.ids(column)
        if domain.other is not None:  # fitted before, on other rows
            ids = np.where(ids == MISSING, list(domain.groups).index(domain.other), ids)
        names, rows = list(domain.groups), np.bincount(ids[train], minlength=len(domain.groups))
        small = {name: int(n) for name, n in zip(names, rows) if n < min_rows}
        if not small:
            return domain, ids, {}
        groups = {name: group for name, group in domain.groups.items() if name not in small}
        # A value that training lacks is no part of what was fitted on it.
        keep_all = self.groups is not None or self.bins
        seen = [v for name, n in small.items() if n or keep_all for v in domain.groups[name]]
        groups[OTHER] = (*groups.get(OTHER, ()), *seen)
        place = {name: number for number, name in enumerate(groups)}
        new = np.array([place.get(name, place[OTHER]) for name in names])
        return replace(domain, groups=groups, other=OTHER), new[ids], small

    def _by_frequency(
        self, column: np.ndarray | pd.Categorical | Codes, train: np.ndarray
    ) -> "Domain":
        codes, values = self._values(column)
        place, distinct = pd.factorize(np.array(values, object))
        rows = np.bincount(place[codes[train]], minlength=len(distinct))
        if self.bins:
            names = [*_bin_names(self.column, self.bins), NO_VALUE]
            order = [number for number in (*range(len(self.bins) + 1), MISSING) if number in values]
            return replace(self, groups={names[number]: (number,) for number in order})
        present = np.unique(place[codes])
        if all(isinstance(value, str) for value in values):
            order = present[value_order(distinct[present])]
        else:
            order = present[np.argsort([np.inf if v == "" else v for v in distinct[present]])]
        order = order[np.argsort(-rows[order], kind="stable")]
        return replace(self, groups={_name(value): (value,) for value in distinct[order].tolist()})


def _name(value: str | float) -> str:
    """Of the domain of a value."""
    if isinstance(value, str):
        return value or NO_VALUE
    return NO_VALUE if value == MISSING else f"{value:.15g}"


def _bin_names(column: str, edges: Sequence[float]) -> list[str]:
    """As "age up to 24", "age 25 to 34", "age above 34"."""
    whole = all(float(edge).is_integer() for edge in edges)
    ends = [f"{edge:g}" if edge != int(edge) else str(int(edge)) for edge in edges]
    starts = [str(int(edge) + 1) for edge in edges] if whole else ends
    between = [f"{column} {start} to {end}" for start, end in zip(starts, ends[1:])]
    return [f"{column} up to {ends[0]}", *between, f"{column} above {ends[-1]}"]
