"""Label rules: a column of 0 and 1, "rating > 3", "income == >50K"."""

import operator
import re
from collections.abc import Mapping

import numpy as np

from hamur.data.text.rows import plain_text
from hamur.data.text.times import NUMBER

_RULE = re.compile(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*")
_COMPARE = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def parse_label(rule: str) -> tuple[str, str | None, float | str | None]:
    """(column, comparison, number or text) of a rule; (column, None, None): a column of 0 and 1.

    Raises:  ValueError: text that is compared otherwise than by == and !=.
    """
    match = _RULE.fullmatch(rule)
    if match is None:
        return rule.strip(), None, None
    column, comparison, value = match.groups()
    if re.fullmatch(NUMBER, value):
        return column, comparison, float(value)
    if comparison not in ("==", "!="):
        raise ValueError(
            f"label rule is {rule!r}; use a column, 'column > number', or 'column == text'"
        )
    return column, comparison, value


def label_name(rule: str) -> str:
    """What a label is called whose rule has no name."""
    column, comparison, value = parse_label(rule)
    return column if comparison is None else f"{column} {comparison} {_shown(value)}"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"


def label(rule: str, cells: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,) 0/1 by a rule, see `parse_label`.  Raises:  ValueError: another form."""
    column, comparison, value = parse_label(rule)
    if column not in cells:
        raise ValueError(f"label rule is {rule!r}; use a column, or 'column > number'")
    values = cells[column]
    value = plain_text(value) if isinstance(value, str) else value
    return values if comparison is None else _COMPARE[comparison](values, value)
