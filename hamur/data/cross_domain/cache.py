"""A pair in a prepared cache: beside the multi-domain tables, its own arrays below `pair/`."""

import json
from pathlib import Path

import numpy as np

from hamur.data import cache
from hamur.data.cross_domain.dataset import Pair
from hamur.data.errors import CacheError
from hamur.data.schema import Schema, thaw
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table

FOLDER = "pair"
_OWN = ("source_categories", "target_categories", "valid_time")


def arrays_of(pair: Pair) -> dict[str, np.ndarray]:
    """File below the cache, without .npy -> array."""
    found = {f"{FOLDER}/{name}": getattr(pair, name) for name in _OWN}
    for group in ("names", "ratings"):
        own = getattr(pair, group)
        found |= {f"{FOLDER}/{group}/{name}": values for name, values in own.items()}
    tables = {"source": pair.source} | dict(zip(SPLITS, pair.target))
    for part, table in tables.items():
        found |= {f"{FOLDER}/{part}/{name}": column for name, column in table.columns().items()}
    return found


def described(pair: Pair, split: dict) -> dict:
    """The split entry of the schema from which `open_pair` makes the pair's schemas again."""
    schemas = {
        name: json.loads(schema.to_json())
        for name, schema in (("source", pair.source_schema), ("target", pair.target_schema))
    }
    return {**split, FOLDER: {**schemas, "timed": pair.timed}}


def open_pair(folder: Path, verify: bool = False) -> Pair:
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
    return Pair(
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
