"""The files of Amazon reviews in a folder, under their published names, plain or .gz.

    2014   reviews_<Category>_5.json   meta_<Category>.json
    2018   <Category>_5.json           meta_<Category>.json
    2023   <Category>.jsonl            meta_<Category>.jsonl

Complete files, without the 5-core's _5, are taken where that is missing.  Which release they are of
is told by what they hold, see `reader.generation_of`.
"""

import re
from pathlib import Path

from hamur import errors

PAGE = "https://jmcauley.ucsd.edu/data/amazon"
OFFICIAL = ("Books", "Toys_and_Games")
_FILE = re.compile(r"(reviews_|meta_)?(?P<category>.+?)(_5)?\.jsonl?(\.gz)?")


def categories_in(folder: Path) -> list[str]:
    """Categories whose reviews are there.  Raises DataFileNotFoundError, DataFormatError."""
    if not folder.is_dir():
        raise errors.DataFileNotFoundError(
            errors.no_folder(folder),
            file=folder,
            expected="a folder of reviews_<Category>_5.json.gz and meta_<Category>.json.gz",
            remedy=f"fetch two categories from {PAGE} and pass their folder",
        )
    names = [name for name, (reviews, meta) in _files_in(folder).items()
             if reviews and (meta or reviews[0].name.startswith("reviews_"))]  # fmt: skip
    if not names:
        fetch = f"fetch them from {PAGE}, with the meta data"
        raise _no_pair(folder, f"files: {_present(folder)}", fetch)
    return sorted(names)


def _files_in(folder: Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """Category -> files of reviews, those of the 5-core if there are any, and of meta data."""
    found: dict[str, tuple[list[Path], list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        if (match := _FILE.fullmatch(path.name)) and path.is_file():
            of_category = found.setdefault(match["category"], ([], []))
            of_category[match[1] == "meta_"].append(path)
    cores = {name: [p for p in reviews if "_5." in p.name] for name, (reviews, _) in found.items()}
    return {name: (cores[name] or reviews, meta) for name, (reviews, meta) in found.items()}


def choose_pair(folder: Path, pair: tuple[str, str] | None) -> tuple[str, str]:
    """The two categories to load.  Raises DataFileNotFoundError, DataFormatError, ValueError."""
    categories = categories_in(folder)
    if pair is not None:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(f"`pair` is {pair!r}; use two different categories, source first")
        return tuple(pair)
    if set(OFFICIAL) <= set(categories):
        return OFFICIAL
    if len(categories) != 2:
        raise _no_pair(folder, ", ".join(categories), "name them: `pair=(SOURCE, TARGET)`")
    return tuple(categories)


def _no_pair(folder: Path, value: str, remedy: str) -> errors.DataFormatError:
    problem = "not one pair of categories"
    expected = "the reviews and meta data of two categories, under their published names"
    return errors.DataFormatError(
        problem, file=folder, value=value, expected=expected, remedy=remedy
    )


def files_of(folder: Path, category: str) -> list[Path]:
    """Reviews and meta data, plain or .gz.  Raises DataFileNotFoundError, DataFormatError."""
    found = _files_in(folder).get(category, ([], []))
    published = (f"reviews_{category}_5.json", f"meta_{category}.json")
    return [_only(folder, *of_kind) for of_kind in zip(found, published)]


def _only(folder: Path, files: list[Path], name: str) -> Path:
    if len(files) > 1:
        raise errors.DataFormatError(
            "ambiguous",
            file=files[0],
            value=", ".join(path.name for path in files[1:]),
            expected="one of them",
            remedy="keep one of them in the folder",
        )
    if not files:
        raise errors.DataFileNotFoundError(
            "no such file, plain or .gz",
            file=folder / name,
            value=f"files: {_present(folder)}",
            remedy=f"fetch it from {PAGE}",
        )
    return files[0]


def _present(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "none"
