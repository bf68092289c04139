"""Damaged lines of every text format are read as an oracle says, or refused in one line."""

import ast
import csv
import gzip
import io
import json
import math
import random
import re
from fractions import Fraction
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest

from hamur.data.ali_ccp import columns as ali_ccp_columns
from hamur.data.ali_ccp import lines as ali_ccp_lines
from hamur.data.ali_ccp import load as ali_ccp
from hamur.data.aliexpress import files as aliexpress_files
from hamur.data.aliexpress import load as aliexpress
from hamur.data.amazon import reader as amazon
from hamur.data.columns import FLAGS
from hamur.data.cross_domain.tables import TableFormat
from hamur.data.descriptions import COLUMNS, DOMAIN_OF_AGE, RELEASES
from hamur.data.movielens import load as movielens
from hamur.data.text import checks, reader
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.lines import FileFormat
from tests.data.conftest import join_movielens
from tests.support import naive
from tests.support.amazon_raw import of_release
from tests.support.fuzz import TextFormat, check_mutated, equal, mutated
from tests.support.movielens_raw import write_release

FIRST = 200  # sound lines of a sample
LARGEST = 3.4028234663852886e38  # of float32
DIGITS = "+-.eE0189 \t"

# ---- delimited text: the cells of a line by the kinds of its columns

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
CR = "\ue000"
MISSING = ("", "NA", "NaN", "nan", "null", "NULL", "None", r"\N")
TRUTH = {"true": "1", "false": "0"}
BOOLEANS = ("true", "TRUE", "false", "FALSE")


def whole(cell, empty):
    """A whole number from 0 to 2^63 - 1, also as 1.0; `empty` of an empty cell."""
    if not cell:
        return empty
    if re.fullmatch(r"[+-]?0*[0-9]{1,19}(\.0*)?", cell):
        value = int(cell.partition(".")[0])
        return value if 0 <= value < 2**63 else None
    value = number(cell)  # another form, that of a float
    return int(value) if value is not None and 0 <= value == int(value) < 2**53 else None


def number(cell):
    value = float(cell) if NUMBER.fullmatch(cell) else math.inf
    return value if abs(value) <= LARGEST else None


def cell_by_hand(cell, kind, missing=MISSING):
    if kind in ("text", "id", "code"):
        coded = re.fullmatch(r"(-?[0-9]+)\.0*", cell) if kind != "text" else None
        cell = coded[1] if coded else cell
        if kind != "text":  # booleans as Python has them; a negative zero is the zero
            cell = "0" if cell == "-0" else cell.title() if cell in BOOLEANS else cell
        if kind != "text" and (cell in missing or not cell.strip()):
            return None if kind == "id" else ""
        return cell
    cell = cell.strip()
    if kind == "number":
        value = math.nan if cell in ("", *missing) else cell_by_hand(cell, "float")
        return math.nan if value is not None and f"{value:g}" in missing else value
    cell = TRUTH[cell.lower()] if re.fullmatch("True|TRUE|true|False|FALSE|false", cell) else cell
    if kind == "time":  # a fraction is cut off
        value = -1
        if NUMBER.fullmatch(cell):
            value = float(cell) if "e" in cell.lower() else Fraction(cell.rstrip("."))
        return int(value) if 0 <= value < 2**63 else None
    return number(cell) if kind == "float" else whole(cell, -1 if kind == "category" else None)


def row_by_hand(text, file_format, names, allowed):
    """The values of the columns that are read, or None."""
    if not file_format.quoted:
        cells = text.split(file_format.separator)
    else:
        try:
            texts = [text.replace("\r", CR), ""]  # here it is a character like others
            rows = list(csv.reader(texts, delimiter=file_format.separator, strict=True))
        except csv.Error:
            return None
        cells = [cell.replace(CR, "\r") for cell in rows[0]] if len(rows) == 2 else []
    if len(cells or [""]) != len(names):
        return None
    row = dict(zip(names, cells))
    values = {
        name: cell_by_hand(row[name], kind, file_format.missing)
        for name, kind in file_format.kinds.items()
    }
    right = all(value is not None for value in values.values())
    right = right and all(values[name] in among for name, among in allowed.items())
    return tuple(values.values()) if right else None


