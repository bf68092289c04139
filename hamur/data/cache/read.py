"""Opens caches: what stands in the folder is checked first, then memory-mapped."""

import hashlib
import json
from pathlib import Path

import numpy as np

from hamur.data.arrays import Piece, PieceColumn, Pieces, header
from hamur.data.cache.digest import update
from hamur.data.errors import CacheError
from hamur.data.multi_valued import MultiValued, weighed
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.table import Splits, Table

# Raised whenever the same files and options give other tables, so that old caches are built again.
FORMAT = 3
_REMEDY = "delete the folder; the next load builds it again"

Loaded = tuple[Splits, Schema]


def is_cache(folder: Path) -> bool:
    """Whether a folder is a cache, be it complete or not."""
    return (folder / "schema.json").is_file()


def open_prepared(folder: Path, split: str | None, fit_on: str, **asked) -> Loaded:
    """A cache that `prepare` made, unless options ask for something that it is not.

    asked: further entries of the schema's `split`, None for whatever they are.
    """
    splits, schema = open_cache(folder)
    made = {"split": schema.split["rule"], "fit_on": schema.split["fit_on"]}
    made |= {name: schema.split.get(name) for name in asked}
    asked |= {"split": split, "fit_on": None if fit_on == "train" else fit_on}
    if any(value not in (None, made[name]) for name, value in asked.items()):
        told = ", ".join(f"{name} {value!r}" for name, value in made.items())
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
    return Splits(*(arrange(tables[part], arrays, schema) for part in SPLITS)), schema


def is_current(folder: Path, fingerprint: dict) -> bool:
    """Whether a complete cache of these files and options is there."""
    try:
        open_cache(folder, fingerprint)
    except CacheError:
        return False
    return True


def arrange(columns: dict[str, list], arrays: dict[str, np.ndarray], schema: Schema) -> Table:
    """A table of memory-mapped columns: [file, columns, rows] of each of their parts.

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
    values = {"lists": weighed(lists, schema)}
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


def _check_file(path: Path, entry: dict, verify: bool) -> None:
    if not path.exists() or path.stat().st_size != entry["bytes"]:
        raise CacheError("the file is missing or of another size", file=path, remedy=_REMEDY)
    if verify and _sha256(path) != entry["sha256"]:
        raise CacheError("the file has changed since it was written", file=path, remedy=_REMEDY)


def _open_array(path: Path, entry: dict) -> np.ndarray:
    # Not np.load: it parses the header as Python, at which several threads of CPython 3.11 that
    # do so at once can fail with a SystemError.
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    expected = header(dtype, shape)
    with path.open("rb") as file:
        found = file.read(len(expected))
    if found != expected:
        raise CacheError(
            "another type or shape than it was written with", file=path, remedy=_REMEDY
        )
    return np.memmap(path, dtype, "r", len(expected), shape)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        update(digest, file)
    return digest.hexdigest()
