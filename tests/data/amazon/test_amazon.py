"""Amazon pairs: reference, bad lines, what must never be executed, mutated lines, generator."""

import ast
import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hamur.commands.prepare_data import main_prepare
from hamur.data import cache, load_amazon, load_amazon_pair
from hamur.data.amazon.load import Options
from hamur.data.amazon.reader import _meta, _review, parse
from hamur.data.detect import DATASETS
from hamur.data.errors import (
    CacheError,
    DataError,
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    DuplicateRowError,
    EmptySplitError,
    JoinError,
    TruncatedFileError,
)
from hamur.data.streaming.prepare import prepare
from hamur.data.synthetic import signals
from hamur.data.synthetic.amazon import generate, make_amazon_pair
from hamur.data.text.bad_rows import Policy
from tests.data.cross_domain.test_pair import assert_equal, listed
from tests.support.pair_reference import Reference, read_categories, read_reviews

NAMES = ("SynBooks", "SynToys")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plain pair of 150 users, and what the generator knows."""
    folder = tmp_path_factory.mktemp("amazon") / "raw"
    truth = make_amazon_pair(
        folder, 150, seed=1, extra_users=0.2, items=(150, 100), compressed=False
    )
    return folder, truth


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "raw")


def reviews(folder, name="SynToys"):
    return folder / f"reviews_{name}_5.json"


def meta(folder, name="SynToys"):
    return folder / f"meta_{name}.json"


def set_line(path, number, change):
    """change: text of the line -> new text"""
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines), encoding="utf-8")


def first_asin(folder):
    return json.loads(reviews(folder).read_text().partition("\n")[0])["asin"]


def with_field(**fields):
    def change(text):
        record = json.loads(text) | fields
        return json.dumps({key: value for key, value in record.items() if value is not None})

    return change


def test_the_pair_equals_the_reference_plain_and_compressed(made, tmp_path):
    source, target = (read_reviews(reviews(made[0], name)) for name in NAMES)
    expected = Reference(source, target, *(read_categories(meta(made[0], name)) for name in NAMES))
    pair = load_amazon_pair(made[0])
    assert_equal(pair, expected)
    assert pair.target_schema.domain_names == NAMES
    for path in made[0].iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    packed = load_amazon_pair(tmp_path)
    for one, other in zip((pair.source, *pair.target), (packed.source, *packed.target)):
        assert listed(one) == listed(other)


def test_crlf_blank_last_line_and_byte_order_mark(folder):
    whole = listed(load_amazon_pair(folder).target.train)
    text = reviews(folder).read_bytes()
    reviews(folder).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n")
    assert listed(load_amazon_pair(folder).target.train) == whole


def test_items_without_meta_data_or_path(folder):
    lines = [ast.literal_eval(line) for line in meta(folder).read_text().splitlines()]
    lines = lines[5:]
    lines[0]["categories"], lines[1]["categories"] = [["SynToys"]], [[]]
    del lines[2]["categories"]
    special = [record["asin"] for record in lines[:3]]
    meta(folder).write_text("".join(f"{record!a}\n" for record in lines))
    pair = load_amazon_pair(folder)
    of_item = dict(zip(pair.names["target_item"], pair.target_categories))
    names = pair.names["target_category"]
    assert {names[of_item[asin]] for asin in special} == {"others"}
    known = {record["asin"] for record in lines}
    assert all((of_item[asin] == 0) == (asin not in known) for asin in of_item)
    found = pair.target_schema.split["domains"]["SynToys"]["items_without_meta"]
    assert found >= 5
    others = load_amazon_pair(folder, missing_meta="others")
    assert (others.target_categories[1:] > 0).all()
    with pytest.raises(JoinError, match=rf"{found} items have no meta data.*Remedy") as caught:
        load_amazon_pair(folder, missing_meta="error")
    assert len(caught.value.value) == 5 and not set(caught.value.value) & known


def test_one_table_of_both_domains(made):
    pair = load_amazon_pair(made[0])
    splits, schema = load_amazon(made[0])
    for table in splits:
        table.validate(schema)
    assert schema.num_domains == 2 and schema.domain_field == "domain_indicator"
    usable = pair.source.time < pair.valid_time[pair.source.sparse[:, 0]]
    assert np.bincount(splits.train.domain).tolist() == [usable.sum(), len(pair.target.train)]
    assert (splits.valid.domain == 1).all() and (splits.test.domain == 1).all()
    items = [set(splits.train.sparse[splits.train.domain == d, 1]) - {0} for d in (0, 1)]
    assert not items[0] & items[1] and len(np.unique(splits.train.row_id)) == len(splits.train)
    assert max(items[0]) == schema.vocab_sizes[1] - 1


# ---- bad input


@pytest.mark.parametrize(
    ("change", "error", "column"),
    [
        (with_field(overall=6.0), DataValueError, "overall"),
        (with_field(overall=4.5), DataValueError, "overall"),
        (with_field(overall=True), DataValueError, "overall"),
        (with_field(overall=float("nan")), DataValueError, "overall"),
        (with_field(overall=None), DataValueError, "overall"),
        (with_field(asin=None), DataValueError, "asin"),
        (with_field(asin=""), DataValueError, "asin"),
        (with_field(reviewerID=17), DataValueError, "reviewerID"),
        (with_field(unixReviewTime=1.5e9), DataValueError, "unixReviewTime"),
        (with_field(unixReviewTime=1_393_545_600_000), DataValueError, "unixReviewTime"),
        (lambda text: text[:40], DataFormatError, None),
        (lambda text: "", DataFormatError, None),
        (lambda text: "[1, 2]", DataFormatError, None),
        (lambda text: "[" * 5000, DataFormatError, None),
    ],
)
def test_bad_review_names_file_line_and_column(folder, change, error, column):
    set_line(reviews(folder), 7, change)
    with pytest.raises(error) as caught:
        load_amazon_pair(folder)
    found = caught.value
    assert type(found) is error
    assert (found.file, found.line, found.column) == (reviews(folder), 7, column)
    assert "Remedy: " in str(found) and "\n" not in str(found)
    pair = load_amazon_pair(folder, on_bad_rows="skip")
    counts = pair.target_schema.split["domains"]["SynToys"]["files"][reviews(folder).name]
    assert (
        counts["rows_read"] == counts["rows_kept"] + 1 == reviews(folder).read_bytes().count(b"\n")
    )
    assert sum(counts["dropped"].values()) == 1


def test_milliseconds_are_recognised(folder):
    set_line(reviews(folder), 3, with_field(unixReviewTime=1_393_545_600_000))
    with pytest.raises(DataValueError, match="milliseconds"):
        load_amazon_pair(folder)


def test_the_same_review_twice(folder):
    text = reviews(folder).read_text().split("\n")
    set_line(reviews(folder), 9, lambda _: text[3])
    with pytest.raises(DuplicateRowError, match=r"SynToys_5\.json:9: .*the row repeats line 4"):
        load_amazon_pair(folder)
    pair = load_amazon_pair(folder, on_bad_rows="skip")
    rows = np.concatenate([part.row_id for part in pair.target])
    assert 8 not in rows


def test_too_many_bad_rows_stop_a_skipping_run_too(folder):
    for number in range(1, 120):
        set_line(reviews(folder), number, lambda text: text[:-3])
    with pytest.raises(DataFormatError, match="rows are bad"):
        load_amazon_pair(folder, on_bad_rows="skip")


def test_truncated_files_are_never_accepted(folder):
    whole = reviews(folder).read_bytes()
    lines = whole.count(b"\n")
    reviews(folder).write_bytes(whole[:-30])
    for mode in ("error", "skip"):
        with pytest.raises(TruncatedFileError, match=f":{lines}: ") as caught:
            load_amazon_pair(folder, on_bad_rows=mode)
        assert "ends inside this line" in str(caught.value)
    reviews(folder).unlink()
    packed = gzip.compress(whole)
    target = reviews(folder).with_name(reviews(folder).name + ".gz")
    target.write_bytes(packed[: len(packed) // 2])
    for mode in ("error", "skip"):
        with pytest.raises(TruncatedFileError, match="last complete line is") as caught:
            load_amazon_pair(folder, on_bad_rows=mode)
    half = gzip.decompress(packed)[:0]
    with gzip.open(target) as file, pytest.raises(EOFError):
        while piece := file.read(1):
            half += piece
    assert f"last complete line is {half.count(bytes([10]))}" in str(caught.value)
    target.write_bytes(b"no gzip at all")
    with pytest.raises(TruncatedFileError, match="damaged"):
        load_amazon_pair(folder)


def test_nothing_in_meta_data_is_executed(folder, tmp_path):
    trace = tmp_path / "executed"
    asin = first_asin(folder)
    attack = f"{{'asin': __import__('os').system('touch {trace}'), 'also': '{asin}'}}"
    meta(folder).write_text(attack + "\n" + meta(folder).read_text())
    with pytest.raises(DataFormatError, match=r"meta_SynToys\.json:1: ") as caught:
        load_amazon_pair(folder)
    assert caught.value.line == 1 and not trace.exists()


@pytest.mark.parametrize(
    ("text", "error", "column"),
    [
        ("{'asin': 17}", DataValueError, "asin"),
        ("{'asin': 'X', 'categories': 'Toys'}", DataValueError, "categories"),
        ("{'asin': 'X', 'categories': [['Toys', 3]]}", DataValueError, "categories"),
        ("{'asin': 'X', ", DataFormatError, None),
        ("['asin', 'X']", DataFormatError, None),
    ],
)
def test_bad_meta_lines_are_named(folder, text, error, column):
    asin = first_asin(folder)
    set_line(meta(folder), 2, lambda _: text.replace("'X'", f"'{asin}'"))
    with pytest.raises(error) as caught:
        load_amazon_pair(folder)
    assert (caught.value.line, caught.value.column) == (2, column)


def test_meta_lines_of_other_items_are_parsed_on_request_only(folder):
    with meta(folder).open("a") as file:
        file.write("{'asin': 'B0NOBODY', 'title': 'unclosed}\n{'asin': 'B0OTHER'}\n")
    load_amazon_pair(folder)
    with pytest.raises(DataFormatError, match="meta_SynToys"):
        load_amazon_pair(folder, strict_meta=True)


def test_missing_ambiguous_and_empty_files(folder, tmp_path):
    with pytest.raises(DataFileNotFoundError, match="no such folder"):
        load_amazon_pair(tmp_path / "nowhere")
    shutil.copy(reviews(folder), reviews(folder, "Third"))
    with pytest.raises(DataFormatError, match=r"SynBooks, SynToys, Third.*Remedy: name them: pair"):
        load_amazon_pair(folder)
    pair = load_amazon_pair(folder, pair=("SynToys", "SynBooks"))
    assert pair.target_schema.domain_names == ("SynToys", "SynBooks")
    with pytest.raises(ValueError, match="two different categories"):
        load_amazon_pair(folder, pair=("SynToys", "SynToys"))
    with pytest.raises(DataFileNotFoundError, match=r"meta_Third\.json"):
        load_amazon_pair(folder, pair=("Third", "SynToys"))
    reviews(folder, "Third").with_name("reviews_SynToys_5.json.gz").write_bytes(b"")
    with pytest.raises(DataFormatError, match="ambiguous"):
        load_amazon_pair(folder, pair=NAMES)
    reviews(folder).unlink()
    with pytest.raises(EmptySplitError, match="the file is empty"):
        load_amazon_pair(folder, pair=NAMES)


def test_users_of_different_data_sets(folder):
    lines = [json.loads(line) for line in reviews(folder).read_text().splitlines()]
    for record in lines:
        record["reviewerID"] = "Z" + record["reviewerID"]
    reviews(folder).write_text("".join(json.dumps(record) + "\n" for record in lines))
    with pytest.raises(JoinError, match=r"0 users in both files: \d+ in SynBooks, \d+ in SynToys"):
        load_amazon_pair(folder)


# ---- mutated lines


def mutate(rng, text):
    """One to three edits of a character, a piece or a word of the line."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.randint(1, 12))
        text = rng.choice(
            [
                lambda: text[:at] + text[to:],
                lambda: text[:at] + rng.choice("{}[]'\":,.0-e \\xnNT") + text[at:],
                lambda: text[:at] + text[at:to] + text[at:],
                lambda: text[:at] + chr(rng.randrange(1, 0x2FF)) + text[to:],
                lambda: text.replace(
                    *rng.choice([("5.0", "NaN"), ("'", '"'), (":", ""), ("1", "1e3")])
                ),
            ]
        )()
    return text.replace("\n", " ")


