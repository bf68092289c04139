"""Ali-CCP: is an impression clicked?  Domains are the positions (field 301) of the shop's app.

    label   click (task 1), and purchase (task 2) where it is asked for; never a feature
    sparse  23 id fields and domain_indicator      dense  8 value columns D...
    domain  301 as the public files code it: {1: 0, 2: 1, 3: 2}

This module reads the public processed files ali_ccp_{train,val,test}.csv of 33 columns, in which
0 stands for a missing or rare id.  Ids are coded again from the training rows.
"""

from pathlib import Path

import numpy as np

from hamur.data import assemble, cache, checks, lines, splits, text
from hamur.data.encode import factorise
from hamur.data.lines import Layout
from hamur.data.rejects import Policy, Rejects
from hamur.data.schema import (
    DataFileNotFoundError,
    DataFormatError,
    Schema,
)
from hamur.data.table import Splits

NAME = "ali-ccp"
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "ali-ccp-sample"
PAGE = "https://tianchi.aliyun.com/dataset/408"
HEADER = (
    "click,purchase,"
    "101,121,122,124,125,126,127,128,129,205,206,207,210,216,508,509,702,853,301,"
    "109_14,110_14,127_14,150_14,"
    "D109_14,D110_14,D127_14,D150_14,D508,D509,D702,D853"
)
CSV_COLUMNS = tuple(HEADER.split(","))
LABELS, SPARSE_COLUMNS, DENSE_COLUMNS = CSV_COLUMNS[:2], CSV_COLUMNS[2:25], CSV_COLUMNS[25:]
CSV = Layout(
    dict.fromkeys(LABELS, "int")
    | dict.fromkeys(SPARSE_COLUMNS, "category")
    | dict.fromkeys(DENSE_COLUMNS, "float")
)
DOMAIN_COLUMN, GROUP_COLUMN = "301", "101"
DOMAIN_MAP = {1: 0, 2: 1, 3: 2}
_SPLITS = ("files", "halves")
_FILE_PARTS = ("train", "val", "test")
_FILE_SETS = tuple(
    tuple(f"ali_ccp_{part}{end}.csv" for part in _FILE_PARTS) for end in ("", "_sample")
)


