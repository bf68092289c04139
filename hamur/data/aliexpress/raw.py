"""AliExpress from its raw files to the cache, in stages whose memory does not grow with the rows.

    1 users      ranges of {cc}_user_{train,test}.csv -> parts
    2 pages      their search ids, sorted, for the join
    3 items      ranges of {cc}_item_{train,test}.csv -> parts, each row with its page
    4 order      the rows by page, and the pages at the end of training that are the validation
    5 vocab      values and extents of every column in the training rows
    6 files      the arrays of the cache; a page is stored once, and an item row points to it

The tables are those of `load_aliexpress`; only the row ids of archives name other lines.
"""

from functools import partial
from pathlib import Path

from hamur.data import errors
from hamur.data.aliexpress.encode import Pages
from hamur.data.aliexpress.files import (
    DOMAIN_SHIFT,
    NAME,
    PART_SHIFT,
    PARTS,
    choose_countries,
)
from hamur.data.aliexpress.options import Options
from hamur.data.aliexpress.parts import (
    RawPart,
    Rows,
    order_items,
    read_items,
    read_users,
    sort_pages,
)
from hamur.data.aliexpress.product import make_files
from hamur.data.aliexpress.sources import RawFile, find
from hamur.data.errors import EmptySplitError
from hamur.data.streaming.jobs import Job
from hamur.data.streaming.pipeline import Workspace
from hamur.data.streaming.prepare import DataSet
from hamur.data.streaming.product import Product
from hamur.data.text.bad_rows import BadRows


def build(space: Workspace, sources: list[RawFile], options: Options) -> Product:
    """All stages; returns what the cache is made of."""
    found = list(dict.fromkeys(each.country for each in sources))
    countries = choose_countries(sources[0].path.parent, found, options.countries)
    sources = [each for each in sources if each.country in countries]
    files = {(each.country, each.part, each.side): each.source for each in sources}
    bad_rows = {key: BadRows(Path(source.name), options.policy) for key, source in files.items()}
    halves = [(country, part) for country in countries for part in PARTS]
    users = {}
    for half in halves:
        key = (*half, "user")
        users[half] = _read(space, options, key, files[key], bad_rows[key], read_users)
    pages = _sort(space, options, halves, files, bad_rows, users)
    items = {}
    for half in halves:
        key, name = (*half, "item"), files[(*half, "user")].name
        folder = space.path(_at("pages", half))
        items[half] = _read(
            space, options, key, files[key], bad_rows[key], read_items, folder, name
        )  # fmt: skip
    for each in bad_rows.values():
        each.raise_if_any()
    rows, own_pages = _order(space, options, halves, users, items, pages, countries)
    product = make_files(space, options, countries, rows, own_pages)
    return product.with_bad_rows(bad_rows.values())


def _at(stage: str, half: tuple[str, str]) -> str:
    return f"{stage}/{'-'.join(half)}"


def _read(space, options: Options, key, source, bad_rows: BadRows, work, *more) -> list[RawPart]:
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
        bad_rows.merge(report, read)
        if options.policy.on_bad_rows == "error":
            bad_rows.raise_if_any()
        if report["fatal"]:
            kind, parts = report["fatal"]
            line = parts["line"] and parts["line"] + read
            raise getattr(errors, kind)(**parts | {"line": line})
        read, kept = read + report["lines"], kept + report["rows"]
        return f"{kept:,} rows"

    reports = space.run(f"reading {Path(source.name).name}", jobs, "B", settle)
    if not read:
        raise EmptySplitError(
            "the file has no row", file=source.name, remedy="check how it was made"
        )
    return [RawPart(space.path(n), r["lines"], r["rows"]) for n, r in zip(names, reports)]


def _sort(space, options, halves, files, bad_rows, users) -> dict[tuple[str, str], int]:
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
        bad_rows[(*half, "user")].merge(report)
        bad_rows[(*half, "user")].raise_if_any()
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


DATASET = DataSet(NAME, Options, find, build)
