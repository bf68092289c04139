"""Text files that a test changes line by line."""

from collections.abc import Callable
from pathlib import Path


def get_line(path: Path, number: int) -> str:
    """A line, counted from 1; in Latin-1 every byte is a character."""
    return path.read_bytes().decode("latin-1").split("\n")[number - 1]


def set_line(path: Path, number: int, change: str | Callable[[str], str]) -> None:
    """change: the new text of the line, or its text -> the new one."""
    lines = path.read_bytes().decode("latin-1").split("\n")
    lines[number - 1] = change(lines[number - 1]) if callable(change) else change
    path.write_bytes("\n".join(lines).encode("latin-1"))


def with_cell(column: int, value: str) -> Callable[[str], str]:
    """Text of a line -> the same with another value in a column, counted from 1; without quotes."""

    def change(text: str) -> str:
        cells = text.split(",")
        cells[column - 1] = value
        return ",".join(cells)

    return change
