"""Encoded tables on disk as memory-mapped arrays, so that a second load takes no time.

A cache is a folder: schema.json (schema, fingerprint, every file's size and sha256), one .npy a
column and split, and an empty file COMPLETE.  It is written to a temporary folder and renamed, so
it is either absent or complete; nothing is pickled.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from hamur.data.rejects import Rejects, write_bad_rows
from hamur.data.schema import CacheError, Schema
from hamur.data.splits import PARTS
from hamur.data.table import Splits, Table

# Raised whenever the same files and options give other tables, so that old caches are built again.
FORMAT = 1
WHOLE_DIGEST_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
_REMEDY = "delete the folder; the next load builds it again"
_log = logging.getLogger(__name__)

Loaded = tuple[Splits, Schema]


def default_folder() -> Path:
    """$HAMUR_CACHE, or hamur in the user's cache folder."""
    chosen = os.environ.get("HAMUR_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hamur"


def source_digest(paths: Iterable[Path]) -> dict[str, str]:
    """File name -> size and md5; above 1 GiB the md5 of the first and the last MiB."""
    digests = {}
    for path in paths:
        size, digest = path.stat().st_size, hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            if size < WHOLE_DIGEST_BYTES:
                _update(digest, file)
            else:
                digest.update(file.read(_CHUNK_BYTES))
                file.seek(size - _CHUNK_BYTES)
                digest.update(file.read(_CHUNK_BYTES))
        digests[path.name] = f"{size}-{digest.hexdigest()}"
    return digests


def _update(digest, file) -> None:
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)


def load_or_build(
    name: str,
    source: Path,
    options: dict,
    digest: dict[str, str],
    build: Callable[[], tuple[Splits, Schema, list[Rejects]]],
    cache_dir: str | Path | None,
) -> Loaded:
    """The cached tables of these source files and options, built first where needed.

    One folder for a source and its options; a changed source replaces it, a damaged one is
    repaired.  cache_dir None is `default_folder()`.
    Raises:  OSError: the given cache_dir cannot be written (in the default folder that is only
        a warning, and the tables stay in memory).
    """
    key = json.dumps([str(source.resolve()), options], sort_keys=True)
    root = default_folder() if cache_dir is None else Path(cache_dir).expanduser()
    folder = root / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    fingerprint = {"source": digest, "options": options}
    if folder.exists():
        try:
            return open_cache(folder, fingerprint)
        except CacheError as error:
            _log.warning("building the cache again: %s", error)
    splits, schema, rejects = build()
    try:
        write_cache(folder, splits, schema, fingerprint, rejects)
    except OSError as error:
        if cache_dir is not None:
            raise
        _log.warning("no cache: %s. Set HAMUR_CACHE to a folder that can be written.", error)
        return splits, schema
    try:
        return open_cache(folder, fingerprint)
    except CacheError:
        return splits, schema  # another process is just replacing it


def open_cache(folder: Path, fingerprint: dict | None = None, verify: bool = False) -> Loaded:
    """Memory-mapped tables.  fingerprint: what they must have been made from.

    verify: hash every file again, which reads all of it.
    Raises:  CacheError: no COMPLETE, another format version, another source or other options, a
        file that is missing or of another size or (verify) content.
    """
    if not (folder / "COMPLETE").exists():
        raise CacheError("the cache is incomplete (no COMPLETE)", file=folder, remedy=_REMEDY)
    try:
        manifest = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        version, files = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        raise CacheError(f"schema.json: {error}", file=folder, remedy=_REMEDY) from None
    if version != FORMAT:
        raise CacheError(
            "another format version",
            file=folder,
            value=version,
            expected=str(FORMAT),
            remedy=_REMEDY,
        )
    # Through JSON, as the stored one went.
    if fingerprint is not None and manifest["made_from"] != json.loads(json.dumps(fingerprint)):
        raise CacheError("the source files or options have changed", file=folder, remedy=_REMEDY)
    for name, entry in files.items():
        _check_file(folder / name, entry, verify)
    schema = Schema.from_json(json.dumps(manifest["schema"]))
    tables = [_open_table(folder / part, files) for part in PARTS]
    return Splits(*tables), schema


def write_cache(
    folder: Path,
    splits: Splits,
    schema: Schema,
    fingerprint: dict,
    rejects: Iterable[Rejects] = (),
) -> None:
    """Writes beside `folder` and renames; an older cache stays until the new one is complete."""
    temporary = folder.with_name(f"{folder.name}.tmp-{_writer()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        files = {}
        for part, table in zip(PARTS, splits):
            (temporary / part).mkdir(parents=True)
            for column, values in table.columns().items():
                path = temporary / part / f"{column}.npy"
                np.save(path, np.ascontiguousarray(values), allow_pickle=False)
                files[f"{part}/{column}.npy"] = _describe(path)
        manifest = {"format": FORMAT, "made_from": fingerprint, "files": files}
        manifest["schema"] = json.loads(schema.to_json())
        text = json.dumps(manifest, indent=1)
        (temporary / "schema.json").write_text(text, encoding="utf-8")
        if any(rejects):
            write_bad_rows(temporary / "bad_rows.csv", list(rejects))
        (temporary / "COMPLETE").touch()
        _replace(temporary, folder, fingerprint)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(temporary: Path, folder: Path, fingerprint: dict) -> None:
    """Renames; where another process was faster, its tables are as good as ours and stay."""
    if _is_current(folder, fingerprint):
        return
    old = folder.with_name(f"{folder.name}.old-{_writer()}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, old)
    try:
        os.replace(temporary, folder)
    except OSError:
        if not _is_current(folder, fingerprint):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _is_current(folder: Path, fingerprint: dict) -> bool:
    try:
        open_cache(folder, fingerprint)
    except CacheError:
        return False
    return True


def _writer() -> str:
    return f"{os.getpid()}-{threading.get_ident()}"


def _describe(path: Path) -> dict:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        _update(digest, file)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _check_file(path: Path, entry: dict, verify: bool) -> None:
    if not path.exists() or path.stat().st_size != entry["bytes"]:
        raise CacheError("the file is missing or of another size", file=path, remedy=_REMEDY)
    if verify and _describe(path) != entry:
        raise CacheError("the file has changed since it was written", file=path, remedy=_REMEDY)


def _open_table(folder: Path, files: dict) -> Table:
    columns = {}
    for name in files:
        part, _, column = name.partition("/")
        if part == folder.name:
            path = folder / column
            try:
                mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise CacheError(f"no array: {error}", file=path, remedy=_REMEDY) from None
            columns[path.stem] = mapped
    return Table(**columns)
