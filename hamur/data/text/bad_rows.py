"""Bad rows: the first one stops a load, or all are left out, counted and listed."""

import csv
import gzip
import io
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from hamur import errors
from hamur.errors import DataError, DataFormatError

MODES = ("error", "skip")
MAX_LINE_MIB = 8
MAX_LINE_BYTES = MAX_LINE_MIB << 20
LISTED_PER_REASON = 1000
SHOWN_CHARACTERS = 200
PACKED = (".gz", ".zst")
TABLES = (".parquet", ".feather", ".arrow", ".ipc")  # of which no line can be shown
SKIP_REMEDY = "correct the row, or leave such rows out with `on_bad_rows='skip'`"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Policy:
    """on_bad_rows: "error" raises for the first bad row of a file, "skip" leaves bad rows out.

    max_fraction: above this share of skipped rows the file counts as unusable all the same.
    max_line_mib: a longer line of text makes the file unusable.
    """

    on_bad_rows: str = "error"
    max_fraction: float = 0.05
    max_line_mib: int = MAX_LINE_MIB

    def __post_init__(self):
        if self.on_bad_rows not in MODES:
            raise ValueError(f"`on_bad_rows` is {self.on_bad_rows!r}; use one of {MODES}")
        if not 0 <= self.max_fraction <= 1:
            raise ValueError(f"`max_bad_fraction` is {self.max_fraction}; use a share from 0 to 1")
        if self.max_line_mib < 1:
            raise ValueError(f"`max_line_mib` is {self.max_line_mib}; it must be at least 1")

    @property
    def max_line(self) -> int:
        """Bytes."""
        return self.max_line_mib << 20


class BadRows:
    """The bad rows of one file.  Checks run in any order; `raise_if_any` reports in file order.

    open_file: the unpacked bytes, for the texts of `listing`; None: of a plain file or a .gz.
    """

    def __init__(self, path: Path, policy: Policy, open_file: Callable | None = None):
        self.path, self.policy, self._open = path, policy, open_file
        self.dropped: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()  # left out by a rule of the data set: no defects
        self.rows_read = 0
        self._listed: Counter[str] = Counter()
        self._errors: dict[int, tuple[str, DataError]] = {}  # by line

    def __bool__(self) -> bool:
        return bool(self.dropped)

    def add(self, line: int, reason: str, error: DataError) -> None:
        """One bad row.  The first error of a line is the one that is shown."""
        self.dropped[reason] += 1
        self._listed[reason] += 1
        if self._listed[reason] <= LISTED_PER_REASON:
            self._errors.setdefault(int(line), (reason, error))

    def add_where(
        self,
        bad: np.ndarray,
        lines: np.ndarray,
        reason: str,
        make_error: Callable[[int], DataError],
    ) -> np.ndarray:
        """The rows where `bad` (N,) bool is set; make_error takes a row.  Returns ~bad."""
        rows = np.flatnonzero(bad)
        rows = rows[np.argsort(lines[rows], kind="stable")]
        shown = LISTED_PER_REASON if self.policy.on_bad_rows == "skip" else 1
        for row in rows[:shown]:
            self.add(lines[row], reason, make_error(int(row)))
        if len(rows) > shown:
            self.dropped[reason] += len(rows) - shown
        return ~bad

    def raise_if_any(self) -> None:
        """Raises the first error in file order, or, when skipping, if too many rows are bad."""
        if not self.dropped:
            return
        first = self._errors[min(self._errors)][1]
        if self.policy.on_bad_rows == "error":
            raise first
        total = sum(self.dropped.values())
        counts = ", ".join(f"{reason} {rows}" for reason, rows in sorted(self.dropped.items()))
        if total > self.policy.max_fraction * self.rows_read:
            raise DataFormatError(
                f"{total} of {self.rows_read} rows are bad ({counts}); the first one: {first}",
                file=self.path,
                expected=f"at most {self.policy.max_fraction:.1%}",
                remedy="correct the file, or allow more with `max_bad_fraction`",
            )
        _log.warning("%s: left out %d of %d rows: %s", self.path, total, self.rows_read, counts)

    def report(self) -> dict:
        """All of this as JSON values, for `merge` in another process."""
        errors = [
            [line, reason, type(error).__name__, error.parts]
            for line, (reason, error) in sorted(self._errors.items())
        ]
        counts = {"dropped": self.dropped, "excluded": self.excluded}
        return {"rows_read": self.rows_read, "errors": errors} | counts

    def merge(self, report: dict, lines_before: int = 0) -> None:
        """Adds the report of a part of this file that begins after so many lines."""
        part = BadRows(self.path, self.policy)
        part.rows_read = report["rows_read"]
        part.dropped.update(report["dropped"])
        part.excluded.update(report["excluded"])
        for line, reason, kind, parts in report["errors"]:
            line += lines_before
            part._errors[line] = reason, getattr(errors, kind)(**parts | {"line": line})
        self.join(part)

    def join(self, part: "BadRows") -> None:
        """Adds the bad rows of a later part of this file."""
        self.rows_read += part.rows_read
        self.dropped.update(part.dropped)
        self.excluded.update(part.excluded)
        for line, (reason, error) in sorted(part._errors.items()):
            self._listed[reason] += 1
            if self._listed[reason] <= LISTED_PER_REASON:
                self._errors.setdefault(line, (reason, error))

    def counts(self) -> dict:
        """rows_read = rows_kept + the sum of dropped."""
        dropped = dict(sorted((self.dropped + self.excluded).items()))
        rows = {"rows_read": self.rows_read, "rows_kept": self.rows_read - sum(dropped.values())}
        return rows | {"dropped": dropped}

    def listing(self) -> list[tuple[str, int, str, str]]:
        """(file, line, reason, beginning of the line), in file order."""
        texts = self._texts()
        errors = sorted(self._errors.items())
        return [(self.path.name, line, why, texts.get(line, "")) for line, (why, _) in errors]

    def _texts(self) -> dict[int, str]:
        """Line -> its beginning, read again; nothing of a table that is no text."""
        text = self._open is not None or (self.path.is_file() and self.path.suffix not in TABLES)
        if not self._errors or not text:
            return {}
        with self._open() if self._open is not None else unpacked(self.path) as file:
            lines = enumerate(islice(file, max(self._errors)), start=1)
            return {number: _shown(line) for number, line in lines if number in self._errors}


def unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if it is a .gz or .zst."""
    if path.suffix == ".zst":
        path.open("rb").close()  # an error of the system has the file's name
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def by_file(bad_rows: Sequence[BadRows]) -> dict[str, BadRows]:
    """The bad rows by the names of their files, with as many folders as make the names differ."""
    paths = [each.path for each in bad_rows]
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, bad_rows)) if paths else {}


def counts_by_file(bad_rows: Sequence[BadRows]) -> dict[str, dict]:
    """The counts of each file, see `by_file`."""
    return {name: each.counts() for name, each in by_file(bad_rows).items()}


def write_bad_rows(path: Path, bad_rows: Sequence[BadRows]) -> None:
    """All listings as CSV: file, line, reason, text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", "reason", "text"])
        for name, rows in by_file(bad_rows).items():
            writer.writerows((name, *row) for _, *row in rows.listing())


def _shown(line: bytes) -> str:
    return line.rstrip(b"\r\n")[:SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
