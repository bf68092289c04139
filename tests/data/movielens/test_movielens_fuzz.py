"""Mutated lines of the three raw files of MovieLens-1M: read as by hand, or left out and named."""

import random
import re

import numpy as np
import pytest

from hamur.data.errors import DataError
from hamur.data.movielens.load import MOVIES, RATINGS, USERS
from hamur.data.text import reader
from hamur.data.text.bad_rows import BadRows, Policy
from tests.support.fuzz import mutated

WHOLE = re.compile(r"\d{1,18}(\.0*)?")
MARKS = "::||,.-+eE0189 \t\"'xé"
FILES = {"ratings.dat": RATINGS, "users.dat": USERS, "movies.dat": MOVIES}


def by_hand(line, file_format):
    """The cells that are read, by name, or None for a bad line."""
    cells = line.split("::")
    if len(cells) != len(file_format.names):
        return None
    found = {}
    for name, cell in zip(file_format.names, cells):
        kind = file_format.kinds.get(name)
        if kind in ("int", "category"):
            cell = cell.strip()
            if kind == "category" and not cell:
                found[name] = reader.MISSING
            elif WHOLE.fullmatch(cell):
                found[name] = int(cell.split(".")[0])
            else:
                return None
        elif kind == "text":
            found[name] = cell
    return found


@pytest.mark.parametrize("name", FILES)
def test_mutated_lines_are_read_rightly_or_left_out(movielens_folder, tmp_path, name, num_mutated):
    file_format, rng = FILES[name], random.Random(7)
    lines = (movielens_folder / name).read_text(encoding=file_format.encoding).splitlines()
    changed = [mutated(rng, rng.choice(lines), MARKS, "::") for _ in range(num_mutated)]
    path = tmp_path / name
    path.write_text("".join(line + "\n" for line in changed), encoding=file_format.encoding)
    bad_rows = BadRows(path, Policy("skip", 1.0))
    rows = reader.read_rows(path, file_format, bad_rows)
    bad_rows.raise_if_any()
    expected = [by_hand(line, file_format) for line in changed]
    good = [n for n, cells in enumerate(expected) if cells is not None]
    assert (rows.lines - 1).tolist() == good and 0.1 < len(good) / num_mutated < 0.9
    for column in file_format.kinds:
        assert np.asarray(rows.columns[column]).tolist() == [expected[n][column] for n in good]
    counts = bad_rows.counts()
    assert counts["rows_read"] == num_mutated and counts["rows_kept"] == len(good)
    first = next(n for n, cells in enumerate(expected) if cells is None)
    strict = BadRows(path, Policy())
    with pytest.raises(DataError, match="Remedy: ") as caught:
        reader.read_rows(path, file_format, strict)
        strict.raise_if_any()
    assert caught.value.line == first + 1
