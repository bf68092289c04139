"""The rows of tables as raw columns, by their description: what `build_tables` encodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hamur.data.columns import Columns, MultiColumn
from hamur.data.encode import MISSING, Codes, factorise
from hamur.data.multi_valued import RawMultiValued
from hamur.data.table import DOMAIN_SHIFT
from hamur.data.text.cells import Column
from hamur.data.text.rows import plain_text
from hamur.errors import DataValueError

LABEL = "label"  # (this, name): a label among the cells of a table


@dataclass(frozen=True)
class RawColumns:
    """N rows before encoding.

    sparse: name -> Codes, in model order, without the domain field; dense: name -> (N,) float;
    labels: name -> (N,) 0/1; domain (N,) 0..D-1 and domain_names (D,); row_id (N,) int64; group,
    time (N,) int64 or None; group_name: the column of the group; multi: name -> RawMultiValued.
    domain_field: the domain id is a sparse field too, the last one.
    """

    sparse: dict[str, Codes]
    dense: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    domain: np.ndarray
    domain_names: tuple[str, ...]
    row_id: np.ndarray
    group: np.ndarray | None = None
    group_name: str | None = None
    time: np.ndarray | None = None
    multi: dict[str, RawMultiValued] = field(default_factory=dict)
    domain_field: bool = True


def raw_of(
    cells: Mapping[str, Column | Codes],
    columns: Columns,
    row_id: np.ndarray,
    domain: np.ndarray,
    domain_names: tuple[str, ...],
) -> RawColumns:
    """N rows before encoding.

    cells: of all columns and labels.  domain (N,), domain_names: of the files, where no column says
    it; groups of different domains are different then.
    """
    missing = 0 if columns.zero_is_missing else MISSING
    sparse = {n: _coded(cells[n], columns.kinds[n], missing) for n in columns.sparse}
    multi = {}
    for spec in columns.multi:
        column = cells[spec.column]
        column = column.categorical() if isinstance(column, Codes) else column
        (sparse if spec.first_only else multi)[spec.name] = split_cells(column, spec)
    return RawColumns(
        sparse=sparse,
        multi=multi,
        dense={name: cells[name] for name in columns.dense},
        labels={name: cells[LABEL, name] for name in columns.labels},
        domain=domain,
        domain_names=domain_names,
        row_id=row_id,
        group=_group(cells, columns, domain),
        group_name=columns.group,
        time=None if columns.time is None else cells[columns.time],
        domain_field=len(domain_names) > 1 if columns.domain is None else columns.domain_feature,
    )


def _coded(column: Column | Codes, kind: str, missing: int) -> Codes:
    """With values in the order of their ids: of collected text whole numbers come first, but not
    where it is text by its kind."""
    if not isinstance(column, Codes):
        return factorise(column, missing)
    if kind != "text":
        return column
    order = np.argsort(column.values)
    rank = np.append(np.argsort(order), MISSING).astype(np.int32)
    return Codes(rank[column.codes], column.values[order])


def _group(cells: Mapping, columns: Columns, domain: np.ndarray) -> np.ndarray | None:
    """The number in the user's column, or the rank of its text; 0 where it is missing.

    Files with domains of their own may use the same numbers, so the domain comes before them.
    """
    if columns.group is None:
        return None
    group = cells[columns.group]
    if isinstance(group, pd.Categorical):
        group = factorise(group)
    if isinstance(group, Codes):
        group = group.codes.astype(np.int64) + 1
    group = np.maximum(group, 0)
    if columns.domain is not None or not domain.any():
        return group
    if group.max() >= 1 << DOMAIN_SHIFT:
        raise DataValueError(
            f"a {columns.group} too large to join several domains",
            column=columns.group,
            value=int(group.max()),
            expected=f"below 2**{DOMAIN_SHIFT}",
            remedy="load the domains one by one",
        )
    return (domain << DOMAIN_SHIFT) + group


def split_cells(column: pd.Categorical, of: MultiColumn) -> Codes | RawMultiValued:
    """The values of every cell, N lists of which equal cells share one; or the first values."""
    texts = [text.split(of.separator) for text in column.categories]
    texts = [values[:1] for values in texts] if of.first_only else texts
    entries = [plain_text(name) for values in texts for name in values]
    names, place = np.unique(entries, return_inverse=True)
    codes = factorise(pd.Categorical.from_codes(place, names))
    if of.first_only:
        return codes.take(column.codes)
    offsets = np.concatenate(([0], np.cumsum(list(map(len, texts)), dtype=int)))
    return RawMultiValued(codes, offsets, np.asarray(column.codes), of.max_len)
