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
from hamur.data.ali_ccp_lists import KEY
from hamur.data.ali_ccp_parts import batches, column
from hamur.data.jobs import Job, advance
from hamur.data.rejects import LISTED_PER_REASON, SKIP_REMEDY, Rejects
from hamur.data.schema import (
    DataFormatError,
    DuplicateRowError,
    EmptySplitError,
    UnknownDomainError,
)
from hamur.data.streamed import IdCounts

DOMAIN_COLUMN, NUM_DOMAINS, DOMAIN_MIN_ROWS = "301", 3, 10
SAMPLES_AT_ONCE = 1 << 23
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawPart:
    """A finished part: its folder, the lines of its range, the rows in it, its sample ids."""

    folder: Path
    lines: int
    rows: int
    first_id: int | None
    last_id: int | None
    ascending: bool


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


def sort_keys(folder: Path, name: str, parts: list[RawPart]) -> dict:
    """A job: keys.npy (n,) uint64 ascending, places.npy (n,) int32; the first of equal keys."""
    keys, lines, before = [], [], 0
    for part in parts:
        for batch in batches(part.folder):
            keys.append(column(batch, KEY))
            lines.append(column(batch, "line").astype(np.int64) + before)
        before += part.lines
    if not keys:
        raise EmptySplitError("the file has no row", file=name, remedy="check how it was made")
    keys, lines = np.concatenate(keys), np.concatenate(lines)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    again = np.concatenate(([False], ordered[1:] == ordered[:-1]))
    np.save(folder / "keys.npy", ordered[~again])
    np.save(folder / "places.npy", order[~again].astype(np.int32))
    rows = np.flatnonzero(again)
    firsts = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))[rows]
    doubled = [[int(lines[order[f]]), int(lines[order[r]]), f"{ordered[r]:016x}"]
               for f, r in zip(firsts, rows)]  # fmt: skip
    return {"doubled": sorted(doubled, key=lambda each: each[1])[:LISTED_PER_REASON],
            "count": len(rows)}  # fmt: skip


def check_keys(reports: list[dict], rejects: list[Rejects]) -> None:
    for report, each in zip(reports, rejects):
        _reject_doubled(report, KEY, each)


def _reject_doubled(report: dict, key: str, rejects: Rejects) -> None:
    reason = f"repeated {key}"
    for first, line, value in report["doubled"]:
        error = DuplicateRowError(
            f"{key} stands in line {first} already",
            file=rejects.path,
            line=line,
            column=key,
            value=value,
            expected="every key once",
            remedy="remove one of the rows, or keep the first with --on_bad_rows skip",
        )
        rejects.add(line, reason, error)
    if unlisted := report["count"] - len(report["doubled"]):
        rejects.dropped[reason] += unlisted


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


def choose(space, parts: dict, rejects: list[Rejects], options) -> dict[str, Rows]:
    """The rows of the train and the test file that remain.

    Raises:  DuplicateRowError, UnknownDomainError unless bad rows are skipped.
    """
    rows, first_id = {}, 0
    for (part, own), each in zip(parts.items(), rejects):
        repeated = _find_repeated(space, part, own, each)
        rows[part] = Rows(own, options.domain_map or {}, repeated, first_id)
        first_id += sum(p.lines for p in own)
    if not options.domain_map:
        job = Job("rows/domains", count_domains, (rows["train"].parts,))
        (found,) = space.run("domains", [job], "file")
        domains = _domains(found["ids"], rejects[0])
        rows = {part: replace(each, domains=domains) for part, each in rows.items()}
    jobs = [
        Job(f"rows/{part}", count_rows, (each, str(reject.path)), sum(p.rows for p in each.parts))
        for (part, each), reject in zip(rows.items(), rejects)
    ]
    reports = space.run("choosing rows", jobs)
    for report, each in zip(reports, rejects):
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


def _domains(found: list[list[int]], rejects: Rejects) -> dict[int, int]:
    domains = [raw for raw, rows in found if raw >= 0 and rows >= DOMAIN_MIN_ROWS]
    if len(domains) != NUM_DOMAINS:
        listed = ", ".join(f"{raw} ({rows} rows)" for raw, rows in found[:20])
        raise UnknownDomainError(
            f"{len(domains)} ids of field 301 stand in at least {DOMAIN_MIN_ROWS} training rows",
            file=rejects.path,
            column=DOMAIN_COLUMN,
            value=listed,
            expected=f"{NUM_DOMAINS} domains",
            remedy="say which are the domains: --domain_map RAW=0,RAW=1,RAW=2",
        )
    return {raw: number for number, raw in enumerate(domains)}


def count_rows(folder: Path, rows: Rows, name: str) -> dict:
    """A job: how many rows remain, and those of no domain as a report of Rejects."""
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


def _find_repeated(space, part: str, parts: list[RawPart], rejects: Rejects) -> Path | None:
    last = None
    for each in parts:
        if each.first_id is None:
            continue
        if not each.ascending or (last is not None and each.first_id <= last):
            break
        last = each.last_id
    else:
        return None  # the ids ascend, as in the official files
    job = Job(f"repeated/{part}", find_repeated, (parts,))
    (report,) = space.run("looking for repeated ids", [job], "file")
    _reject_doubled(report, "sample_id", rejects)
    return space.path(job.name) if report["count"] else None


def find_repeated(folder: Path, parts: list[RawPart]) -> dict:
    """A job: <part>.npy, the lines whose sample id stood earlier; in passes of bounded memory."""
    passes = max(1, -(-sum(part.rows for part in parts) // SAMPLES_AT_ONCE))
    found = []
    for turn in range(passes):
        ids, lines, numbers = [], [], []
        for number, part in enumerate(parts):
            for batch in batches(part.folder):
                id_ = column(batch, "sample_id")
                mine = id_ % passes == turn
                ids.append(id_[mine])
                lines.append(column(batch, "line")[mine].astype(np.int64))
                numbers.append(np.full(len(ids[-1]), number))
        ids, lines, numbers = map(np.concatenate, (ids, lines, numbers))
        order = np.argsort(ids, kind="stable")
        again = np.concatenate(([False], ids[order][1:] == ids[order][:-1]))
        firsts = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
        rows = np.flatnonzero(again)
        found += [(numbers[order[r]], lines[order[r]], numbers[order[f]], lines[order[f]],
                   int(ids[order[r]])) for r, f in zip(rows, firsts[rows])]  # fmt: skip
    before = np.concatenate(([0], np.cumsum([part.lines for part in parts])))
    for number in {row[0] for row in found}:
        own = np.sort([line for n, line, *_ in found if n == number])
        np.save(folder / f"{number}.npy", own)
    doubled = [[int(before[m] + first), int(before[n] + line), value]
               for n, line, m, first, value in sorted(found)]  # fmt: skip
    return {"doubled": doubled[:LISTED_PER_REASON], "count": len(doubled)}