def read_table(path, bad_rows, file_format, allowed):
    rows = reader.read_rows(path, file_format, bad_rows)
    for name, values in allowed.items():
        rows = checks.allowed(rows, name, values, bad_rows)
    columns = [np.asarray(rows.columns[name]).tolist() for name in file_format.kinds]
    return zip(rows.lines.tolist(), zip(*columns))


def delimited(path, file_format, allowed=MappingProxyType({}), marks=""):
    """The format of a file with a header, or of one whose columns the format names."""
    lines = path.read_text(encoding=file_format.encoding).splitlines()
    header = lines.pop(0) if file_format.names is None else None
    names = file_format.names or header.split(file_format.separator)
    return TextFormat(
        lines[:FIRST],
        partial(read_table, file_format=file_format, allowed=allowed),
        partial(row_by_hand, file_format=file_format, names=names, allowed=allowed),
        2 * file_format.separator + DIGITS + '""x#' + marks,
        file_format.separator,
        header,
        file_format.encoding,
    )


def movielens_raw(tmp_path, release, name):
    path = write_release(movielens.SAMPLE, tmp_path / "raw", release.name) / name
    allowed = release.columns.values if name in ("ratings.dat", "ratings.csv", "u.data") else {}
    return delimited(path, release.formats[name], allowed, "':é|")


def movielens_csv(tmp_path):
    path = join_movielens(movielens.SAMPLE, tmp_path / "joined.csv")
    allowed = {"rating": range(1, 6), "age": list(DOMAIN_OF_AGE)}
    return delimited(path, FileFormat(COLUMNS.kinds), allowed, "é|")


def ali_ccp_csv(tmp_path):
    labels = dict.fromkeys(ali_ccp_columns.LABELS, FLAGS)
    path = ali_ccp.SAMPLE / "ali_ccp_train_sample.csv"
    return delimited(path, FileFormat(ali_ccp.COLUMNS.kinds), labels | {"301": (1, 2, 3)})


def aliexpress_csv(tmp_path):
    path = aliexpress.SAMPLE / "AliExpress_NL" / "train.csv"
    labels = dict.fromkeys(aliexpress_files.LABELS, FLAGS)
    return delimited(path, FileFormat(aliexpress.COLUMNS.kinds), labels)


def aliexpress_raw(tmp_path, side):
    file_format = aliexpress_files.ITEM if side == "item" else aliexpress_files.USER
    allowed = {aliexpress_files.ITEM_LABEL: (0, 1, 2)} if side == "item" else {}
    (path,) = (aliexpress.SAMPLE / "raw").glob(f"??_{side}_train.csv")
    return delimited(path, file_format, allowed)


def pair_csv(tmp_path, separator):
    path, names = tmp_path / "pair.csv", ["user", "item", "rating", "timestamp", "category"]
    rows = [[f"u{n % 7}", f"{n:06}", n % 5 + 1, 1_300_000_000 + n, f"c{n % 3}"] for n in range(50)]
    rows += [['"quoted"', "a, b\tc", 4.5, 1_300_000_000, 'the ""best""']]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows([names, *rows])
    columns = ",".join(f"{name}={name}" for name in names)
    return delimited(path, TableFormat(columns, separator).of_file(path))


def own_table(tmp_path, separator, encoding="utf-8"):
    """The kinds of users' own tables, with further words for missing cells."""
    path, rng = tmp_path / "own.csv", random.Random(3)
    rows = [
        [f"u{n % 7}", rng.choice(["007", "7", "-1", "b,c", "?", "a b"]),
         rng.choice([0.5, 12, "", "NA", "1e3", -1]), 1_300_000_000 + n, n % 2]
        for n in range(60)
    ]  # fmt: skip
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerows([["user", "item", "price", "time", "click"], *rows])
    kinds = dict(user="id", item="code", price="number", time="time", click="int")
    words = dict(missing=(*MISSING, "?", "-1"), encoding=encoding)
    return delimited(path, FileFormat(kinds, separator, **words), {"click": FLAGS}, "?é")


# ---- other lines