def review_by_hand(text):
    """(user, item, rating, time), or None for what is no usable review."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        try:
            record = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    try:
        user, item = record["reviewerID"], record["asin"]
        rating, time = record["overall"], record["unixReviewTime"]
        right = all(isinstance(name, str) and 0 < len(name) <= 64 for name in (user, item))
        right = right and all(c.isascii() and (c.isalnum() or c in "_.-") for c in user + item)
        right = right and not isinstance(rating, bool) and rating in (1, 2, 3, 4, 5)
        right = right and isinstance(rating, (int, float))
        right = right and type(time) is int and 10**8 <= time <= 4 * 10**9
    except (KeyError, TypeError):
        return None
    return (user, item, int(rating), time) if right else None


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_mutated_reviews_are_read_rightly_or_refused(made, num_mutated):
    rng, path = random.Random(3), reviews(made[0])
    lines = path.read_text().splitlines()[:200]
    refused = 0
    for number in range(num_mutated):
        text = mutate(rng, rng.choice(lines))
        try:
            record = parse(path, number, text.encode("utf-8", "surrogatepass"), True)
            found = _review(path, number, record)
        except DataError as error:
            assert error.line == number and "Remedy: " in str(error)
            found, refused = None, refused + 1
        assert found == review_by_hand(text), text
    assert 0.1 < refused / num_mutated < 0.95


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_mutated_meta_lines_are_read_rightly_or_refused(made, num_mutated):
    rng, path = random.Random(4), meta(made[0])
    lines = path.read_text().splitlines()
    refused = 0
    for number in range(num_mutated):
        text = mutate(rng, rng.choice(lines))
        try:
            asin, category = _meta(path, number, parse(path, number, text.encode(), True))
        except DataError as error:
            assert error.line == number and "Remedy: " in str(error)
            refused += 1
            continue
        record = ast.literal_eval(text.strip()) if "'" in text else json.loads(text)
        assert record["asin"] == asin
        first = (record.get("categories") or [[]])[0]
        assert category == (first[1] if len(first) > 1 else "others")
    assert 0.1 < refused / num_mutated < 0.95


# ---- the generator


def test_generated_files_obey_the_five_core_and_the_formats(made):
    for name in NAMES:
        rows = read_reviews(reviews(made[0], name))
        for column in (0, 1):
            counts = np.unique([row[column] for row in rows], return_counts=True)[1]
            assert counts.min() >= 5
        assert len({row[:2] for row in rows}) == len(rows)
        assert all(row[3] % 86_400 == 0 for row in rows)
        assert reviews(made[0], name).read_text().isascii()
        lines = meta(made[0], name).read_text().splitlines()
        with pytest.raises(ValueError):
            json.loads(lines[0])
        assert any('"' in line for line in lines) and not all("'title'" in line for line in lines)
    shared, *only = ({row[0] for row in read_reviews(reviews(made[0], n))} for n in NAMES)
    assert len(shared & only[0]) > 100 and shared - only[0] and only[0] - shared


def test_planted_rows_are_known_by_their_place_in_the_file(made):
    pair = load_amazon_pair(made[0])
    with np.load(made[0].with_name("raw.truth.npz")) as truth:
        rows = pair.source.row_id
        assert (truth["SynBooks_label"][rows] == pair.source.labels[:, 0]).all()
        harmful = truth["harmful_SynBooks"][rows]
        assert not truth["harmful_SynToys"].any()
    names = pair.names["source_category"][pair.source.sparse[:, 2]]
    bad, good = set(names[harmful]) - {""}, set(names[~harmful]) - {""}
    assert len(bad) == 8 and not bad & good  # by category, an item without meta data aside


@pytest.mark.parametrize("plant", ["independent", "random", "invert", "none"])
def test_drawn_ratings_have_the_auc_that_is_expected(tmp_path, plant):
    truth = make_amazon_pair(
        tmp_path / "raw", 500, seed=3, plant=plant, items=(150, 100), truth=False
    )
    for name, each in truth.items():
        found = roc_auc_score(each.labels, each.probability)
        expected = signals.expected_auc(each.probability)
        rows = min(each.labels.sum(), len(each.labels) - each.labels.sum())
        assert abs(found - expected) < 3 * 0.3 / np.sqrt(rows), name
    if plant == "none":
        ratings = [
            row[2] for row in read_reviews(reviews(tmp_path / "raw").with_suffix(".json.gz"))
        ]
        shares = np.bincount(np.array(ratings, int), minlength=6)[1:] / len(ratings)
        wanted = np.array([217, 250, 772, 2_084, 6_938]) / 10_261
        assert np.abs(shares - wanted).max() < 0.015


def test_bytes_follow_the_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_amazon_pair(tmp_path / name, 60, seed, items=(60, 40))
    content = [{p.name: p.read_bytes() for p in sorted((tmp_path / n).iterdir())} for n in "abc"]
    assert content[0] == content[1]
    assert all(content[0][name] != content[2][name] for name in content[0])


def test_unknown_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="use one of"):
        make_amazon_pair(tmp_path, plant="evil")
    with pytest.raises(ValueError, match="harmful_categories"):
        make_amazon_pair(tmp_path, harmful_categories=13)
    with pytest.raises(ValueError, match="missing_meta"):
        load_amazon_pair(tmp_path, missing_meta="maybe")


# ---- the prepared cache


def test_a_prepared_pair_is_the_pair(made, folder, tmp_path):
    options = Options(pair=NAMES)
    found = prepare(DATASETS["amazon"], made[0], tmp_path / "out", options, workers=1, quiet=True)
    pair, expected = load_amazon_pair(tmp_path / "out"), load_amazon_pair(made[0])
    for one, other in zip((pair.source, *pair.target), (expected.source, *expected.target)):
        assert listed(one) == listed(other) and isinstance(one.sparse, np.memmap)
    for name in ("source_categories", "target_categories", "valid_time"):
        assert np.array_equal(getattr(pair, name), getattr(expected, name))
    assert {k: v.tolist() for k, v in pair.names.items()} == {
        k: v.tolist() for k, v in expected.names.items()
    }
    assert pair.target_schema.fields == expected.target_schema.fields and pair.timed
    splits, schema = cache.open_cache(tmp_path / "out", verify=True)
    assert load_amazon(tmp_path / "out")[1] == schema
    whole, known = load_amazon(made[0])
    assert schema.fields == known.fields
    assert np.array_equal(splits.train.sparse, whole.train.sparse)
    assert found.stats["splits"]["train"]["users"] == pair.num_users
    (tmp_path / "packed").mkdir()
    for path in made[0].iterdir():
        (tmp_path / "packed" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    again = prepare(
        DATASETS["amazon"], tmp_path / "packed", tmp_path / "two", options, workers=2, quiet=True
    )
    files = sorted(path.relative_to(found.folder) for path in found.folder.rglob("*.npy"))
    assert Path("pair/ratings/source.npy") in files and Path("pair/valid_time.npy") in files
    for path in files:
        assert (found.folder / path).read_bytes() == (again.folder / path).read_bytes()
    (tmp_path / "out" / "pair" / "valid_time.npy").write_bytes(b"short")
    with pytest.raises(CacheError, match="another size"):
        load_amazon_pair(tmp_path / "out")


def public_lists(folder, id_order):
    """The files of the public BIAO code from raw ones, with dictionaries."""
    rows = [read_reviews(reviews(folder, name)) for name in NAMES]
    category = [read_categories(meta(folder, name)) for name in NAMES]
    of_user = [{}, {}]
    for side in range(2):
        for row in sorted(rows[side], key=lambda row: (row[3], row[4])):
            of_user[side].setdefault(row[0], []).append(row)
    users = sorted(u for u in of_user[0] if len(of_user[1].get(u, [])) >= 3)
    user_id = {u: n for n, u in enumerate(users, 1)}
    found = {"users": user_id, "train_set": [], "valid_set": [], "test_set": []}
    found |= {"source_user_behavior": {}, "target_user_behavior": {}, "source_pos_neg": {}}
    item_id = []
    for name, side in (("source", 0), ("target", 1)):
        items = dict.fromkeys(row[1] for u in users for row in of_user[side][u])
        used = {category[side][i] for i in items if i in category[side]}
        named = [c for c in dict.fromkeys(category[side].values()) if c in used]
        if id_order == "value":
            items, named = sorted(items), sorted(named)
        item_id.append({i: n for n, i in enumerate(items, 1)})
        category_id = {c: n for n, c in enumerate(named, 1)}
        found |= {f"{name}_item": item_id[side], f"{name}_cate2id": category_id}
        found[f"{name}_item_cate"] = {
            str(n): category_id.get(category[side].get(i), 0) for i, n in item_id[side].items()
        }
    for u in users:
        target, number = of_user[1][u], user_id[u]
        pool = [row for row in of_user[0][u] if row[3] < target[-2][3]]
        liked = [
            [item_id[side][row[1]] for row in part if row[2] > 3]
            for side, part in ((0, pool), (1, target[:-2]))
        ]
        found["source_pos_neg"][str(number)] = [[row[2], item_id[0][row[1]]] for row in pool]
        for name, items in zip(("source", "target"), liked):
            found[f"{name}_user_behavior"][str(number)] = items
        for part, some in (("train", target[:-2]), ("valid", target[-2:-1]), ("test", target[-1:])):
            found[f"{part}_set"] += [
                [number, item_id[1][row[1]], row[2], liked[1], liked[0]] for row in some
            ]
    return found


@pytest.mark.parametrize("id_order", ["value", "public"])
def test_the_exported_files_equal_lists_made_by_hand(made, tmp_path, capsys, id_order):
    flags = ["--dataset", "amazon", "--raw", str(made[0]), "--out", str(tmp_path / "out")]
    flags += ["--export", "biao_json", "--quiet", "--workers", "1", "--id_order", id_order]
    with pytest.raises(SystemExit):
        main_prepare("prepare_data.py", "", flags)
    assert "--vocabulary all" in capsys.readouterr().err
    assert main_prepare("prepare_data.py", "", [*flags, "--vocabulary", "all"]) == 0
    written = {
        path.stem: json.loads(path.read_text())
        for path in (tmp_path / "out" / "biao_json").iterdir()
    }
    expected = public_lists(made[0], id_order)
    assert len(written) == 13 and written.keys() == expected.keys()
    for name, content in expected.items():
        assert written[name] == content, name
    pools = sum(map(len, written["source_pos_neg"].values()))
    assert 0 < pools < len(load_amazon_pair(made[0]).source)  # later behaviours are in no pool


def test_the_public_order_of_ids_only_names_the_same_rows_otherwise(folder):
    categories = list(dict.fromkeys(read_categories(meta(folder)).values()))
    assert categories != sorted(categories)
    last = categories.pop()
    # An item that nobody reviewed names the last category first.
    head = f"{{'asin': 'B0NOBODY', 'categories': [['SynToys', {last!r}]]}}\n"
    meta(folder).write_text(head + meta(folder).read_text())
    by_name, public = (load_amazon_pair(folder, id_order=order) for order in ("value", "public"))
    assert named_rows(by_name) == named_rows(public)
    assert public.names["target_category"].tolist() == ["", last, *categories]
    assert by_name.names["target_category"].tolist() == ["", *sorted([last, *categories])]
    assert public.target.train.sparse[0, :2].tolist() == [1, 1]  # first row: user 1, item 1
    with pytest.raises(ValueError, match="id_order is 'file'"):
        load_amazon_pair(folder, id_order="file")


def named_rows(pair):
    """(user, item, category) of every row, by name."""
    found = []
    for side, table in zip(("source", "target", "target", "target"), (pair.source, *pair.target)):
        names = (pair.names["user"], pair.names[f"{side}_item"], pair.names[f"{side}_category"])
        user, item, category = table.sparse.T
        known = item > 0
        of_item = pair.source_categories if side == "source" else pair.target_categories
        assert np.array_equal(of_item[item[known]], category[known])
        found.append([name[ids].tolist() for name, ids in zip(names, (user, item, category))])
    return found


@pytest.mark.slow
def test_memory_does_not_grow_with_the_reviews_read(tmp_path):
    """Text fields are dropped at once: 200,000 lines of 2,000 characters need at most 200 MiB more
    than 20,000."""
    peaks = []
    for lines in (20_000, 200_000):
        path = tmp_path / f"{lines}.json.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            for n in range(lines):
                record = {"reviewerID": f"A{n // 10:013d}", "asin": f"B{n % 5_000:09d}"}
                record |= {"reviewText": f"{n} " * (2_000 // (len(str(n)) + 1)), "overall": 5.0}
                record |= {"unixReviewTime": 1_300_000_000 + 86_400 * (n % 900)}
                file.write(json.dumps(record) + "\n")
        script = (
            "import sys; from pathlib import Path\n"
            "from hamur.data.amazon.reader import read_reviews\n"
            "from hamur.data.text.bad_rows import Policy, BadRows\n"
            "from hamur.reporting.results import peak_rss_mib\n"
            "path = Path(sys.argv[1])\n"
            "print(len(read_reviews(path, 'Books', BadRows(path, Policy()))), peak_rss_mib())"
        )
        command = [sys.executable, "-c", script, str(path)]
        rows, peak = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        assert int(rows) == lines
        peaks.append(float(peak))
    assert peaks[1] - peaks[0] <= 200


def test_preparing_names_the_bad_line_and_lists_what_it_skips(folder, tmp_path):
    set_line(reviews(folder), 7, with_field(overall=6.0))
    with pytest.raises(DataValueError) as caught:
        prepare(DATASETS["amazon"], folder, tmp_path / "out", quiet=True, workers=2)
    assert (caught.value.line, caught.value.column) == (7, "overall")
    assert not (tmp_path / "out").exists()
    options = Options(policy=Policy("skip"))
    found = prepare(DATASETS["amazon"], folder, tmp_path / "out", options, quiet=True, workers=1)
    assert found.stats["files"][reviews(folder).name]["dropped"] == {"overall": 1}
    listed_rows = (tmp_path / "out" / "bad_rows.csv").read_text().splitlines()
    assert len(listed_rows) == 2 and listed_rows[1].startswith("reviews_SynToys_5.json,7,overall,")


@pytest.mark.parametrize("rows", [2_000, 4_000, 20_000])
def test_few_rows_have_a_core_in_both_categories(tmp_path, rows):
    report = generate(tmp_path / "raw", rows, 1)
    assert all(figures["rows"] > 40 for figures in report.values())
    assert load_amazon_pair(tmp_path / "raw").num_users > 5


def test_an_empty_core_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no row of SynToys is left in the 5-core of 20 users"):
        make_amazon_pair(tmp_path / "raw", 20, seed=1, items=(30, 400))
