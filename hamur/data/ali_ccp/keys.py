"""Keys that stand twice in the raw Ali-CCP files: common rows and sample ids.

A range of a file cannot know them; here whole files are looked through, in bounded memory.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hamur.data.ali_ccp.form import KEY
from hamur.data.errors import DuplicateRowError, EmptySplitError
from hamur.data.streaming.jobs import Job
from hamur.data.streaming.parts import batches, column
from hamur.data.text.bad_rows import LISTED_PER_REASON, BadRows

SAMPLES_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class RawPart:
    """A finished part: its folder, the lines of its range, the rows in it, its sample ids; longest:
    the length of the longest list of each field that is kept as lists."""

    folder: Path
    lines: int
    rows: int
    first_id: int | None
    last_id: int | None
    ascending: bool
    longest: dict[str, int] = field(default_factory=dict)


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


def check_keys(reports: list[dict], bad_rows: list[BadRows]) -> None:
    """Reject repeated keys of the common features; one report of a file each."""
    for report, each in zip(reports, bad_rows):
        _reject_doubled(report, KEY, each)


def _reject_doubled(report: dict, key: str, bad_rows: BadRows) -> None:
    reason = f"repeated {key}"
    for first, line, value in report["doubled"]:
        error = DuplicateRowError(
            f"{key} stands in line {first} already",
            file=bad_rows.path,
            line=line,
            column=key,
            value=value,
            expected="every key once",
            remedy="remove one of the rows, or keep the first with --on_bad_rows skip",
        )
        bad_rows.add(line, reason, error)
    if unlisted := report["count"] - len(report["doubled"]):
        bad_rows.dropped[reason] += unlisted


def find_doubled_samples(space, part: str, parts: list[RawPart], bad_rows: BadRows) -> Path | None:
    """The folder that lists repeated sample ids, None without any; looked for only where ids do not
    ascend from part to part."""
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
    _reject_doubled(report, "sample_id", bad_rows)
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
