"""The cached tables of some source files and options, built first where needed."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from hamur.data.cache.digest import key_of
from hamur.data.cache.read import Loaded, open_cache
from hamur.data.cache.write import write_cache
from hamur.data.errors import CacheError
from hamur.data.schema import Schema
from hamur.data.table import Splits
from hamur.data.text.bad_rows import BadRows

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """$HAMUR_CACHE, or hamur in the user's cache folder."""
    chosen = os.environ.get("HAMUR_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hamur"


def load_or_build(
    name: str,
    source: Path,
    options: dict,
    digest: dict[str, str],
    build: Callable[[], tuple[Splits, Schema, list[BadRows]]],
    cache_dir: str | Path | None,
) -> Loaded:
    """The cached tables of these source files and options, built first where needed.

    One folder for a source and its options; a changed source replaces it, a damaged one is
    repaired.  cache_dir None is `default_folder()`.
    Raises:  OSError: the given cache_dir cannot be written (in the default folder that is only
        a warning, and the tables stay in memory).
    """
    root = default_folder() if cache_dir is None else Path(cache_dir).expanduser()
    folder = root / f"{name}-{key_of(source, options)}"
    fingerprint = {"source": digest, "options": options}
    if folder.exists():
        try:
            return open_cache(folder, fingerprint)
        except CacheError as error:
            _log.warning("building the cache again: %s", error)
    splits, schema, bad_rows = build()
    try:
        write_cache(folder, splits, schema, fingerprint, bad_rows)
    except OSError as error:
        if cache_dir is not None:
            raise
        _log.warning("no cache: %s. Set HAMUR_CACHE to a folder that can be written.", error)
        return splits, schema
    try:
        return open_cache(folder, fingerprint)
    except CacheError:
        return splits, schema  # another process is just replacing it
