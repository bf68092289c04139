"""A user's own table, in files or in memory: any columns, one label or several."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import pyarrow as pa

from hamur.data import build_tables, cache, descriptions, frames, infer, own_columns, parquet
from hamur.data.build_tables import Encoding
from hamur.data.columns import Columns, JoinRule, MultiColumn
from hamur.data.descriptions import Description
from hamur.data.domains import Domain
from hamur.data.loading import load_tables
from hamur.data.own_sources import Form, Input, check_equal, joined, sources_of
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import Splits
from hamur.data.table_rows import Join
from hamur.data.table_source import TableSource, read_tables
from hamur.data.text.bad_rows import MAX_LINE_MIB, BadRows, Policy
from hamur.errors import DataValueError

NAME = "own-table"
LEAKAGE_LIMIT = 0.99  # of a single column's AUC


def load_table(
    source,
    columns: Columns | Description | str | Path | None = None,
    label: str | Sequence[str] | Mapping[str, str] | None = None,
    domain: str | Domain | None = None,
    join: Sequence[str | Path | JoinRule] = (),
    split: str | Split | None = None,
    split_seed: int = 2022,
    sparse: Sequence[str] = (),
    dense: Sequence[str] | Mapping[str, str] = (),
    multi: Sequence[str | MultiColumn] = (),
    ignore: Sequence[str] = (),
    group: str | None = None,
    time: str | None = None,
    min_count: int | None = None,
    hash_size: int | None = None,
    min_domain_rows: int | None = None,
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
    earlier: Schema | None = None,
    add_domain: Sequence[str] = (),
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
    sparse, dense ({name: transform} names that too), multi, ignore, group, time, min_count,
        hash_size, min_domain_rows: see `Columns`; a column has the role that is given here and no
        other one.
    split: "random", "time", "last", "column:NAME" or a `Split`; None: by time if there is one.
    valid, test: sources of these rows, where `source` has those of training only.
    header: the columns of text files that have none; separator: None is detected.
    in_memory_rows: larger tables are collected on disk.
    allow_leakage: columns that may say the label.
    tell: called with what the columns are, when some of them were inferred.
    earlier: the schema, with encoders, of a table that this one continues: columns, scalers and
        domains stay, known values keep their ids and new ones follow; no other argument describes
        columns then.  add_domain: further domains, by their value, after the earlier ones.
    The others are those of `load_movielens`.  Files are cached, what is in memory is not.
    Raises:  DataError, of the kind that `hamur.errors` names; ValueError: an option.
    """
    if (valid is None) != (test is None):
        raise ValueError("`valid` and `test` are given together, or neither of them is")
    if Path(name).name != name:
        raise ValueError(f"name={name!r} is no name of a folder")
    parts = [sources_of(part) for part in ([source] if valid is None else [source, valid, test])]
    if valid is not None:
        split = "files"
    single = dict(group=group, time=time, min_count=min_count, min_domain_rows=min_domain_rows)
    single |= dict(hash_size=hash_size)

    def said(columns: Columns) -> Columns:
        columns = own_columns.with_roles(columns, sparse, dense, multi, ignore, **single)
        return own_columns.changed(columns, label, domain, join, split, split_seed)

    if earlier is not None:
        columns = own_columns.continued(earlier, add_domain)
    described = describe(columns, parts[0], join)
    form = Form(None if header is None else tuple(header), separator, encoding)
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    job = _Job(
        name, described, said, parts, form, policy, tuple(allow_leakage), in_memory_rows, tell,
        earlier and earlier.encoders,
    )  # fmt: skip
    in_files = all(isinstance(each, Path) for each in chain(*parts))
    loaded = load_tables(job, cache_dir, _Job.read) if in_files else job.read({})[:2]
    trained = 0 if earlier is None else earlier.num_domains
    return build_tables.check_classes(*loaded, require_all_domains, trained)


def describe(
    columns: Columns | Description | str | Path | None,
    sources: Sequence[Path | pa.Table],
    join: Sequence[str | Path | JoinRule] = (),
) -> Description:
    """The description of a table: the given one, or of this name or in this file; None: the one
    that the names of the files have, "auto": how these are written alone.

    Raises:  DataFormatError, DataFileNotFoundError: no such description.
    """
    if isinstance(columns, Description):
        return columns
    if str(columns) in descriptions.DESCRIPTIONS:
        return descriptions.DESCRIPTIONS[str(columns)]
    if isinstance(columns, (str, Path)) and columns != "auto":
        path = Path(columns).expanduser()
        columns = own_columns.read_description(path, descriptions.DESCRIPTIONS)
    if isinstance(columns, Columns):
        join = join or columns.join
    files = [Path(each.file if isinstance(each, JoinRule) else each) for each in join]
    known = isinstance(sources[0], Path) and descriptions.known([sources[0], *files])
    if known and columns is None:
        return known
    columns = columns if isinstance(columns, Columns) else Columns({}, {}, ())
    return replace(known or Description("", columns, {}), name="", columns=columns)


