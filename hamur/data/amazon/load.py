"""Amazon 2014, two categories with common users, as a source and a target domain.

    load_amazon_pair   the pair for cross-domain models: see `hamur.data.cross_domain`
    load_amazon        the same rows as one multi-domain table, domain 0 the source, 1 the target

The label is overall > 3; a review's category is the second element of its item's first path in the
meta data, "others" where that path is shorter, and unknown where the meta data lack the item.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hamur.data import cache, encode
from hamur.data.amazon import files as amazon_files
from hamur.data.amazon.files import read_categories, read_reviews
from hamur.data.build_tables import DOMAIN_FIELD
from hamur.data.cross_domain.dataset import FIELDS, CrossDomainData, Interactions
from hamur.data.cross_domain.join import join_pair
from hamur.data.cross_domain.storage import is_pair_cache, open_pair
from hamur.data.encode import MISSING
from hamur.data.errors import DataFileNotFoundError, DataFormatError, JoinError
from hamur.data.schema import SPARSE, FieldSpec, Schema
from hamur.data.table import Splits, Table
from hamur.data.text.bad_rows import BadRows, Policy

NAME = "amazon"
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "amazon-sample"
PAGE = "https://jmcauley.ucsd.edu/data/amazon"
PUBLISHED = ("Books", "Toys_and_Games")
FILES = ("reviews_{}_5.json", "meta_{}.json")  # plain or .gz
MISSING_META = ("unknown", "others", "error")


def load_amazon_pair(
    path: str | Path | None = None,
    pair: tuple[str, str] | None = None,
    split: str = "leave_two_out",
    vocabulary: str = "train",
    id_order: str = "value",
    missing_meta: str = "unknown",
    strict_meta: bool = False,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
) -> CrossDomainData:
    """Source and target behaviours of the users who have both.

    path: the folder of reviews_<Category>_5.json and meta_<Category>.json of both categories, as
        .json or .json.gz, or a prepared cache, whose own options then count; None is the bundled
        sample of generated rows.
    pair: (source, target) categories; None takes Books and Toys_and_Games, or else the only two
        that are there, in alphabetical order.
    split, vocabulary, id_order: see `join_pair`; the public order parses all meta lines.
    missing_meta: what an item without meta data is: "unknown" (id 0), "others" or an "error".
    strict_meta: also parse the meta lines of items without a review.
    Raises:  DataError, of the kind that `hamur.data.errors` names.
    """
    if missing_meta not in MISSING_META:
        raise ValueError(f"missing_meta is {missing_meta!r}; use one of {MISSING_META}")
    source = SAMPLE if path is None else Path(path).expanduser()
    if is_pair_cache(source):
        return open_pair(source)
    domains, found = [], {}
    for category in choose_pair(source, pair):
        bad_rows = [
            BadRows(find_file(source, name.format(category)), Policy(on_bad_rows, max_bad_fraction))
            for name in FILES
        ]
        reviews, without = read_domain(category, *bad_rows, missing_meta, strict_meta, id_order)
        domains.append(reviews)
        found[category] = {
            "files": {each.path.name: each.counts() for each in bad_rows},
            "items_without_meta": without,
        }
    return join_pair(
        *domains,
        split=split,
        vocabulary=vocabulary,
        id_order=id_order,
        found={"domains": found},
    )


def read_domain(
    category: str,
    of_reviews: BadRows,
    of_meta: BadRows,
    missing_meta: str,
    strict_meta: bool,
    id_order: str,
) -> tuple[Interactions, int]:
    """The reviews with the categories of their items, and the number of items without.

    Raises:  DataError; what is skipped goes to the two BadRows.
    """
    reviews = read_reviews(of_reviews.path, category, of_reviews)
    # The public order of categories is that of all lines, also of items without a review.
    every_line = strict_meta or id_order == "public"
    return _with_categories(reviews, of_meta, missing_meta, every_line)


def _with_categories(
    reviews: Interactions, of_meta: BadRows, missing_meta: str, every_line: bool
) -> tuple[Interactions, int]:
    """The reviews with the categories of their items, and the number of items without."""
    category, rank = read_categories(of_meta.path, reviews.item.values, of_meta, every_line)
    without = np.flatnonzero(category.codes == MISSING)
    if len(without) and missing_meta == "error":
        raise JoinError(
            f"{len(without)} items have no meta data",
            file=of_meta.path,
            column="asin",
            value=reviews.item.values[without[:5]].tolist(),
            expected="a line for every reviewed item",
            remedy="fetch the matching meta file, or missing_meta='unknown'",
        )
    if missing_meta == "others" and len(without):
        values = np.union1d(category.values, [amazon_files.OTHERS])
        others = np.searchsorted(values, amazon_files.OTHERS)
        codes = np.where(
            category.codes == MISSING,
            others,
            np.searchsorted(values, np.append(category.values, ""))[category.codes],
        )
        if len(values) > len(rank):  # no line says it: the last
            rank = np.insert(rank, others, len(rank))
        category = encode.Codes(codes.astype(np.int32), values)
    return replace(reviews, category=category, category_rank=rank), len(without)


def categories_in(source: Path) -> list[str]:
    """Categories whose reviews are there.  Raises DataFileNotFoundError, DataFormatError."""
    if not source.is_dir():
        raise DataFileNotFoundError(
            "no such folder",
            file=source,
            expected="a folder of reviews_<Category>_5.json.gz and meta_<Category>.json.gz",
            remedy=f"fetch two categories from {PAGE} and pass their folder",
        )
    names = {path.name.removesuffix(".gz") for path in source.glob("reviews_*_5.json*")}
    found = sorted(name.removeprefix("reviews_").removesuffix("_5.json") for name in names)
    if not found:
        raise DataFormatError(
            "not one pair of categories",
            file=source,
            value="no reviews_<Category>_5.json",
            expected="the reviews of two categories",
            remedy=f"fetch them from {PAGE}",
        )
    return found


def choose_pair(source: Path, pair: tuple[str, str] | None) -> tuple[str, str]:
    """The two categories to load.  Raises DataFileNotFoundError, DataFormatError, ValueError."""
    found = categories_in(source)
    if pair is not None:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(f"pair is {pair!r}; use two different categories, source first")
        return tuple(pair)
    if set(PUBLISHED) <= set(found):
        return PUBLISHED
    if len(found) != 2:
        raise DataFormatError(
            "not one pair of categories",
            file=source,
            value=", ".join(found),
            expected="the reviews of two categories",
            remedy="say pair=(source, target)",
        )
    return tuple(found)


def find_file(folder: Path, name: str) -> Path:
    """The file or its .gz.  Raises DataFileNotFoundError, DataFormatError: both are there."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if len(found) == 2:
        raise DataFormatError(
            "ambiguous: plain and compressed",
            file=found[0],
            value=found[1].name,
            expected="one of them",
            remedy="remove one of the two",
        )
    if not found:
        present = sorted(path.name for path in folder.iterdir())[:8]
        raise DataFileNotFoundError(
            "no such file, plain or .gz",
            file=folder / name,
            value=f"files: {', '.join(present) or 'none'}",
            remedy=f"fetch it from {PAGE}",
        )
    return found[0]


