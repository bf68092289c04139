"""Cross-domain data on disk: in a cache, and as the JSON files of the public BIAO code."""

import json
from pathlib import Path

import numpy as np

from hamur.data import cache
from hamur.data.cross_domain.dataset import ITEM, USER, CrossDomainData
from hamur.data.errors import CacheError
from hamur.data.schema import Schema, thaw
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table
from hamur.files import replacing

FOLDER, EXPORT = "pair", "biao_json"
_OWN = ("source_categories", "target_categories", "valid_time")


def arrays_of(pair: CrossDomainData) -> dict[str, np.ndarray]:
    """File below the cache, without .npy -> array."""
    arrays = {f"{FOLDER}/{name}": getattr(pair, name) for name in _OWN}
    tables = {"source": pair.source} | dict(zip(SPLITS, pair.target))
    groups = {"names": pair.names, "ratings": pair.ratings}
    groups |= {part: table.columns() for part, table in tables.items()}
    for group, columns in groups.items():
        arrays |= {f"{FOLDER}/{group}/{name}": column for name, column in columns.items()}
    return arrays


def described(pair: CrossDomainData, split: dict) -> dict:
    """The split entry of the schema from which `open_pair` makes the pair's schemas again."""
    source, target = (json.loads(s.to_json()) for s in (pair.source_schema, pair.target_schema))
    return {**split, FOLDER: {"source": source, "target": target, "timed": pair.timed}}


def open_pair(folder: Path, verify: bool = False) -> CrossDomainData:
    """The pair that was prepared into this cache, memory-mapped.

    Raises:  CacheError: as `cache.open_cache`, and for a cache of no pair.
    """
    _, schema = cache.open_cache(folder, verify=verify)
    if FOLDER not in schema.split:
        raise CacheError(
            "the cache holds no pair of domains",
            file=folder,
            remedy="prepare it with --dataset amazon",
        )
    stored = thaw(schema.split[FOLDER])

    def arrays(part: str = "") -> dict[str, np.ndarray]:
        files = sorted((folder / FOLDER / part).glob("*.npy"))
        return {path.stem: np.load(path, mmap_mode="r") for path in files}

    return CrossDomainData(
        source=Table(**arrays("source")),
        target=Splits(*(Table(**arrays(part)) for part in SPLITS)),
        source_schema=Schema.from_json(json.dumps(stored["source"])),
        target_schema=Schema.from_json(json.dumps(stored["target"])),
        names=arrays("names"),
        timed=stored["timed"],
        ratings=arrays("ratings"),
        **arrays(),
    )


def is_pair_cache(folder: Path) -> bool:
    """Whether a folder is a prepared cache that holds a pair."""
    return cache.is_cache(folder) and (folder / FOLDER).is_dir()


def export_biao_json(pair: CrossDomainData, folder: Path) -> list[Path]:
    """Writes the files below; returns their paths.  Ids are the pair's, from 1.

    users, source_item, target_item, source_cate2id, target_cate2id.json: raw value -> id
    source_item_cate, target_item_cate.json: item id -> category id
    train_set, valid_set, test_set.json: [[user, item, rating, target_hist, source_hist], ...]
    source_user_behavior, target_user_behavior.json: user -> items of those histories
    source_pos_neg.json: user -> [[rating, item], ...], the pool of source candidates
    target_hist: the user's positive training items; source_hist, the pool: what the user did before
    the own validation row, the positive items of it and all of it; oldest first, not cut.  A key is
    text, as JSON has it; a user without any has an empty list.
    Raises:  ValueError: the pair has no ratings or no times, another split than leave_two_out, or
        items without id, which those files cannot say.
    """
    _check_exportable(pair)
    users = range(1, pair.num_users + 1)
    early = pair.usable()
    usable = pair.source.take(np.flatnonzero(early))
    pool: dict[int, list] = {user: [] for user in users}
    behaviours = {"source": {user: [] for user in users}, "target": {user: [] for user in users}}
    for row, rating in zip(usable.sparse.tolist(), pair.ratings["source"][early].tolist()):
        pool[row[USER]].append([rating, row[ITEM]])
    for name, table in (("source", usable), ("target", pair.target.train)):
        for row, label in zip(table.sparse.tolist(), table.labels[:, 0].tolist()):
            if label:
                behaviours[name][row[USER]].append(row[ITEM])
    content = {"users": _numbered(pair.names["user"]), "source_pos_neg": pool}
    for name in ("source", "target"):
        content[f"{name}_item"] = _numbered(pair.names[f"{name}_item"])
        content[f"{name}_cate2id"] = _numbered(pair.names[f"{name}_category"])
        categories = getattr(pair, f"{name}_categories").tolist()
        content[f"{name}_item_cate"] = dict(enumerate(categories[1:], 1))
        content[f"{name}_user_behavior"] = behaviours[name]
    for part, table in zip(SPLITS, pair.target):
        content[f"{part}_set"] = [
            [user, item, rating, behaviours["target"][user], behaviours["source"][user]]
            for (user, item, _), rating in zip(table.sparse.tolist(), pair.ratings[part].tolist())
        ]
    paths = [folder / f"{name}.json" for name in sorted(content)]
    for path in paths:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content[path.stem]), encoding="utf-8")
    return paths


def _numbered(values: np.ndarray) -> dict[str, int]:
    """Raw value -> id, without id 0."""
    return {str(value): number for number, value in enumerate(values) if number}


def _check_exportable(pair: CrossDomainData) -> None:
    """Raises ValueError, see `export_biao_json`."""
    split = pair.target_schema.split
    tables = (pair.source, *pair.target)
    for wrong, what in (
        (not pair.ratings, "the ratings of its rows, which an older cache lacks: prepare it again"),
        (not pair.timed, "times"),
        (split["rule"] != "leave_two_out", "the split leave_two_out"),
        (
            any((np.asarray(table.sparse[:, ITEM]) == 0).any() for table in tables),
            "an id for every item: prepare it with --vocabulary all",
        ),
    ):
        if wrong:
            raise ValueError(f"--export {EXPORT}: the pair needs {what}.")
