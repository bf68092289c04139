"""The engine for a fact file that is joined with a dimension file by a key.

A data set describes its files (`JoinedSource`, a `Pair` per fact file) and how fact rows are
divided; the stages are the same, and their memory does not grow with the rows:

    1 read_pairs   ranges of the dimension files -> chunks; their keys, sorted; ranges of the fact
                   files -> chunks, each row with its partner
    2 divide_rows  the rows of each split and their domain (a job of the data set per fact file)
    3 plan_cache   how often each dimension row occurs in training; the vocabulary of every field
                   and the extent of every number; the arrays of the cache

A dimension row is stored once in the cache too; a fact row points to it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hamur import errors
from hamur.data import splits
from hamur.data.streaming.chunks import POINTER, Chunk, FileRows, total
from hamur.data.streaming.jobs import Job, Workspace
from hamur.data.streaming.read import Partners, RawFormat, read_range, sort_keys
from hamur.data.streaming.sources import Source
from hamur.data.text.bad_rows import BadRows


@dataclass(frozen=True)
class JoinedSource:
    """What the two kinds of files hold, and how their columns become a table.

    sparse, dense: the columns of the table in model order, without the domain; multi: fields that
        keep their lists, up to max_len entries; order: see `IdCounts.known`; keep_unit: numbers
        within [0, 1] are not scaled.
    group: the sparse field that is the table's group too, or the name of the array that holds the
        dimension keys.  pointer: the name of the array of places of dimension rows.
    fact_first: vocabularies of fact fields come before those of dimension fields.
    options: of the data set: labels, min_count, policy, range_bytes; limit_rows: of a fact file.
    split_entry: of the schema; number_name: how it calls a constant number.
    alone, repeated: the reasons for which a fact row without partner and a dimension row with a
        known key are left out; {file} is the dimension file.
    """

    name: str
    fact: RawFormat
    dimension: RawFormat
    sparse: tuple[str, ...]
    dense: tuple[str, ...]
    group: str
    pointer: str
    repeated: str
    options: Any
    split_entry: dict
    number_name: Callable[[str], str] = str
    alone: str = "no partner in {file}"
    limit_rows: int | None = None
    multi: tuple[str, ...] = ()
    max_len: int = 0
    order: str = "value"
    keep_unit: bool = False
    fact_first: bool = False

    @property
    def sides(self) -> tuple[RawFormat, RawFormat]:
        pair = (self.dimension, self.fact)
        return pair[::-1] if self.fact_first else pair


@dataclass(frozen=True)
class Pair:
    """A fact file and its dimension file.

    name: of its jobs; shared: the folder of the cache for its dimension rows, which several pairs
    may share; divide: further arguments of the job that divides its rows; first_id: the row id of
    its first line, None to continue after the pair before; key_offset: number to add to the keys
    of its dimension rows as groups.
    """

    name: str
    fact: Source
    dimension: Source
    shared: str
    divide: tuple
    first_id: int | None = None
    key_offset: int = 0


class RawFile(NamedTuple):
    """A raw file that has been read; longest: the length of the longest list of each field."""

    chunks: tuple[Chunk, ...]
    bad_rows: BadRows
    lines: int
    rows: int
    longest: Counter


class PairFiles(NamedTuple):
    pair: Pair
    dimension: RawFile
    fact: RawFile


@dataclass
class SplitRows:
    """The rows of a split: of every fact file, and the dimension rows that they share with other
    splits, stored in a folder of the cache.  row_id_type: of the row ids."""

    facts: list[FileRows] = field(default_factory=list)
    folder: str = ""
    dimensions: list[FileRows] = field(default_factory=list)
    row_id_type: str = "int32"


def read_pairs(space: Workspace, source: JoinedSource, pairs: Sequence[Pair]) -> list[PairFiles]:
    """Reads and joins all files.  Raises:  DataError: the first bad row in file order."""
    dimensions = [_read_file(space, source, pair) for pair in pairs]
    common = (source.dimension, source.options.policy, source.repeated)
    jobs = [
        Job(f"keys/{pair.name}", sort_keys, (pair.dimension.name, file.chunks, *common))
        for pair, file in zip(pairs, dimensions)
    ]
    for report, file in zip(space.run("sorting keys", jobs, "file"), dimensions):
        file.bad_rows.merge(report)
        file.bad_rows.raise_if_any()
    files = []
    for pair, dimension, job in zip(pairs, dimensions, jobs):
        name = Path(pair.dimension.name).name
        partners = Partners(name, space.path(job.name), source.alone.format(file=name))
        files.append(PairFiles(pair, dimension, _read_file(space, source, pair, partners)))
    return files


def _read_file(
    space: Workspace, source: JoinedSource, pair: Pair, partners: Partners | None = None
) -> RawFile:
    """The fact file of a pair, or without partners its dimension file."""
    kind, limit = ("fact", source.limit_rows) if partners else ("dimension", None)
    file, file_format = getattr(pair, kind), getattr(source, kind)
    jobs = []
    for start, stop in file.ranges(source.options.range_bytes, limit):
        args = (file, start, stop, file_format, source.options.policy, partners)
        size = (stop or file.size) - start
        jobs.append(Job(f"{kind}/{pair.name}-{start}-{stop}", read_range, args, size))
    bad_rows = BadRows(Path(file.name), source.options.policy, file.open)
    lines = rows = 0

    def settle(_: int, report: dict) -> str:
        nonlocal lines, rows
        bad_rows.merge(report, lines)
        if source.options.policy.on_bad_rows == "error":
            bad_rows.raise_if_any()
        if report["unusable"]:
            kind, parts = report["unusable"]
            line = parts["line"] and parts["line"] + lines
            raise getattr(errors, kind)(**parts | {"line": line})
        lines, rows = lines + report["lines"], rows + report["rows"]
        return f"{rows:,} rows"

    reports = space.run(f"reading {Path(file.name).name}", jobs, "B", settle)
    if not rows:
        bad_rows.raise_if_any()
        raise errors.EmptySplitError(
            "the file has no row", file=file.name, remedy="check how it was made"
        )
    longest = Counter()
    for report in reports:
        longest |= Counter(report["longest"])
    chunks = tuple(Chunk(space.path(j.name), r["lines"], r["rows"]) for j, r in zip(jobs, reports))
    return RawFile(chunks, bad_rows, lines, rows, longest)


def divide_rows(
    space: Workspace,
    source: JoinedSource,
    files: Sequence[PairFiles],
    work: Callable[..., dict],
) -> dict[str, SplitRows]:
    """The rows of each split.

    work: a job, (folder, file name, chunks, number of dimension rows, policy, *pair.divide) -> the
        report of its bad rows and "rows": split -> number of rows.  It writes split.npy and
        domain.npy (see `FileRows`) for the rows of the chunks; where its report says "reordered",
        for those of a chunk of its own, whose lines count through the file.
    Raises:  DataError; EmptySplitError: a split without rows.
    """
    jobs = []
    for pair, dimension, fact in files:
        args = (pair.fact.name, fact.chunks, dimension.rows, source.options.policy, *pair.divide)
        jobs.append(Job(f"rows/{pair.name}", work, args, fact.rows))
    reports = space.run("dividing rows", jobs)
    for (_, _, fact), report in zip(files, reports):
        fact.bad_rows.merge(report)
        fact.bad_rows.raise_if_any()
    divided = {name: SplitRows() for name in splits.SPLITS}
    shared, next_id = defaultdict(list), 0
    for (pair, dimension, fact), job, report in zip(files, jobs, reports):
        chunks, folder = fact.chunks, space.path(job.name)
        if report["reordered"]:
            chunks = (Chunk(folder, fact.lines, fact.rows),)
        first_id = next_id if pair.first_id is None else pair.first_id
        next_id = first_id + fact.lines
        offsets = {"line": first_id - 1, POINTER: total(shared[pair.shared])}
        for name, rows in report["rows"].items():
            split, number = divided[name], splits.SPLITS.index(name)
            split.facts.append(FileRows(chunks, rows, offsets, folder, number))
            split.folder, split.dimensions = pair.shared, shared[pair.shared]
            if pair.first_id is not None or next_id >= 2**31:
                split.row_id_type = "int64"
        offsets = {source.dimension.key: pair.key_offset}
        shared[pair.shared].append(FileRows(dimension.chunks, dimension.rows, offsets))
    counts = {name: total(split.facts) for name, split in divided.items()}
    splits.check_parts(counts, source.split_entry["rule"])
    return divided
