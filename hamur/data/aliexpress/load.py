"""AliExpress: which of the shown items are clicked, and which are bought?  Domains are countries.

    label   click, and conversion = clicked and bought, both over all impressions (CTR and CTCVR)
    sparse  categorical_1..16, and domain_indicator where there are several countries
    dense   numerical_1..63, in [0, 1] as published          group  search_id, never a feature

Test is the official test file.  Validation is the tail of the training file: the search pages that
appear last and hold a tenth of its rows.  The order inside the file is the only order there is;
whether it is strictly that of time is unknown.
"""

import dataclasses
from pathlib import Path

from hamur.data import cache
from hamur.data.aliexpress import raw
from hamur.data.aliexpress.files import (
    DENSE_COLUMNS,
    GROUP,
    LABELS,
    NAME,
    PART_SHIFT,
    PARTS,
    SAMPLE,
    SPARSE_COLUMNS,
    check_found,
    choose_countries,
    holds_raw,
)
from hamur.data.build_tables import Encoding, check_classes
from hamur.data.columns import FLAGS, Columns
from hamur.data.loading import find_files, load_raw, load_tables
from hamur.data.sample import path_or_sample
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import DOMAIN_SHIFT, Splits
from hamur.data.table_source import TableSource
from hamur.data.text.bad_rows import MAX_LINE_MIB, Policy

COLUMNS = Columns(
    kinds={GROUP: "int"}
    | dict.fromkeys(SPARSE_COLUMNS, "category")
    | dict.fromkeys(DENSE_COLUMNS, "float")
    | dict.fromkeys(LABELS, "int"),
    labels={name: name for name in LABELS},
    values=dict.fromkeys(LABELS, FLAGS),
    implies=LABELS[::-1],
    sparse=SPARSE_COLUMNS,
    dense=DENSE_COLUMNS,
    group=GROUP,
)
_FILE_SETS = (
    ("train.csv", "test.csv"),
    ("aliexpress_train_sample.csv", "aliexpress_test_sample.csv"),
)


def load_aliexpress(
    path: str | Path | None = None,
    countries: tuple[str, ...] | None = None,
    valid_fraction: float = 0.1,
    labels: tuple[str, ...] = LABELS,
    encoding: str = "train",
    min_count: int = 1,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: tuple[str, ...] = (),
    cache_dir: str | Path | None = None,
) -> tuple[Splits, Schema]:
    """The three splits and their schema, memory-mapped from a cache that is built when needed.

    path: a folder of train.csv and test.csv (82 columns, any order), of the raw pairs
        {cc}_{user,item}_{train,test}, as .csv or still in their .zip files, or of folders
        AliExpress_NL and so on; or a cache that examples/prepare_data.py made; None is the bundled
        sample of generated rows.
    countries: which ones, in the order of the domain ids; None takes all that are there.
    valid_fraction: share of the training rows that the last search pages give to validation.
    labels: ("click", "conversion") or ("click",).
    encoding: "identity" keeps the category numbers of the files as ids; above the training maximum
        they are unknown; of processed files only.
    on_bad_rows, max_bad_fraction, max_line_mib, cache_dir: as in `load_movielens`.
    Raises:  DataError, of the kind that `hamur.errors` names.
    """
    if tuple(labels) not in (LABELS, LABELS[:1]):
        raise ValueError(f"`labels` is {labels!r}; use {LABELS} or {LABELS[:1]}")
    if encoding not in ("train", "identity"):
        raise ValueError(f"`encoding` is {encoding!r}; use 'train' or 'identity'")
    if not 0.0 < valid_fraction < 1.0:
        raise ValueError(f"`valid_fraction` is {valid_fraction}; use a share between 0 and 1")
    root = path_or_sample(path, SAMPLE)
    labels, countries = tuple(labels), None if countries is None else tuple(countries)
    policy, allow = Policy(on_bad_rows, max_bad_fraction, max_line_mib), tuple(allow_leakage)
    if cache.is_cache(root):
        asked = dict(domain_names=countries, labels=labels)
        usual = valid_fraction == raw.Options.valid_fraction
        asked["valid_fraction"] = None if usual else valid_fraction
        loaded = cache.open_prepared(root, "load_aliexpress", **asked)
    elif holds_raw(root):
        if encoding != "train":
            raise ValueError(f"`encoding` is {encoding!r}; raw files are encoded by training rows")
        options = raw.Options(countries, labels, valid_fraction, min_count, policy)
        loaded = load_raw(raw.DATASET, root, options, allow, cache_dir)
    else:
        rules = Encoding("train", "value", min_count, encoding == "identity", True, allow)
        source = _source(root, countries, valid_fraction, labels, rules, policy)
        loaded = load_tables(source, cache_dir)
    return check_classes(*loaded)


def _source(
    root: Path,
    countries: tuple[str, ...] | None,
    valid_fraction: float,
    labels: tuple[str, ...],
    rules: Encoding,
    policy: Policy,
) -> TableSource:
    """A train and a test file per country."""
    files = _find_processed(root)
    check_found(root, files)
    names = choose_countries(root, files, countries)
    encoding = "identity" if rules.identity else "train"
    split = Split("last search pages", valid_fraction=valid_fraction)
    return TableSource(
        NAME,
        root,
        tuple(file for name in names for file in files[name]),
        dataclasses.replace(COLUMNS, labels={name: name for name in labels}, split=split),
        rules,
        policy,
        notes={"valid_fraction": valid_fraction, "encoding": encoding},
        first_row_id=tuple(
            (d << DOMAIN_SHIFT) + (part << PART_SHIFT)
            for d in range(len(names))
            for part in range(len(PARTS))
        ),
        file_domains=tuple(name for name in names for _ in PARTS),
    )


def _find_processed(root: Path) -> dict[str, list[Path]]:
    """Country -> its train and test file, in this folder or in folders AliExpress_NL and so on."""
    files = {}
    for folder in (root, *sorted(path for path in root.glob("AliExpress_*") if path.is_dir())):
        if any((folder / name).is_file() for names in _FILE_SETS for name in names):
            country = folder.resolve().name.removeprefix("AliExpress_")
            files[country] = find_files(folder, _FILE_SETS, "pass the folder of both files")
    return files
