"""Cross-domain data in a cache."""

import json
from pathlib import Path

import numpy as np

from hamur.data import cache
from hamur.data.cross_domain.dataset import CrossDomainData
from hamur.data.schema import Schema, thaw
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table
from hamur.errors import CacheError

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


def open_pair(folder: Path, **asked) -> CrossDomainData:
    """The pair that was prepared into this cache, memory-mapped.

    asked: options that it must have been prepared with.
    Raises:  CacheError: as `cache.open_cache`, and for a cache of no pair; ValueError: other
        options.
    """
    cache.check_reader(folder, "load_amazon_pair")
    manifest, files, schema = cache.open_arrays(folder)
    options = manifest["made_from"].get("options")  # of any kind in a damaged manifest
    made = (options if isinstance(options, dict) else {}) | {"pair": schema.domain_names}
    cache.check_asked(folder, made, asked)
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in files.items():
        if name.startswith(f"{FOLDER}/"):
            group, _, column = name.removeprefix(f"{FOLDER}/").rpartition("/")
            groups.setdefault(group, {})[column] = array
    try:
        stored = thaw(schema.split[FOLDER])
        return CrossDomainData(
            source=Table(**groups["source"]),
            target=Splits(*(Table(**groups[part]) for part in SPLITS)),
            source_schema=Schema.from_json(json.dumps(stored["source"])),
            target_schema=Schema.from_json(json.dumps(stored["target"])),
            names=groups["names"],
            timed=stored["timed"],
            **groups[""],
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(
            f"the cache holds no pair of domains: {error}",
            file=folder,
            remedy="prepare one with prepare_data.py --dataset amazon",
        ) from None
