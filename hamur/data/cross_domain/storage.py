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

FOLDER = "pair"
_OWN = ("source_categories", "target_categories", "valid_time")


def arrays_of(pair: CrossDomainData) -> dict[str, np.ndarray]:
    """File below the cache, without .npy -> array."""
    found = {f"{FOLDER}/{name}": getattr(pair, name) for name in _OWN}
    for group in ("names", "ratings"):
        own = getattr(pair, group)
        found |= {f"{FOLDER}/{group}/{name}": values for name, values in own.items()}
    tables = {"source": pair.source} | dict(zip(SPLITS, pair.target))
    for part, table in tables.items():
        found |= {f"{FOLDER}/{part}/{name}": column for name, column in table.columns().items()}
    return found


def described(pair: CrossDomainData, split: dict) -> dict:
    """The split entry of the schema from which `open_pair` makes the pair's schemas again."""
    schemas = {
        name: json.loads(schema.to_json())
        for name, schema in (("source", pair.source_schema), ("target", pair.target_schema))
    }
    return {**split, FOLDER: {**schemas, "timed": pair.timed}}


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
    found = thaw(schema.split[FOLDER])
    arrays = {
        str(path.relative_to(folder / FOLDER).with_suffix("")): np.load(path, mmap_mode="r")
        for path in sorted((folder / FOLDER).rglob("*.npy"))
    }

    def below(name: str) -> dict[str, np.ndarray]:
        begin = f"{name}/"
        return {k.removeprefix(begin): a for k, a in arrays.items() if k.startswith(begin)}

    def table(part: str) -> Table:
        return Table(**below(part))

    source_schema, target_schema = (
        Schema.from_json(json.dumps(found[name])) for name in ("source", "target")
    )
    return CrossDomainData(
        source=table("source"),
        target=Splits(*map(table, SPLITS)),
        source_schema=source_schema,
        target_schema=target_schema,
        names=below("names"),
        timed=found["timed"],
        ratings=below("ratings"),
        **{name: arrays[name] for name in _OWN},
    )


def is_pair_cache(folder: Path) -> bool:
    """Whether a folder is a prepared cache that holds a pair."""
    return (folder / "schema.json").is_file() and (folder / FOLDER).is_dir()


EXPORT = "biao_json"


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
    check_exportable(pair)
    users = range(1, pair.num_users + 1)
    early = np.asarray(pair.source.time) < pair.valid_time[pair.source.sparse[:, USER]]
    usable = pair.source.take(np.flatnonzero(early))
    pool: dict[int, list] = {user: [] for user in users}
    behaviours = {"source": {user: [] for user in users}, "target": {user: [] for user in users}}
    for row, rating in zip(usable.sparse.tolist(), pair.ratings["source"][early].tolist()):
        pool[row[USER]].append([rating, row[ITEM]])
    for name, table in (("source", usable), ("target", pair.target.train)):
        for row, label in zip(table.sparse.tolist(), table.labels[:, 0].tolist()):
            if label:
                behaviours[name][row[USER]].append(row[ITEM])
    content = {"users": numbered(pair.names["user"]), "source_pos_neg": pool}
    for name in ("source", "target"):
        content[f"{name}_item"] = numbered(pair.names[f"{name}_item"])
        content[f"{name}_cate2id"] = numbered(pair.names[f"{name}_category"])
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


def numbered(values: np.ndarray) -> dict[str, int]:
    """Raw value -> id, without id 0."""
    return {str(value): number for number, value in enumerate(values) if number}


def check_exportable(pair: CrossDomainData) -> None:
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
