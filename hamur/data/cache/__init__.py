"""Encoded tables on disk as memory-mapped arrays, so that a second load takes no time.

A cache is a folder: schema.json (format, schema, fingerprint, every file's size and sha256, which
columns of which file make a column of a table), stats.json, the .npy files, and an empty file
COMPLETE.  It is written to a temporary folder and renamed, so it is either absent or complete;
nothing is pickled.

Here live its form, its checks and its names.  How raw files become tables does not.
"""

from hamur.data.cache.digest import key_of, source_digest
from hamur.data.cache.load import default_folder, load_or_build
from hamur.data.cache.read import (
    FORMAT,
    Loaded,
    arrange,
    is_cache,
    is_current,
    open_cache,
    open_prepared,
)
from hamur.data.cache.write import complete, replace_cache, write_arrays, write_cache

__all__ = [
    "FORMAT",
    "Loaded",
    "arrange",
    "complete",
    "default_folder",
    "is_cache",
    "is_current",
    "key_of",
    "load_or_build",
    "open_cache",
    "open_prepared",
    "replace_cache",
    "source_digest",
    "write_arrays",
    "write_cache",
]
