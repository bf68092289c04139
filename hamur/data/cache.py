"""Encoded tables on disk as memory-mapped arrays, so that a second load takes no time.

A cache is a folder: schema.json (format, schema, fingerprint, every file's size and sha256, which
columns of which file make a column of a table), stats.json, the .npy files, and an empty file
COMPLETE.  It is written to a temporary folder and renamed, so it is either absent or complete;
nothing is pickled.
"""

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hamur import __version__
from hamur.data.arrays import Part, Piece, PieceColumn, Pieces, blocks, header, write_array
from hamur.data.errors import CacheError
from hamur.data.multi_valued import MultiValued, weighed
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table
from hamur.data.text.bad_rows import BadRows, write_bad_rows
from hamur.files import sync

# Raised whenever the same files and options give other tables, so that old caches are built again.
FORMAT = 3
WHOLE_DIGEST_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
_REMEDY = "delete the folder; the next load builds it again"

Loaded = tuple[Splits, Schema]


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


def open_prepared(folder: Path, **asked) -> Loaded:
    """A cache that `prepare` made, unless options ask for something that it is not.

    asked: name, domain_names and labels of the schema, split (its rule) and further entries of its
    `split`; None for whatever they are.
    """
    splits, schema = open_cache(folder)
    made = {name: getattr(schema, name) for name in ("name", "domain_names", "labels")}
    made |= {**schema.split, "split": schema.split["rule"]}
    if any(value not in (None, made.get(name)) for name, value in asked.items()):
        told = ", ".join(f"{name} {made.get(name)!r}" for name in asked)
        raise ValueError(f"{folder} was prepared with {told}; prepare it again to change them")
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
        about = dict(value=version, expected=str(FORMAT))
        raise CacheError("another format version", file=folder, remedy=_REMEDY, **about)
    # Through JSON, as the stored one went.
    if fingerprint is not None and manifest["made_from"] != json.loads(json.dumps(fingerprint)):
        raise CacheError("the source files or options have changed", file=folder, remedy=_REMEDY)
    schema = Schema.from_json(json.dumps(manifest["schema"]))
    arrays = {
        name.removesuffix(".npy"): _open_array(folder / name, entry, verify)
        for name, entry in files.items()
    }
    return Splits(*(arrange(manifest["tables"][s], arrays, schema) for s in SPLITS)), schema


def is_current(folder: Path, fingerprint: dict) -> bool:
    """Whether a complete cache of these files and options is there."""
    try:
        open_cache(folder, fingerprint)
    except CacheError:
        return False
    return True


def arrange(columns: dict[str, list], arrays: dict[str, np.ndarray], schema: Schema) -> Table:
    """A table of memory-mapped columns, each of these `Part`s.

    The parts of "lists" are the multi-valued fields of the schema, three files each.
    """
    columns = dict(columns)
    lists = [
        MultiValued(
            *(arrays[f"{file}.{end}"] for end in ("ids", "values", "offsets")),
            max_len=spec.max_len,
            rows=None if rows is None else arrays[rows],
        )
        for spec, (file, _, rows) in zip(schema.multi, columns.pop("lists", []), strict=True)
    ]
    values = {"multi_valued": weighed(lists, schema)}
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


def _open_array(path: Path, entry: dict, verify: bool) -> np.ndarray:
    if not path.exists() or path.stat().st_size != entry["bytes"]:
        raise CacheError("the file is missing or of another size", file=path, remedy=_REMEDY)
    # Not np.load: it parses the header as Python, at which several threads of CPython 3.11 that
    # do so at once can fail with a SystemError.
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    expected, digest = header(dtype, shape), hashlib.sha256()
    with path.open("rb") as file:
        begin = file.read(len(expected))
        if verify:
            digest.update(begin)
            _update(digest, file)
    if verify and digest.hexdigest() != entry["sha256"]:
        raise CacheError("the file has changed since it was written", file=path, remedy=_REMEDY)
    if begin != expected:
        raise CacheError("another type or shape than was written", file=path, remedy=_REMEDY)
    return np.memmap(path, dtype, "r", len(expected), shape)


def write_cache(
    folder: Path,
    splits: Splits,
    schema: Schema,
    fingerprint: dict,
    bad_rows: Iterable[BadRows] = (),
    stats: dict | None = None,
    fitted: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes beside `folder` and renames; an older cache stays until the new one is complete.

    fitted: further arrays: "vocab/<field>", raw values in the order of their ids; "scaler" (C, 2),
    low and high of the dense columns; and what else a data set keeps.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{_writer()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        files, tables = {}, {}
        for split, table in zip(SPLITS, splits):
            arrays = {f"{split}/{column}": values for column, values in table.columns().items()}
            tables[split] = {column: [Part(f"{split}/{column}")] for column in table.columns()}
            if table.multi_valued:
                tables[split]["lists"] = []
            for spec, lists in zip(schema.multi, table.multi_valued):
                name = f"{split}/multi_{spec.name}"
                pointer = None if lists.rows is None else f"{name}.rows"
                tables[split]["lists"].append(Part(name, rows=pointer))
                for end in ("ids", "values", "offsets", *(["rows"] if pointer else [])):
                    arrays[f"{name}.{end}"] = getattr(lists, end)
            files |= write_arrays(temporary, arrays)
        files |= write_arrays(temporary, fitted or {})
        publish(temporary, folder, schema, fingerprint, files, tables, bad_rows, stats)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, dict]:
    """<name>.npy of each array; returns their entries in the manifest."""
    files = {}
    for name, values in arrays.items():
        path, values = folder / f"{name}.npy", np.asarray(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        files[f"{name}.npy"] = write_array(
            path, values.dtype, values.shape, (values[rows] for rows in blocks(len(values)))
        )
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
    (temporary / "schema.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    if stats is not None:
        text = json.dumps(stats, indent=1, allow_nan=False)
        (temporary / "stats.json").write_text(text + "\n", encoding="utf-8")
    if any(bad_rows := list(bad_rows)):
        write_bad_rows(temporary / "bad_rows.csv", bad_rows)
    for path in temporary.rglob("*"):
        sync(path)
    (temporary / "COMPLETE").touch()
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


def _writer() -> str:
    return f"{os.getpid()}-{threading.get_ident()}"
