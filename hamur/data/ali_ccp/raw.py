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

from functools import partial
from pathlib import Path

from hamur.data.ali_ccp.columns import MULTI_COLUMNS, NAME, PAGE
from hamur.data.ali_ccp.keys import RawPart, check_keys, sort_keys
from hamur.data.ali_ccp.options import Options
from hamur.data.ali_ccp.parts import read_common, read_skeleton
from hamur.data.ali_ccp.product import FILES, fit, make_files
from hamur.data.ali_ccp.rows import check_feature_num, choose
from hamur.data.streaming.jobs import Job
from hamur.data.streaming.pipeline import Workspace
from hamur.data.streaming.prepare import DataSet
from hamur.data.streaming.product import Product
from hamur.data.streaming.sources import Source, find_sources
from hamur.data.text.bad_rows import BadRows

NAMES = (
    "common_features_train.csv",
    "common_features_test.csv",
    "sample_skeleton_train.csv",
    "sample_skeleton_test.csv",
)


def find(folder: Path) -> list[Source]:
    """The four files, plain, compressed or in an archive."""
    return find_sources(folder, NAMES, PAGE)


def build(space: Workspace, sources: list[Source], options: Options) -> Product:
    """All stages; returns what the cache is made of."""
    bad_rows = [BadRows(Path(source.name), options.policy) for source in sources]
    common = dict(zip(FILES, sources[:2]))
    skeleton = dict(zip(FILES, sources[2:]))
    read = partial(_read, space, options)
    common_parts = {
        part: read("common", read_common, part, common[part], reject)
        for part, reject in zip(FILES, bad_rows[:2])
    }
    keys = [
        Job(f"keys/{part}", sort_keys, (sources[i].name, common_parts[part]))
        for i, part in enumerate(FILES)
    ]
    check_keys(space.run("sorting keys", keys, "file"), bad_rows[:2])
    for each in bad_rows[:2]:
        each.raise_if_any()
    skeleton_parts = {
        part: read(
            "skeleton", read_skeleton, part, skeleton[part], reject, space.path(f"keys/{part}")
        )
        for part, reject in zip(FILES, bad_rows[2:])
    }
    rows = choose(space, skeleton_parts, bad_rows[2:], options)
    for each in bad_rows[2:]:
        each.raise_if_any()
    fitted = fit(space, rows, common_parts, options)
    product = make_files(space, rows, common_parts, fitted, options)
    return product.with_bad_rows(bad_rows)


def _read(space, options: Options, stage: str, work, part: str, source, bad_rows, *more) -> list:
    """The stage that reads one raw file; the first bad row in file order ends it."""
    ranges = source.ranges(options.range_bytes, options.limit_rows if stage == "skeleton" else None)
    multi = MULTI_COLUMNS if options.multi == "mean" else ()
    arguments = [(source, start, stop, options.policy, multi, *more) for start, stop in ranges]
    names = [f"{stage}/{part}-{number:05d}" for number in range(len(ranges))]
    jobs = [
        Job(name, work, given, (stop or source.size) - start)
        for name, given, (start, stop) in zip(names, arguments, ranges)
    ]
    lines = rows = 0

    def settle(number: int, report: dict) -> str:
        nonlocal lines, rows
        bad_rows.merge(report, lines)
        if options.policy.on_bad_rows == "error" or bad_rows.fatal:
            bad_rows.raise_if_any()
        lines, rows = lines + report["lines"], rows + report["rows"]
        return f"{rows:,} rows"

    reports = space.run(f"reading {Path(source.name).name}", jobs, "B", settle)
    check_feature_num(reports, source, options.check_feature_num)
    return [
        RawPart(
            space.path(name),
            report["lines"],
            report["rows"],
            *report["sample_ids"],
            report["longest"],
        )
        for name, report in zip(names, reports)
    ]


DATASET = DataSet(NAME, Options, find, build, user="101", item="205")
