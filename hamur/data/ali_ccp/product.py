"""The last stages of a preparation of Ali-CCP: vocabularies, files of the cache, schema."""

from dataclasses import dataclass
from pathlib import Path

from hamur.data.ali_ccp import encode, multi
from hamur.data.ali_ccp.columns import (
    DENSE_COLUMNS,
    DOMAIN_COLUMN,
    GROUP_COLUMN,
    LABELS,
    MULTI_COLUMNS,
    NAME,
    NUM_DOMAINS,
    SPARSE_COLUMNS,
)
from hamur.data.ali_ccp.form import COMMON_FIELDS, SKELETON_FIELDS
from hamur.data.ali_ccp.options import MAX_LEN, Options
from hamur.data.ali_ccp.parts import VALUED
from hamur.data.ali_ccp.rows import divide
from hamur.data.arrays import Part, narrowest
from hamur.data.build_tables import DOMAIN_FIELD
from hamur.data.schema import DENSE, MULTI, SPARSE, FieldSpec, Schema
from hamur.data.streaming.jobs import Job
from hamur.data.streaming.pipeline import Workspace
from hamur.data.streaming.product import Product

FILES = ("train", "test")


@dataclass(frozen=True)
class Fitted:
    """sizes: ids of a field, with 0 for unknown; scales: of the dense fields; folder of a field;
    max_lens: of the fields that keep their lists."""

    sizes: dict[str, int]
    scales: dict[str, tuple[float, float]]
    folders: dict[str, Path]
    max_lens: dict[str, int]

    def without_lists(self, names) -> list[str]:
        """Those names whose field keeps one id a row."""
        return [name for name in names if name not in self.max_lens]


def fit(space: Workspace, rows, common_parts: dict, options: Options) -> Fitted:
    """Vocabularies and scales of the training impressions, for each of which its common features
    count."""
    weights = "weights/train"
    num_common = sum(part.rows for part in common_parts["train"])
    space.run(
        "counting impressions",
        [
            Job(
                weights,
                encode.count_common,
                (rows["train"], num_common),
                rows["train"].rows,
            )
        ],
    )
    jobs = [
        Job(f"vocab/{name}", encode.fit_skeleton, (rows["train"], name, options.min_count))
        for name in SKELETON_FIELDS
    ]
    jobs += [
        Job(
            f"vocab/{name}",
            encode.fit_common,
            (common_parts["train"], name, options.min_count, space.path(weights)),
        )
        for name in COMMON_FIELDS
    ]
    reports = dict(zip((job.name for job in jobs), space.run("vocabularies", jobs, "field")))
    reports = {name.removeprefix("vocab/"): report for name, report in reports.items()}
    return Fitted(
        {name: report["size"] for name, report in reports.items()},
        {name: tuple(reports[name]["range"]) for name in VALUED},
        {name: space.path(f"vocab/{name}") for name in reports},
        _max_lens(rows, common_parts, options.max_len or MAX_LEN),
    )


def _max_lens(rows, common_parts: dict, most: int) -> dict[str, int]:
    """Of each field that keeps its lists: no longer than the longest list of all files needs."""
    parts = [part for own in common_parts.values() for part in own]
    parts += [part for own in rows.values() for part in own.parts]
    longest: dict[str, int] = {}
    for part in parts:
        for name, length in part.longest.items():
            longest[name] = max(longest.get(name, 1), length)
    return {name: min(length, most) for name, length in longest.items()}


def make_files(space: Workspace, rows, common_parts, fitted: Fitted, options: Options) -> Product:
    """The last stage, and where its files belong."""
    halves = "split/test"
    arguments = (rows["test"], options.split, options.split_seed)
    job = Job(halves, divide, arguments, rows["test"].rows)
    (counts,) = space.run("dividing test", [job])
    sizes = fitted.sizes | {DOMAIN_FIELD: NUM_DOMAINS}
    names = fitted.without_lists([*SPARSE_COLUMNS, DOMAIN_FIELD])
    jobs, tables = [], {}
    for part in FILES:
        common = _common_files(common_parts[part], part, names, sizes, fitted)
        jobs += [job for job, _, _ in common]
        for half in ("train",) if part == "train" else ("valid", "test"):
            chosen = rows[part]
            if half in counts:
                chosen = chosen.half(space.path(halves), half, counts[half])
            own = _skeleton_files(chosen, half, names, sizes, fitted, options)
            jobs += [job for job, _, _ in own]
            tables[half] = _table(half, part, own, common, names)
    reports = space.run("writing", jobs)
    clipped = {j.name: r["clipped"] for j, r in zip(jobs, reports) if "clipped" in r}
    schema = _schema(rows, fitted, options, clipped)
    return Product(
        schema,
        tables,
        tuple(job.name for job in jobs),
        vocabularies=fitted.folders,
        scales=fitted.scales,
    )


