"""Amazon reviews, two categories with common users, as a source and a target domain.

    load_amazon_pair   cross-domain data: see `hamur.data.cross_domain`
    load_amazon        the same rows as one multi-domain table, domain 0 the source, 1 the target
    DATASET            both in one cache, made by one job per category

The label is rating > 3; a review's category is the second element of its item's (first) path in the
meta data, "others" where that path is shorter or absent, and unknown where the meta data lack the
item.
"""

import logging
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from hamur import errors
from hamur.config import comma_separated, encoding_flag
from hamur.data import cache, encode
from hamur.data.amazon import files, reader
from hamur.data.cross_domain import storage
from hamur.data.cross_domain.dataset import FIELDS, CrossDomainData, Interactions
from hamur.data.cross_domain.join import SPLIT_RULES, VOCABULARIES, JoinRules, join_pair
from hamur.data.encode import MISSING, Codes
from hamur.data.sample import path_or_sample
from hamur.data.schema import DOMAIN_FIELD, SPARSE, FieldSpec, Schema
from hamur.data.streaming.jobs import Job, Workspace
from hamur.data.streaming.prepare import DataSet
from hamur.data.table import Splits, Table
from hamur.data.text.bad_rows import MAX_LINE_MIB, BadRows, Policy
from hamur.errors import DataError, DataFormatError, JoinError

NAME = "amazon"
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "amazon-sample"
MISSING_META = ("unknown", reader.OTHERS, "error")
_log = logging.getLogger(__name__)
_CODES, _COLUMNS = ("user", "item", "category"), ("row_id", "rating", "time")


@dataclass(frozen=True)
class Options:
    """What the tables depend on besides the files; see `load_amazon_pair`."""

    pair: tuple[str, str] | None = encoding_flag(
        None,
        "source and target category, comma separated",
        default_text="Books,Toys_and_Games, or the two that are there",
        parse=comma_separated,
    )
    split: str = encoding_flag("leave_two_out", "rule that divides the rows", choices=SPLIT_RULES)
    vocabulary: str = encoding_flag(
        "train",
        "rows that vocabularies are fitted on",
        choices=VOCABULARIES,
        aliases=("vocab", "fit_on"),
    )
    missing_meta: str = encoding_flag(
        "unknown", "category of an item without meta data", choices=MISSING_META
    )
    strict_meta: bool = encoding_flag(
        False, "also parse the meta data of items that nobody reviewed"
    )
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self):
        if self.missing_meta not in MISSING_META:
            raise ValueError(f"`missing_meta` is {self.missing_meta!r}; use one of {MISSING_META}")

    def join(self, domains: list[Interactions], details: dict[str, dict]) -> CrossDomainData:
        """The pair of both domains; details: counts by category.

        Raises:  DataError, as `join_pair`; DataFormatError: 2023 with an earlier release.
        """
        years = {name: counts["release"] for name, counts in details.items()}
        if len(set(years.values())) > 1 and max(years.values()) > 2018:
            raise DataFormatError(
                "two releases that name users differently",
                value=years,
                expected="one release, or 2014 and 2018, whose names are the same",
                remedy="pass both categories of one release",
            )
        for name, counts in details.items():
            if counts["items_without_meta"] or counts["items_without_category"]:
                _log.warning(
                    "%s, Amazon %d: %d items, %d without meta data (%s), %d without a category in "
                    "theirs (others)",
                    *(name, years[name], counts["items"], counts["items_without_meta"]),
                    *(self.missing_meta, counts["items_without_category"]),
                )
        rules = JoinRules(self.split, vocabulary=self.vocabulary)
        return join_pair(*domains, rules, {"domains": details})


