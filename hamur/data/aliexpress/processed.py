"""The processed files of AliExpress, train.csv and test.csv: read, joined, divided by page."""

import numpy as np
import pandas as pd

from hamur.data import build_tables, splits
from hamur.data.aliexpress.files import (
    CSV,
    DENSE_COLUMNS,
    DOMAIN_SHIFT,
    GROUP,
    LABELS,
    PART_SHIFT,
    PARTS,
    SPARSE_COLUMNS,
)
from hamur.data.encode import factorise
from hamur.data.errors import DataValueError, LeakageError
from hamur.data.text import checks, reader
from hamur.data.text.bad_rows import BadRows

Columns = dict[str, np.ndarray]


def read_processed(bad_rows: BadRows) -> Columns:
    """The 82 columns of one file's rows, numerical ones as float32, and "line"."""
    rows = reader.read_rows(bad_rows.path, CSV, bad_rows)
    for name in LABELS:
        rows = checks.allowed(rows, name, (0, 1), bad_rows)
    rows = checks.implied(rows, *LABELS[::-1], None, bad_rows)
    bad_rows.raise_if_any()
    columns = {
        name: column.astype(np.float32) if name in DENSE_COLUMNS else column
        for name, column in rows.columns.items()
    }
    return columns | {"line": rows.lines}


def join_pieces(
    pieces: list[Columns], labels: tuple[str, ...], valid_fraction: float
) -> tuple[build_tables.RawColumns, splits.Index]:
    """All rows, country by country, training rows first; and which are train, valid and test."""
    lengths = np.array([len(piece[GROUP]) for piece in pieces])
    starts = np.cumsum(lengths) - lengths
    parts = [[], [], []]
    for i, piece in enumerate(pieces):
        rows = starts[i] + np.arange(lengths[i])
        if i % len(PARTS):
            parts[2].append(rows)
            continue
        late = last_pages(piece[GROUP], valid_fraction)
        parts[0].append(rows[~late])
        parts[1].append(rows[late])

    def column(name: str) -> np.ndarray:
        return np.concatenate([piece[name] for piece in pieces])

    domain = np.repeat(np.arange(len(pieces)) // len(PARTS), lengths)
    part = np.repeat(np.arange(len(pieces)) % len(PARTS), lengths)
    raw = build_tables.RawColumns(
        sparse={name: factorise(column(name)) for name in SPARSE_COLUMNS},
        dense={name: column(name) for name in DENSE_COLUMNS},
        labels={name: column(name) for name in labels},
        domain=domain,
        row_id=(domain << DOMAIN_SHIFT) + (part << PART_SHIFT) + column("line"),
        group=_group(column(GROUP), domain),
    )
    return raw, tuple(np.concatenate(rows) for rows in parts)


def last_pages(search_id: np.ndarray, fraction: float) -> np.ndarray:
    """(N,) bool: the rows of the pages that appear last, as few whole pages as hold this share.

    By first appearance in the file, since the ids themselves do not ascend.
    """
    page, ids = pd.factorize(search_id)
    held = np.cumsum(
        np.bincount(page, minlength=len(ids))[::-1]
    )  # rows of the last 1, 2, ... pages
    pages = 1 + int(np.searchsorted(held, fraction * len(page)))
    return page >= len(ids) - pages


def _group(search_id: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """The search id itself, or, as countries may use the same numbers, with the country before."""
    if not domain.any():
        return search_id
    if search_id.max() >= 1 << DOMAIN_SHIFT:
        raise DataValueError(
            "a search id too large to join several countries",
            column=GROUP,
            value=int(search_id.max()),
            expected=f"below 2**{DOMAIN_SHIFT}",
            remedy="load the countries one by one",
        )
    return (domain << DOMAIN_SHIFT) + search_id


def check_pages(train: np.ndarray, valid: np.ndarray) -> None:
    """Raises LeakageError where a page, by its group, stands in both."""
    common = np.intersect1d(train, valid)
    if len(common):
        raise LeakageError(
            f"{len(common)} search pages stand in both train and valid",
            column=GROUP,
            value=common[:5].tolist(),
            expected="whole pages",
            remedy="divide the training file by page",
        )
