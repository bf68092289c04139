"""Ali-CCP: is an impression clicked?  Domains are the positions (field 301) of the shop's app.

    label   click (task 1), and purchase (task 2) where it is asked for; never a feature
    sparse  23 id fields and domain_indicator      dense  8 value columns D...
    domain  301 as the public files code it: {1: 0, 2: 1, 3: 2}

From the four raw files, from the public processed files ali_ccp_{train,val,test}.csv of 33 columns,
in which 0 is a missing or rare id and ids are coded again from the training rows, or from a cache.
"""

import dataclasses
from pathlib import Path

from hamur.data import build_tables, cache
from hamur.data.ali_ccp import raw
from hamur.data.ali_ccp.columns import (
    DENSE_COLUMNS,
    DOMAIN_COLUMN,
    DOMAIN_MAP,
    GROUP_COLUMN,
    LABELS,
    NAME,
    PAGE,
    SAMPLE,
    SPARSE_COLUMNS,
)
from hamur.data.columns import FLAGS, Columns, Domain
from hamur.data.loading import find_files, load_raw, load_tables
from hamur.data.multi_valued import pooled_by
from hamur.data.sample import path_or_sample
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import Splits
from hamur.data.table_source import TableSource
from hamur.data.text.bad_rows import MAX_LINE_MIB, Policy

COLUMNS = Columns(
    kinds=dict.fromkeys(LABELS, "int")
    | dict.fromkeys(SPARSE_COLUMNS, "category")
    | dict.fromkeys(DENSE_COLUMNS, "float"),
    labels={name: name for name in LABELS},
    values=dict.fromkeys(LABELS, FLAGS),
    implies=LABELS[::-1],
    drop_implied="dropped_click0_conversion1",  # no defect of the row's form: as everyone does
    sparse=SPARSE_COLUMNS,
    zero_is_missing=True,
    dense=DENSE_COLUMNS,
    group=GROUP_COLUMN,
)
_SPLITS = ("files", "halves")
_FETCH = (
    f"fetch the data from {PAGE} and pass the folder of the raw files, or of the three processed "
    "ones; `split='halves'` takes a missing val file from test"
)
_FILE_SETS = tuple(
    tuple(f"ali_ccp_{part}{end}.csv" for part in ("train", "val", "test"))
    for end in ("", "_sample")
)
_VALS = [val for _, val, _ in _FILE_SETS]


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
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: tuple[str, ...] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
    multi: str | None = None,
    max_len: int | None = None,
    pool_weight: str | None = None,
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
    on_bad_rows, max_bad_fraction, max_line_mib, cache_dir: as in `load_movielens`.  Rows of a
        purchase without a click cannot be and are always left out, counted as
        dropped_click0_conversion1.
    multi: of raw files "last" (default) takes the last entry of a multi-valued field, as the
        processed files have it; "mean" keeps all entries of 210, 853, 109_14, 110_14, 127_14 and
        150_14, up to max_len (50) known ones of largest value, for the mean of their embeddings,
        and makes their D columns means.  pool_weight: "uniform" (default) or "value", how entries
        count.
    Raises:  DataError, of the kind that `hamur.errors` names.
    """
    root = path_or_sample(path, SAMPLE)
    policy, allow = Policy(on_bad_rows, max_bad_fraction, max_line_mib), tuple(allow_leakage)
    if cache.is_cache(root):
        asked = dict(split=split, min_count=min_count, multi=multi, max_len=max_len)
        asked["fit_on"] = None if fit_on == "train" else fit_on
        asked["labels"] = None if tuple(labels) == LABELS[:1] else tuple(labels)
        asked["seed"] = None if split_seed == raw.Options.split_seed else split_seed
        loaded = cache.open_prepared(root, "load_ali_ccp", **asked)
    elif is_raw(root):
        for name, value in (("fit_on", fit_on), ("encoding", encoding)):
            if value != "train":
                raise ValueError(f"`{name}` is {value!r}; raw files are encoded by training rows")
        values = dict(split=split, split_seed=split_seed, labels=tuple(labels), policy=policy)
        values |= dict(domain_map=domain_map, min_count=min_count, multi=multi, max_len=max_len)
        options = raw.Options(**{k: v for k, v in values.items() if v is not None})
        loaded = load_raw(raw.DATASET, root, options, allow, cache_dir)
    else:
        if multi not in (None, "last"):
            raise ValueError(
                f"`multi={multi!r}` needs raw files: processed ones hold the last entry of a list"
            )
        if max_len:
            raise ValueError("`max_len` needs raw files: processed ones hold no lists")
        rules = build_tables.Encoding(
            fit_on, "first", min_count or 1, encoding == "identity", True, allow
        )
        if encoding not in ("train", "identity"):
            raise ValueError(f"`encoding` is {encoding!r}; use 'train' or 'identity'")
        domain_map = DOMAIN_MAP if domain_map is None else dict(domain_map)
        divided = Split(split or "files", split_seed)
        loaded = load_tables(_source(root, divided, labels, domain_map, rules, policy), cache_dir)
    return build_tables.check_classes(*pooled_by(*loaded, pool_weight), require_all_domains)


def _source(
    root: Path,
    split: Split,
    labels: tuple[str, ...],
    domain_map: dict[int, int],
    rules: build_tables.Encoding,
    policy: Policy,
) -> TableSource:
    if split.rule not in _SPLITS:
        raise ValueError(f"`split` is {split.rule!r}; use one of {_SPLITS}")
    if tuple(labels) not in (LABELS[:1], LABELS):
        raise ValueError(f"`labels` is {labels!r}; use {LABELS[:1]} or {LABELS}")
    files = find_files(root, _FILE_SETS, _FETCH, () if split.rule == "files" else _VALS)
    encoding = "identity" if rules.identity else "train"
    return TableSource(
        NAME,
        root,
        tuple(files),
        dataclasses.replace(
            COLUMNS,
            labels={name: name for name in labels},
            domain=_domain(domain_map),
            split=split if split.rule == "halves" else Split(split.rule),
        ),
        rules,
        policy,
        notes={"multi": "last", "max_len": None, "encoding": encoding},
        # A row's id: its file (train 0, val 1, test 2) and its position there.
        first_row_id=tuple((number << 40) - 2 for number in range(len(files))),
    )


def _domain(domain_map: dict[int, int]) -> Domain:
    """A name per domain, from the codes of column 301 that it is made of."""
    domains = sorted(set(domain_map.values()))
    if domains != list(range(len(domains))) or not domains:
        raise ValueError(f"`domain_map` is {domain_map}; its domains must be 0..D-1")
    groups = [tuple(code for code, d in domain_map.items() if d == domain) for domain in domains]
    return Domain(
        DOMAIN_COLUMN,
        {f"{DOMAIN_COLUMN}={'|'.join(map(str, codes))}": codes for codes in groups},
        remedy="leave such rows out with `on_bad_rows='skip'`, or name its domain in `domain_map`",
    )


def is_raw(folder: Path) -> bool:
    """Whether the folder holds raw files, plain or compressed."""
    return any(folder.glob("sample_skeleton_*")) or any(folder.glob("sample_*.t*gz"))
