"""Raw Amazon files that a test changes line by line."""

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
