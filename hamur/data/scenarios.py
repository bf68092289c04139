"""Processed CSV files of the Scenario-Wise-Rec benchmark: KuaiRand, Douban, MIND, Amazon-3; their
columns are in `hamur.data.descriptions`."""

from dataclasses import replace
from pathlib import Path

from hamur.data.build_tables import Encoding, check_classes
from hamur.data.columns import Columns
from hamur.data.descriptions import SETS
from hamur.data.loading import find_files, load_tables
from hamur.data.parquet import is_parquet
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import Splits
from hamur.data.table_source import TableSource
from hamur.data.text.bad_rows import MAX_LINE_MIB, Policy
from hamur.data.text.reader import column_names

FILE_NAMES = tuple(name for _, names in SETS.values() for name in names)


def load_scenarios(
    path: str | Path,
    split_seed: int = 2022,
    min_count: int = 1,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: tuple[str, ...] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[Splits, Schema]:
    """The three splits (8:1:1 by split_seed) and the schema of one of the processed files.

    path: kuairand.csv, douban.csv, mind_all.csv, amazon.csv or their ..._sample.csv, or the folder
        of one of them; or the same as Parquet, a file or a folder of parts.  The header says which
        set it is, not the name.
    The other arguments are those of `load_movielens` and `load_ali_ccp`.
    Raises:  DataError, of the kind that `hamur.errors` names.
    """
    root = Path(path).expanduser()
    fetch = "pass one of the processed CSV files of Scenario-Wise-Rec, or its folder"
    table = root.is_file() or is_parquet(root)
    (file,) = [root] if table else find_files(root, zip(FILE_NAMES), fetch)
    name, columns = recognise(file)
    rules = Encoding(min_count=min_count, allow_leakage=tuple(allow_leakage))
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    source = TableSource(
        name,
        file.parent,
        (file,),
        replace(columns, split=Split("random", split_seed)),
        rules,
        policy,
        notes={"encoding": "train"},
    )
    return check_classes(*load_tables(source, cache_dir), require_all_domains)


def recognise(file: Path) -> tuple[str, Columns]:
    """The set whose columns are most like those in the header."""
    header = set(column_names(file))
    described = [(name, columns) for name, (sets, _) in SETS.items() for columns in sets]
    return max(described, key=lambda pair: len(set(pair[1].names) & header))