def _common_files(parts, part: str, names: list[str], sizes: dict, fitted: Fitted) -> list[tuple]:
    """(job, kind, places of its columns in the table) of each file of common rows."""
    files = []
    num_rows = sum(p.rows for p in parts)
    for dtype, fields in _by_type(fitted.without_lists(COMMON_FIELDS), sizes).items():
        vocabularies = [(name, fitted.folders[name]) for name in fields]
        job = Job(
            f"files/common_{part}/sparse_{dtype}",
            encode.write_common_ids,
            (parts, vocabularies, dtype),
            num_rows,
        )
        files.append((job, "sparse", tuple(names.index(name) for name in fields)))
    valued = [name for name in DENSE_COLUMNS if name[1:] in COMMON_FIELDS]
    scales = [(name, fitted.scales[name[1:]]) for name in valued]
    job = Job(f"files/common_{part}/dense", encode.write_common_values, (parts, scales), num_rows)
    files.append((job, "dense", tuple(DENSE_COLUMNS.index(name) for name in valued)))
    work, folder = multi.write_common_lists, f"files/common_{part}"
    return files + _list_files(work, folder, parts, num_rows, COMMON_FIELDS, fitted)


def _list_files(work, folder: str, source, num_rows: int, fields, fitted: Fitted) -> list[tuple]:
    files = []
    for place, name in enumerate(MULTI_COLUMNS):
        if name in fitted.max_lens and name in fields:
            given = (source, name, fitted.folders[name], fitted.max_lens[name])
            files.append((Job(f"{folder}/multi_{name}", work, given, num_rows), "lists", (place,)))
    return files


def _skeleton_files(rows, half: str, names, sizes, fitted: Fitted, options: Options) -> list[tuple]:
    files = []
    own = fitted.without_lists((*SKELETON_FIELDS, DOMAIN_FIELD))
    for dtype, fields in _by_type(own, sizes).items():
        vocabularies = [(name, fitted.folders.get(name)) for name in fields]
        job = Job(
            f"files/{half}/sparse_{dtype}",
            encode.write_ids,
            (rows, vocabularies, dtype),
            rows.rows,
        )
        files.append((job, "sparse", tuple(names.index(name) for name in fields)))
    valued = [name for name in DENSE_COLUMNS if name[1:] in SKELETON_FIELDS]
    scales = [(name, fitted.scales[name[1:]]) for name in valued]
    places = tuple(DENSE_COLUMNS.index(name) for name in valued)
    job = Job(f"files/{half}/dense", encode.write_values, (rows, scales), rows.rows)
    files.append((job, "dense", places))
    for kind, given in (("labels", options.labels), ("domain", None), ("common_row", None),
                        ("row_id", None)):  # fmt: skip
        work = encode.WRITERS[kind]
        files.append((Job(f"files/{half}/{kind}", work, (rows, given), rows.rows), kind, ()))
    work, folder = multi.write_lists, f"files/{half}"
    return files + _list_files(work, folder, rows, rows.rows, SKELETON_FIELDS, fitted)


def _table(half: str, part: str, own: list, common: list, names: list[str]) -> dict:
    pointer = f"{half}/common_row"
    table: dict = {"sparse": [], "dense": []}
    lists = [(places, Part(_path(job))) for job, kind, places in own if kind == "lists"]
    for job, kind, places in own:
        if kind in table:
            table[kind].append(Part(_path(job), places))
        elif kind not in ("common_row", "lists"):
            table[kind] = [Part(_path(job))]
    for job, kind, places in common:
        if kind == "lists":
            lists.append((places, Part(_path(job), rows=pointer)))
            continue
        table[kind].append(Part(_path(job), places, pointer))
        user = names.index(GROUP_COLUMN)
        if kind == "sparse" and user in places:
            table["group"] = [Part(_path(job), (places.index(user),), pointer)]
    if lists:
        table["lists"] = [part for _, part in sorted(lists, key=lambda each: each[0])]
    return table


def _path(job: Job) -> str:
    return job.name.removeprefix("files/")


def _by_type(fields, sizes: dict[str, int]) -> dict[str, list[str]]:
    types: dict[str, list[str]] = {}
    for name in fields:
        types.setdefault(narrowest(sizes[name]).name, []).append(name)
    return types


def _schema(rows, fitted: Fitted, options: Options, clipped: dict) -> Schema:
    sizes, lengths = fitted.sizes, fitted.max_lens
    fields = [FieldSpec(n, SPARSE, sizes[n]) for n in fitted.without_lists(SPARSE_COLUMNS)]
    fields.append(FieldSpec(DOMAIN_FIELD, SPARSE, NUM_DOMAINS))
    fields += [FieldSpec(n, MULTI, sizes[n], lengths[n]) for n in MULTI_COLUMNS if n in lengths]
    domains = rows["train"].domains
    raw = {
        d: "|".join(str(value) for value, code in sorted(domains.items()) if code == d)
        for d in range(NUM_DOMAINS)
    }
    return Schema(
        name=NAME,
        fields=(*fields, *(FieldSpec(name, DENSE) for name in DENSE_COLUMNS)),
        labels=LABELS[: len(options.labels)],
        domain_names=tuple(f"{DOMAIN_COLUMN}={raw[d]}" for d in range(NUM_DOMAINS)),
        domain_field=DOMAIN_FIELD,
        group=GROUP_COLUMN,
        split={
            "rule": options.split,
            "fit_on": "train",
            "seed": options.split_seed,
            "min_count": options.min_count,
            "multi": options.multi,
            "max_len": (options.max_len or MAX_LEN) if options.multi == "mean" else None,
            "clipped": clipped,
            "constant": [n for n, (low, high) in fitted.scales.items() if low == high],
        },
    )
