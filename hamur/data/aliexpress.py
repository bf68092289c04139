"""AliExpress: which of the shown items are clicked, and which are bought?  Domains are countries.

    label   click, and conversion = clicked and bought, both over all impressions (CTR and CTCVR)
    sparse  categorical_1..16, and domain_indicator where there are several countries
    dense   numerical_1..63, in [0, 1] as published          group  search_id, never a feature

Test is the official test file.  Validation is the tail of the training file: the search pages that
appear last and hold a tenth of its rows.  The order inside the file is the only order there is;
whether it is strictly that of time is unknown.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data import assemble, cache, checks, splits, text
from hamur.data.aliexpress_files import (
    CSV,
    DENSE_COLUMNS,
    GROUP,
    ITEM,
    ITEM_LABEL,
    ITEM_NAMES,
    LABELS,
    PARTS,
    SPARSE_COLUMNS,
    USER,
    USER_NAMES,
    CountryFiles,
    find_files,
)
from hamur.data.encode import factorise
from hamur.data.rejects import Policy, Rejects
from hamur.data.schema import DataValueError, LeakageError, Schema
from hamur.data.table import Splits

NAME = "aliexpress"
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "aliexpress-sample"
PART_SHIFT, DOMAIN_SHIFT = 40, 48  # bits below the part and the country in an id
Columns = dict[str, np.ndarray]


def load_aliexpress(
    path: str | Path | None = None,
    countries: tuple[str, ...] | None = None,
    valid_fraction: float = 0.1,
    labels: tuple[str, ...] = LABELS,
    encoding: str = "train",
    min_count: int = 1,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    allow_leakage: tuple[str, ...] = (),
    cache_dir: str | Path | None = None,
) -> tuple[Splits, Schema]:
    """The three splits and their schema, memory-mapped from a cache that is built when needed.

    path: a folder of train.csv and test.csv (82 columns, any order), of the raw pairs
        {cc}_{user,item}_{train,test}.csv, or of folders AliExpress_NL and so on; or a cache that
        `prepare` made, which large raw files need; None is the bundled sample of generated rows.
    countries: which ones, in the order of the domain ids; None takes all that are there.
    valid_fraction: share of the training rows that the last search pages give to validation.
    labels: ("click", "conversion") or ("click",).
    encoding: "identity" keeps the category numbers of the files as ids; above the training maximum
        they are unknown.
    on_bad_rows, max_bad_fraction, cache_dir: as in `load_movielens`.
    Raises:  DataError, of the kind that `hamur.data.schema` names.
    """
    if tuple(labels) not in (LABELS, LABELS[:1]):
        raise ValueError(f"labels is {labels!r}; use {LABELS} or {LABELS[:1]}")
    if encoding not in ("train", "identity"):
        raise ValueError(f"encoding is {encoding!r}; use 'train' or 'identity'")
    if not 0.0 < valid_fraction < 1.0:
        raise ValueError(f"valid_fraction is {valid_fraction}; use a share between 0 and 1")
    rules = assemble.Encoding(
        "train", "value", min_count, encoding == "identity", True, tuple(allow_leakage)
    )
    source = SAMPLE if path is None else Path(path).expanduser()
    if cache.is_cache(source):
        return assemble.check_classes(*_open_prepared(source, countries, tuple(labels)))
    policy = Policy(on_bad_rows, max_bad_fraction)
    chosen = find_files(source, None if countries is None else tuple(countries))
    digest = {}
    for country in chosen:
        for file, found in zip(country.files, cache.source_digest(country.files).values()):
            digest[str(file.relative_to(source))] = found

    def build() -> tuple[Splits, Schema, list[Rejects]]:
        rejects = {file: Rejects(file, policy) for each in chosen for file in each.files}
        pieces = [read_part(each, part, rejects) for each in chosen for part in PARTS]
        raw, parts = _join_pieces(pieces, tuple(labels), valid_fraction)
        tables, schema = assemble.assemble(
            raw,
            parts,
            rules,
            list(rejects.values()),
            name=NAME,
            domain_names=tuple(each.country for each in chosen),
            group=GROUP,
            split={
                "rule": "last search pages",
                "seed": None,
                "valid_fraction": valid_fraction,
                "encoding": encoding,
                "source": digest,
            },
            domain_field=len(chosen) > 1,
        )
        _check_pages(tables)
        return tables, schema, list(rejects.values())

    options = dict(
        countries=[each.country for each in chosen],
        valid_fraction=valid_fraction,
        labels=list(labels),
        encoding=encoding,
        min_count=min_count,
        on_bad_rows=on_bad_rows,
        max_bad_fraction=max_bad_fraction,
        allow_leakage=list(allow_leakage),
    )
    return assemble.check_classes(
        *cache.load_or_build(NAME, source, options, digest, build, cache_dir)
    )


def _open_prepared(
    source: Path, countries: tuple[str, ...] | None, labels: tuple[str, ...]
) -> tuple[Splits, Schema]:
    splits, schema = cache.open_cache(source)
    made = {"name": schema.name, "countries": schema.domain_names, "labels": schema.labels}
    asked = {"name": NAME, "countries": tuple(countries or schema.domain_names), "labels": labels}
    if made != asked:
        raise ValueError(f"{source} was prepared as {made}; prepare it again to have {asked}")
    return splits, schema


def read_part(country: CountryFiles, part: str, rejects: dict[Path, Rejects]) -> Columns:
    """The 82 columns of one country's training or test rows, and "line".

    Numerical columns are float32.  Raw pages come in the order of the user file, the items of a
    page in that of the item file, as an inner join gives them.
    """
    files = country.parts[part]
    if len(files) == 1:
        return _read_processed(rejects[files[0]])
    return _read_raw(*(rejects[file] for file in files))


def _read_processed(rejects: Rejects) -> Columns:
    rows = text.read_rows(rejects.path, CSV, rejects)
    for name in LABELS:
        rows = checks.allowed(rows, name, (0, 1), rejects)
    rejects.settle()
    rows = checks.drop_impossible(rows, "click", "conversion", rejects)
    return _narrow(rows.columns) | {"line": rows.lines}


def _read_raw(of_users: Rejects, of_items: Rejects) -> Columns:
    users = text.read_rows(of_users.path, USER, of_users)
    users = checks.unique(users, ("user_1",), of_users)
    of_users.settle()
    items = text.read_rows(of_items.path, ITEM, of_items)
    items = checks.allowed(items, ITEM_LABEL, (0, 1, 2), of_items)
    items = checks.with_partner(items, "item_1", users.columns["user_1"], of_users.path, of_items)
    of_items.settle()
    page = pd.Index(users.columns["user_1"]).get_indexer(items.columns["item_1"])
    order = np.argsort(page, kind="stable")
    label = items.columns[ITEM_LABEL][order]
    columns = {name: users.columns[raw][page[order]] for raw, name in USER_NAMES.items()}
    columns |= {name: items.columns[raw][order] for raw, name in ITEM_NAMES.items()}
    columns |= {GROUP: items.columns["item_1"][order], "click": label > 0, "conversion": label > 1}
    return _narrow(columns) | {"line": items.lines[order]}


def _narrow(columns: Columns) -> Columns:
    return {
        name: column.astype(np.float32) if name in DENSE_COLUMNS else column
        for name, column in columns.items()
    }


def _join_pieces(
    pieces: list[Columns], labels: tuple[str, ...], valid_fraction: float
) -> tuple[assemble.RawColumns, splits.Index]:
    """All rows, country by country, training rows first; and which are train, valid and test."""
    lengths = np.array([len(piece[GROUP]) for piece in pieces])
    starts = np.cumsum(lengths) - lengths
    parts = [[], [], []]
    for i, piece in enumerate(pieces):
        rows = starts[i] + np.arange(lengths[i])
        if i % len(PARTS):
            parts[2].append(rows)
            continue
        late = last_pages(piece[GROUP], valid_fraction)
        parts[0].append(rows[~late])
        parts[1].append(rows[late])

    def column(name: str) -> np.ndarray:
        return np.concatenate([piece[name] for piece in pieces])

    domain = np.repeat(np.arange(len(pieces)) // len(PARTS), lengths)
    part = np.repeat(np.arange(len(pieces)) % len(PARTS), lengths)
    raw = assemble.RawColumns(
        sparse={name: factorise(column(name)) for name in SPARSE_COLUMNS},
        dense={name: column(name) for name in DENSE_COLUMNS},
        labels={name: column(name) for name in labels},
        domain=domain,
        row_id=(domain << DOMAIN_SHIFT) + (part << PART_SHIFT) + column("line"),
        group=_group(column(GROUP), domain),
    )
    return raw, tuple(np.concatenate(rows) for rows in parts)


def last_pages(search_id: np.ndarray, fraction: float) -> np.ndarray:
    """(N,) bool: the rows of the pages that appear last, as few whole pages as hold this share.

    By first appearance in the file, since the ids themselves do not ascend.
    """
    page, ids = pd.factorize(search_id)
    held = np.cumsum(
        np.bincount(page, minlength=len(ids))[::-1]
    )  # rows of the last 1, 2, ... pages
    pages = 1 + int(np.searchsorted(held, fraction * len(page)))
    return page >= len(ids) - pages


def _group(search_id: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """The search id itself, or, as countries may use the same numbers, with the country before."""
    if not domain.any():
        return search_id
    if search_id.max() >= 1 << DOMAIN_SHIFT:
        raise DataValueError(
            "a search id too large to join several countries",
            column=GROUP,
            value=int(search_id.max()),
            expected=f"below 2**{DOMAIN_SHIFT}",
            remedy="load the countries one by one",
        )
    return (domain << DOMAIN_SHIFT) + search_id


def _check_pages(tables: Splits) -> None:
    common = np.intersect1d(tables.train.group, tables.valid.group)
    if len(common):
        raise LeakageError(
            f"{len(common)} search pages stand in both train and valid",
            column=GROUP,
            value=common[:5].tolist(),
            expected="whole pages",
            remedy="divide the training file by page",
        )
