"""Tables in files or in memory: read, checked and joined, divided, and encoded."""

import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hamur.data import build_tables, cache, parquet, splits
from hamur.data.build_tables import Encoding
from hamur.data.collect import Collector, value_order
from hamur.data.columns import Columns
from hamur.data.domains import OTHER
from hamur.data.label_rules import label as label_of
from hamur.data.own_sources import Input
from hamur.data.raw_columns import LABEL, RawColumns, raw_of
from hamur.data.schema import Schema
from hamur.data.table import Splits
from hamur.data.table_rows import Join, Partner, checked, read_file
from hamur.data.text import times
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.cells import MISSING, Column
from hamur.data.text.lines import FileFormat, check_header
from hamur.data.text.reader import Rows, column_names, read_blocks
from hamur.errors import EmptySplitError

MAX_LEN = 50  # of a list whose length nobody said
_PART, _ROW = ("part",), ("row",)  # the numbers of a row's split and of the row, among its cells
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableSource:
    """Tables in files or in memory, and all that what is made of them depends on.

    root: the folder or file that the user named.  files: of the rows, one after the other, comma-
        separated with a header or in file_format; or the Inputs of a user's own table that count as
        one file.  joins: their feature tables.
    columns: with their split.  notes: further entries of the schema's `split`.
    first_row_id: for each file what its lines are added to; None: rows are counted over all.
    file_domains: the domain of each file, where no column says it, see `raw_of`.
    check: raises for rows that cannot be right.
    own: of a user: files are read in blocks, and what is larger than in_memory_rows is collected on
        disk; small domains are joined, and text that is a whole number comes before other text.
    """

    name: str
    root: Path
    files: tuple[Path | list[Input], ...]
    columns: Columns
    encoding: Encoding = field(default_factory=Encoding)
    policy: Policy = field(default_factory=Policy)
    notes: dict = field(default_factory=dict)
    first_row_id: tuple[int, ...] | None = None
    file_domains: tuple[str, ...] = ()
    file_format: FileFormat | None = None
    joins: Sequence[Join] = ()
    check: Callable[[RawColumns], None] | None = None
    own: bool = False
    in_memory_rows: int = sys.maxsize

    def key(self) -> dict:
        """All that the tables depend on besides the files."""
        about = dataclasses.replace(self, root=None, files=(), joins=(), check=None)
        options = dataclasses.asdict(about) | {"check": self.check is not None}
        return json.loads(json.dumps(options, default=list))  # an allowed range is a list then

    def digest(self) -> dict[str, str]:
        """Of the files, and of their parts, see `cache.source_digest`."""
        files = (*self.files, *(join.path for join in self.joins))
        parts = (part for file in files for part in parquet.parts(file))
        return cache.source_digest(parts, self.root)

    def inputs(self) -> list[list[Input]]:
        """Raises DataFormatError for a header that is not as described."""
        form = self.file_format or FileFormat({})
        for file in self.files if self.file_format is None and not self.own else ():
            check_header(file, column_names(file), self.columns.names)
        names = form.names or self.columns.names
        return [[Input(f, form, names)] if isinstance(f, Path) else f for f in self.files]


def read_tables(
    source: TableSource, digest: dict[str, str], workspace: Path | None = None
) -> tuple[Splits, Schema, list[BadRows]]:
    """The tables of the source and what was left out of each file.

    workspace: where large ones are built.
    """
    columns, inputs = source.columns, source.inputs()
    bad_rows = [BadRows(join.path, source.policy) for join in source.joins]
    partners = [join.read(columns, file) for join, file in zip(source.joins, bad_rows)]
    collector = Collector(order=value_order if source.own else np.argsort)
    folder, lengths, begin = None, [], 0
    with ExitStack() as stack:
        for number, part in enumerate(inputs):
            before = collector.rows
            for each in part:
                bad_rows.append(BadRows(each.place, source.policy))
                start = begin - each.first_line
                if source.first_row_id is not None:
                    start = source.first_row_id[number]
                for rows in _blocks(each, columns, partners, bad_rows[-1], source.own):
                    collector.add(_cells(rows, columns) | {_ROW: start + rows.lines})
                    begin = max(begin, int(rows.lines.max(initial=0)) + start + 1)
                    if folder is None and collector.rows > source.in_memory_rows:
                        # What is mapped of it stays readable when the folder is gone.
                        folder = Path(stack.enter_context(_temporary(workspace)))
                        collector.move_to(folder)
            lengths.append(collector.rows - before)
        if not collector.rows:
            remedy = "check how it was made"
            raise EmptySplitError("the table has no row", file=bad_rows[-1].path, remedy=remedy)
        notes = {"source": digest, "without_partner": {p.name: p.alone[0] for p in partners}}
        tables = _build(source, collector.finish(), lengths, notes, bad_rows, folder)
    return *tables, bad_rows