def load_amazon(path: str | Path | None = None, **options) -> tuple[Splits, Schema]:
    """One table of both domains: user, item, category, domain_indicator; see `load_amazon_pair`.

    path: a prepared cache, too.

    Training holds the target's training rows and the source rows before each user's validation
    row; validation and test hold target rows.  Item and category ids of the source come after
    those of the target, since the two domains have items of their own.
    """
    if path is not None and is_pair_cache(Path(path).expanduser()):
        return cache.open_cache(Path(path).expanduser())
    return as_splits(load_amazon_pair(path, **options))


def as_splits(pair: CrossDomainData) -> tuple[Splits, Schema]:
    """A pair as one multi-domain data set."""
    shift = np.array([0, *(size - 1 for size in pair.target_schema.vocab_sizes[1:])], np.int32)
    usable = pair.source.take(np.flatnonzero(_usable(pair)))
    ids = np.where(usable.sparse == encode.UNKNOWN, encode.UNKNOWN, usable.sparse + shift)
    parts = [_table(part.sparse, part, 1) for part in pair.target]
    parts[0] = _concatenate(_table(ids, usable, 0), parts[0])
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
    return Splits(*parts), schema


def _usable(pair: CrossDomainData) -> np.ndarray:
    if not pair.timed:
        return np.ones(len(pair.source), bool)
    return pair.source.time < pair.valid_time[pair.source.sparse[:, 0]]


def _table(sparse: np.ndarray, rows: Table, file: int) -> Table:
    """The rows with their domain as a field; file makes row ids of different files different."""
    columns = rows.columns() | {
        "sparse": np.concatenate([sparse, rows.domain[:, None]], axis=1).astype(np.int32),
        "row_id": (file << 40) + rows.row_id,
    }
    return Table(**columns)


def _concatenate(a: Table, b: Table) -> Table:
    other = b.columns()
    return Table(**{name: np.concatenate([c, other[name]]) for name, c in a.columns().items()})
