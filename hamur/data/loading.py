"""From files to cached tables: files that are tables already are read, encoded and cached as a
whole, raw files of any size go through `prepare`; both are memory-mapped from the cache."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from hamur.data import cache
from hamur.data.streaming.prepare import DataSet, plain, prepare
from hamur.data.table_source import read_tables
from hamur.errors import CacheError, DataFileNotFoundError, DataFormatError, no_folder

_log = logging.getLogger(__name__)


def find_files(
    folder: Path,
    sets: Iterable[tuple[str, ...]],
    fetch: str,
    optional: Collection[str] = (),
    choose: str = "pass one of the files, or a folder of its own",
) -> list[Path]:
    """The files of the one set of names that is in the folder, each plain or as .gz, without
    `optional` if that lacks.

    fetch: the remedy where files are missing; choose: where files of several sets are there.
    Raises:  DataFileNotFoundError: no folder, or a part of a set; DataFormatError: not one set.
    """
    sets = list(sets)
    expected = " or ".join(", ".join(names) for names in sets)
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.glob("*"))[:8]
        raise DataFileNotFoundError(
            no_folder(folder) if folder.exists() else "no such file or folder",
            file=folder,
            value=f"beside it: {', '.join(beside) or 'nothing'}",
            expected=f"a folder of {expected}",
            remedy=fetch,
        )
    cache.check_reader(folder, "a reader of source files")
    present = [[name for name in names if _plain_or_packed(folder / name)] for names in sets]
    present = [names for names in present if names]
    if len(present) != 1:
        names = " and ".join(" + ".join(names) for names in present)
        raise DataFormatError(
            f"ambiguous: {names}" if present else "not recognised",
            file=folder,
            value=f"files: {', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'none'}",
            expected=f"either {expected}",
            remedy=choose if present else fetch,
        )
    for name in next(names for names in sets if present[0][0] in names):
        if name not in present[0] and name not in optional:
            raise DataFileNotFoundError(
                f"{name} is missing beside {', '.join(present[0])}",
                file=folder / name,
                remedy=fetch,
            )
    return [_plain_or_packed(folder / name) for name in present[0]]


def _plain_or_packed(path: Path) -> Path | None:
    """The file, or the one with .gz added; None without either."""
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def load_tables(source, cache_dir: str | Path | None, read: Callable = read_tables) -> cache.Loaded:
    """The tables of the source, from a cache that is built when needed.

    One folder for a source and its options; a changed source replaces it, a damaged one is
    repaired.
    source: a TableSource, or what has its name, root, `digest` and `key`; read: (source, its
        digest, folder to work in) -> tables, schema, bad rows.
    Raises:  DataError; OSError: the given cache_dir cannot be written (in the default folder that
        is only a warning, and the tables stay in memory).
    """
    made_from = {"source": source.digest(), "options": source.key()}
    folder = cache.folder_for(source.name, source.root, made_from["options"], cache_dir)
    if folder.exists():
        try:
            return cache.open_cache(folder, made_from)
        except CacheError as error:
            _log.warning("building the cache again: %s", error)
    splits, schema, bad_rows = read(source, made_from["source"], folder.parent)
    try:
        cache.write_cache(folder, splits, schema, made_from, bad_rows)
    except OSError as error:
        if cache_dir is not None:
            raise
        _log.warning("no cache: %s. Set HAMUR_CACHE to a folder that can be written.", error)
        return splits, schema
    with contextlib.suppress(CacheError):  # another process is just replacing it
        return cache.open_cache(folder, made_from)
    return splits, schema


def load_raw(
    dataset: DataSet,
    root: Path,
    options,
    allow_leakage: tuple[str, ...],
    cache_dir: str | Path | None,
) -> cache.Loaded:
    """The tables of raw files, prepared where these options have not been yet.

    options: of the data set's class.
    Raises:  DataError; OSError: see `prepare`.
    """
    key = plain(options) | {"allow": list(allow_leakage)}
    folder = cache.folder_for(dataset.name, root, key, cache_dir)
    prepared = prepare(dataset, root, folder, options, overwrite=True, allow_leakage=allow_leakage)
    return cache.open_cache(prepared.folder)
