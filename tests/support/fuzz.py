"""Damaged lines for the readers of text files."""

import random


def mutated(
    rng: random.Random,
    line: str,
    marks: str,
    separator: str = ",",
    cells: tuple[str, ...] = ("", "nan", "-3", "1e4", "1e400", "0x1", "2.0", "0", "0.", "1"),
) -> str:
    """The line after one or two changes: characters left out, repeated or inserted from `marks`, or
    a cell that is replaced by one of `cells`."""
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(line) + 1)
        to = min(len(line), at + rng.randint(1, 4))
        change = rng.randrange(4)
        if change == 0:
            line = line[:at] + line[to:]
        elif change == 1:
            line = line[:at] + line[at:to] + line[at:]
        elif change == 2:
            line = line[:at] + rng.choice(marks) + line[at:]
        else:
            row = line.split(separator)
            row[rng.randrange(len(row))] = rng.choice(cells)
            line = separator.join(row)
    return line
