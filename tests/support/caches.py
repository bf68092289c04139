"""Folders and tables compared."""

from pathlib import Path

import numpy as np


def content(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """Path below the folder -> bytes, of all files of this pattern."""
    files = (path for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_same(splits, others, without=()) -> None:
    """The tables have the same columns with the same values, and the same lists."""
    for table, like in zip(splits, others, strict=True):
        one, other = table.columns(), like.columns()
        assert set(one) == set(other)
        for name in set(one) - set(without):
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        for mine, theirs in zip(table.multi_valued, like.multi_valued, strict=True):
            np.testing.assert_array_equal(mine.ids, theirs.ids)
            np.testing.assert_array_equal(mine.rows, theirs.rows)
