"""The last stages of a preparation of AliExpress: vocabularies, files of the cache, schema."""

from dataclasses import dataclass
from pathlib import Path

from hamur.data.aliexpress import encode
from hamur.data.aliexpress.encode import Pages
from hamur.data.aliexpress.files import (
    DENSE_COLUMNS,
    DOMAIN_SHIFT,
    GROUP,
    ITEM_NAMES,
    NAME,
    SPARSE_COLUMNS,
    USER_NAMES,
)
from hamur.data.aliexpress.options import Options
from hamur.data.arrays import Part, narrowest
from hamur.data.build_tables import DOMAIN_FIELD
from hamur.data.schema import DENSE, SPARSE, FieldSpec, Schema
from hamur.data.streaming.jobs import Job
from hamur.data.streaming.product import Product


def make_files(space, options: Options, countries, rows, pages: list[Pages]) -> Product:
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
