"""AliExpress from its raw files to the cache, in stages whose memory does not grow with the rows.

    1 users      ranges of {cc}_user_{train,test}.csv -> parts
    2 pages      their search ids, sorted, for the join
    3 items      ranges of {cc}_item_{train,test}.csv -> parts, each row with its page
    4 order      the rows by page, and the pages at the end of training that are the validation
    5 vocab      values and extents of every column in the training rows
    6 files      the arrays of the cache; a page is stored once, and an item row points to it

The tables are those of `load_aliexpress`; only the row ids of archives name other lines.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hamur.data import aliexpress_encode as encode
from hamur.data import schema as schemas
from hamur.data.aliexpress import DOMAIN_SHIFT, NAME, PART_SHIFT
from hamur.data.aliexpress_encode import Pages
from hamur.data.aliexpress_files import (
    DENSE_COLUMNS,
    GROUP,
    ITEM_NAMES,
    LABELS,
    PARTS,
    SPARSE_COLUMNS,
    USER_NAMES,
)
from hamur.data.aliexpress_parts import (
    RawPart,
    Rows,
    order_items,
    read_items,
    read_users,
    sort_pages,
)
from hamur.data.aliexpress_sources import RawFile, find
from hamur.data.arrays import Part, Product, narrowest
from hamur.data.assemble import DOMAIN_FIELD
from hamur.data.jobs import Job
from hamur.data.pipeline import Workspace
from hamur.data.rejects import Policy, Rejects
from hamur.data.schema import DENSE, SPARSE, EmptySplitError, FieldSpec, Schema

__all__ = ["Options", "build", "find"]


@dataclass(frozen=True)
class Options:
    """What a raw preparation depends on besides the files; see `load_aliexpress`.

    range_bytes: of a job.
    """

    labels: tuple[str, ...] = LABELS
    valid_fraction: float = 0.1
    min_count: int = 1
    policy: Policy = field(default_factory=Policy)
    range_bytes: int = 64 << 20


def build(space: Workspace, sources: list[RawFile], options: Options) -> Product:
    """All stages; returns what the cache is made of."""
    countries = list(dict.fromkeys(each.country for each in sources))
    files = {(each.country, each.part, each.side): each.source for each in sources}
    rejects = {key: Rejects(Path(source.name), options.policy) for key, source in files.items()}
    halves = [(country, part) for country in countries for part in PARTS]
    users = {}
    for half in halves:
        key = (*half, "user")
        users[half] = _read(space, options, key, files[key], rejects[key], read_users)
    pages = _sort(space, options, halves, files, rejects, users)
    items = {}
    for half in halves:
        key, name = (*half, "item"), files[(*half, "user")].name
        folder = space.path(_at("pages", half))
        items[half] = _read(
            space, options, key, files[key], rejects[key], read_items, folder, name
        )  # fmt: skip
    for each in rejects.values():
        each.settle()
    rows, own_pages = _order(space, options, halves, users, items, pages, countries)
    product = _files(space, options, countries, rows, own_pages)
    return product.with_rejects(rejects.values())


def _at(stage: str, half: tuple[str, str]) -> str:
    return f"{stage}/{'-'.join(half)}"


def _read(space, options: Options, key, source, rejects: Rejects, work, *more) -> list[RawPart]:
    """The parts of one raw file; the first bad row in file order ends the stage."""
    ranges = source.ranges(options.range_bytes)
    names = [f"{'-'.join(key)}/{number:05d}" for number in range(len(ranges))]
    jobs = [
        Job(name, work, (source, start, stop, options.policy, *more), (stop or source.size) - start)
        for name, (start, stop) in zip(names, ranges)
    ]
    read = kept = 0

    def settle(number: int, report: dict) -> str:
        nonlocal read, kept
        rejects.merge(report, read)
        if options.policy.on_bad_rows == "error":
            rejects.settle()
        if report["fatal"]:
            kind, parts = report["fatal"]
            line = parts["line"] and parts["line"] + read
            raise getattr(schemas, kind)(**parts | {"line": line})
        read, kept = read + report["lines"], kept + report["rows"]
        return f"{kept:,} rows"

    reports = space.run(f"reading {Path(source.name).name}", jobs, "B", settle)
    if not read:
        raise EmptySplitError(
            "the file has no row", file=source.name, remedy="check how it was made"
        )
    return [RawPart(space.path(n), r["lines"], r["rows"]) for n, r in zip(names, reports)]


def _sort(space, options, halves, files, rejects, users) -> dict[tuple[str, str], int]:
    """Pages of each user file."""
    jobs = [
        Job(
            _at("pages", half),
            sort_pages,
            (users[half], files[(*half, "user")].name, options.policy),
        )
        for half in halves
    ]
    pages = {}
    for half, report in zip(halves, space.run("sorting pages", jobs, "file")):
        rejects[(*half, "user")].merge(report)
        rejects[(*half, "user")].settle()
        pages[half] = report["pages"]
    return pages


def _order(space, options, halves, users, items, pages, countries) -> tuple[dict, list[Pages]]:
    """Rows of train, valid and test; and the pages in the order of the cache."""
    jobs = [
        Job(
            _at("order", half),
            order_items,
            (items[half], pages[half], options.valid_fraction if half[1] == "train" else 0.0),
        )
        for half in halves
    ]
    rows: dict[str, list[Rows]] = {"train": [], "valid": [], "test": []}
    found, base = [], 0
    for job, half, report in zip(jobs, halves, space.run("ordering", jobs, "file")):
        domain, part = countries.index(half[0]), PARTS.index(half[1])
        folder = space.path(job.name)
        make = partial(
            Rows,
            items[half],
            None if report["ordered"] else folder,
            domain=domain,
            base=base,
            first_id=(domain << DOMAIN_SHIFT) + (part << PART_SHIFT),
        )
        train = (folder, report["first_valid_page"]) if half[1] == "train" else None
        found.append(Pages(users[half], domain, train))
        cut = report["train_rows"]
        if train:
            rows["train"].append(make(begin=0, end=cut))
            rows["valid"].append(make(begin=cut, end=report["rows"]))
        else:
            rows["test"].append(make(begin=0, end=report["rows"]))
        base += pages[half]
    for split, each in rows.items():
        if not sum(part.end - part.begin for part in each):
            raise EmptySplitError(
                f"split {split!r} has no row",
                expected="at least one row in each split",
                remedy="use more rows or another valid_fraction",
            )
    return rows, found


def _files(space, options: Options, countries, rows, pages: list[Pages]) -> Product:
    """The last two stages, and where their files belong."""
    trained = [each for each in pages if each.train]
    user, item = list(USER_NAMES.values()), list(ITEM_NAMES.values())
    jobs = [
        Job("vocab/pages", encode.fit_pages, (trained, user, options.min_count)),
        Job("vocab/items", encode.fit_items, (rows["train"], item, options.min_count)),
    ]
    reports = space.run("vocabularies", jobs, "file")
    fitted = {name: found for report in reports for name, found in report.items()}
    folders = {
        name: space.path(job.name) / name
        for job, names in zip(jobs, (user, item))
        for name in names
        if name in SPARSE_COLUMNS
    }
    sizes = {name: fitted[name][0] for name in SPARSE_COLUMNS}
    scales = {name: _scale(*fitted[name][1:]) for name in DENSE_COLUMNS}
    fields = list(SPARSE_COLUMNS)
    if len(countries) > 1:
        fields.append(DOMAIN_FIELD)
        sizes[DOMAIN_FIELD] = len(countries)
        item = [*item, DOMAIN_FIELD]
    plan = _Plan(fields, sizes, scales, folders)
    shared = plan.jobs("pages", user, encode.write_page_ids, encode.write_page_values, pages)
    shift = DOMAIN_SHIFT if len(countries) > 1 else 0
    groups = Job("files/pages/search_id", encode.write_search_ids, (pages, shift))
    jobs, tables = [*(job for job, _, _ in shared), groups], {}
    for split, chosen in rows.items():
        own = plan.jobs(split, item, encode.write_ids, encode.write_values, chosen)
        for kind, write in encode.WRITERS.items():
            given = options.labels if kind == "labels" else None
            own.append((Job(f"files/{split}/{kind}", write, (chosen, given)), kind, ()))
        jobs += [job for job, _, _ in own]
        tables[split] = _table(split, own, shared)
    done = space.run("writing", jobs, "file")
    clipped = {
        job.name: report["clipped"] for job, report in zip(jobs, done) if "clipped" in report
    }
    schema = _schema(options, countries, fields, sizes, scales, clipped)
    names = tuple(job.name for job in jobs)
    return Product(schema, tables, names, vocabularies=folders, scales=scales)


def _scale(low: float, high: float) -> tuple[float, float]:
    """Published numbers lie in [0, 1] and stay as they are; others are scaled."""
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


@dataclass(frozen=True)
class _Plan:
    fields: list[str]
    sizes: dict[str, int]
    scales: dict[str, tuple[float, float]]
    folders: dict[str, Path]

    def jobs(self, place: str, names: list[str], write_ids, write_values, given) -> list[tuple]:
        """(job, kind, places of its columns in the table) of the ids and numbers of one side."""
        types: dict[str, list[str]] = {}
        for name in names:
            if name in self.sizes:
                types.setdefault(narrowest(self.sizes[name]).name, []).append(name)
        files = []
        for dtype, own in types.items():
            known = [(name, self.folders.get(name)) for name in own]
            job = Job(f"files/{place}/sparse_{dtype}", write_ids, (given, known, dtype))
            files.append((job, "sparse", tuple(map(self.fields.index, own))))
        numbers = [name for name in names if name in self.scales]
        scales = [(name, self.scales[name]) for name in numbers]
        job = Job(f"files/{place}/dense", write_values, (given, scales))
        return [*files, (job, "dense", tuple(map(DENSE_COLUMNS.index, numbers)))]


def _table(split: str, own: list, shared: list) -> dict[str, list[Part]]:
    pointer = f"{split}/page"
    table: dict[str, list[Part]] = {"group": [Part("pages/search_id", (0,), pointer)]}
    for job, kind, places in own:
        if kind != "page":
            table.setdefault(kind, []).append(Part(job.name.removeprefix("files/"), places))
    for job, kind, places in shared:
        table[kind].append(Part(job.name.removeprefix("files/"), places, pointer))
    return table


def _schema(options: Options, countries, fields, sizes, scales, clipped) -> Schema:
    specs = [FieldSpec(name, SPARSE, sizes[name]) for name in fields]
    return Schema(
        name=NAME,
        fields=(*specs, *(FieldSpec(name, DENSE) for name in DENSE_COLUMNS)),
        labels=options.labels,
        domain_names=tuple(countries),
        domain_field=DOMAIN_FIELD if len(countries) > 1 else None,
        group=GROUP,
        split={
            "rule": "last search pages",
            "seed": None,
            "valid_fraction": options.valid_fraction,
            "min_count": options.min_count,
            "clipped": clipped,
            "constant": [name for name, (low, high) in scales.items() if low == high],
        },
    )
