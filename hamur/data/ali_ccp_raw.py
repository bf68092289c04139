"""Ali-CCP from its four raw files to the cache, in stages whose memory does not grow with the rows.

    1 common     ranges of common_features_{train,test} -> parts
    2 keys       their keys, sorted, for the join
    3 skeleton   ranges of sample_skeleton_{train,test} -> parts, each row with its common row
    4 rows       repeated sample ids, the ids of the three domains, rows that remain
    5 weights    how often, and where first, each common row occurs in the training rows
    6 vocab      counts and first appearance of every id of a field, minimum and maximum of values
    7 files      the arrays of the cache

A common row is stored once in the cache too; a skeleton row points to it.  Only training rows
count for vocabularies and scalers; a common row's id counts once per impression.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hamur.data import ali_ccp, ali_ccp_encode, ali_ccp_rows
from hamur.data.ali_ccp_lists import COMMON_FIELDS, SKELETON_FIELDS
from hamur.data.ali_ccp_parts import VALUED, read_common, read_skeleton
from hamur.data.arrays import Part, Product, narrowest
from hamur.data.jobs import Job
from hamur.data.pipeline import Workspace
from hamur.data.rejects import Policy, Rejects
from hamur.data.schema import DENSE, SPARSE, FieldSpec, Schema
from hamur.data.sources import Source, find_sources

NAMES = (
    "common_features_train.csv",
    "common_features_test.csv",
    "sample_skeleton_train.csv",
    "sample_skeleton_test.csv",
)
FILES = ("train", "test")
DOMAIN_FIELD = "domain_indicator"
SPARSE_FIELDS, DENSE_FIELDS = ali_ccp.SPARSE_COLUMNS, ali_ccp.DENSE_COLUMNS
NUM_DOMAINS = 3
MIN_COUNT = 10  # of the public preparations
SPLITS = ("public", "hash")


@dataclass(frozen=True)
class Options:
    """What a raw preparation depends on besides the files; see `ali_ccp.load_ali_ccp`.

    limit_rows: lines to read of each skeleton file; range_bytes: of a job.
    """

    labels: tuple[str, ...] = ("click",)
    split: str = "public"
    split_seed: int = 2022
    domain_map: dict[int, int] | None = None
    min_count: int = MIN_COUNT
    policy: Policy = field(default_factory=Policy)
    check_feature_num: bool = False
    limit_rows: int | None = None
    range_bytes: int = 64 << 20

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"split is {self.split!r}; raw Ali-CCP has {', '.join(SPLITS)}")
        if self.labels not in (ali_ccp.LABELS[:1], ali_ccp.LABELS):
            raise ValueError(f"labels is {self.labels!r}; use {ali_ccp.LABELS[:1]} or both")
        domains = sorted((self.domain_map or {0: 0, 1: 1, 2: 2}).values())
        if sorted(set(domains)) != list(range(NUM_DOMAINS)):
            raise ValueError(f"domain_map is {self.domain_map}; its domains must be 0, 1 and 2")


def find(folder: Path) -> list[Source]:
    """The four files, plain, compressed or in an archive."""
    return find_sources(folder, NAMES, ali_ccp.PAGE)


def build(space: Workspace, sources: list[Source], options: Options) -> Product:
    """All stages; returns what the cache is made of."""
    rejects = [Rejects(Path(source.name), options.policy) for source in sources]
    common = dict(zip(FILES, sources[:2]))
    skeleton = dict(zip(FILES, sources[2:]))
    read = partial(_read, space, options)
    common_parts = {
        part: read("common", read_common, part, common[part], reject)
        for part, reject in zip(FILES, rejects[:2])
    }
    keys = [
        Job(f"keys/{part}", ali_ccp_rows.sort_keys, (sources[i].name, common_parts[part]))
        for i, part in enumerate(FILES)
    ]
    ali_ccp_rows.check_keys(space.run("sorting keys", keys, "file"), rejects[:2])
    for each in rejects[:2]:
        each.settle()
    skeleton_parts = {
        part: read(
            "skeleton", read_skeleton, part, skeleton[part], reject, space.path(f"keys/{part}")
        )
        for part, reject in zip(FILES, rejects[2:])
    }
    rows = ali_ccp_rows.choose(space, skeleton_parts, rejects[2:], options)
    for each in rejects[2:]:
        each.settle()
    fitted = _fit(space, rows, common_parts, options)
    product = _files(space, rows, common_parts, fitted, options)
    return product.with_rejects(rejects)


def _read(space, options: Options, stage: str, work, part: str, source, rejects, *more) -> list:
    """The stage that reads one raw file; the first bad row in file order ends it."""
    ranges = source.ranges(options.range_bytes, options.limit_rows if stage == "skeleton" else None)
    arguments = [(source, start, stop, options.policy, *more) for start, stop in ranges]
    names = [f"{stage}/{part}-{number:05d}" for number in range(len(ranges))]
    jobs = [
        Job(name, work, given, (stop or source.size) - start)
        for name, given, (start, stop) in zip(names, arguments, ranges)
    ]
    lines = rows = 0

    def settle(number: int, report: dict) -> str:
        nonlocal lines, rows
        rejects.merge(report, lines)
        if options.policy.on_bad_rows == "error" or rejects.fatal:
            rejects.settle()
        lines, rows = lines + report["lines"], rows + report["rows"]
        return f"{rows:,} rows"

    reports = space.run(f"reading {Path(source.name).name}", jobs, "B", settle)
    ali_ccp_rows.check_feature_num(reports, source, options.check_feature_num)
    return [
        ali_ccp_rows.RawPart(
            space.path(name), report["lines"], report["rows"], *report["sample_ids"]
        )
        for name, report in zip(names, reports)
    ]


@dataclass(frozen=True)
class Fitted:
    """sizes: ids of a field, with 0 for unknown; scales: of the dense fields; folder of a field."""

    sizes: dict[str, int]
    scales: dict[str, tuple[float, float]]
    folders: dict[str, Path]


def _fit(space: Workspace, rows, common_parts: dict, options: Options) -> Fitted:
    weights = "weights/train"
    num_common = sum(part.rows for part in common_parts["train"])
    space.run(
        "counting impressions",
        [
            Job(
                weights,
                ali_ccp_encode.count_common,
                (rows["train"], num_common),
                rows["train"].rows,
            )
        ],
    )
    jobs = [
        Job(f"vocab/{name}", ali_ccp_encode.fit_skeleton, (rows["train"], name, options.min_count))
        for name in SKELETON_FIELDS
    ]
    jobs += [
        Job(
            f"vocab/{name}",
            ali_ccp_encode.fit_common,
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
    )


def _files(space: Workspace, rows, common_parts, fitted: Fitted, options: Options) -> Product:
    """The last stage, and where its files belong."""
    halves = "split/test"
    arguments = (rows["test"], options.split, options.split_seed)
    job = Job(halves, ali_ccp_rows.divide, arguments, rows["test"].rows)
    (counts,) = space.run("dividing test", [job])
    sizes = fitted.sizes | {DOMAIN_FIELD: NUM_DOMAINS}
    names = [*SPARSE_FIELDS, DOMAIN_FIELD]
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
    for dtype, fields in _by_type(COMMON_FIELDS, sizes).items():
        vocabularies = [(name, fitted.folders[name]) for name in fields]
        job = Job(
            f"files/common_{part}/sparse_{dtype}",
            ali_ccp_encode.write_common_ids,
            (parts, vocabularies, dtype),
            num_rows,
        )
        files.append((job, "sparse", tuple(names.index(name) for name in fields)))
    valued = [name for name in DENSE_FIELDS if name[1:] in COMMON_FIELDS]
    scales = [(name, fitted.scales[name[1:]]) for name in valued]
    job = Job(
        f"files/common_{part}/dense", ali_ccp_encode.write_common_values, (parts, scales), num_rows
    )
    files.append((job, "dense", tuple(DENSE_FIELDS.index(name) for name in valued)))
    return files


def _skeleton_files(rows, half: str, names, sizes, fitted: Fitted, options: Options) -> list[tuple]:
    files = []
    for dtype, fields in _by_type((*SKELETON_FIELDS, DOMAIN_FIELD), sizes).items():
        vocabularies = [(name, fitted.folders.get(name)) for name in fields]
        job = Job(
            f"files/{half}/sparse_{dtype}",
            ali_ccp_encode.write_ids,
            (rows, vocabularies, dtype),
            rows.rows,
        )
        files.append((job, "sparse", tuple(names.index(name) for name in fields)))
    valued = [name for name in DENSE_FIELDS if name[1:] in SKELETON_FIELDS]
    scales = [(name, fitted.scales[name[1:]]) for name in valued]
    places = tuple(DENSE_FIELDS.index(name) for name in valued)
    job = Job(f"files/{half}/dense", ali_ccp_encode.write_values, (rows, scales), rows.rows)
    files.append((job, "dense", places))
    for kind, given in (("labels", options.labels), ("domain", None), ("common_row", None),
                        ("row_id", None)):  # fmt: skip
        work = ali_ccp_encode.WRITERS[kind]
        files.append((Job(f"files/{half}/{kind}", work, (rows, given), rows.rows), kind, ()))
    return files


def _table(half: str, part: str, own: list, common: list, names: list[str]) -> dict:
    pointer = f"{half}/common_row"
    table: dict = {"sparse": [], "dense": []}
    for job, kind, places in own:
        if kind in table:
            table[kind].append(Part(_path(job), places))
        elif kind != "common_row":
            table[kind] = [Part(_path(job))]
    for job, kind, places in common:
        table[kind].append(Part(_path(job), places, pointer))
        user = names.index(ali_ccp.GROUP_COLUMN)
        if kind == "sparse" and user in places:
            table["group"] = [Part(_path(job), (places.index(user),), pointer)]
    return table


def _path(job: Job) -> str:
    return job.name.removeprefix("files/")


def _by_type(fields, sizes: dict[str, int]) -> dict[str, list[str]]:
    types: dict[str, list[str]] = {}
    for name in fields:
        types.setdefault(narrowest(sizes[name]).name, []).append(name)
    return types


def _schema(rows, fitted: Fitted, options: Options, clipped: dict) -> Schema:
    fields = [FieldSpec(name, SPARSE, fitted.sizes[name]) for name in SPARSE_FIELDS]
    fields.append(FieldSpec(DOMAIN_FIELD, SPARSE, NUM_DOMAINS))
    domains = rows["train"].domains
    raw = {
        d: "|".join(str(value) for value, code in sorted(domains.items()) if code == d)
        for d in range(NUM_DOMAINS)
    }
    return Schema(
        name=ali_ccp.NAME,
        fields=(*fields, *(FieldSpec(name, DENSE) for name in DENSE_FIELDS)),
        labels=ali_ccp.LABELS[: len(options.labels)],
        domain_names=tuple(f"{ali_ccp.DOMAIN_COLUMN}={raw[d]}" for d in range(NUM_DOMAINS)),
        domain_field=DOMAIN_FIELD,
        group=ali_ccp.GROUP_COLUMN,
        split={
            "rule": options.split,
            "fit_on": "train",
            "seed": options.split_seed,
            "min_count": options.min_count,
            "clipped": clipped,
            "constant": [n for n, (low, high) in fitted.scales.items() if low == high],
        },
    )
