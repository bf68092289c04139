"""Processed CSV files of the Scenario-Wise-Rec benchmark -> tables, whichever set they hold."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data import build_tables, splits
from hamur.data.encode import factorise
from hamur.data.errors import DataFileNotFoundError, DataFormatError, UnknownDomainError
from hamur.data.loading import load_processed
from hamur.data.scenarios.descriptions import DESCRIPTIONS, Description
from hamur.data.schema import Schema
from hamur.data.table import Splits
from hamur.data.text import checks, reader
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows, Policy
from hamur.data.text.lines import FileFormat, check_header, read_header

_WHOLE = re.compile(r"(-?\d+)\.0*")


def load_scenarios(
    path: str | Path,
    split_seed: int = 2022,
    min_count: int = 1,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    allow_leakage: tuple[str, ...] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[Splits, Schema]:
    """The three splits (8:1:1 by split_seed) and the schema of one of the processed files.

    path: kuairand.csv, douban.csv, mind_all.csv, amazon.csv or their ..._sample.csv, or the folder
        of one of them.  The header says which set it is, not the name.
    The other arguments are those of `load_movielens` and `load_ali_ccp`.
    Raises:  DataError, of the kind that `hamur.data.errors` names.
    """
    file = find_file(Path(path).expanduser())
    described = recognise(file)

    def read_all(bad_rows: list[BadRows]) -> tuple[build_tables.RawColumns, splits.Index]:
        raw = read(bad_rows[0], described)
        return raw, splits.random_split(len(raw.domain), split_seed)

    loaded = load_processed(
        described.name,
        file.parent,
        [file],
        read_all,
        build_tables.Encoding(min_count=min_count, allow_leakage=tuple(allow_leakage)),
        Policy(on_bad_rows, max_bad_fraction),
        dict(split_seed=split_seed),
        cache_dir,
        split={"rule": "random", "seed": split_seed},
        domain_names=described.names,
        group=described.group,
    )
    return build_tables.check_classes(*loaded, require_all_domains)


def find_file(source: Path) -> Path:
    """Raises DataFileNotFoundError, DataFormatError: none or several of the files are there."""
    if source.is_file():
        return source
    known = list(dict.fromkeys(name for each in DESCRIPTIONS for name in each.files))
    if not source.is_dir():
        raise DataFileNotFoundError(
            "no such file or folder",
            file=source,
            expected=", ".join(known),
            remedy="pass one of the processed CSV files of Scenario-Wise-Rec, or its folder",
        )
    found = [source / name for name in known if (source / name).is_file()]
    if len(found) != 1:
        raise DataFormatError(
            "ambiguous: several data sets stand there" if found else "not recognised",
            file=source,
            value=", ".join(path.name for path in found or sorted(source.iterdir())[:8]),
            expected="one of " + ", ".join(known),
            remedy="pass the file itself",
        )
    return found[0]


def recognise(file: Path) -> Description:
    """By the columns in the header; DataFormatError names what is missing and surplus."""
    header = read_header(file)
    alike = max(DESCRIPTIONS, key=lambda each: len(set(each.columns) & set(header)))
    check_header(file, header, alike.columns)
    return alike


def read(bad_rows: BadRows, described: Description) -> build_tables.RawColumns:
    """All rows of the file, before encoding."""
    kinds = dict.fromkeys((*described.sparse, described.domain), "text")
    kinds |= dict.fromkeys(described.dense, "float") | {described.label: "int"}
    rows = reader.read_rows(bad_rows.path, FileFormat(kinds), bad_rows)
    rows = checks.allowed(rows, described.label, (0, 1), bad_rows)
    rows, domain = _domains(rows, described, bad_rows)
    bad_rows.raise_if_any()
    sparse = {name: factorise(_plain(rows.columns[name])) for name in described.sparse}
    return build_tables.RawColumns(
        sparse=sparse,
        dense={name: rows.columns[name].astype(np.float32) for name in described.dense},
        labels={described.label: rows.columns[described.label]},
        domain=domain,
        row_id=rows.lines - 2,
        group=sparse[described.group].codes.astype(np.int64) + 1,
    )


def _domains(
    rows: reader.Rows, described: Description, bad_rows: BadRows
) -> tuple[reader.Rows, np.ndarray]:
    """The rows of known domains, and their domain ids (N,)."""
    column = _plain(rows.columns[described.domain])
    of_value = np.array([described.domains.get(name, -1) for name in column.categories], np.int64)
    domain = of_value[column.codes]

    def error(row: int) -> UnknownDomainError:
        return UnknownDomainError(
            "no domain",
            file=bad_rows.path,
            line=int(rows.lines[row]),
            column=described.domain,
            value=str(column[row]),
            expected="one of " + ", ".join(described.domains),
            remedy=SKIP_REMEDY,
        )

    known = domain >= 0
    if described.others:
        bad_rows.excluded[f"other {described.domain}"] += int((~known).sum())
    else:
        bad_rows.add_where(~known, rows.lines, f"no domain in {described.domain}", error)
    return rows.keep(known), domain[known]


def _plain(column: pd.Categorical) -> pd.Categorical:
    """Cells that print a whole number as 1.0 are the number."""
    names = [str(name) for name in column.categories]
    names = [found[1] if (found := _WHOLE.fullmatch(name)) else name for name in names]
    distinct, place = np.unique(np.array(names, dtype=str), return_inverse=True)
    return pd.Categorical.from_codes(place[column.codes], distinct)