@dataclass(frozen=True)
class _Job:
    """All that the tables depend on besides the content of the files."""

    name: str
    description: Description
    said: Callable[[Columns], Columns]
    parts: list[list[Path | pa.Table]]
    form: Form
    policy: Policy
    allow_leakage: tuple[str, ...]
    in_memory_rows: int
    tell: Callable[[list[infer.Inferred]], None] | None = None
    earlier: object | None = None  # its `Schema.encoders`

    @cached_property
    def columns(self) -> Columns:
        """What was said, before the files are read."""
        return self.said(self.description.columns)

    @cached_property
    def joined(self) -> list[Path]:
        """The files of feature tables, here or beside the first file."""
        first, files = self.parts[0][0], []
        for rule in self.columns.join:
            path = Path(rule.file).expanduser()
            beside = first.parent / path if isinstance(first, Path) else path
            files += frames.files_of(path if path.exists() or not beside.exists() else beside)[:1]
        return files

    @cached_property
    def files(self) -> list[Path]:
        """And their parts."""
        files = (*chain(*self.parts), *self.joined)
        return [part.absolute() for file in files for part in parquet.parts(file)]

    @property
    def root(self) -> Path:
        return self.files[0]

    def digest(self) -> dict[str, str]:
        root = os.path.commonpath([file.parent for file in self.files])
        return cache.source_digest(self.files, Path(root))

    def key(self) -> dict:
        options = {"columns": self.columns.to_json(), "allow_leakage": list(self.allow_leakage)}
        options |= dataclasses.asdict(self.policy) | dataclasses.asdict(self.form)
        options |= {"earlier": self.earlier and self.earlier.digest()}
        return options | {"parts": [len(p) for p in self.parts], "known": self.description.name}

    def read(
        self, digest: dict[str, str], workspace: Path | None = None
    ) -> tuple[Splits, Schema, list[BadRows]]:
        """The tables, and what was left out of each file; workspace: where large ones are built."""
        inputs = [
            [self.form.input(each, self.description, self.form.header) for each in part]
            for part in self.parts
        ]
        check_equal(list(chain(*inputs)))
        about = self.joined, self.columns.join, self.form, self.description
        joined_inputs, rules = joined(inputs[0][0], *about)
        names = [inputs[0][0].names, *(each.names for each in joined_inputs)]
        columns = self.columns
        if self.description.name:  # of which a table may have a part
            columns = self.said(self.description.table(sum(names, ())))
        columns = replace(columns, join=rules)
        own_columns.check_present(columns, list(dict.fromkeys(chain(*names))))
        found: list[infer.Inferred] = []
        keys = {name for rule in rules for name in rule.on}
        if not set().union(*names) <= own_columns.named(columns) | keys:
            tables = [(each.source, each.form) for each in (inputs[0][0], *joined_inputs)]
            columns, found = infer.fill(columns, tables)
            if self.tell is not None:
                self.tell(found)
        columns = own_columns.completed(columns)
        source = TableSource(
            self.name,
            None,
            tuple(inputs),
            columns,
            Encoding(
                min_count=columns.min_count,
                allow_leakage=self.allow_leakage,
                transforms=columns.transforms,
                leakage_limit=LEAKAGE_LIMIT,
                refuse_equal=True,
                earlier=self.earlier,
            ),
            self.policy,
            joins=[join_of(*each, columns) for each in zip(joined_inputs, rules)],
            own=True,
            in_memory_rows=self.in_memory_rows,
        )
        try:
            return read_tables(source, digest, workspace)
        except DataValueError as error:
            raise infer.contradicted(error, found) from None


def join_of(each: Input, rule: JoinRule, columns: Columns) -> Join:
    """How a feature table is read and joined; rule: with both keys."""
    left, right = rule.on
    kind = columns.kinds.get(left, "code")
    kinds = {name: kind for name, kind in columns.kinds.items() if name in each.names}
    kinds |= {right: "code" if kind == "id" else kind}
    form = each.form if each.derive else each.reading(kinds, columns)
    return Join(each.place, left, form, each.derive, right, optional=True)