def load_amazon_pair(
    path: str | Path | None = None,
    pair: tuple[str, str] | None = None,
    split: str = "leave_two_out",
    vocabulary: str = "train",
    missing_meta: str = "unknown",
    strict_meta: bool = False,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
) -> CrossDomainData:
    """Source and target behaviours of the users who have both.

    path: the folder of reviews and meta data of both categories as published in 2014, 2018 or
        2023, see `files`, plain or .gz; or a prepared cache, whose own options count unless others
        are given; None is the bundled sample of generated rows.
    pair: (source, target) categories; None takes Books and Toys_and_Games, or else the only two
        that are there, in alphabetical order.
    split, vocabulary: see `JoinRules`.
    missing_meta: what an item without meta data is: "unknown" (id 0), "others" or an "error"; it is
        one unless "others" where no item has any.
    strict_meta: also parse the meta lines of items without a review.
    Raises:  DataError, of the kind that `hamur.errors` names; ValueError: a cache that was
        prepared with other options.
    """
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    pair = None if pair is None else tuple(pair)
    options = Options(pair, split, vocabulary, missing_meta, strict_meta, policy)
    folder = path_or_sample(path, SAMPLE)
    if cache.is_cache(folder):
        chosen = ((f.name, getattr(options, f.name), f.default) for f in fields(options))
        given = {n: v for n, v, default in chosen if n != "policy" and v != default}
        return storage.open_pair(folder, **given)
    domains, details = [], {}
    for category in files.choose_pair(folder, pair):
        bad_rows = [BadRows(file, policy) for file in files.files_of(folder, category)]
        reviews, counts = read_domain(category, bad_rows, options)
        domains.append(reviews)
        of_files = {each.path.name: each.counts() for each in bad_rows}
        details[category] = {"files": of_files} | counts
    return options.join(domains, details)


def load_amazon(path: str | Path | None = None, **options) -> tuple[Splits, Schema]:
    """One table of both domains: user, item, category, domain_indicator; see `load_amazon_pair`.

    path: a prepared cache, too.

    Training holds the target's training rows and the source rows before each user's validation
    row; validation and test hold target rows.  Item and category ids of the source come after
    those of the target, since the two domains have items of their own.
    """
    if path is not None and cache.is_cache(Path(path).expanduser()):
        asked = {name: options.get(name) for name in ("split", "vocabulary")}
        asked["domain_names"] = options.get("pair")
        return cache.open_prepared(Path(path).expanduser(), "load_amazon", **asked)
    return as_splits(load_amazon_pair(path, **options))


def read_domain(
    category: str, bad_rows: list[BadRows], options: Options
) -> tuple[Interactions, dict[str, int]]:
    """The reviews with the categories of their items; the release, the number of items, of those
    without meta data and of those without a category there.

    bad_rows: of the two files of the category, which receive what is skipped.
    Raises:  DataError.
    """
    of_reviews, of_meta = bad_rows
    generation = reader.generation_of(of_reviews.path, of_meta.path, options.policy.max_line)
    reviews = reader.read_reviews(of_reviews.path, category, of_reviews, generation)
    items, strict = reviews.item.values, options.strict_meta
    codes = reader.read_categories(of_meta.path, items, of_meta, generation, strict)
    without = np.flatnonzero(codes.codes == MISSING)
    enough = options.missing_meta == "unknown" and len(without) < len(items)
    if len(without) and not enough and options.missing_meta != reader.OTHERS:
        raise JoinError(
            f"{len(without)} items have no meta data, of {len(items)} with reviews",
            file=of_meta.path,
            column=generation.meta[0],
            value=items[without[:5]].tolist(),
            expected="a line for every reviewed item",
            remedy="fetch the matching meta file, or `missing_meta='others'`",
        )
    names = np.append(codes.values, "")[codes.codes]  # code -1 is the last
    counts = {"release": generation.year, "items": len(items), "items_without_meta": len(without)}
    counts["items_without_category"] = int((names == reader.OTHERS).sum())
    if len(without) and options.missing_meta == reader.OTHERS:
        codes = _without_missing(codes)
    return replace(reviews, category=codes), counts


def _without_missing(category: Codes) -> Codes:
    """Codes in which missing categories are "others"."""
    values = np.union1d(category.values, [reader.OTHERS])
    others = np.searchsorted(values, reader.OTHERS)
    new = np.append(np.searchsorted(values, category.values), others)  # code -1 is the last
    return Codes(new[category.codes].astype(np.int32), values)


