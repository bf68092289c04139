"""Writes caches: to a temporary folder, which takes its name once all of it is on disk."""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hamur import __version__
from hamur.data.arrays import Part, blocks, write_array
from hamur.data.cache.read import FORMAT, is_current
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.table import Splits
from hamur.data.text.bad_rows import BadRows, write_bad_rows
from hamur.files import sync


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
        for part, table in zip(SPLITS, splits):
            (temporary / part).mkdir(parents=True)
            tables[part] = {column: [Part(f"{part}/{column}")] for column in table.columns()}
            arrays = {f"{part}/{column}": values for column, values in table.columns().items()}
            if table.lists:
                tables[part]["lists"] = []
            for spec, lists in zip(schema.multi, table.lists):
                name = f"{part}/multi_{spec.name}"
                pointer = None if lists.rows is None else f"{name}.rows"
                tables[part]["lists"].append(Part(name, rows=pointer))
                own = {"ids": lists.ids, "values": lists.values, "offsets": lists.offsets}
                own |= {} if pointer is None else {"rows": lists.rows}
                arrays |= {f"{name}.{end}": values for end, values in own.items()}
            files |= write_arrays(temporary, arrays)
        files |= write_arrays(temporary, fitted or {})
        complete(temporary, schema, fingerprint, files, tables, bad_rows, stats)
        replace_cache(temporary, folder, fingerprint)
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


def complete(
    folder: Path,
    schema: Schema,
    fingerprint: dict,
    files: dict[str, dict],
    tables: dict[str, dict[str, list[Part]]],
    bad_rows: Iterable[BadRows] = (),
    stats: dict | None = None,
) -> None:
    """What makes a folder of arrays a cache: schema.json, stats.json, bad_rows.csv, COMPLETE.

    files: path -> its entry, as `arrays.write_array` returns it; tables: split -> column -> its
    parts.
    """
    manifest = {"format": FORMAT, "package": f"hamur {__version__}", "made_from": fingerprint}
    manifest |= {"files": files, "schema": json.loads(schema.to_json()), "tables": tables}
    (folder / "schema.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    if stats is not None:
        text = json.dumps(stats, indent=1, allow_nan=False)
        (folder / "stats.json").write_text(text + "\n", encoding="utf-8")
    bad_rows = list(bad_rows)
    if any(bad_rows):
        write_bad_rows(folder / "bad_rows.csv", bad_rows)
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


def _writer() -> str:
    return f"{os.getpid()}-{threading.get_ident()}"
