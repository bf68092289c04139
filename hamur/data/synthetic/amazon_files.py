"""Generated reviews and products as text: JSON and Python literals, one a line."""

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FIRST_DAY, _DAY = 1_262_304_000, 86_400
_WITHOUT_NAME = 0.003
_WORDS = [
    "the",
    "sturdy",
    "kit",
    "arrived",
    "early",
    "and",
    "my",
    "daughter's",
    "cousin",
    "keeps",
    "it",
    "on",
    "her",
    "desk",
    "though",
    "a",
    "corner",
    "came",
    "off",
    "after",
    "some",
    "weeks",
    "we",
    "would",
    "buy",
    "another",
    "if",
    "the",
    "colour",
    "were",
    "less",
    "loud",
]


@dataclass(frozen=True)
class Domain:
    """name; items; categories; rows of a user: the fewest, and the mean of what comes on top."""

    name: str
    items: int
    categories: int
    fewest: int
    more: float


@dataclass(frozen=True)
class Rows:
    """user, item, day (N,); probability (N,) of a rating above 3, rating and harmful (N,)."""

    user: np.ndarray
    item: np.ndarray
    day: np.ndarray
    probability: np.ndarray
    rating: np.ndarray
    harmful: np.ndarray

    def take(self, rows: np.ndarray) -> "Rows":
        return Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def reviewer_id(user: int) -> str:
    return f"A{user:012d}U"


def asin(item: int, domain: int) -> str:
    """B0 and eight characters, as products have; other letters in the other domain."""
    return f"B0{'ST'[domain]}{item:07d}"


def _lines(path: Path, compressed: bool, lines: Iterator[str]) -> None:
    if not compressed:
        with path.open("w", encoding="ascii", newline="\n") as file:
            file.writelines(lines)
        return
    # No name and no time in the header, so that the same rows give the same bytes.
    with (
        path.with_name(path.name + ".gz").open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, "ascii", newline="\n") as file,
    ):
        file.writelines(lines)


def write_reviews(out: Path, domain: Domain, rows: Rows, rng, compressed: bool, d: int) -> None:
    """Write reviews_<Name>_5.json[.gz], an object a line."""
    words = rng.integers(len(_WORDS), size=(len(rows.user), 4))
    unnamed = rng.random(len(rows.user)) < _WITHOUT_NAME
    dates = np.datetime64(_FIRST_DAY, "s") + rows.day * np.timedelta64(_DAY, "s")

    def lines() -> Iterator[str]:
        columns = (rows.user, rows.item, rows.day, rows.rating, dates, words, unnamed)
        for user, item, day, rating, date, chosen, nameless in zip(*(c.tolist() for c in columns)):
            record = {
                "reviewerID": reviewer_id(user),
                "asin": asin(item, d),
                "reviewerName": f"Reader \u00e9{user}",
                "helpful": [0, 0],
                "reviewText": " ".join(_WORDS[w] for w in chosen),
                "overall": float(rating),
                "summary": _WORDS[chosen[0]].capitalize(),
                "unixReviewTime": _FIRST_DAY + _DAY * day,
                "reviewTime": f"{date:%m} {date.day}, {date:%Y}",
            }
            if nameless:
                del record["reviewerName"]
            yield json.dumps(record) + "\n"

    _lines(out / f"reviews_{domain.name}_5.json", compressed, lines())


def write_meta(
    out: Path, domain: Domain, items: np.ndarray, category: np.ndarray, rng, share: float,
    compressed: bool, d: int,
) -> None:  # fmt: skip
    """Python literals: the reviewed items but a share, and as many again that nobody reviewed."""
    missing = rng.random(len(items)) < share
    optional = rng.random((2 * len(items), 3))
    spare = domain.items + np.arange(len(items))
    chosen = np.append(items[~missing], spare[: len(items) // 4])

    def lines() -> Iterator[str]:
        for n, item in enumerate(chosen.tolist()):
            kind = int(category[item]) if item < domain.items else 0
            record = {"asin": asin(item, d)}
            if optional[n, 0] < 0.9:
                record["title"] = f"Maker's \u00ab{_WORDS[item % len(_WORDS)]}\u00bb, no. {item}"
            if optional[n, 1] < 0.7:
                record["price"] = round(1 + 40 * float(optional[n, 2]), 2)
            if optional[n, 2] < 0.5:
                record["brand"] = "Smith & Sons"
            record["salesRank"] = {domain.name: item + 1}
            record["categories"] = [[domain.name, f"Kind {kind:02d}", "Children's"], ["Gifts"]]
            yield ascii(record) + "\n"

    _lines(out / f"meta_{domain.name}.json", compressed, lines())
