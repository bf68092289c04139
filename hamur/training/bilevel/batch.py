"""A batch as the two levels read it."""

from typing import NamedTuple

import numpy as np

NONE = -1  # no source behaviour


class Batch(NamedTuple):
    """Rows of one batch, fillers of mask 0 included; the source tower comes first.

    ids (2, B, 3) int32 in the joined table; known (2, B, 3, 1), labels (2, B) float32;
    effect (B,) 1 with a source behaviour; mask (B,) 1 for a real row, 0 for a filler; share (B,)
    mask / number of real rows; category (B,) int32 source category;
    history (2, B, L, 2) int32 item and category in the joined table, real (2, B, L) float32;
    source_row, target_row (B,) positions in the tables, -1 for none.
    """

    ids: np.ndarray
    known: np.ndarray
    labels: np.ndarray
    effect: np.ndarray
    mask: np.ndarray
    share: np.ndarray
    category: np.ndarray
    history: np.ndarray | None
    real: np.ndarray | None
    source_row: np.ndarray
    target_row: np.ndarray


_TOWERS = ("ids", "known", "labels", "history", "real")  # fields whose first axis is the tower


def cut(chunk: Batch, begin: int, size: int, number: int, order: np.ndarray) -> Batch:
    """One batch of a chunk with `number` real rows; target_row becomes the row of the table."""
    parts = {}
    for name, value in chunk._asdict().items():
        if value is None:
            parts[name] = None
        elif name in _TOWERS:
            parts[name] = np.ascontiguousarray(value[:, begin : begin + size])
        else:
            parts[name] = value[begin : begin + size]
    real = min(size, number - begin)
    rows = np.full(size, NONE)
    rows[:real] = order[begin : begin + real]
    parts["share"] = parts["mask"] / np.float32(real)
    parts["target_row"] = rows
    return Batch(**parts)
