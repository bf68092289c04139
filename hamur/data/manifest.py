"""What a cache on disk must be before anything of it is mapped: its manifest and its files."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hamur.data.arrays import Piece, PieceColumn, Pieces, header, known_dtype, release
from hamur.data.multi_valued import MultiValued, weighed
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.table import Table
from hamur.errors import CacheError
from hamur.files import misfit, read_json

# Raised whenever the same files and options give other tables, or a cache holds more than before,
# so that old caches are built again.
FORMAT = 4
CHUNK_BYTES = 1 << 20
REMEDY = "delete the folder, and load or prepare the source files again"
_ENTRY = {"bytes": int, "sha256": str, "dtype": str, "shape": [int]}
_FIELD = {"name": str, "kind": str, "vocab_size": int, "max_len": int, "pool_weight": str}
_SCHEMA = {"name": str, "fields": [_FIELD], "labels": [str], "domain_names": [str]}
_SCHEMA |= dict.fromkeys(("domain_field", "group"), (str, type(None))) | {"split": {"rule": str}}
_MANIFEST = {
    "made_from": dict,
    "schema": _SCHEMA,
    "encoders": (dict, type(None)),
    "files": {str: _ENTRY},
    "tables": {split: {str: [[(str, [int], type(None))]]} for split in SPLITS},
}
_verified = set()  # files as they were when this process hashed them


def read_manifest(folder: Path) -> dict:
    """schema.json, in the form of this version.  Raises CacheError."""
    form = {"format": int, "schema": {"name": str}}
    path = folder / "schema.json"
    manifest = read_json(path, form, REMEDY, CacheError)
    if (version := manifest["format"]) != FORMAT:
        about, made = dict(value=version, expected=str(FORMAT)), manifest.get("made_from")
        remedy = REMEDY
        if isinstance(made, dict) and "dataset" in made:
            command = f"prepare_data.py --raw FILES --dataset {made['dataset']} --out {folder}"
            remedy = f"prepare the source files again, with `overwrite=True`: examples/{command}"
        raise CacheError("another format version", file=folder, remedy=remedy, **about)
    if problem := misfit(manifest, _MANIFEST):
        raise CacheError(problem, file=path, remedy=REMEDY)
    return manifest


def sums_of(folder: Path) -> bytes:
    """What COMPLETE holds, in the format of sha256sum.  Older caches have an empty one."""
    files = (folder / name for name in ("schema.json", "stats.json"))
    sums = ((hashlib.sha256(f.read_bytes()).hexdigest(), f.name) for f in files if f.exists())
    return "".join(f"{digest}  {name}\n" for digest, name in sums).encode()


def update(digest, file) -> None:
    """Hashes the rest of a file."""
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)


def arrange(columns: dict[str, list], arrays: dict[str, np.ndarray], schema: Schema) -> Table:
    """A table of memory-mapped columns, each of these `Part`s.

    The parts of "lists" are the multi-valued fields of the schema, three files each.
    Raises:  LookupError, TypeError, ValueError: what is there makes no table.
    """
    columns = dict(columns)
    lists = [
        MultiValued(
            *(arrays[f"{file}.{end}"] for end in ("ids", "values", "offsets")),
            max_len=spec.max_len,
            rows=_pointer(arrays, rows, len(arrays[f"{file}.offsets"]) - 1),
        )
        for spec, (file, _, rows) in zip(schema.multi, columns.pop("lists", []), strict=True)
    ]
    values = {"multi_valued": weighed(lists, schema)}
    for name, parts in columns.items():
        pieces = [
            Piece(arrays[file], tuple(places), _pointer(arrays, rows, len(arrays[file])))
            for file, places, rows in parts
        ]
        if name in ("sparse", "dense") and pieces[0].columns:
            values[name] = Pieces(pieces, np.int32 if name == "sparse" else np.float32)
        elif pieces[0].columns:
            values[name] = PieceColumn(pieces[0], np.int64)
        else:
            values[name] = pieces[0].values
    return Table(**values)


def _pointer(arrays: dict[str, np.ndarray], file: str | None, end: int) -> np.ndarray | None:
    """The file with the row of each row, which are 0..end-1."""
    if file is None:
        return None
    rows = arrays[file]
    if len(rows) and (rows.min() < 0 or rows.max() >= end):
        raise ValueError(f"{file} points outside of {end} rows")
    release(rows)
    return rows


def open_array(folder: Path, name: str, entry: dict, verify: bool | None) -> np.ndarray:
    """The array of a file, memory-mapped.  entry: of the manifest; verify: see `cache.open_arrays`.
    Raises CacheError."""
    path = folder / name
    with refused(f"schema.json: {name!r}", folder):
        dtype, shape = known_dtype(entry["dtype"]), tuple(entry["shape"])
        inside = path.resolve().is_relative_to(folder.resolve()) and name.endswith(".npy")
        # Not np.load: it parses the header as Python, at which several threads of CPython 3.11
        # that do so at once can fail with a SystemError.
        begin = header(dtype, shape)
        size = len(begin) + math.prod(shape) * dtype.itemsize
        if not inside or not 0 < len(shape) < 3 or min(shape) < 0 or size != entry["bytes"]:
            raise ValueError(f"an entry {entry} cannot be")
    if not path.is_file():
        raise CacheError("the file is missing", file=path, remedy=REMEDY)
    if (state := path.stat()).st_size != size:
        raise CacheError("another size than was written", file=path, remedy=REMEDY)
    mark = (path.resolve(), state.st_ino, state.st_mtime_ns, entry["sha256"])
    digest, hashed = hashlib.sha256(), verify or (verify is None and mark not in _verified)
    with path.open("rb") as file:
        if file.read(len(begin)) != begin:
            raise CacheError("another type or shape than was written", file=path, remedy=REMEDY)
        if hashed:
            digest.update(begin)
            update(digest, file)
    if hashed and digest.hexdigest() != entry["sha256"]:
        raise CacheError("the file has changed since it was written", file=path, remedy=REMEDY)
    if hashed:
        _verified.add(mark)
    return np.memmap(path, dtype, "r", len(begin), shape)


@contextmanager
def refused(problem: str, folder: Path) -> Iterator[None]:
    """Raises CacheError with the problem where what is read here is none."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise CacheError(f"{problem}: {reason}", file=folder, remedy=REMEDY) from None