def ali_ccp_raw(tmp_path, name, form):
    names = (*form.head, ali_ccp_lines.LIST)

    def read(path, bad_rows):
        block = path.read_bytes()
        found = ali_ccp_lines.parse(block, form, bad_rows, 1)
        bad_rows.rows_read = block.count(b"\n")
        ends = np.cumsum(found.counts)
        for row, line in enumerate(found.lines.tolist()):
            own = slice(ends[row] - found.counts[row], ends[row])
            fields = [form.fields[f] for f in found.field[own]]
            features = zip(fields, found.ids[own].tolist(), found.values[own].tolist())
            head = [int(found.head[column][row]) for column in form.head]
            yield line, (*head, *(part for feature in features for part in feature))

    def by_hand(text):
        cells = text.split(",")
        if len(cells) != len(names) or not text.isascii():
            return None
        head = []
        for column, cell in zip(form.head, cells):
            key = column == ali_ccp_columns.KEY
            if not re.fullmatch("[0-9a-fA-F]{16}" if key else "[0-9]{1,18}", cell):
                return None
            head.append(int(cell, 16 if key else 10))
            if column in ali_ccp_lines.LABELS and head[-1] > 1:
                return None
        feature = r"(\d+)(?P<end>_14)?\x02\d{1,18}\x03(\d+\.?\d*|\.\d+)(e\+?\d+)?"
        for one in cells[-1].split("\x01"):
            if not re.fullmatch(feature, one, re.I) or one.split("\x02")[0] not in form.fields:
                return None
        features = naive.features(cells[-1])
        if any(number >= 2**31 or value > LARGEST for _, number, value in features):
            return None
        return (*head, *(part for feature in features for part in feature))

    path = ali_ccp.SAMPLE.parent / "ali-ccp-raw-sample" / f"{name}_train.csv"
    lines = path.read_text(encoding="latin-1").splitlines()[:FIRST]
    marks = ",\x01\x02\x03._x-+e\r\"' ÿ0123456789"
    return TextFormat(lines, read, by_hand, marks, "\x01", encoding="latin-1")


# Keys of user, item, rating, time; of the categories; units of a second.
KEYS = {
    2014: (("reviewerID", "asin", "overall", "unixReviewTime"), "categories", 1),
    2018: (("reviewerID", "asin", "overall", "unixReviewTime"), "category", 1),
    2023: (("user_id", "parent_asin", "rating", "timestamp"), "categories", 1000),
}


def check_names(*names):
    assert all(isinstance(name, str) and 0 < len(name) <= 64 for name in names)
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for name in names for c in name)


def review_by_hand(record, year):
    keys, _, per_second = KEYS[year]
    user, item, rating, time = (record[key] for key in keys)
    check_names(user, item)
    assert type(rating) in (int, float) and rating in (1, 2, 3, 4, 5)
    assert type(time) is int and 10**8 <= time // per_second <= 4 * 10**9
    return user, item, int(rating), time // per_second


def meta_by_hand(record, year):
    (_, item, *_), categories, _ = KEYS[year]
    paths = record.get(categories, [])
    paths = paths if year == 2014 else [paths]
    check_names(record[item])
    assert type(paths) is list and all(type(path) is list for path in paths)
    assert all(type(name) is str for path in paths for name in path)
    assert "\0" not in str(paths) and str(paths).isprintable()
    return record[item], paths[0][1] if paths and len(paths[0]) > 1 else "others"


def amazon_lines(tmp_path, kind, generation):
    year, take = generation.year, amazon._review if kind == "reviews" else amazon._meta
    by_record = review_by_hand if kind == "reviews" else meta_by_hand

    def by_hand(text):
        try:
            try:
                record = json.loads(text)
            except ValueError:
                record = ast.literal_eval(text.strip())
            assert isinstance(record, dict)
            return by_record(record, year)
        except (AssertionError, KeyError, TypeError, ValueError, SyntaxError, MemoryError):
            return None

    (path,) = amazon_sample().glob(f"{kind}_SynToys*")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()[:FIRST]
    if year != 2014:
        lines = [json.dumps(of_release(ast.literal_eval(line), year)) for line in lines]
    return TextFormat(
        lines,
        lambda path, bad_rows: amazon.parsed(path, partial(take, generation), bad_rows),
        by_hand,
        "{}[]'\":,.0-e \\xnNT\u01ff",
        " ",
    )


