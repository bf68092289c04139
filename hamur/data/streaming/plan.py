"""The last stages of a joined source: columns fitted on the training rows, the cache's arrays."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hamur.data.arrays import Part, array_path, narrowest
from hamur.data.build_tables import with_encoders
from hamur.data.encode import Scaler
from hamur.data.schema import DENSE, DOMAIN_FIELD, MULTI, SPARSE, FieldSpec, Schema
from hamur.data.streaming.chunks import POINTER, FileRows, total
from hamur.data.streaming.jobs import Job, Workspace
from hamur.data.streaming.joined import JoinedSource, PairFiles, SplitRows
from hamur.data.streaming.prepare import CachePlan
from hamur.data.streaming.read import RawFormat
from hamur.data.streaming.sources import Source
from hamur.data.streaming.vocabulary import VOCABULARY, count_partners, fit_field, fit_numbers
from hamur.data.streaming.write import write_columns, write_lists, write_numbers


def plan_cache(
    space: Workspace,
    source: JoinedSource,
    files: Sequence[PairFiles],
    divided: dict[str, SplitRows],
    domain_names: tuple[str, ...],
    sources: Sequence[Source],
) -> CachePlan:
    """Fits the columns on the training rows and writes the arrays of the cache.

    sources: all files, in the order of the report.
    """
    fitted = _fit(space, source, files, divided["train"], len(domain_names))
    group = [(source.group, "group", (source.dimension.key,), "int64", False)]
    if source.group in fitted.sparse:
        group = []
    planned, tables, shared = [], {}, {}
    for name, split in divided.items():
        if split.folder not in shared:
            args = (split.folder, source.dimension, split.dimensions, group)
            shared[split.folder] = _files(source, fitted, *args)
            planned += shared[split.folder]
        columns = (
            ("labels", "labels", source.options.labels, "int8", False),
            ("domain", "domain", (DOMAIN_FIELD,), "int8", True),
            (source.pointer, POINTER, (POINTER,), "int32", True),
            ("row_id", "row_id", ("line",), split.row_id_type, True),
        )
        facts = _files(source, fitted, name, source.fact, split.facts, columns)
        planned += facts
        tables[name] = _table(source, fitted, facts, shared[split.folder])
    jobs = [file.job for file in planned]
    reports = space.run("writing", jobs)
    clipped = {j.name: r["clipped"] for j, r in zip(jobs, reports) if "clipped" in r}
    constant = [source.number_name(n) for n, (low, high) in fitted.scales.items() if low == high]
    specs = [FieldSpec(name, SPARSE, fitted.sizes[name]) for name in fitted.sparse]
    specs += [FieldSpec(n, MULTI, fitted.sizes[n], fitted.max_lens[n]) for n in source.multi]
    schema = Schema(
        name=source.name,
        fields=(*specs, *(FieldSpec(name, DENSE) for name in source.dense)),
        labels=source.options.labels,
        domain_names=domain_names,
        domain_field=DOMAIN_FIELD if DOMAIN_FIELD in fitted.sparse else None,
        group=source.group,
        split={**source.split_entry, "clipped": clipped, "constant": constant},
    )
    bad_rows = {raw.bad_rows.path: raw.bad_rows for f in files for raw in (f.dimension, f.fact)}
    arrays = {f"vocab/{n}": np.load(path / VOCABULARY) for n, path in fitted.folders.items()}
    scalers = {name: Scaler(*fitted.scales[name]) for name in source.dense}
    schema = with_encoders(schema, None, arrays, scalers)
    finished = {}
    for file, report in zip(planned, reports):
        for end, entry in report.get("arrays", {"": report}).items():
            path = array_path(space.path(file.job.name), end)
            entry = {key: entry[key] for key in ("bytes", "sha256", "dtype", "shape")}
            finished[file.name + end] = (path, entry)
    return CachePlan(
        schema,
        tables,
        finished,
        tuple(bad_rows[Path(file.name)] for file in sources),
    )


@dataclass(frozen=True)
class _Fitted:
    """sparse: the fields of one id per row, in model order; sizes: ids of a field, with 0 for
    unknown; folders of the vocabularies; scales of the numbers; max_lens of the lists."""

    sparse: list[str]
    sizes: dict[str, int]
    folders: dict[str, Path]
    scales: dict[str, tuple[float, float]]
    max_lens: dict[str, int]


def _fit(space: Workspace, source: JoinedSource, files, train: SplitRows, domains: int) -> _Fitted:
    counting = (train.facts, total(train.dimensions))
    counted = Job("partners/train", count_partners, counting, total(train.facts))
    space.run("counting partners", [counted])
    jobs = []
    for side in source.sides:
        tables, partners = train.facts, None
        if side is source.dimension:
            tables, partners = train.dimensions, space.path(counted.name)
        for name in side.fields:
            args = (tables, name, source.options.min_count, source.order, partners)
            jobs.append(Job(f"vocab/{name}", fit_field, args, total(tables)))
        args = (tables, side.numbers, partners)
        jobs.append(Job(f"numbers/{len(jobs)}", fit_numbers, args, total(tables)))
    sizes, folders, scales = {}, {}, {}
    for job, report in zip(jobs, space.run("vocabularies", jobs)):
        if job.work is fit_numbers:
            scales |= {name: _scale(source, *extent) for name, extent in report.items()}
        else:
            name = job.name.removeprefix("vocab/")
            sizes[name], folders[name] = report["size"], space.path(job.name)
    sparse = [name for name in source.sparse if name not in source.multi]
    if domains > 1:
        sparse.append(DOMAIN_FIELD)
        sizes[DOMAIN_FIELD] = domains
    longest = Counter()
    for file in files:
        longest |= file.dimension.longest | file.fact.longest
    max_lens = {name: min(longest[name], source.max_len) for name in source.multi}
    return _Fitted(sparse, sizes, folders, scales, max_lens)


def _scale(source: JoinedSource, low: float, high: float) -> tuple[float, float]:
    return (0.0, 1.0) if source.keep_unit and low >= 0.0 and high <= 1.0 else (low, high)


class _File(NamedTuple):
    """A file of the cache: the column of the table that it is for, the places it takes there."""

    job: Job
    column: str
    places: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.job.name.removeprefix("files/")


def _files(
    source: JoinedSource,
    fitted: _Fitted,
    folder: str,
    side: RawFormat,
    rows: Sequence[FileRows],
    columns: Sequence[tuple],
) -> list[_File]:
    """The files of a folder: ids in the narrowest types, numbers, these columns, and lists.

    columns: (name of the file, column of the table, columns of the chunks, dtype, flat).
    """
    files: list[_File] = []

    def add(name: str, column: str, places, work, *args) -> None:
        job = Job(f"files/{folder}/{name}", work, (rows, *args), total(rows))
        files.append(_File(job, column, tuple(places)))

    types: dict[str, list[str]] = {}
    for name in (*side.fields, *([DOMAIN_FIELD] if side is source.fact else [])):
        if name in fitted.sparse:
            types.setdefault(narrowest(fitted.sizes[name]).name, []).append(name)
    for dtype, names in types.items():
        encoded = [(name, fitted.folders.get(name)) for name in names]
        places = map(fitted.sparse.index, names)
        add(f"sparse_{dtype}", "sparse", places, write_columns, encoded, dtype)
    scales = [(name, fitted.scales[name]) for name in side.numbers]
    add("dense", "dense", map(source.dense.index, side.numbers), write_numbers, scales)
    for name, column, names, dtype, flat in columns:
        places = (0,) if column == "group" else ()
        add(name, column, places, write_columns, [(each, None) for each in names], dtype, flat)
    for place, name in enumerate(source.multi):
        if name in side.fields:
            args = (name, fitted.folders[name], fitted.max_lens[name])
            add(f"multi_{name}", "lists", (place,), write_lists, *args)
    return files


def _table(source: JoinedSource, fitted: _Fitted, facts: list[_File], shared: list[_File]) -> dict:
    """Column of a table -> its parts in the files of a split and of its dimension rows."""
    (pointer,) = (file.name for file in facts if file.column == POINTER)
    table: dict[str, list[Part]] = {} if source.group in fitted.sparse else {"group": []}
    lists = {}
    for file, rows in [*((file, None) for file in facts), *((file, pointer) for file in shared)]:
        if file.column == "lists":
            lists[file.places] = Part(file.name, rows=rows)
        elif file.column != POINTER:
            table.setdefault(file.column, []).append(Part(file.name, file.places, rows))
        if file.column == "sparse" and source.group in fitted.sparse:
            place = fitted.sparse.index(source.group)
            if place in file.places:
                table["group"] = [Part(file.name, (file.places.index(place),), rows)]
    if lists:
        table["lists"] = [lists[place] for place in sorted(lists)]
    return table
