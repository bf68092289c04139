"""Encoded tables on disk as memory-mapped arrays, so that a second load takes no time.

A cache is a folder: schema.json (format, schema, fingerprint, every file's size and sha256, which
columns of which file make a column of a table), stats.json, the .npy files, and COMPLETE, the
sha256 of the two JSON files.  It is written to a temporary folder and renamed, so it is either
absent or complete; nothing is pickled.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hamur import __version__
from hamur.data.arrays import Part, pieces, write_array
from hamur.data.manifest import (
    CHUNK_BYTES,
    FORMAT,
    REMEDY,
    arrange,
    open_array,
    read_manifest,
    refused,
    sums_of,
    update,
)
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.table import Splits
from hamur.data.text.bad_rows import BadRows, write_bad_rows
from hamur.errors import CacheError
from hamur.files import file_name, read_json, sync

WHOLE_DIGEST_BYTES = 1 << 30
# Loader -> how the names of the data sets begin that it reads, and its script.
READERS = {
    "load_ali_ccp": ("ali-ccp", "run_ali_ccp_ctr_ranking_multi_domain.py"),
    "load_aliexpress": ("aliexpress", "run_aliexpress_multi_task.py"),
    "load_amazon": ("amazon", "run_amazon_cross_domain.py"),
    "load_amazon_pair": ("amazon", "run_amazon_cross_domain.py"),
    "load_movielens": ("ml-", "run_movielens_rank_multi_domain.py"),
}

Loaded = tuple[Splits, Schema]


def source_digest(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Path below the root, or beside it if that is a file -> size and md5; above 1 GiB the md5 of
    the first and the last MiB."""
    paths, folder = list(paths), root if root.is_dir() else root.parent
    with ThreadPoolExecutor() as pool:  # hashing needs no lock of the interpreter
        digests = pool.map(_digest, paths)
        return {path.relative_to(folder).as_posix(): text for path, text in zip(paths, digests)}


def _digest(path: Path) -> str:
    size, digest = path.stat().st_size, hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        if size < WHOLE_DIGEST_BYTES:
            update(digest, file)
        else:
            digest.update(file.read(CHUNK_BYTES))
            file.seek(size - CHUNK_BYTES)
            digest.update(file.read(CHUNK_BYTES))
    return f"{size}-{digest.hexdigest()}"


