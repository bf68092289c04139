"""Which skeleton rows of Ali-CCP remain, to which domain they belong, and which half of the test.

Several rows of the same sample id, ids of no domain: found here, because a range of a file cannot
know.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hamur.data import splits
from hamur.data.ali_ccp.columns import DOMAIN_COLUMN, NUM_DOMAINS
from hamur.data.ali_ccp.keys import RawPart, find_doubled_samples
from hamur.data.errors import (
    DataFormatError,
    UnknownDomainError,
)
from hamur.data.streaming.jobs import Job, advance
from hamur.data.streaming.parts import batches, column
from hamur.data.streaming.streamed import IdCounts
from hamur.data.text.bad_rows import LISTED_PER_REASON, SKIP_REMEDY, BadRows

DOMAIN_MIN_ROWS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """The rows of one skeleton file that remain, in file order, to be read block by block.

    domains: raw id of field 301 -> domain; repeated: folder of the lines to leave out, by part;
    first_id: the row_id of the file's first line; half: a mask of the rows to read, by file.
    """

    parts: list[RawPart]
    domains: dict[int, int]
    repeated: Path | None
    first_id: int
    rows: int = 0
    half_file: Path | None = None

    def blocks(self) -> Iterator[tuple]:
        """(batch, places (n,) of the remaining rows in it, their domain (n,) and row_id (n,))."""
        mask = None if self.half_file is None else np.load(self.half_file, mmap_mode="r")
        seen, first_id = 0, self.first_id
        for number, part in enumerate(self.parts):
            repeated = self._repeated(number)
            for batch in batches(part.folder):
                domain = self.domain(column(batch, DOMAIN_COLUMN))
                keep = domain >= 0
                lines = column(batch, "line")
                if len(repeated):
                    keep &= ~np.isin(lines, repeated)
                places = np.flatnonzero(keep)
                if mask is not None:
                    mine = mask[seen : seen + len(places)]
                    seen += len(places)
                    places = places[mine]
                yield batch, places, domain[places], first_id + lines[places].astype(np.int64) - 1
                advance(len(places))
            first_id += part.lines

    def domain(self, raw: np.ndarray) -> np.ndarray:
        """(n,) int8, -1 for an id of no domain."""
        domain = np.full(len(raw), -1, np.int8)
        for value, d in self.domains.items():
            domain[raw == value] = d
        return domain

    def half(self, folder: Path, name: str, rows: int) -> "Rows":
        """The rows of one half of the test file."""
        return replace(self, half_file=folder / f"{name}.npy", rows=rows)

    def _repeated(self, number: int) -> np.ndarray:
        file = None if self.repeated is None else self.repeated / f"{number}.npy"
        return np.load(file) if file is not None and file.exists() else np.empty(0, np.int64)


def check_feature_num(reports: list[dict], source, strict: bool) -> None:
    """What the files say about the length of a list is counted, and an error only if asked for."""
    differing = sum(report["feature_num_differs"] for report in reports)
    if not differing:
        return
    text = f"feature_num differs from the number of features in {differing} rows"
    if strict:
        raise DataFormatError(
            text,
            file=source.name,
            column="feature_num",
            expected="the number of features",
            remedy="fetch the file again, or leave out --check_feature_num",
        )
    _log.warning("%s: %s", source.name, text)


def choose(space, parts: dict, bad_rows: list[BadRows], options) -> dict[str, Rows]:
    """The rows of the train and the test file that remain.

    Raises:  DuplicateRowError, UnknownDomainError unless bad rows are skipped.
    """
    rows, first_id = {}, 0
    for (part, own), each in zip(parts.items(), bad_rows):
        repeated = find_doubled_samples(space, part, own, each)
        rows[part] = Rows(own, options.domain_map or {}, repeated, first_id)
        first_id += sum(p.lines for p in own)
    if not options.domain_map:
        job = Job("rows/domains", count_domains, (rows["train"].parts,))
        (found,) = space.run("domains", [job], "file")
        domains = _domains(found["ids"], bad_rows[0])
        rows = {part: replace(each, domains=domains) for part, each in rows.items()}
    jobs = [
        Job(f"rows/{part}", count_rows, (each, str(reject.path)), sum(p.rows for p in each.parts))
        for (part, each), reject in zip(rows.items(), bad_rows)
    ]
    reports = space.run("choosing rows", jobs)
    for report, each in zip(reports, bad_rows):
        each.merge(report)
    kept = {part: report["kept"] for part, report in zip(rows, reports)}
    if options.policy.on_bad_rows == "skip":
        splits.check_parts(kept, "official files")
    return {part: replace(each, rows=kept[part]) for part, each in rows.items()}


def count_domains(folder: Path, parts: list[RawPart]) -> dict:
    """A job: [id, rows] of field 301 in the training file, by first appearance."""
    counts, before = IdCounts(), 0
    for part in parts:
        for batch in batches(part.folder):
            ids = column(batch, DOMAIN_COLUMN)
            counts.add(ids + 1, np.arange(len(ids)) + before)  # absent is -1
            before += len(ids)
    ids, rows = counts.known()
    return {"ids": [[int(i) - 1, int(n)] for i, n in zip(ids[:1000], rows)]}


def _domains(found: list[list[int]], bad_rows: BadRows) -> dict[int, int]:
    domains = [raw for raw, rows in found if raw >= 0 and rows >= DOMAIN_MIN_ROWS]
    if len(domains) != NUM_DOMAINS:
        listed = ", ".join(f"{raw} ({rows} rows)" for raw, rows in found[:20])
        raise UnknownDomainError(
            f"{len(domains)} ids of field 301 stand in at least {DOMAIN_MIN_ROWS} training rows",
            file=bad_rows.path,
            column=DOMAIN_COLUMN,
            value=listed,
            expected=f"{NUM_DOMAINS} domains",
            remedy="say which are the domains: --domain_map RAW=0,RAW=1,RAW=2",
        )
    return {raw: number for number, raw in enumerate(domains)}


def count_rows(folder: Path, rows: Rows, name: str) -> dict:
    """A job: how many rows remain, and those of no domain as a report of BadRows."""
    kept, before, errors, unknown, seen = 0, 0, [], 0, {}
    for number, part in enumerate(rows.parts):
        for batch in batches(part.folder):
            raw = column(batch, DOMAIN_COLUMN)
            lines = column(batch, "line")
            keep = ~np.isin(lines, rows._repeated(number))
            bad = keep & (rows.domain(raw) < 0)
            kept += int((keep & ~bad).sum())
            unknown += int(bad.sum())
            for value in raw[bad].tolist():
                seen[value] = seen.get(value, 0) + 1
            for row in np.flatnonzero(bad)[: LISTED_PER_REASON - len(errors)]:
                errors.append((int(lines[row]) + before, int(raw[row])))
            advance(len(raw))
        before += part.lines
    known = ", ".join(map(str, rows.domains))
    reports = [
        [line, "no domain", "UnknownDomainError", {
            "problem": f"no domain; {seen[value]} rows have it", "file": name, "column": "301",
            "column_number": None, "value": "" if value < 0 else value,
            "expected": f"one of {known}",
            "remedy": "name its domain with --domain_map, or " + SKIP_REMEDY.partition("or ")[2],
        }, None]
        for line, value in errors
    ]  # fmt: skip
    dropped = {"no domain": unknown} if unknown else {}
    return {
        "kept": kept,
        "rows_read": 0,
        "dropped": dropped,
        "excluded": {},
        "errors": reports,
        "fatal": False,
    }


def divide(folder: Path, rows: Rows, rule: str, seed: int) -> dict:
    """A job: valid.npy and test.npy (N,) bool, which of the remaining test rows are in the half."""
    if rule == "public":
        valid = np.zeros(rows.rows, bool)
        valid[splits.halves(rows.rows, seed)[0]] = True
    else:
        pieces = [splits.hash_half(column(batch, "sample_id")[places], seed)
                  for batch, places, _, _ in rows.blocks()]  # fmt: skip
        valid = np.concatenate(pieces)
    np.save(folder / "valid.npy", valid)
    np.save(folder / "test.npy", ~valid)
    counts = {"valid": int(valid.sum()), "test": int((~valid).sum())}
    splits.check_parts(counts, rule)
    return counts
