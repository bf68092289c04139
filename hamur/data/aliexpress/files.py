"""AliExpress on disk: what its columns are, and which files of which countries a folder holds.

Processed, a folder per country:   train.csv test.csv, header, 82 columns
    search_id categorical_1..16 numerical_1..63 click conversion
Raw, no header, cc = nl es fr us ru: {cc}_user_{train,test}.csv 33 columns, a row per search page;
    {cc}_item_{train,test}.csv 49 columns, a row per shown item; column 1 of both is the search id.

The published archives name the columns by number only, and so do we.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hamur.config import comma_separated, encoding_flag
from hamur.data import table
from hamur.data.streaming.sources import Source, sources_in, take
from hamur.data.text.bad_rows import Policy
from hamur.data.text.lines import FileFormat
from hamur.errors import DataFileNotFoundError, DataFormatError, no_folder

NAME = "aliexpress"
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "aliexpress-sample"
PAGE = "https://tianchi.aliyun.com/dataset/74690"
COUNTRIES = ("NL", "ES", "FR", "US", "RU")  # the order of the domains
PARTS = ("train", "test")
PART_SHIFT, DOMAIN_SHIFT = 40, table.DOMAIN_SHIFT  # bits of a row id below part and country

_RAW = re.compile(
    r"[a-z]{2}_(user|item)_(train|test)\.(csv|csv\.gz|zip)|aliexpress_[A-Z]{2}_datasets\.zip"
)
_PROCESSED = re.compile(r"(aliexpress_)?(train|test)(_sample)?\.csv")

# Numbers of raw columns, from 1, in the order of the processed columns.
USER_COLUMNS, ITEM_COLUMNS = 33, 49
USER_CATEGORICAL = (*range(2, 9), 32, 33)
USER_NUMERICAL = tuple(range(9, 32))
ITEM_CATEGORICAL = (19, 34, 35, 36, 40, 41, 42)
ITEM_NUMERICAL = tuple(n for n in range(2, ITEM_COLUMNS) if n not in ITEM_CATEGORICAL)
ITEM_LABEL = f"item_{ITEM_COLUMNS}"

GROUP, LABELS = "search_id", ("click", "conversion")
SPARSE_COLUMNS = tuple(f"categorical_{n}" for n in range(1, 17))
DENSE_COLUMNS = tuple(f"numerical_{n}" for n in range(1, 64))
CSV_COLUMNS = (GROUP, *SPARSE_COLUMNS, *DENSE_COLUMNS, *LABELS)

# Raw column -> processed column, by position in the lists above.
_RAW_USER = [f"user_{n}" for n in USER_CATEGORICAL + USER_NUMERICAL]
_RAW_ITEM = [f"item_{n}" for n in ITEM_CATEGORICAL + ITEM_NUMERICAL]
_SPARSE, _DENSE = len(USER_CATEGORICAL), len(USER_NUMERICAL)
USER_NAMES = dict(zip(_RAW_USER, SPARSE_COLUMNS[:_SPARSE] + DENSE_COLUMNS[:_DENSE]))
ITEM_NAMES = dict(zip(_RAW_ITEM, SPARSE_COLUMNS[_SPARSE:] + DENSE_COLUMNS[_DENSE:]))


def _raw_format(side: str, number: int, names: dict[str, str], **kinds: str) -> FileFormat:
    kinds[f"{side}_1"] = "int"
    for raw, name in names.items():
        kinds[raw] = "category" if name in SPARSE_COLUMNS else "float"
    return FileFormat(kinds, names=tuple(f"{side}_{n + 1}" for n in range(number)), quoted=False)


USER = _raw_format("user", USER_COLUMNS, USER_NAMES)
ITEM = _raw_format("item", ITEM_COLUMNS, ITEM_NAMES, **{ITEM_LABEL: "int"})


@dataclass(frozen=True)
class Options:
    """What a raw preparation depends on besides the files; see `load_aliexpress`.

    countries: in the order of the domains; None: all that are there; range_bytes: of a job.
    """

    countries: tuple[str, ...] | None = encoding_flag(
        None,
        "which countries, in the order of the domains, comma separated",
        default_text="all that are there",
        parse=comma_separated,
    )
    labels: tuple[str, ...] = encoding_flag(
        LABELS, "label columns, comma separated", parse=comma_separated
    )
    valid_fraction: float = encoding_flag(
        0.1, "share of the training rows kept for validation", above=0
    )
    min_count: int = encoding_flag(1, "training rows that an id needs to be known", at_least=1)
    policy: Policy = field(default_factory=Policy)
    range_bytes: int = 64 << 20


def check_found(folder: Path, files: Collection) -> None:
    """Raises DataFileNotFoundError without the folder, DataFormatError without any country."""
    if not folder.is_dir():
        raise DataFileNotFoundError(
            no_folder(folder),
            file=folder,
            expected="a folder of train.csv and test.csv, or of nl_user_train.csv and so on",
            remedy=f"fetch AliExpress from {PAGE} (login needed) and pass its folder",
        )
    if not files:
        present = sorted(path.name for path in folder.iterdir())[:8]
        raise DataFormatError(
            "not recognised as AliExpress",
            file=folder,
            value=f"files: {', '.join(present) or 'none'}",
            expected="train.csv and test.csv; folders AliExpress_NL and so on; or raw files "
            "nl_user_train.csv nl_item_train.csv nl_user_test.csv nl_item_test.csv or their "
            "archives aliexpress_NL_datasets.zip",
            remedy=f"pass the folder of the archives of {PAGE}",
        )


def choose_countries(
    folder: Path, present: Collection[str], countries: tuple[str, ...] | None
) -> list[str]:
    """The countries asked for, or all that are present in the order of the domains.

    Raises:  ValueError: none, or one twice; DataFileNotFoundError: one that is not there.
    """
    if countries is None:
        in_order = [name for name in COUNTRIES if name in present]
        return in_order + sorted(set(present) - set(in_order))
    if not countries or len(set(countries)) < len(countries):
        raise ValueError(f"`countries` is {countries!r}; name at least one, and none twice")
    missing = [name for name in countries if name not in present]
    if missing:
        raise DataFileNotFoundError(
            f"no data of {', '.join(missing)}",
            file=folder,
            value=", ".join(sorted(present)),
            expected=", ".join(countries),
            remedy="choose among those that are there by `countries`, or add the missing ones",
        )
    return list(countries)


def holds_raw(folder: Path) -> bool:
    """Whether raw files are there, packed or not.

    Raises:  DataFormatError: beside processed files, so that it is open which ones are meant.
    """
    names = sorted(path.name for place in _folders(folder) for path in place.iterdir())
    raw = [name for name in names if _RAW.fullmatch(name)]
    processed = [name for name in names if _PROCESSED.fullmatch(name)]
    if raw and processed:
        raise DataFormatError(
            "ambiguous: raw and processed files of AliExpress are present",
            file=folder,
            value=f"{raw[0]} and {processed[0]}",
            expected="one kind",
            remedy="keep the two in folders of their own and pass one of them",
        )
    return bool(raw)


def find_raw(folder: Path) -> list[Source]:
    """The four files of every country in a folder, packed or not; a folder of folders
    AliExpress_<CC> will do.

    Raises:  DataFileNotFoundError: a country's file is missing; DataFormatError: no country, or
        one file in two folders.
    """
    names_of = {
        country: [raw_name(country, side, part) for part in PARTS for side in ("user", "item")]
        for country in COUNTRIES
    }
    every_name = [name for names in names_of.values() for name in names]
    sources: dict[str, Source] = {}
    for place in _folders(folder):
        inside = sources_in(place, every_name)
        for name in sorted(sources.keys() & inside.keys()):
            raise DataFormatError(
                f"ambiguous: {name} is present twice",
                file=folder,
                value=f"{sources[name].name} and {inside[name].name}",
                expected="one set of files per country",
                remedy="keep the sets in folders of their own and pass one of them",
            )
        sources |= inside
    needed: list[Source] = []
    for country, names in names_of.items():
        if any(name in sources for name in names):
            remedy = f"fetch aliexpress_{country}_datasets.zip from {PAGE} into this folder"
            needed += take(sources, names, folder, remedy)
    check_found(folder, needed)
    return needed


def raw_name(country: str, side: str, part: str) -> str:
    return f"{country.lower()}_{side}_{part}.csv"


def _folders(folder: Path) -> list[Path]:
    below = sorted(p for p in folder.glob("AliExpress_*") if p.is_dir())
    return [folder, *below] if folder.is_dir() else []
