"""Raw Amazon files that a test changes line by line."""

import ast
import json

NAMES = ("SynBooks", "SynToys")


def reviews(folder, name="SynToys"):
    return folder / f"reviews_{name}_5.json"


def meta(folder, name="SynToys"):
    return folder / f"meta_{name}.json"


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def first_asin(folder):
    return json.loads(lines_of(reviews(folder))[0])["asin"]


def with_field(**fields):
    """text of a review -> the same with other values; None leaves the field out."""

    def change(text):
        record = json.loads(text) | fields
        return json.dumps({key: value for key, value in record.items() if value is not None})

    return change


def of_release(record, year):
    """A review or meta record of 2014 as another release writes it."""
    record = dict(record)
    if year == 2014:
        return record
    if "overall" not in record:
        path = record.pop("categories")[0]
        if year == 2018:
            return record | {"category": path, "main_cat": path[0]}
        return {"parent_asin": record["asin"], "categories": path, "main_category": path[0]}
    if year == 2018:
        return record | {"verified": True}
    time = 1000 * record["unixReviewTime"] + 999
    ids = {"asin": "B0VARIANT0", "parent_asin": record["asin"], "user_id": record["reviewerID"]}
    return {"rating": record["overall"], "title": "", **ids, "timestamp": time}


PUBLISHED = {2018: ("{}_5.json", "meta_{}.json"), 2023: ("{}.jsonl", "meta_{}.jsonl")}


def write_release(folder, target, year, names=NAMES):
    """The categories of a folder of 2014's plain files as another release publishes them."""
    target.mkdir(exist_ok=True)
    for name in names:
        for path, published in zip((reviews(folder, name), meta(folder, name)), PUBLISHED[year]):
            records = (of_release(ast.literal_eval(line), year) for line in lines_of(path))
            write_lines(target / published.format(name), map(json.dumps, records))
    return target
