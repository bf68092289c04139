"""Encoded tables on disk as memory-mapped arrays, so that a second load takes no time.

A cache is a folder: schema.json (format, schema, fingerprint, every file's size and sha256, which
columns of which file make a column of a table), stats.json, the .npy files, and an empty file
COMPLETE.  It is written to a temporary folder and renamed, so it is either absent or complete;
nothing is pickled.
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

from hamur import __version__
from hamur.data.arrays import Part, Piece, PieceColumn, Pieces, blocks, write_array
from hamur.data.jobs import sync
from hamur.data.rejects import Rejects, write_bad_rows
from hamur.data.schema import CacheError, Schema
from hamur.data.splits import PARTS
from hamur.data.table import Splits, Table

# Raised whenever the same files and options give other tables, so that old caches are built again.
FORMAT = 2
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
    root = default_folder() if cache_dir is None else Path(cache_dir).expanduser()
    folder = root / f"{name}-{key_of(source, options)}"
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


def key_of(source: Path, options: dict) -> str:
    """Names the folder of these options on this source."""
    text = json.dumps([str(source.resolve()), options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_cache(folder: Path) -> bool:
    """Whether a folder is a cache, be it complete or not."""
    return (folder / "schema.json").is_file()


def open_prepared(folder: Path, split: str | None, fit_on: str) -> Loaded:
    """A cache that `prepare` made, unless options ask for something that it is not."""
    splits, schema = open_cache(folder)
    made = {"split": schema.split["rule"], "fit_on": schema.split["fit_on"]}
    if split not in (None, made["split"]) or fit_on not in ("train", made["fit_on"]):
        raise ValueError(
            f"{folder} was prepared with split {made['split']!r} and fit_on {made['fit_on']!r}; "
            "prepare it again to change them"
        )
    return splits, schema


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
    arrays = {name.removesuffix(".npy"): _open_array(folder / name, files[name]) for name in files}
    tables = manifest["tables"]
    return Splits(*(arrange(tables[part], arrays) for part in PARTS)), schema


def write_cache(
    folder: Path,
    splits: Splits,
    schema: Schema,
    fingerprint: dict,
    rejects: Iterable[Rejects] = (),
    stats: dict | None = None,
    fitted: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes beside `folder` and renames; an older cache stays until the new one is complete."""
    temporary = folder.with_name(f"{folder.name}.tmp-{_writer()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        files, tables = {}, {}
        for part, table in zip(PARTS, splits):
            (temporary / part).mkdir(parents=True)
            tables[part] = {column: [Part(f"{part}/{column}")] for column in table.columns()}
            for column, values in table.columns().items():
                path = temporary / part / f"{column}.npy"
                values = np.asarray(values)
                files[f"{part}/{column}.npy"] = write_array(
                    path, values.dtype, values.shape, (values[rows] for rows in blocks(len(values)))
                )
        files |= write_fitted(temporary, fitted or {})
        complete(temporary, schema, fingerprint, files, tables, rejects, stats)
        replace_cache(temporary, folder, fingerprint)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_fitted(folder: Path, fitted: dict[str, np.ndarray]) -> dict[str, dict]:
    """Vocabularies ("vocab/<field>": raw values in the order of their ids) and "scaler" (C, 2):
    low and high of the dense columns, and what else a data set keeps, as .npy files; returns their
    entries in the manifest."""
    files = {}
    for name, values in fitted.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        files[f"{name}.npy"] = write_array(path, values.dtype, values.shape, [values])
    return files


def complete(
    folder: Path,
    schema: Schema,
    fingerprint: dict,
    files: dict[str, dict],
    tables: dict[str, dict[str, list[Part]]],
    rejects: Iterable[Rejects] = (),
    stats: dict | None = None,
) -> None:
    """What makes a folder of arrays a cache: schema.json, stats.json, bad_rows.csv, COMPLETE.

    files: path -> its entry, as `arrays.write_array` returns it; tables: see `arrays.Product`.
    """
    manifest = {"format": FORMAT, "package": f"hamur {__version__}", "made_from": fingerprint}
    manifest |= {"files": files, "schema": json.loads(schema.to_json())}
    manifest["tables"] = {
        part: {name: [[each.file, each.columns, each.rows] for each in pieces]
               for name, pieces in columns.items()}
        for part, columns in tables.items()
    }  # fmt: skip
    (folder / "schema.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    if stats is not None:
        text = json.dumps(stats, indent=1, allow_nan=False)
        (folder / "stats.json").write_text(text + "\n", encoding="utf-8")
    rejects = list(rejects)
    if any(rejects):
        write_bad_rows(folder / "bad_rows.csv", rejects)
    for path in folder.rglob("*"):
        sync(path)
    (folder / "COMPLETE").touch()


def replace_cache(temporary: Path, folder: Path, fingerprint: dict) -> None:
    """Renames; where another process was faster, its tables are as good as ours and stay."""
    if is_current(folder, fingerprint):
        return
    old = folder.with_name(f"{folder.name}.old-{_writer()}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, old)
    try:
        os.replace(temporary, folder)
    except OSError:
        if not is_current(folder, fingerprint):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def is_current(folder: Path, fingerprint: dict) -> bool:
    """Whether a complete cache of these files and options is there."""
    try:
        open_cache(folder, fingerprint)
    except CacheError:
        return False
    return True


def _writer() -> str:
    return f"{os.getpid()}-{threading.get_ident()}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        _update(digest, file)
    return digest.hexdigest()


def _check_file(path: Path, entry: dict, verify: bool) -> None:
    if not path.exists() or path.stat().st_size != entry["bytes"]:
        raise CacheError("the file is missing or of another size", file=path, remedy=_REMEDY)
    if verify and _sha256(path) != entry["sha256"]:
        raise CacheError("the file has changed since it was written", file=path, remedy=_REMEDY)


def _open_array(path: Path, entry: dict) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CacheError(f"no array: {error}", file=path, remedy=_REMEDY) from None
    if [str(array.dtype), list(array.shape)] != [entry["dtype"], entry["shape"]]:
        raise CacheError(
            "another type or shape than it was written with", file=path, remedy=_REMEDY
        )
    return array


def arrange(columns: dict[str, list], arrays: dict[str, np.ndarray]) -> Table:
    """A table of memory-mapped columns: [file, columns, rows] of each of their parts."""
    values = {}
    for name, parts in columns.items():
        pieces = [
            Piece(arrays[file], tuple(places), None if rows is None else arrays[rows])
            for file, places, rows in parts
        ]
        if name in ("sparse", "dense") and pieces[0].columns:
            values[name] = Pieces(pieces, np.int32 if name == "sparse" else np.float32)
        elif pieces[0].columns:
            values[name] = PieceColumn(pieces[0], np.int64)
        else:
            values[name] = pieces[0].values
    return Table(**values)
