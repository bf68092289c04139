"""Ali-CCP: is an impression clicked?  Domains are the positions (field 301) of the shop's app.

    label   click (task 1), and purchase (task 2) where it is asked for; never a feature
    sparse  23 id fields and domain_indicator      dense  8 value columns D...
    domain  301 as the public files code it: {1: 0, 2: 1, 3: 2}

From the four raw files, from the public processed files ali_ccp_{train,val,test}.csv of 33 columns,
in which 0 stands for a missing or rare id and ids are coded again from the training rows, or from a
cache.
"""

from pathlib import Path

from hamur.data import build_tables, cache
from hamur.data.ali_ccp import raw
from hamur.data.ali_ccp.columns import DOMAIN_MAP, GROUP_COLUMN, LABELS, NAME, SAMPLE
from hamur.data.ali_ccp.processed import divide, domain_names, find_files, raw_columns, read
from hamur.data.loading import load_processed, load_raw
from hamur.data.multi_valued import pooled_by
from hamur.data.schema import Schema
from hamur.data.splits import Index
from hamur.data.table import Splits
from hamur.data.text.bad_rows import BadRows, Policy

_SPLITS = ("files", "halves")


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
    on_bad_rows, max_bad_fraction, cache_dir: as in `load_movielens`.  Rows of a purchase without
        a click cannot be and are always left out, counted as dropped_click0_conversion1.
    multi: of raw files "last" (default) takes the last entry of a list, as the processed files
        have it; "mean" keeps the lists of 210, 853, 109_14, 110_14, 127_14 and 150_14, up to
        max_len (50) known entries of largest value, for the mean of their embeddings, and makes
        their D columns means.  pool_weight: "uniform" (default) or "value", how entries count.
    Raises:  DataError, of the kind that `hamur.data.errors` names.
    """
    source = SAMPLE if path is None else Path(path).expanduser()
    policy, allow = Policy(on_bad_rows, max_bad_fraction), tuple(allow_leakage)
    if cache.is_cache(source):
        loaded = cache.open_prepared(source, split, fit_on, multi=multi, max_len=max_len)
    elif is_raw(source):
        if fit_on != "train" or encoding != "train":
            raise ValueError("raw files are encoded by their training rows: fit_on and encoding")
        given = dict(split=split, split_seed=split_seed, labels=tuple(labels), policy=policy)
        given |= dict(domain_map=domain_map, min_count=min_count, multi=multi, max_len=max_len)
        options = raw.Options(**{k: v for k, v in given.items() if v is not None})
        loaded = load_raw(raw.DATASET, source, options, allow, cache_dir)
    else:
        if multi not in (None, "last") or max_len:
            raise ValueError(
                "processed files hold the last entry of a list: only raw ones have means"
            )
        domain_map = DOMAIN_MAP if domain_map is None else dict(domain_map)
        _check_options(split or "files", labels, domain_map, encoding)
        rules = build_tables.Encoding(
            fit_on, "first", min_count or 1, encoding == "identity", True, allow
        )
        loaded = _load_csv(
            source, split or "files", split_seed, labels, domain_map, rules, policy, cache_dir
        )
    return build_tables.check_classes(*pooled_by(*loaded, pool_weight), require_all_domains)


def _load_csv(
    source: Path,
    split: str,
    split_seed: int,
    labels: tuple[str, ...],
    domain_map: dict[int, int],
    rules: build_tables.Encoding,
    policy: Policy,
    cache_dir: str | Path | None,
) -> cache.Loaded:
    def read_all(bad_rows: list[BadRows]) -> tuple[build_tables.RawColumns, Index]:
        pieces = [read(each, domain_map) for each in bad_rows]
        rows = [len(piece) for piece in pieces]
        return raw_columns(pieces, labels, domain_map), divide(rows, split, split_seed)

    options = dict(split=split, split_seed=split_seed, labels=list(labels))
    options["domain_map"] = sorted(domain_map.items())
    return load_processed(
        NAME,
        source,
        find_files(source, val_needed=split == "files"),
        read_all,
        rules,
        policy,
        options,
        cache_dir,
        split={
            "rule": split,
            "seed": split_seed if split == "halves" else None,
            "multi": "last",
            "max_len": None,
        },
        domain_names=domain_names(domain_map),
        group=GROUP_COLUMN,
    )


def is_raw(folder: Path) -> bool:
    """Whether the folder holds raw files, plain or compressed."""
    return any(folder.glob("sample_skeleton_*")) or any(folder.glob("sample_*.t*gz"))


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