def as_splits(pair: CrossDomainData) -> tuple[Splits, Schema]:
    """A pair as one multi-domain data set."""
    shift = np.array([0, *(size - 1 for size in pair.target_schema.vocab_sizes[1:])], np.int32)
    usable = pair.source.take(np.flatnonzero(pair.usable()))
    ids = np.where(usable.sparse == encode.UNKNOWN, encode.UNKNOWN, usable.sparse + shift)
    train, valid, test = (_with_domain(part.sparse, part, 1) for part in pair.target)
    source, target = _with_domain(ids, usable, 0).columns(), train.columns()
    train = Table(**{name: np.concatenate([source[name], target[name]]) for name in source})
    users, *sizes = pair.target_schema.vocab_sizes
    both = (own + other - 1 for own, other in zip(sizes, pair.source_schema.vocab_sizes[1:]))
    fields = [FieldSpec(name, SPARSE, size) for name, size in zip(FIELDS, (users, *both))]
    schema = Schema(
        NAME,
        (*fields, FieldSpec(DOMAIN_FIELD, SPARSE, 2)),
        pair.target_schema.labels,
        pair.target_schema.domain_names,
        DOMAIN_FIELD,
        FIELDS[0],
        pair.target_schema.split,
    )
    return Splits(train, valid, test), replace(schema, encoders=_encoders(pair, schema))


def _encoders(pair: CrossDomainData, schema: Schema):
    from hamur.encoders import encoders_of, in_domain  # which is above this module

    arrays, own = {"vocab/user": pair.names["user"][1:]}, FIELDS[1:]
    for name in own:
        sides = ((1, f"target_{name}"), (0, f"source_{name}"))
        values = [in_domain(domain, pair.names[side][1:]) for domain, side in sides]
        arrays[f"vocab/{name}"] = np.concatenate(values).astype(str)
    return encoders_of(schema, None, arrays, {}, own)


def _with_domain(sparse: np.ndarray, rows: Table, file: int) -> Table:
    """The rows with their domain as a field; file makes row ids of different files different."""
    columns = rows.columns() | {
        "sparse": np.concatenate([sparse, rows.domain[:, None]], axis=1).astype(np.int32),
        "row_id": (file << 40) + rows.row_id,
    }
    return Table(**columns)


def find(folder: Path) -> list[Path]:
    """Reviews and meta data of all categories that are there."""
    names = files.categories_in(folder)
    return [file for name in names for file in files.files_of(folder, name)]


def build(space: Workspace, sources: list[Path], options: Options) -> tuple:
    """(splits, schema, bad rows, further arrays of the cache)"""
    folder = sources[0].parent
    categories = files.choose_pair(folder, options.pair)
    of_categories = [files.files_of(folder, category) for category in categories]
    bad_rows = [[BadRows(path, options.policy) for path in paths] for paths in of_categories]
    details = {}

    def settle(number: int, report: dict) -> None:
        if report["error"]:
            kind, parts = report["error"]
            raise getattr(errors, kind)(**parts)
        for of_file, of_job in zip(bad_rows[number], report["bad_rows"]):
            of_file.merge(of_job)
        details[categories[number]] = report["counts"]

    jobs = [
        Job(f"reviews/{name}", save_domain, (paths, name, options),
            sum(path.stat().st_size for path in paths))
        for name, paths in zip(categories, of_categories)
    ]  # fmt: skip
    space.run("reading reviews", jobs, "B", settle)
    domains = [_saved(space.path(job.name), name) for job, name in zip(jobs, categories)]
    pair = options.join(domains, details)
    splits, schema = as_splits(pair)
    schema = replace(schema, split=storage.described(pair, dict(schema.split)))
    return splits, schema, [each for both in bad_rows for each in both], storage.arrays_of(pair)


def save_domain(folder: Path, paths: list[Path], category: str, options: Options) -> dict:
    """A job: saves what `read_domain` reads."""
    bad_rows = [BadRows(path, options.policy) for path in paths]
    try:
        rows, counts = read_domain(category, bad_rows, options)
    except DataError as error:
        return {"error": [type(error).__name__, error.parts]}
    arrays = {name: getattr(rows, name) for name in _COLUMNS}
    for name in _CODES:
        codes = getattr(rows, name)
        arrays |= {name: codes.codes, f"{name}_values": codes.values}
    np.savez(folder / "rows.npz", **arrays)
    return {"error": None, "bad_rows": [each.report() for each in bad_rows], "counts": counts}


def _saved(folder: Path, category: str) -> Interactions:
    with np.load(folder / "rows.npz", allow_pickle=False) as arrays:
        codes = {name: Codes(arrays[name], arrays[f"{name}_values"]) for name in _CODES}
        return Interactions(category, **codes, **{name: arrays[name] for name in _COLUMNS})


DATASET = DataSet(NAME, Options, find, build, user="user", item="item")
