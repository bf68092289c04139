"""Amazon pairs through the pipeline: one job a category, which reads its reviews and meta data.

The cache holds the multi-domain tables of `load_amazon`, and the pair below pair/.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hamur.data import errors
from hamur.data.amazon import load
from hamur.data.cross_domain import storage as pair_cache
from hamur.data.cross_domain.dataset import Interactions
from hamur.data.cross_domain.join import join_pair
from hamur.data.encode import Codes
from hamur.data.errors import DataError
from hamur.data.streaming.jobs import Job
from hamur.data.streaming.pipeline import Workspace
from hamur.data.streaming.prepare import DataSet
from hamur.data.text.bad_rows import BadRows, Policy

_COLUMNS = ("row_id", "rating", "time", "category_rank")


@dataclass(frozen=True)
class Options:
    """What a preparation depends on besides the files; see `load_amazon_pair`."""

    pair: tuple[str, str] | None = None
    split: str = "leave_two_out"
    vocabulary: str = "train"
    id_order: str = "value"
    missing_meta: str = "unknown"
    strict_meta: bool = False
    policy: Policy = field(default_factory=Policy)


def find(folder: Path) -> list[Path]:
    """Reviews and meta data of all categories that are there."""
    categories = load.categories_in(folder)
    return [load.find_file(folder, n.format(c)) for c in categories for n in load.FILES]


def build(space: Workspace, sources: list[Path], options: Options) -> tuple:
    """(splits, schema, bad_rows, further arrays of the cache)"""
    folder = sources[0].parent
    chosen = load.choose_pair(folder, options.pair)
    jobs, bad_rows = [], []
    for category in chosen:
        paths = [load.find_file(folder, name.format(category)) for name in load.FILES]
        bad_rows += [BadRows(path, options.policy) for path in paths]
        given = (*paths, category, options)
        size = sum(path.stat().st_size for path in paths)
        jobs.append(Job(f"reviews/{category}", read_category, given, size))
    found, domains = {}, []

    def settle(number: int, report: dict) -> None:
        if report["error"]:
            kind, parts = report["error"]
            raise getattr(errors, kind)(**parts)
        for each, own in zip(bad_rows[2 * number :], report["bad_rows"]):
            each.merge(own)
        found[chosen[number]] = {"items_without_meta": report["without"]}

    space.run("reading reviews", jobs, "B", settle)
    for job, category in zip(jobs, chosen):
        domains.append(_load(space.path(job.name), category))
    pair = join_pair(
        *domains,
        split=options.split,
        vocabulary=options.vocabulary,
        id_order=options.id_order,
        found={"domains": found},
    )
    splits, schema = load.as_splits(pair)
    schema = replace(schema, split=pair_cache.described(pair, dict(schema.split)))
    return splits, schema, bad_rows, pair_cache.arrays_of(pair)


def read_category(folder: Path, reviews: Path, meta: Path, category: str, options: Options) -> dict:
    """A job: the reviews of a category with the categories of their items, as arrays."""
    bad_rows = [BadRows(path, options.policy) for path in (reviews, meta)]
    try:
        rows, without = load.read_domain(
            category, *bad_rows, options.missing_meta, options.strict_meta, options.id_order
        )
    except DataError as error:
        return {"error": [type(error).__name__, error.parts]}
    for name in ("user", "item", "category"):
        codes = getattr(rows, name)
        np.save(folder / f"{name}.npy", codes.codes)
        np.save(folder / f"{name}_values.npy", codes.values)
    for name in _COLUMNS:
        np.save(folder / f"{name}.npy", getattr(rows, name))
    return {"error": None, "bad_rows": [each.report() for each in bad_rows], "without": without}


def _load(folder: Path, category: str) -> Interactions:
    def array(name: str) -> np.ndarray:
        return np.load(folder / f"{name}.npy", allow_pickle=False)

    codes = {
        name: Codes(array(name), array(f"{name}_values")) for name in ("user", "item", "category")
    }
    columns = {name: array(name) for name in _COLUMNS}
    return Interactions(category, **codes, **columns)


DATASET = DataSet(load.NAME, Options, find, build, user="user", item="item")
