"""Mutated lines of the three raw files of MovieLens-1M: read as by hand, or left out and named."""

import random
import re

import numpy as np
import pytest

from hamur.data.errors import DataError
from hamur.data.movielens.files import MOVIES, RATINGS, USERS
from hamur.data.text import reader
from hamur.data.text.bad_rows import BadRows, Policy

WHOLE = re.compile(r"\d{1,18}(\.0*)?")
FILES = {"ratings.dat": RATINGS, "users.dat": USERS, "movies.dat": MOVIES}


def mutated(rng, line):
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(line) + 1)
        to = min(len(line), at + rng.randint(1, 4))
        line = rng.choice(
            [
                lambda: line[:at] + line[to:],
                lambda: line[:at] + rng.choice("::||,.-+eE0189 \t\"'xé") + line[at:],
                lambda: line[:at] + line[at:to] + line[at:],
                lambda: line.replace("::", rng.choice([":", ":::", "::::", ","]), 1),
                lambda: "::".join(
                    rng.choice(["", "nan", "-3", "1e4", "0x1", "2.0"])
                    if rng.random() < 0.2
                    else cell
                    for cell in line.split("::")
                ),
            ]
        )()
    return line


def by_hand(line, layout):
    """The cells that are read, by name, or None for a bad line."""
    cells = line.split("::")
    if len(cells) != len(layout.names):
        return None
    found = {}
    for name, cell in zip(layout.names, cells):
        kind = layout.kinds.get(name)
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
    layout, rng = FILES[name], random.Random(7)
    lines = (movielens_folder / name).read_text(encoding=layout.encoding).splitlines()
    changed = [mutated(rng, rng.choice(lines)) for _ in range(num_mutated)]
    path = tmp_path / name
    path.write_text("".join(line + "\n" for line in changed), encoding=layout.encoding)
    bad_rows = BadRows(path, Policy("skip", 1.0))
    rows = reader.read_rows(path, layout, bad_rows)
    bad_rows.raise_if_any()
    expected = [by_hand(line, layout) for line in changed]
    good = [n for n, cells in enumerate(expected) if cells is not None]
    assert (rows.lines - 1).tolist() == good and 0.1 < len(good) / num_mutated < 0.9
    for column in layout.kinds:
        assert np.asarray(rows.columns[column]).tolist() == [expected[n][column] for n in good]
    counts = bad_rows.counts()
    assert counts["rows_read"] == num_mutated and counts["rows_kept"] == len(good)
    first = next(n for n, cells in enumerate(expected) if cells is None)
    strict = BadRows(path, Policy())
    with pytest.raises(DataError, match="Remedy: ") as caught:
        reader.read_rows(path, layout, strict)
        strict.raise_if_any()
    assert caught.value.line == first + 1