def _blocks(
    each: Input, columns: Columns, partners: list[Partner], bad_rows: BadRows, in_blocks: bool
) -> Iterator[Rows]:
    """The rows of an input that are right, with the cells of their partners."""
    keys = {p.left: "code" for p in partners if p.left not in columns.kinds}
    form = each.reading(columns.kinds | keys, columns)
    if not in_blocks:
        yield read_file(bad_rows, columns, form, partners)
        return
    for rows in read_blocks(each.source, form, bad_rows):
        rows = checked(rows, columns, partners, bad_rows)
        if bad_rows.policy.on_bad_rows == "error":
            bad_rows.raise_if_any()
        yield rows
    bad_rows.raise_if_any()


def _cells(rows: Rows, columns: Columns) -> dict[str, Column]:
    """What is kept of a block: its cells, labels, and the number of each row's split."""
    cells = {name: rows.columns[name] for name in columns.kinds}
    labels = {n: label_of(rule, cells).astype(np.int8) for n, rule in columns.labels.items()}
    cells |= {(LABEL, name): label for name, label in labels.items()}
    if columns.split.rule == "column":
        words = rows.columns[columns.split.column]
        number = {word: n for n, word in enumerate(splits.SPLITS)}
        parts = np.array([number.get(word, MISSING) for word in words.categories], np.int8)
        cells[_PART] = parts[words.codes]
    return cells


def _build(
    source: TableSource, cells: dict, lengths: list[int], notes: dict, bad_rows: list, folder
) -> tuple[Splits, Schema]:
    """Divides the rows, and fits the domains and the lengths of lists on those of training."""
    columns, rule, small = source.columns, source.columns.split, {}
    if columns.time is not None:
        cells[columns.time] = times.seconds(cells[columns.time])
    domains = source.file_domains or ("0",) * len(lengths)
    names = tuple(dict.fromkeys(domains))
    domain = np.repeat([names.index(name) for name in domains], lengths)
    raw = raw_of(cells, columns, cells[_ROW], domain, names)
    index = splits.divide(rule, lengths, raw.group, raw.time, cells.get(_PART))
    if columns.domain is not None:
        min_rows = columns.min_domain_rows if source.own else 0
        about = cells[columns.domain.column], index[0], min_rows
        domain, ids, small = columns.domain.fit(*about)
        columns = dataclasses.replace(columns, domain=domain)
        raw = dataclasses.replace(raw, domain=ids, domain_names=tuple(domain.groups))
    if small.keys() - {OTHER}:  # the one of an earlier fit is no news
        few = ", ".join(f"{name} ({rows})" for name, rows in list(small.items())[:20])
        about = len(small), min_rows, few
        _log.warning("domain 'other' takes %d of fewer than %d training rows: %s", *about)
    for name, lists in raw.multi.items():
        longest = int(np.diff(lists.offsets)[lists.rows[index[0]]].max(initial=1))
        max_len = lists.max_len or min(longest, MAX_LEN)
        raw.multi[name] = dataclasses.replace(lists, max_len=max_len)
    if source.check is not None:
        source.check(raw)
    notes = {"rule": rule.rule, "seed": rule.seed} | source.notes | notes
    notes |= {"other": dict(list(small.items())[:1000])}
    about = source.encoding, source.name, notes, bad_rows, columns, folder
    return build_tables.build(raw, index, *about)


def _temporary(workspace: Path | None) -> TemporaryDirectory:
    """A folder there, or for temporary files where that cannot be written."""
    try:
        if workspace is not None:
            workspace.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix="table-", dir=workspace)
    except OSError:
        return TemporaryDirectory(prefix="table-")
