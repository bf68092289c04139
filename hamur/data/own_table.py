"""A user's own table, in files or in memory: any columns, one label or several."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hamur.data import build_tables, cache, descriptions, frames, infer, own_columns, parquet
from hamur.data import splits as split_rules
from hamur.data.build_tables import Encoding, RawColumns
from hamur.data.collect import Collector
from hamur.data.columns import Columns, JoinRule, split_cells
from hamur.data.descriptions import Description
from hamur.data.domains import Domain
from hamur.data.encode import MISSING, Codes, factorise
from hamur.data.label_rules import label as label_of
from hamur.data.loading import through_cache
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import Splits
from hamur.data.table_rows import Join, Partner, checked
from hamur.data.text import times
from hamur.data.text.bad_rows import MAX_LINE_MIB, BadRows, Policy
from hamur.data.text.lines import FileFormat, separator_of
from hamur.data.text.reader import Rows, column_names, read_blocks
from hamur.errors import DataFormatError, DataValueError, EmptySplitError

NAME = "own-table"
LEAKAGE_LIMIT = 0.99  # of a single column's AUC
MAX_LEN = 50  # of a list whose length nobody said
_IN_MEMORY = Path("rows")  # what errors say in the place of a file
_LABEL, _PART = "label\0", "part\0"  # begin names of what is collected beside the cells
_log = logging.getLogger(__name__)


def load_table(
    source,
    columns: Columns | str | Path | None = None,
    label: str | Sequence[str] | Mapping[str, str] | None = None,
    domain: str | Domain | None = None,
    join: Sequence[str | Path | JoinRule] = (),
    split: str | Split | None = None,
    split_seed: int = 2022,
    valid=None,
    test=None,
    header: Sequence[str] | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    name: str = NAME,
    in_memory_rows: int = 5_000_000,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: Sequence[str] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
    tell: Callable[[list[infer.Inferred]], None] | None = None,
) -> tuple[Splits, Schema]:
    """The three splits and the schema of a table; `schema.encoders` turns raw rows into its
    columns, and has the complete description as `schema.encoders.columns`.

    source: a file (CSV, TSV or "::", plain, .gz or .zst; Parquet; Feather), a pattern, or a list of
        files with equal columns; or a DataFrame, a pyarrow.Table or a list of dicts.
    columns: a description, the file of one (columns.json) or the name of one; what it leaves open
        is inferred, see `hamur.data.infer`.
    label, domain, join, split: instead of what the description says; label: one rule, or several
        for a multi-task schema ({name: rule} names them), e.g. "click" or "rating > 3"; domain: a
        column, or "column:first" for the first of the values in its cells; join: files of feature
        tables, here or beside the source.
    split: "random", "time", "last", "column:NAME" or a `Split`; None: by time if there is one.
    valid, test: sources of these rows, where `source` has those of training only.
    header: the columns of text files that have none; separator: None is detected.
    in_memory_rows: larger tables are collected on disk.
    allow_leakage: columns that may say the label.
    tell: called with what the columns are, when some of them were inferred.
    The others are those of `load_movielens`.  Files are cached, what is in memory is not.
    Raises:  DataError, of the kind that `hamur.errors` names; ValueError: an option.
    """
    if (valid is None) != (test is None):
        raise ValueError("`valid` and `test` are given together, or neither of them is")
    parts = [_sources(part) for part in ([source] if valid is None else [source, valid, test])]
    said = dict(label=label, domain=domain, join=join, split_seed=split_seed)
    said["split"] = split if valid is None else "files"
    described = _described(columns, parts[0], join)
    form = _Form(None if header is None else tuple(header), separator, encoding)
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    job = _Job(
        name, described, said, parts, form, policy, tuple(allow_leakage), in_memory_rows, tell
    )
    files = [each for each in (*chain(*parts), *job.joined) if isinstance(each, Path)]
    if not all(isinstance(each, Path) for each in chain(*parts)):
        return build_tables.check_classes(*job.read({})[:2], require_all_domains)
    files = [part.absolute() for file in files for part in parquet.parts(file)]
    root = Path(os.path.commonpath([file.parent for file in files]))
    made_from = {"source": cache.source_digest(files, root), "options": job.key()}
    folder = cache.folder_for(name, files[0], made_from["options"], cache_dir)
    loaded = through_cache(folder, made_from, cache_dir, lambda: job.read(made_from["source"]))
    return build_tables.check_classes(*loaded, require_all_domains)


def _described(columns: Columns | str | Path | None, sources: list, join) -> Description:
    if columns is None and isinstance(sources[0], Path):
        files = [Path(each.file if isinstance(each, JoinRule) else each) for each in join]
        columns = descriptions.known([sources[0], *files])
    if isinstance(columns, (str, Path)):
        known = descriptions.DESCRIPTIONS.get(str(columns))
        columns = known or own_columns.read_description(Path(columns).expanduser())
    if columns is None or isinstance(columns, Columns):
        columns = Description("", columns or Columns({}, {}, ()), {})
    return columns


def _sources(source) -> list[Path | pa.Table]:
    return frames.files_of(source) if frames.is_files(source) else [frames.as_arrow(source)]


@dataclass(frozen=True)
class _Form:
    """How text files are written, where it was said."""

    header: tuple[str, ...] | None
    separator: str | None
    encoding: str

    def of(
        self, source: Path | pa.Table, description: Description, header: Sequence[str] | None
    ) -> FileFormat:
        columns = description.columns
        if isinstance(source, pa.Table) or parquet.is_parquet(source):
            return FileFormat({}, missing=columns.missing)
        known = description.format_of(source)
        if known is not None and header is None:
            return replace(known, missing=columns.missing)
        mark = self.separator or separator_of(source, header, self.encoding)
        _log.info("%s: %r separates the columns", source, mark)
        quoted = mark != "::"
        about = dict(missing=columns.missing, quoted=quoted, multiline=quoted)
        return FileFormat({}, mark, header, self.encoding, **about)


@dataclass(frozen=True)
class _Input:
    """A file or a table in memory, how it is written, and its columns.

    derive: (its rows, bad_rows) -> rows with these columns, where it has others.
    """

    source: Path | pa.Table
    form: FileFormat
    names: tuple[str, ...]
    derive: Callable[[Rows, BadRows], Rows] | None = None

    @classmethod
    def of(cls, source: Path | pa.Table, form: FileFormat) -> "_Input":
        names = form.names or column_names(source, form.separator, form.encoding)
        return cls(source, form, tuple(names))

    def reading(self, kinds: Mapping[str, str], columns: Columns) -> FileFormat:
        """The format with those of these columns that it has."""
        kinds = {name: kind for name, kind in kinds.items() if name in self.names}
        lists = {m.column: m.separator for m in columns.multi}
        separators = {name: mark for name, mark in lists.items() if name in kinds}
        return replace(self.form, kinds=kinds, separators=separators)

    def bad_rows(self, policy: Policy) -> BadRows:
        return BadRows(self.source if isinstance(self.source, Path) else _IN_MEMORY, policy)

    @property
    def first_line(self) -> int:
        """The number of the first row."""
        text = isinstance(self.source, Path) and not parquet.is_parquet(self.source)
        return 2 if text and self.form.names is None else 1


@dataclass(frozen=True)
class _Job:
    """All that the tables depend on besides the content of the files."""

    name: str
    description: Description
    said: dict
    parts: list[list[Path | pa.Table]]
    form: _Form
    policy: Policy
    allow_leakage: tuple[str, ...]
    in_memory_rows: int
    tell: Callable[[list[infer.Inferred]], None] | None = None

    @cached_property
    def columns(self) -> Columns:
        """What was said, before the files are read."""
        return own_columns.changed(self.description.columns, **self.said)

    @cached_property
    def joined(self) -> list[Path]:
        """The files of feature tables, here or beside the first file."""
        first, files = self.parts[0][0], []
        for rule in self.columns.join:
            path = Path(rule.file).expanduser()
            beside = first.parent / path if isinstance(first, Path) else path
            files += frames.files_of(path if path.exists() or not beside.exists() else beside)[:1]
        return files

    def key(self) -> dict:
        options = {"columns": self.columns.to_json(), "allow_leakage": list(self.allow_leakage)}
        options |= dataclasses.asdict(self.policy) | dataclasses.asdict(self.form)
        return options | {"parts": [len(p) for p in self.parts], "known": self.description.name}

    def read(self, digest: dict[str, str]) -> tuple[Splits, Schema, list[BadRows]]:
        """The tables, and what was left out of each file."""
        inputs = [
            [_Input.of(s, self.form.of(s, self.description, self.form.header)) for s in part]
            for part in self.parts
        ]
        _check_equal(list(chain(*inputs)))
        joined, rules = self._joins(inputs[0][0])
        names = [inputs[0][0].names, *(each.names for each in joined)]
        columns = self.columns
        if self.description.name:  # of which a table may have a part
            columns = own_columns.changed(self.description.table(sum(names, ())), **self.said)
        columns = replace(columns, join=rules)
        found: list[infer.Inferred] = []
        if not set().union(*names) <= own_columns.named(columns) | _keys(columns):
            tables = [(each.source, each.form) for each in (inputs[0][0], *joined)]
            columns, found = infer.fill(columns, tables)
            if self.tell is not None:
                self.tell(found)
        columns = own_columns.completed(columns, list(dict.fromkeys(sum(names, ()))))
        try:
            return self._collect(inputs, joined, columns, digest)
        except DataValueError as error:
            raise infer.contradicted(error, found) from None

    def _collect(
        self,
        inputs: list[list[_Input]],
        joined: list[_Input],
        columns: Columns,
        digest: dict[str, str],
    ) -> tuple[Splits, Schema, list[BadRows]]:
        joins = [self._joined_rows(*each, columns) for each in zip(joined, columns.join)]
        partners, bad_rows = [join.read(columns) for join in joins], [j.bad_rows for j in joins]
        collector, lengths, begin = Collector(), [], 0
        for part in inputs:
            before = collector.rows
            for each in part:
                bad_rows.append(each.bad_rows(self.policy))
                last = begin - 1
                for rows in _blocks(each, columns, partners, bad_rows[-1]):
                    ids = begin + rows.lines - each.first_line
                    collector.add(_cells(rows, columns), ids)
                    last = int(ids.max(initial=last))
                begin = last + 1
            lengths.append(collector.rows - before)
        if not collector.rows:
            raise EmptySplitError(
                "the table has no row", file=bad_rows[-1].path, remedy="check how it was made"
            )
        tables = self._build(collector.finish(), lengths, columns, partners, digest, bad_rows)
        return *tables, bad_rows

    def _joins(self, first: _Input) -> tuple[list[_Input], tuple[JoinRule, ...]]:
        """The feature tables, and their rules with the keys."""
        inputs, rules, known = [], [], list(first.names)
        for rule, source in zip(self.columns.join, self.joined):
            each = _Input.of(source, self.form.of(source, self.description, rule.header))
            key = self.description.key_of(source)
            if self.description.genres is not None and source == self.joined[-1]:
                each = replace(each, names=(key, "genres"), derive=self.description.genres)
            both = rule.on or key or [name for name in each.names if name in known]
            left, right = both if isinstance(both, tuple) else (both, both)
            if not isinstance(both, (str, tuple)):
                if len(both) != 1:
                    raise DataFormatError(
                        f"{len(both)} columns are in the table too, one of which could be the key",
                        file=source,
                        value=", ".join(both) or "none",
                        expected="one common column",
                        remedy="name the key in the description: {'file': ..., 'on': ...}",
                    )
                left = right = both[0]
            for name, names, file in ((left, known, first.source), (right, each.names, source)):
                if name not in names:
                    raise DataFormatError(
                        "no such column",
                        file=file if isinstance(file, Path) else _IN_MEMORY,
                        column=name,
                        expected="one of " + ", ".join(names),
                        remedy="name the key of both tables in the description",
                    )
            if twice := [n for n in each.names if n in known and n != right]:
                raise DataFormatError(
                    f"column {twice[0]!r} is in another table too",
                    file=source,
                    column=twice[0],
                    remedy="rename one of them",
                )
            inputs.append(each)
            rules.append(replace(rule, file=source.name, on=(left, right)))
            known += [name for name in each.names if name != right]
        return inputs, tuple(rules)

    def _joined_rows(self, each: _Input, rule: JoinRule, columns: Columns) -> Join:
        left, right = rule.on
        kind = columns.kinds.get(left, "code")
        kinds = {name: kind for name, kind in columns.kinds.items() if name in each.names}
        kinds |= {right: "code" if kind == "id" else kind}
        reading = each.form if each.derive else each.reading(kinds, columns)
        return Join(each.bad_rows(self.policy), left, reading, each.derive, right, optional=True)

    def _build(
        self, cells: dict, lengths: list[int], columns: Columns, partners, digest, bad_rows
    ) -> tuple[Splits, Schema]:
        time = None if columns.time is None else _seconds(cells[columns.time])
        group = None if columns.group is None else _group(cells[columns.group])
        rule = columns.split
        part = cells.get(_PART)
        index = split_rules.divide(rule, lengths, group, time, part)
        train, small = index[0], {}
        domain, names = np.zeros(sum(lengths), np.int64), ("0",)
        if columns.domain is not None:
            of = cells[columns.domain.column]
            fitted, domain, small = columns.domain.fit(of, train, columns.min_domain_rows)
            columns, names = replace(columns, domain=fitted), tuple(fitted.groups)
            if small:
                few = ", ".join(f"{name} ({rows})" for name, rows in list(small.items())[:20])
                about = len(small), columns.min_domain_rows, few
                _log.warning("%d domains of under %d training rows are now 'other': %s", *about)
        sparse = {n: _codes(cells[n], columns.kinds[n]) for n in columns.sparse}
        multi = {}
        lists = []
        for spec in columns.multi:
            values = split_cells(cells[spec.column].categorical(), spec)
            if not spec.first_only:
                longest = int(np.diff(values.offsets)[values.rows[train]].max(initial=1))
                spec = replace(spec, max_len=spec.max_len or min(longest, MAX_LEN))
                values = replace(values, max_len=spec.max_len)
            (sparse if spec.first_only else multi)[spec.name] = values
            lists.append(spec)
        columns = replace(columns, multi=tuple(lists))
        raw = RawColumns(
            sparse=sparse,
            multi=multi,
            dense={name: cells[name] for name in columns.dense},
            labels={name: cells[_LABEL + name] for name in columns.labels},
            domain=domain,
            domain_names=names,
            row_id=cells[""],
            group=group,
            group_name=columns.group,
            time=time,
            domain_field=columns.domain is not None and columns.domain_feature,
        )
        encoding = Encoding(
            min_count=columns.min_count,
            allow_leakage=self.allow_leakage,
            transforms=columns.transforms,
            leakage_limit=LEAKAGE_LIMIT,
            refuse_equal=True,
        )
        split = {"rule": rule.rule, "seed": rule.seed, "source": digest, "other": small}
        split |= {"without_partner": {each.name: each.alone[0] for each in partners}}
        return build_tables.build(raw, index, encoding, self.name, split, bad_rows, columns)


def _check_equal(inputs: list[_Input]) -> None:
    """Raises DataFormatError for a file with other columns than the first one."""
    first, *others = inputs
    for each in others:
        if set(each.names) != set(first.names):
            odd = sorted(set(each.names) ^ set(first.names))
            raise DataFormatError(
                "other columns than in the first file",
                file=each.source if isinstance(each.source, Path) else _IN_MEMORY,
                value=", ".join(odd),
                expected=", ".join(first.names),
                remedy="give all files the same columns, in any order",
            )


def _keys(columns: Columns) -> set[str]:
    return {name for rule in columns.join for name in rule.on}


def _blocks(
    each: _Input, columns: Columns, partners: list[Partner], bad_rows: BadRows
) -> Iterator[Rows]:
    """The rows of an input that are right, with the cells of their partners."""
    keys = {p.left: "code" for p in partners if p.left not in columns.kinds}
    for rows in read_blocks(each.source, each.reading(columns.kinds | keys, columns), bad_rows):
        rows = checked(rows, columns, partners, bad_rows)
        if bad_rows.policy.on_bad_rows == "error":
            bad_rows.raise_if_any()
        yield rows
    bad_rows.raise_if_any()


def _cells(rows: Rows, columns: Columns) -> dict[str, np.ndarray | pd.Categorical]:
    """What is kept of a block: its cells, labels, and the number of each row's split."""
    cells = {name: rows.columns[name] for name in columns.kinds}
    labels = {n: label_of(rule, cells).astype(np.int8) for n, rule in columns.labels.items()}
    cells |= {_LABEL + name: label for name, label in labels.items()}
    if columns.split.rule == "column":
        words = rows.columns[columns.split.column]
        number = {word: n for n, word in enumerate(split_rules.SPLITS)}
        parts = np.array([number.get(word, MISSING) for word in words.categories], np.int8)
        cells[_PART] = parts[words.codes]
    return cells


def _seconds(values: np.ndarray) -> np.ndarray:
    """(N,) int64 of times of any unit; numbers that are no times as they are."""
    unit = times.unit_of(values)
    return values if unit in (None, "s") else values // times.PER_SECOND[unit]


def _group(column: np.ndarray | Codes) -> np.ndarray:
    """(N,) int64: the number in the cell, or the rank of its text; 0 where it is missing."""
    if not isinstance(column, Codes):
        return np.maximum(column, 0)
    return column.codes.astype(np.int64) + 1


def _codes(column: np.ndarray | Codes, kind: str) -> Codes:
    """With values in the order of their ids: text as such by code point, also of numbers."""
    if not isinstance(column, Codes):
        return factorise(column)
    if kind != "text":
        return column
    order = np.argsort(column.values)
    rank = np.append(np.argsort(order), MISSING).astype(np.int32)
    return Codes(rank[column.codes], column.values[order])
