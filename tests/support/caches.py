"""Folders and tables compared."""

from pathlib import Path

import numpy as np


def content(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """Path below the folder -> bytes, of all files of this pattern."""
    files = (path for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_same(splits, others, without=()) -> None:
    """The tables have the same columns with the same values."""
    for one, other in zip(splits, others):
        one, other = one.columns(), other.columns()
        assert set(one) == set(other)
        for name in set(one) - set(without):
            assert np.array_equal(np.asarray(one[name]), np.asarray(other[name])), name


def change_cell(path: Path, line: int, column: int, value: str) -> None:
    """Another value in a column, counted from 1, of a file without quotes."""
    lines = path.read_text().split("\n")
    cells = lines[line - 1].split(",")
    cells[column - 1] = value
    lines[line - 1] = ",".join(cells)
    path.write_text("\n".join(lines))
