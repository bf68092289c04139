"""Cross-domain data in a cache."""

import json
from pathlib import Path

import numpy as np

from hamur.data import cache
from hamur.data.cross_domain.dataset import CrossDomainData
from hamur.data.errors import CacheError
from hamur.data.schema import Schema, thaw
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table

FOLDER = "pair"
_OWN = ("source_categories", "target_categories", "valid_time")


def arrays_of(pair: CrossDomainData) -> dict[str, np.ndarray]:
    """File below the cache, without .npy -> array."""
    arrays = {f"{FOLDER}/{name}": getattr(pair, name) for name in _OWN}
    tables = {"source": pair.source} | dict(zip(SPLITS, pair.target))
    groups = {"names": pair.names} | {part: table.columns() for part, table in tables.items()}
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
        **arrays(),
    )


def is_pair_cache(folder: Path) -> bool:
    """Whether a folder is a prepared cache that holds a pair."""
    return cache.is_cache(folder) and (folder / FOLDER).is_dir()