def load_ali_ccp(
    path: str | Path | None = None,
    split: str | None = None,
    split_seed: int = 2022,
    labels: tuple[str, ...] = ("click",),
    domain_map: dict[int, int] | None = None,
    fit_on: str = "train",
    encoding: str = "train",
    min_count: int | None = None,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    allow_leakage: tuple[str, ...] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[Splits, Schema]:
    """The three splits as the files divide them and their schema, memory-mapped from a cache.

    path: the folder of ali_ccp_{train,val,test}.csv or of ..._sample.csv, columns in any order;
        the folder of the four raw files; or a cache that examples/prepare_data.py made.  None is
        the bundled sample of generated rows.
    split: of processed files "files" (default) keeps validation and test as they are, "halves"
        divides the rows of both anew by split_seed, as the public code divided the official test
        file (the val file may then be missing); of raw files "public" (default) does the latter,
        "hash" goes by the sample id.  A cache has been divided already.
    labels: ("click",) or ("click", "purchase").
    domain_map: value of column 301 -> domain id, where a file is coded otherwise.
    fit_on: "all" codes ids and scales on all three files, for comparison only.
    encoding: "identity" keeps the ids of the files; above the training maximum they are unknown.
    min_count: ids of fewer training rows are unknown; None is 10 for raw files and 1 for processed
        ones, which were cut at 10 already.
    on_bad_rows, max_bad_fraction, cache_dir: as in `load_movielens`.  Rows of a purchase without
        a click cannot be and are always left out, counted as dropped_click0_conversion1.
    Raises:  DataError, of the kind that `hamur.data.schema` names.
    """
    source = SAMPLE if path is None else Path(path).expanduser()
    if cache.is_cache(source):
        return assemble.check_classes(
            *cache.open_prepared(source, split, fit_on), require_all_domains
        )
    if is_raw(source):
        policy = Policy(on_bad_rows, max_bad_fraction)
        given = dict(split=split, split_seed=split_seed, labels=tuple(labels), policy=policy)
        given |= dict(domain_map=domain_map, min_count=min_count)
        loaded = _load_raw(source, given, fit_on, encoding, tuple(allow_leakage), cache_dir)
        return assemble.check_classes(*loaded, require_all_domains)
    split, min_count = split or "files", min_count or 1
    domain_map = DOMAIN_MAP if domain_map is None else dict(domain_map)
    _check_options(split, labels, domain_map, encoding)
    rules = assemble.Encoding(
        fit_on, "first", min_count, encoding == "identity", True, tuple(allow_leakage)
    )
    policy = Policy(on_bad_rows, max_bad_fraction)
    files = find_files(source, val_needed=split == "files")
    digest = cache.source_digest(files)

    def build() -> tuple[Splits, Schema, list[Rejects]]:
        rejects = [Rejects(file, policy) for file in files]
        pieces = [_read(each, domain_map) for each in rejects]
        raw = _raw(pieces, labels, domain_map)
        tables, schema = assemble.assemble(
            raw,
            _divide([len(piece) for piece in pieces], split, split_seed),
            rules,
            rejects,
            name=NAME,
            domain_names=_domain_names(domain_map),
            group=GROUP_COLUMN,
            split={
                "rule": split,
                "seed": split_seed if split == "halves" else None,
                "encoding": encoding,
                "source": digest,
            },
        )
        return tables, schema, rejects

    options = dict(
        split=split,
        split_seed=split_seed,
        labels=list(labels),
        domain_map=sorted(domain_map.items()),
        fit_on=fit_on,
        encoding=encoding,
        min_count=min_count,
        on_bad_rows=on_bad_rows,
        max_bad_fraction=max_bad_fraction,
        allow_leakage=list(allow_leakage),
    )
    loaded = cache.load_or_build(NAME, source, options, digest, build, cache_dir)
    return assemble.check_classes(*loaded, require_all_domains)


def is_raw(folder: Path) -> bool:
    """Whether the folder holds raw files, plain or compressed."""
    return any(folder.glob("sample_skeleton_*")) or any(folder.glob("sample_*.t*gz"))


def _load_raw(source: Path, given: dict, fit_on, encoding, allow_leakage, cache_dir):
    from hamur.data import ali_ccp_raw, prepare  # they build on this module

    if fit_on != "train" or encoding != "train":
        raise ValueError("raw files are encoded by their training rows: fit_on and encoding")
    options = ali_ccp_raw.Options(**{k: v for k, v in given.items() if v is not None})
    root = cache.default_folder() if cache_dir is None else Path(cache_dir).expanduser()
    key = cache.key_of(source, prepare.plain(options) | {"allow": list(allow_leakage)})
    made = prepare.prepare(
        NAME, source, root / f"{NAME}-{key}", options, overwrite=True, allow_leakage=allow_leakage
    )
    return cache.open_cache(made.folder)


def find_files(source: Path, val_needed: bool = True) -> list[Path]:
    """The train, val (if there or needed) and test file, whose headers hold the 33 columns.

    Raises:  DataFileNotFoundError; DataFormatError: nothing or two sets found, or a wrong header.
    """
    if not source.is_dir():
        raise DataFileNotFoundError(
            "no such folder",
            file=source,
            expected="a folder of " + ", ".join(_FILE_SETS[0]),
            remedy=f"make the processed files from the data of {PAGE} and pass their folder",
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


def _divide(rows: list[int], split: str, split_seed: int) -> splits.Index:
    """Positions of train, valid and test in the files' rows one after the other."""
    if split == "files":
        return tuple(np.split(np.arange(sum(rows)), np.cumsum(rows)[:-1]))
    valid, test = splits.halves(sum(rows[1:]), split_seed)
    return np.arange(rows[0]), rows[0] + valid, rows[0] + test


def _check_options(
    split: str, labels: tuple[str, ...], domain_map: dict[int, int], encoding: str
) -> None:
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}; use one of {_SPLITS}")
    if tuple(labels) not in (LABELS[:1], LABELS):
        raise ValueError(f"labels is {labels!r}; use {LABELS[:1]} or {LABELS}")
    if encoding not in ("train", "identity"):
        raise ValueError(f"encoding is {encoding!r}; use 'train' or 'identity'")
    domains = sorted(set(domain_map.values()))
    if domains != list(range(len(domains))) or not domains:
        raise ValueError(f"domain_map is {domain_map}; its domains must be 0..D-1")


def _domain_names(domain_map: dict[int, int]) -> tuple[str, ...]:
    domains = range(max(domain_map.values()) + 1)
    codes = [[str(code) for code, d in domain_map.items() if d == domain] for domain in domains]
    return tuple(f"{DOMAIN_COLUMN}={'|'.join(names)}" for names in codes)


def _read(rejects: Rejects, domain_map: dict[int, int]) -> text.Rows:
    rows = text.read_rows(rejects.path, CSV, rejects)
    for name in LABELS:
        rows = checks.allowed(rows, name, (0, 1), rejects)
    remedy = "name its domain in domain_map, or leave such rows out with --on_bad_rows skip"
    rows = checks.known_domain(rows, DOMAIN_COLUMN, domain_map, rejects, remedy)
    rejects.settle()
    bought, clicked = rows.columns["purchase"], rows.columns["click"]
    impossible = (bought == 1) & (clicked == 0)
    if impossible.any():
        # By definition no defect of the row's form: dropped in both modes, as by everyone.
        rejects.excluded["dropped_click0_conversion1"] += int(impossible.sum())
    return rows.keep(~impossible)


def _raw(
    pieces: list[text.Rows], labels: tuple[str, ...], domain_map: dict[int, int]
) -> assemble.RawColumns:
    def column(name: str) -> np.ndarray:
        return np.concatenate([piece.columns[name] for piece in pieces])

    domain_code = column(DOMAIN_COLUMN)
    domain = np.empty(len(domain_code), np.int64)
    for code, d in domain_map.items():
        domain[domain_code == code] = d
    # A row's id: its file (train 0, val 1, test 2) and its position there.
    row_id = np.concatenate([(i << 40) + p.lines - 2 for i, p in enumerate(pieces)])
    return assemble.RawColumns(
        sparse={name: factorise(column(name), missing=0) for name in SPARSE_COLUMNS},
        dense={name: column(name).astype(np.float32) for name in DENSE_COLUMNS},
        labels={name: column(name) for name in labels},
        domain=domain,
        row_id=row_id,
        group=np.maximum(column(GROUP_COLUMN), 0),
    )
