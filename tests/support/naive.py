"""A second reader of raw Ali-CCP files, row by row with dictionaries, as the public code."""

import csv
from pathlib import Path

import numpy as np

COMMON = ["101", "121", "122", "124", "125", "126", "127", "128", "129"]
COMMON += ["109_14", "110_14", "127_14", "150_14"]
SKELETON = ["205", "206", "207", "210", "216", "508", "509", "702", "853", "301"]
IDS = COMMON[:9] + SKELETON + COMMON[9:]
VALUES = ["109_14", "110_14", "127_14", "150_14", "508", "509", "702", "853"]
MULTI = ["210", "853", "109_14", "110_14", "127_14", "150_14"]


def features(text: str) -> list[tuple[str, int, float]]:
    found = []
    for feature in text.split("\x01"):
        field, rest = feature.split("\x02")
        number, value = rest.split("\x03")
        found.append((field, int(number), float(value)))
    return found


def lines(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return [row for row in csv.reader(file, quoting=csv.QUOTE_NONE) if row]


def rows(folder: Path, part: str) -> list[dict]:
    """Each kept row: label columns and, by field, the list of (id, value); skeleton wins."""
    common = {
        row[0].lower(): features(row[2]) for row in lines(folder / f"common_features_{part}.csv")
    }
    found = []
    for row in lines(folder / f"sample_skeleton_{part}.csv"):
        click, conversion = int(row[1]), int(row[2])
        if conversion and not click:
            continue
        by_field: dict[str, list] = {}
        for field, number, value in common[row[3].lower()] + features(row[5]):
            by_field.setdefault(field, []).append((number, value))
        found.append({"click": click, "conversion": conversion, "lists": by_field})
    return found


def entries(row: dict, field: str, mean: bool) -> list[tuple[int, float]]:
    """What counts of a field: its last (id, value), or all where lists are to be averaged."""
    found = row["lists"].get(field, [])
    return found if mean and field in MULTI else found[-1:]


def last_id(row: dict, field: str) -> int:
    return row["lists"][field][-1][0] if field in row["lists"] else -1


def value(row: dict, field: str, mean: bool) -> float:
    values = [v for _, v in entries(row, field, mean)]
    return sum(values) / len(values) if values else 0.0


def stored(found: list, vocabulary: dict[int, int], max_len: int) -> list[tuple[int, float]]:
    """A list as it is stored: known entries, without the smallest, of which the first go first."""
    known = [(vocabulary[number], v) for number, v in found if number in vocabulary]
    while len(known) > max_len:
        values = [v for _, v in known]
        del known[values.index(min(values))]
    return known or [(0, 1.0)]


def tables(folder: Path, min_count: int, multi: str = "last", max_len: int = 50) -> dict:
    """valid, test as train: ids (n, fields), dense (n, 8), click (n,) and, with multi="mean",
    lists, field -> the (id, value) of each row; and the vocabularies."""
    mean = multi == "mean"
    train, test = rows(folder, "train"), rows(folder, "test")
    vocabularies: dict[str, dict[int, int]] = {}
    for field in IDS:
        counts: dict[int, int] = {}
        for row in train:
            for number, _ in entries(row, field, mean):
                counts[number] = counts.get(number, 0) + 1
        kept = [number for number, count in counts.items() if count >= min_count]
        vocabularies[field] = {number: place for place, number in enumerate(kept, start=1)}
    domains: dict[int, int] = {}
    for row in train:
        domains.setdefault(last_id(row, "301"), len(domains))
    limits = {}
    for field in VALUES:
        values = [value(row, field, mean) for row in train]
        limits[field] = min(values), max(values)
    single = [f for f in IDS if not (mean and f in MULTI)]

    def encode(part: list[dict]) -> dict:
        ids = [[vocabularies[f].get(last_id(row, f), 0) for f in single]
               + [domains[last_id(row, "301")]] for row in part]  # fmt: skip
        dense = []
        for row in part:
            cells = []
            for field in VALUES:
                low, high = limits[field]
                cell = (value(row, field, mean) - low) / (high - low) if high > low else 0.0
                cells.append(min(max(cell, 0.0), 1.0))
            dense.append(cells)
        click = [row["click"] for row in part]
        lists = {f: [stored(entries(row, f, True), vocabularies[f], max_len) for row in part]
                 for f in MULTI if mean}  # fmt: skip
        arrays = {"ids": np.array(ids), "dense": np.array(dense), "click": np.array(click)}
        return arrays | {"lists": lists}

    order = np.random.RandomState(2022).permutation(len(test))
    half = -(-len(test) // 2)
    halves = {"test": sorted(order[:half]), "valid": sorted(order[half:])}
    found = {name: encode([test[i] for i in chosen]) for name, chosen in halves.items()}
    return found | {"train": encode(train), "vocabularies": vocabularies}
