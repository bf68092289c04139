"""The public processed files ali_ccp_{train,val,test}.csv: found, read, divided."""

from pathlib import Path

import numpy as np

from hamur.data import build_tables, splits
from hamur.data.ali_ccp.columns import (
    CSV,
    CSV_COLUMNS,
    DENSE_COLUMNS,
    DOMAIN_COLUMN,
    GROUP_COLUMN,
    LABELS,
    PAGE,
    SPARSE_COLUMNS,
)
from hamur.data.encode import factorise
from hamur.data.errors import DataFileNotFoundError, DataFormatError
from hamur.data.text import checks, lines, reader
from hamur.data.text.bad_rows import BadRows

_FILE_PARTS = ("train", "val", "test")
_FILE_SETS = tuple(
    tuple(f"ali_ccp_{part}{end}.csv" for part in _FILE_PARTS) for end in ("", "_sample")
)


def find_files(source: Path, val_needed: bool = True) -> list[Path]:
    """The train, val (if there or needed) and test file, whose headers hold the 33 columns.

    Raises:  DataFileNotFoundError; DataFormatError: nothing or two sets found, or a wrong header.
    """
    if not source.is_dir():
        raise DataFileNotFoundError(
            "no such folder",
            file=source,
            expected="a folder of " + ", ".join(_FILE_SETS[0]),
            remedy=f"fetch the data from {PAGE} and pass the folder of the raw files, or of the "
            "processed ones",
        )
    found = [names for names in _FILE_SETS if any((source / name).is_file() for name in names)]
    if len(found) != 1:
        present = sorted(p.name for p in source.iterdir())[:8]
        raise DataFormatError(
            "ambiguous: both the files and their samples" if found else "not recognised",
            file=source,
            value=f"files: {', '.join(present) or 'none'}",
            expected="either " + ", ".join(_FILE_SETS[0]) + " or ..._sample.csv",
            remedy="keep the two sets in folders of their own and pass one of them",
        )
    files = [source / name for name in found[0]]
    if not val_needed and not files[1].is_file():
        del files[1]
    for file in files:
        if not file.is_file():
            raise DataFileNotFoundError(
                "one of the three files is missing",
                file=file,
                expected=", ".join(found[0]),
                remedy="add the file; a missing val file can be taken from test by split='halves'",
            )
        lines.check_header(file, lines.read_header(file), CSV_COLUMNS)
    return files


def divide(rows: list[int], split: str, split_seed: int) -> splits.Index:
    """Positions of train, valid and test in the files' rows one after the other."""
    if split == "files":
        return tuple(np.split(np.arange(sum(rows)), np.cumsum(rows)[:-1]))
    valid, test = splits.halves(sum(rows[1:]), split_seed)
    return np.arange(rows[0]), rows[0] + valid, rows[0] + test


def domain_names(domain_map: dict[int, int]) -> tuple[str, ...]:
    """A name a domain, from the codes that it is made of."""
    domains = range(max(domain_map.values()) + 1)
    codes = [[str(code) for code, d in domain_map.items() if d == domain] for domain in domains]
    return tuple(f"{DOMAIN_COLUMN}={'|'.join(names)}" for names in codes)


def read(bad_rows: BadRows, domain_map: dict[int, int]) -> reader.Rows:
    """The usable rows of one file.  Raises DataError, see `BadRows`."""
    rows = reader.read_rows(bad_rows.path, CSV, bad_rows)
    for name in LABELS:
        rows = checks.allowed(rows, name, (0, 1), bad_rows)
    remedy = "name its domain in domain_map, or leave such rows out with --on_bad_rows skip"
    known = np.isin(rows.columns[DOMAIN_COLUMN], list(domain_map))
    rows = checks.known_domain(rows, DOMAIN_COLUMN, known, domain_map, bad_rows, remedy)
    bad_rows.raise_if_any()
    bought, clicked = rows.columns["purchase"], rows.columns["click"]
    impossible = (bought == 1) & (clicked == 0)
    if impossible.any():
        # By definition no defect of the row's form: dropped in both modes, as by everyone.
        bad_rows.excluded["dropped_click0_conversion1"] += int(impossible.sum())
    return rows.keep(~impossible)


def raw_columns(
    pieces: list[reader.Rows], labels: tuple[str, ...], domain_map: dict[int, int]
) -> build_tables.RawColumns:
    """The rows of all files before encoding."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([piece.columns[name] for piece in pieces])

    domain_code = column(DOMAIN_COLUMN)
    domain = np.empty(len(domain_code), np.int64)
    for code, d in domain_map.items():
        domain[domain_code == code] = d
    # A row's id: its file (train 0, val 1, test 2) and its position there.
    row_id = np.concatenate([(i << 40) + p.lines - 2 for i, p in enumerate(pieces)])
    return build_tables.RawColumns(
        sparse={name: factorise(column(name), missing=0) for name in SPARSE_COLUMNS},
        dense={name: column(name).astype(np.float32) for name in DENSE_COLUMNS},
        labels={name: column(name) for name in labels},
        domain=domain,
        row_id=row_id,
        group=np.maximum(column(GROUP_COLUMN), 0),
    )
