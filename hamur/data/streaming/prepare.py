"""Raw files -> a cache in a folder of the user's choice, with a report: implements
examples/prepare_data.py.

Every data set gives one `DataSet`.  Its `build` either streams (returns a `CachePlan`, see
`joined`) or reads everything (returns `Splits, Schema, [BadRows]` and, if it likes, further arrays
of the cache); what follows is the same.
"""

import dataclasses
import errno
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamur.data import build_tables, cache, leakage
from hamur.data.arrays import Part, load_array
from hamur.data.schema import Schema
from hamur.data.splits import SPLITS
from hamur.data.streaming.jobs import Workspace, default_workers, remove_work
from hamur.data.streaming.statistics import statistics
from hamur.data.table import Splits
from hamur.data.text.bad_rows import BadRows
from hamur.errors import CacheError, DataFileNotFoundError
from hamur.files import read_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """How one data set is prepared.

    options: a frozen dataclass with a `policy`; find: folder -> the source files; build: see
    above, (workspace, sources, options) -> tables; user, item: fields to count; threads: whether
    its jobs are done in threads, see `Workspace`.
    """

    name: str
    options: type
    find: Callable[[Path], list]
    build: Callable[[Workspace, list, Any], Any]
    user: str | None = None
    item: str | None = None
    threads: bool = False


@dataclass(frozen=True)
class CachePlan:
    """What a streaming preparation made.

    tables: split -> column of a Table -> its parts; files: path in the cache without .npy -> the
    finished array and its entry in the manifest; bad_rows: of each source file.
    """

    schema: Schema
    tables: dict[str, dict[str, list[Part]]]
    files: dict[str, tuple[Path, dict]]
    bad_rows: tuple[BadRows, ...]


@dataclass(frozen=True)
class Prepared:
    """The folder of the cache, its statistics, the jobs of this run and those found finished."""

    folder: Path
    stats: dict
    jobs_done: int = 0
    jobs_reused: int = 0


def prepare(
    dataset: DataSet,
    raw: str | Path,
    out: str | Path,
    options=None,
    workers: int | None = None,
    quiet: bool = False,
    overwrite: bool = False,
    allow_leakage: tuple[str, ...] = (),
) -> Prepared:
    """Makes the cache `out`, or finds it made from the same files with the same options.

    options: of the data set's `options` class; workers: jobs at a time, None = by size of the input
    and cores.
    A run that was interrupted continues; `out` is absent or complete at any moment.
    Raises:  DataError; CacheError: `out` holds something else and overwrite is not set; OSError.
    """
    options = dataset.options() if options is None else options
    raw, out = Path(raw).expanduser(), Path(out).expanduser().absolute()
    if not raw.exists():
        raise DataFileNotFoundError(
            "no such folder", file=raw, remedy="pass the folder of the raw files as `raw`"
        )
    sources = dataset.find(raw)
    paths = {getattr(source, "path", source) for source in sources}
    made_from = {"dataset": dataset.name, "source": cache.source_digest(sorted(paths), raw)}
    made_from |= {"options": plain(options), "allow_leakage": list(allow_leakage)}
    if out.exists():
        try:
            cache.open_cache(out, made_from)
            remove_work(out, made_from)
            return Prepared(out, read_json(out / "stats.json"))
        except CacheError as error:
            _check_replaceable(out, overwrite, error)
            if cache.is_cache(out):
                _log.warning("building the cache again: %s", error)
    cache.remove_leftovers(out)
    size = sum(path.stat().st_size for path in paths)
    if workers is None:
        workers = default_workers(size, 0) if dataset.threads else default_workers(size)
    try:
        with Workspace(out, made_from, workers, quiet, dataset.threads) as space:
            stats = _build(dataset, space, sources, options, allow_leakage)
            return Prepared(out, stats, space.done, space.reused)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror} at {out}; about {size:,} bytes are needed, as many as the raw files "
            "have. What was written has been removed, an older cache is as it was. Remedy: make "
            "room, or choose another `out` or another `cache_dir`",
        ) from None


def _build(dataset: DataSet, space: Workspace, sources, options, allow_leakage) -> dict:
    """Writes the cache; returns its statistics."""
    out, made_from, folder = space.out, space.fingerprint, space.folder / "cache"
    built = dataset.build(space, sources, options)
    plan = built if isinstance(built, CachePlan) else None
    if plan is not None:
        files, splits = _link_files(plan, folder)
        schema, bad_rows = plan.schema, plan.bad_rows
    else:
        splits, schema, bad_rows, *further = built
    if splits.train.row_id is not None:
        leakage.check_splits(splits)
    leakage.check_features(splits.train, schema, allow_leakage)
    stats = statistics(splits, schema, bad_rows, dataset.user, dataset.item)
    build_tables.check_classes(splits, schema)
    if plan is None:
        cache.write_cache(out, splits, schema, made_from, bad_rows, stats, *further)
        return stats
    details = {"source": made_from["source"]}  # what a result file tells about the split
    for name in ("rows", "row_ids_sha256"):
        details[name] = {split: content[name] for split, content in stats["splits"].items()}
    split = {**schema.split, **details, "files": stats["files"]}
    schema = dataclasses.replace(schema, split=split)
    cache.publish(folder, out, schema, made_from, files, plan.tables, bad_rows, stats)
    return stats


def _link_files(plan: CachePlan, folder: Path) -> tuple[dict[str, dict], Splits]:
    """The arrays of the finished jobs below one folder, without copying them, and opened."""
    shutil.rmtree(folder, ignore_errors=True)
    files, arrays = {}, {}
    for name, (array, entry) in plan.files.items():
        target = folder / f"{name}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(array, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(array, target)
        files[f"{name}.npy"] = entry
        arrays[name] = load_array(target)
    files |= cache.write_arrays(folder, cache.fitted(plan.schema))
    return files, Splits(*(cache.arrange(plan.tables[s], arrays, plan.schema) for s in SPLITS))


def plain(options) -> dict:
    """The options as JSON values."""
    values = dataclasses.asdict(options)
    if values.get("domain_map"):
        values["domain_map"] = sorted(values["domain_map"].items())
    return json.loads(json.dumps(values))


def _check_replaceable(out: Path, overwrite: bool, why: CacheError) -> None:
    file = out
    if not overwrite:
        problem, file = f"exists, but {why.parts['problem']}", why.file
        remedy = "choose another `out`, or replace it with `overwrite=True`"
    elif any(out.iterdir()) and not cache.is_cache(out):
        problem = "folder holds something that is no cache and would be deleted"
        remedy = "move it away, or choose another `out` or another `cache_dir`"
    else:
        return cache.check_replaceable(out)
    raise CacheError(f"the output {problem}", file=file, remedy=remedy)
