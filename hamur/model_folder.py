"""What a folder of a model tells about raw rows: schema.json, columns.json and encoders/, beside
the weights of a run or the graphs of an export.  It holds no path of a machine and no pickle."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hamur import __version__
from hamur.data.manifest import update
from hamur.data.schema import MULTI, SPARSE, Schema
from hamur.encoders import Encoders
from hamur.errors import DataFormatError
from hamur.files import file_name, read_json, replacing, write_json

FORMAT = 1
SCHEMA, COLUMNS, FOLDER = "schema.json", "columns.json", "encoders"
SCALERS, DOMAINS = f"{FOLDER}/scalers.json", f"{FOLDER}/domains.json"
GRAPH = "graph"  # .mindir, .onnx, or more files of large ones; of an export
REMEDY = "restore it from a copy, or train or export the model again in its place"
_DAMAGED = (pa.ArrowException, OSError, LookupError, TypeError, ValueError, AttributeError)
_FORM = {"format": int, "package": str, "schema": {"name": str}, "files": {str: str}}


def write(folder: str | Path, schema: Schema, **further) -> None:
    """schema.json (of these further entries, and with checksums, also of the graphs of an export),
    written last; columns.json; and encoders/: a Parquet file per vocabulary (value, id),
    scalers.json, and domains.json (name -> values, which columns.json tells `read`).

    Where the schema has no encoders, as that of tables that were made in memory, all of it goes.
    """
    folder, encoders = Path(folder), schema.encoders
    remove(folder)
    if encoders is None:
        return
    encoders = encoders.of(schema)
    content, domain = encoders.to_json(), encoders.columns.domain
    write_json(folder / COLUMNS, content["columns"], to_edit=True)
    write_json(folder / SCALERS, content["scalers"])
    further["by_domain"] = content["by_domain"]
    write_json(folder / DOMAINS, domain.groups if domain else {})
    for name, known in encoders.vocabularies.items():
        values = np.asarray(known.values)
        ids = np.arange(known.first_id, known.first_id + len(values), dtype=np.int32)
        values = values if values.dtype.kind in "iu" else pa.array(values.tolist(), pa.string())
        table = {"value": values, "id": ids}
        if known.category is not None:
            table["category"] = np.asarray(known.category)[ids]
        with replacing(folder / _vocabulary(name)) as temporary:
            pq.write_table(pa.table(table), temporary)
    files = [COLUMNS, SCALERS, DOMAINS, *map(_vocabulary, encoders.vocabularies)]
    graphs = [*folder.glob(f"{GRAPH}*"), *folder.glob(f"{GRAPH}*/*")]
    files += [path.relative_to(folder).as_posix() for path in sorted(graphs) if path.is_file()]
    content = {"format": FORMAT, "package": f"hamur {__version__}"} | further
    content |= {"schema": json.loads(schema.to_json())}
    content |= {"files": {name: _sha256(folder / name) for name in files}}
    write_json(folder / SCHEMA, content, sealed=True)


def remove(folder: Path) -> None:
    """What `write` has written, schema.json first."""
    for path in (folder / SCHEMA, folder / COLUMNS, *(folder / FOLDER).glob("*")):
        if path.suffix in (".json", ".parquet"):
            path.unlink(missing_ok=True)


def read(folder: str | Path) -> tuple[dict, Schema]:
    """The content of schema.json, and the schema with its encoders.

    Raises:  DataFormatError: another format, damaged or missing files.
    """
    folder = Path(folder)
    content = read_json(_present(folder / SCHEMA), {"format": int}, REMEDY)
    if content["format"] != FORMAT:
        about = dict(value=content["format"], expected=str(FORMAT), remedy=REMEDY)
        raise DataFormatError("another format version", file=folder / SCHEMA, **about)
    content = read_json(folder / SCHEMA, _FORM, REMEDY)
    for name, digest in content["files"].items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise DataFormatError(f"{name!r} is elsewhere", file=folder / SCHEMA, remedy=REMEDY)
        if _sha256(_present(folder / name)) != digest:
            problem = "the file has changed since it was written"
            raise DataFormatError(problem, file=folder / name, remedy=REMEDY)
    try:
        schema = Schema.from_json(json.dumps(content["schema"]))
        coded = [spec.name for spec in schema.fields if spec.kind in (SPARSE, MULTI)]
        names = {name: folder / _vocabulary(name) for name in coded if name != schema.domain_field}
        arrays = {}
        for name, path in names.items():
            arrays |= _arrays(name, path)
        values = {"columns": read_json(folder / COLUMNS), "scalers": read_json(folder / SCALERS)}
        encoders = Encoders.from_json(values | content, schema, arrays)
    except DataFormatError:
        raise
    except _DAMAGED as error:
        problem = f"no complete model: {' '.join(str(error).split())[:200]}"
        raise DataFormatError(problem, file=folder, remedy=REMEDY) from None
    return content, dataclasses.replace(schema, encoders=encoders)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise DataFormatError("the file is missing", file=path, remedy=REMEDY)
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest is of Python 3.11
    with path.open("rb") as file:
        update(digest, file)
    return digest.hexdigest()


def _vocabulary(name: str) -> str:
    return f"{FOLDER}/{file_name(name)}.parquet"


def _arrays(name: str, path: Path) -> dict[str, np.ndarray]:
    """What `encoders_of` takes of a vocabulary."""
    table = pq.read_table(_present(path))
    values, ids = table["value"].combine_chunks(), table["id"].to_numpy()
    first = ids[0] if len(ids) else 1
    if (ids != np.arange(first, first + len(ids))).any() or values.null_count:
        raise ValueError(f"{path.name} is no vocabulary")
    arrays = {f"vocab/{name}": values.to_numpy(zero_copy_only=False)}
    if "category" in table.column_names:
        category = np.zeros(first + len(ids), np.int32)
        category[ids] = table["category"].to_numpy()
        arrays[f"category/{name}"] = category
    return arrays