def folder_for(name: str, source: Path, options: dict, cache_dir: str | Path | None) -> Path:
    """The folder for a source and its options; cache_dir None is `default_folder()`."""
    text = json.dumps([str(source.resolve()), options], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    root = default_folder() if cache_dir is None else Path(cache_dir).expanduser()
    return root / f"{name}-{key}"


def default_folder() -> Path:
    """$HAMUR_CACHE, or hamur in the user's cache folder."""
    if folder := os.environ.get("HAMUR_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hamur"


def is_cache(folder: Path) -> bool:
    """Whether a folder is a cache, be it complete or not."""
    return (folder / "schema.json").is_file()


def open_prepared(folder: Path, loader: str, **asked) -> Loaded:
    """A cache that `prepare` made, unless it is of another data set or options ask for something
    that it is not.

    loader: whose data sets they must be, see `READERS`.  asked: name, domain_names and labels of
    the schema, split (its rule) and further entries of its `split`; None for whatever they are.
    """
    check_reader(folder, loader)
    splits, schema = open_cache(folder)
    made = {name: getattr(schema, name) for name in ("name", "domain_names", "labels")}
    check_asked(folder, made | {**schema.split, "split": schema.split["rule"]}, asked)
    return splits, schema


def check_asked(folder: Path, made: dict, asked: dict) -> None:
    """Raises ValueError where a value that is asked for, None for any, is not what the cache was
    made with."""
    if any(value not in (None, made.get(name)) for name, value in asked.items()):
        told = ", ".join(f"{name} {made.get(name)!r}" for name in asked)
        raise ValueError(f"{folder} was prepared with {told}; prepare it again to change them")


def check_reader(folder: Path, loader: str) -> None:
    """Raises CacheError where the folder is a cache that this loader does not read."""
    if not is_cache(folder):
        return
    name = read_manifest(folder)["schema"]["name"]
    readers = [each for each, (start, _) in READERS.items() if name.startswith(start)]
    if loader not in readers:
        ways = [f"{each}, as examples/{READERS[each][1]} does" for each in readers]
        problem = f"the cache holds the data set {name!r}, which {loader} does not read"
        remedy = f"load it by {' or '.join(ways) or 'hamur.data.detect.load'}"
        raise CacheError(problem, file=folder, remedy=remedy)


def open_cache(folder: Path, fingerprint: dict | None = None, verify: bool | None = None) -> Loaded:
    """Memory-mapped tables.  fingerprint: what they must have been made from.

    verify: see `open_arrays`.
    Raises:  CacheError: see `open_arrays`; tables that are not made of the files.
    """
    manifest, arrays, schema = open_arrays(folder, fingerprint, verify)
    with refused("the tables in schema.json do not fit its files", folder):
        tables = (arrange(manifest["tables"][split], arrays, schema) for split in SPLITS)
        return Splits(*tables), schema


def open_arrays(
    folder: Path, fingerprint: dict | None = None, verify: bool | None = None
) -> tuple[dict, dict[str, np.ndarray], Schema]:
    """The manifest, file without .npy -> memory-mapped array, and the schema.

    verify: hash every file, which reads all of it: half a second per GB and core.  None: only what
    this process has not verified yet, and nothing if $HAMUR_VERIFY is off.
    Raises:  CacheError: no COMPLETE, another format version, another source or other options, a
        file that is missing or of another size, type or (verify) content.
    """
    if not (folder / "COMPLETE").exists():
        raise CacheError("the cache is incomplete (no COMPLETE)", file=folder, remedy=REMEDY)
    manifest = read_manifest(folder)
    # Through JSON, as the stored one went.
    if fingerprint is not None and manifest["made_from"] != json.loads(json.dumps(fingerprint)):
        raise CacheError("the source files or options have changed", file=folder, remedy=REMEDY)
    if (sums := (folder / "COMPLETE").read_bytes()) and sums != sums_of(folder):
        problem = "schema.json or stats.json is not the one that was written"
        raise CacheError(problem, file=folder, remedy=REMEDY)
    with refused("the schema in schema.json is none", folder):
        schema = Schema.from_json(json.dumps(manifest["schema"]))
    if verify is None and os.environ.get("HAMUR_VERIFY") == "off":
        verify = False
    files = manifest["files"]
    with ThreadPoolExecutor() as pool:
        opened = pool.map(lambda name: open_array(folder, name, files[name], verify), files)
        arrays = dict(zip((n.removesuffix(".npy") for n in files), opened))
    if manifest["encoders"] is not None:
        from hamur.encoders import Encoders  # which is above this module

        names = {f"vocab/{s.name}": f"vocab/{file_name(s.name)}" for s in schema.fields}
        known = {name: arrays[file] for name, file in names.items() if file in arrays}
        with refused("the encoders in schema.json do not fit", folder):
            encoders = Encoders.from_json(manifest["encoders"], schema, arrays | known)
        schema = dataclasses.replace(schema, encoders=encoders)
    return manifest, arrays, schema


def is_current(folder: Path, fingerprint: dict) -> bool:
    """Whether a complete cache of these files and options is there."""
    try:
        open_cache(folder, fingerprint)
    except CacheError:
        return False
    return True


def write_cache(
    folder: Path,
    splits: Splits,
    schema: Schema,
    fingerprint: dict,
    bad_rows: Iterable[BadRows] = (),
    stats: dict | None = None,
    further: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes beside `folder` and renames; an older cache stays until the new one is complete.

    further: arrays that a data set keeps besides its tables and vocabularies.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{_writer()}")
    shutil.rmtree(temporary, ignore_errors=True)
    remove_leftovers(folder)
    try:
        files, tables = {}, {}
        for split, table in zip(SPLITS, splits):
            arrays = {f"{split}/{column}": values for column, values in table.columns().items()}
            tables[split] = {column: [Part(f"{split}/{column}")] for column in table.columns()}
            if table.multi_valued:
                tables[split]["lists"] = []
            for spec, lists in zip(schema.multi, table.multi_valued):
                name = f"{split}/multi_{file_name(spec.name)}"
                pointer = None if lists.rows is None else f"{name}.rows"
                tables[split]["lists"].append(Part(name, rows=pointer))
                for end in ("ids", "values", "offsets", *(["rows"] if pointer else [])):
                    arrays[f"{name}.{end}"] = getattr(lists, end)
            files |= write_arrays(temporary, arrays)
        files |= write_arrays(temporary, fitted(schema) | (further or {}))
        publish(temporary, folder, schema, fingerprint, files, tables, bad_rows, stats)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from None  # such as a full disk
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fitted(schema: Schema) -> dict[str, np.ndarray]:
    """What the encoders of a schema know: "vocab/<field>", raw values in the order of their ids,
    and "scaler" (C, 2), low and high of the dense columns."""
    if schema.encoders is None:
        return {}
    vocabularies, scalers = schema.encoders.vocabularies, schema.encoders.scalers
    bounds = [[scalers[n].low, scalers[n].high] for n in schema.dense_names if n in scalers]
    arrays = {f"vocab/{file_name(name)}": known.values for name, known in vocabularies.items()}
    return arrays | {"scaler": np.array(bounds, float).reshape(-1, 2)}


def write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, dict]:
    """<name>.npy of each array; returns their entries in the manifest."""
    files = {}
    for name, values in arrays.items():
        path, values = folder / f"{name}.npy", np.asarray(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        files[f"{name}.npy"] = write_array(path, values.dtype, values.shape, pieces(values))
    return files


def publish(
    temporary: Path,
    folder: Path,
    schema: Schema,
    fingerprint: dict,
    files: dict[str, dict],
    tables: dict[str, dict[str, list[Part]]],
    bad_rows: Iterable[BadRows] = (),
    stats: dict | None = None,
) -> None:
    """Makes a folder of arrays a cache (schema.json, stats.json, bad_rows.csv, COMPLETE) and
    renames it; where another process was faster, its tables are as good as ours and stay.

    files: path -> its entry, as `arrays.write_array` returns it; tables: split -> column -> parts.
    """
    manifest = {"format": FORMAT, "package": f"hamur {__version__}", "made_from": fingerprint}
    manifest |= {"files": files, "schema": json.loads(schema.to_json()), "tables": tables}
    manifest["encoders"] = schema.encoders and schema.encoders.to_json()
    (temporary / "schema.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    if stats is not None:
        text = json.dumps(stats, indent=1, allow_nan=False)
        (temporary / "stats.json").write_text(text + "\n", encoding="utf-8")
    if any(bad_rows := list(bad_rows)):
        write_bad_rows(temporary / "bad_rows.csv", bad_rows)
    for path in temporary.rglob("*"):
        sync(path)
    (temporary / "COMPLETE").write_bytes(sums_of(temporary))
    sync(temporary / "COMPLETE")
    sync(temporary)
    if is_current(folder, fingerprint):
        return
    check_replaceable(folder)
    old = folder.with_name(f"{folder.name}.old-{_writer()}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, old)
    try:
        os.replace(temporary, folder)
        sync(folder.parent)
    except OSError:
        if not is_current(folder, fingerprint):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Raises CacheError, with its name, where the folder holds a file that no cache has there."""
    # os.walk, unlike rglob, goes on where another process removes the folder meanwhile.
    paths = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    try:
        named = set(read_json(folder / "schema.json", {"files": dict})["files"])
    except (OSError, ValueError):  # of a damaged cache: all arrays
        named = {str(path.relative_to(folder)) for path in paths if path.suffix == ".npy"}
    named |= {"schema.json", "stats.json", "bad_rows.csv", "COMPLETE"}
    for path in paths:
        if str(path.relative_to(folder)) not in named:
            raise CacheError(
                "the file is none of the cache that is to be replaced",
                file=path,
                remedy="move it out of the cache's folder",
            )


def remove_leftovers(folder: Path) -> None:
    """Removes what killed writers of this cache, on this machine, have left beside it."""
    name = re.compile(rf"{re.escape(folder.name)}\.(?:tmp|old)-(\d+)-\d+-(.+)")
    for path in folder.parent.glob("*.*-*"):
        if (found := name.fullmatch(path.name)) and found[2] == platform.node():
            try:
                os.kill(int(found[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except OSError:  # the process of somebody else
                continue


def _writer() -> str:
    return f"{os.getpid()}-{threading.get_ident()}-{platform.node()}"