def amazon_sample():
    return ali_ccp.SAMPLE.parent / "amazon-sample"


FORMATS = {
    **{
        f"{each.name} {name}": partial(movielens_raw, release=each, name=name)
        for each in RELEASES
        for name in each.formats
    },
    "ml-1m csv": movielens_csv,
    "ali-ccp csv": ali_ccp_csv,
    "ali-ccp skeleton": partial(ali_ccp_raw, name="sample_skeleton", form=ali_ccp_lines.SKELETON),
    "ali-ccp common": partial(ali_ccp_raw, name="common_features", form=ali_ccp_lines.COMMON),
    "aliexpress csv": aliexpress_csv,
    "aliexpress item": partial(aliexpress_raw, side="item"),
    "aliexpress user": partial(aliexpress_raw, side="user"),
    "pair csv": partial(pair_csv, separator=","),
    "pair tsv": partial(pair_csv, separator="\t"),
    "own csv": partial(own_table, separator=","),
    "own tsv": partial(own_table, separator="\t"),
    "own cp1252": partial(own_table, separator=";", encoding="cp1252"),
    **{
        f"amazon {kind} {each.year}": partial(amazon_lines, kind=kind, generation=each)
        for kind in ("reviews", "meta")
        for each in amazon.GENERATIONS
    },
}


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_lines_are_read_rightly_or_refused(tmp_path, name, num_mutated):
    print(name, check_mutated(FORMATS[name](tmp_path), tmp_path, num_mutated, seed=17))


# ---- cells of several lines


def records_by_hand(lines, first, fields):
    """(number of its first line, text) of every row; the text of a bad one may be anything."""
    while lines:
        last = 0
        if lines[0].count('"') % 2 and not strict(lines[0]):
            others = (n for n, line in enumerate(lines[1:], 1) if line.count('"') % 2)
            end = next(others, 0)
            cells = strict("\n".join(lines[: end + 1]))
            last = end if end and cells and len(cells) == fields else 0
        yield first, "\n".join(lines[: last + 1])
        first, lines = first + last + 1, lines[last + 1 :]


def strict(text):
    """The cells of one row, None where it is none."""
    try:
        rows = list(csv.reader(io.StringIO(text + "\n", newline=""), strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


@pytest.mark.parametrize("block_bytes", [97, 1 << 20])
def test_damaged_cells_of_several_lines(tmp_path, num_mutated, block_bytes, monkeypatch):
    monkeypatch.setattr("hamur.data.text.lines.BLOCK_BYTES", block_bytes)
    rng, path = random.Random(23), tmp_path / "x.csv"
    names = ("user", "note", "price")
    notes = ['"a\nb"', '"a ""quoted""\n\nb,c"', "plain", '5" disk', '"\n"', "", '"x"']
    kinds = dict(user="id", note="code", price="number")
    texts = [f"u{n},{rng.choice(notes)},{rng.choice(['1.5', '', 'NA'])}" for n in range(60)]
    texts = [mutated(rng, rng.choice(texts), '"\n,x', ",") for _ in range(num_mutated)] + texts
    texts = [text.replace("\ud800", "?") for text in texts]
    lines = "\n".join(texts).removesuffix("\n").split("\n")
    path.write_text("\n".join([",".join(names), *lines, ""]), encoding="utf-8", newline="\n")
    expected = {}
    for number, text in records_by_hand(lines, 2, 3):
        cells = strict(text) or ()
        row = tuple(cell_by_hand(cell, kind) for cell, kind in zip(cells, kinds.values()))
        if len(cells) == 3 and None not in row:
            expected[number] = row
    bad_rows = BadRows(path, Policy("skip", 1.0))
    file_format = FileFormat(kinds, multiline=True)
    found = dict(read_table(path, bad_rows, file_format, {}))
    assert found.keys() == expected.keys()
    for number, row in expected.items():
        assert equal(found[number], row), (number, row)
    joined = sum("\n" in row[1] for row in found.values())
    print(len(lines), "lines", len(found), "rows,", joined, "of several lines, seed 23")
    assert joined > 5 and bad_rows
