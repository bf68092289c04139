"""A user's own table, in files or in memory: any columns, one label or several."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hamur.data.columns import Columns, Domain, JoinRule
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import Splits
from hamur.data.text.bad_rows import MAX_LINE_MIB


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
    name: str | None = None,
    in_memory_rows: int = 5_000_000,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: Sequence[str] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
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
        tables.
    split: "random", "time", "last", "column:NAME" or a `Split`; None: by time if there is one.
    valid, test: sources of these rows, where `source` has those of training only.
    header: the columns of text files that have none; separator: None is detected.
    in_memory_rows: larger tables are collected on disk.
    allow_leakage: columns that may say the label.
    The others are those of `load_movielens`.  Files are cached, what is in memory is not.
    Raises:  DataError, of the kind that `hamur.errors` names; ValueError: an option.
    """
    raise NotImplementedError
