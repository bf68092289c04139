"""Amazon pairs: the reference with dictionaries, files that are missing, the cache."""

import ast
import gzip
import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hamur.data import cache, detect, load_amazon, load_amazon_pair
from hamur.data.amazon.load import DATASET, Options
from hamur.data.streaming.prepare import prepare
from hamur.data.text.bad_rows import Policy
from hamur.errors import (
    CacheError,
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    EmptySplitError,
    JoinError,
)
from tests.support.amazon_raw import (
    NAMES,
    lines_of,
    meta,
    reviews,
    with_field,
    write_lines,
    write_release,
)
from tests.support.caches import assert_same
from tests.support.lines import set_line
from tests.support.pair_reference import (
    Reference,
    assert_equal,
    listed,
    read_categories,
    read_reviews,
)


@pytest.fixture
def folder(amazon_folder):
    return amazon_folder


def reference(folder, **options):
    rows = [read_reviews(reviews(folder, name)) for name in NAMES]
    return Reference(*rows, *(read_categories(meta(folder, name)) for name in NAMES), **options)


def compressed(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return target


def test_the_pair_equals_the_reference_plain_and_compressed(amazon_generated, tmp_path):
    pair = load_amazon_pair(amazon_generated[0])
    assert_equal(pair, reference(amazon_generated[0]))
    assert pair.target_schema.domain_names == NAMES
    packed = load_amazon_pair(compressed(amazon_generated[0], tmp_path / "packed"))
    for one, other in zip((pair.source, *pair.target), (packed.source, *packed.target)):
        assert listed(one) == listed(other)


def test_items_without_meta_data_or_path(folder, caplog):
    records = [ast.literal_eval(line) for line in lines_of(meta(folder))][5:]
    records[0]["categories"], records[1]["categories"] = [["SynToys"]], [[]]
    del records[2]["categories"]
    special = [record["asin"] for record in records[:3]]
    write_lines(meta(folder), map(ascii, records))
    pair = load_amazon_pair(folder)
    of_item = dict(zip(pair.names["target_item"], pair.target_categories))
    names = pair.names["target_category"]
    assert {names[of_item[asin]] for asin in special} == {"others"}
    known = {record["asin"] for record in records}
    assert all((of_item[asin] == 0) == (asin not in known) for asin in of_item)
    counts = pair.target_schema.split["domains"]["SynToys"]
    without = counts["items_without_meta"]
    assert without >= 5 and counts["items_without_category"] == 3
    told = f"SynToys, Amazon 2014: {counts['items']} items, {without} without meta data (unknown)"
    assert f"{told}, 3 without a category in theirs (others)" in caplog.text
    others = load_amazon_pair(folder, missing_meta="others")
    assert (others.target_categories[1:] > 0).all()
    with pytest.raises(JoinError, match=rf"{without} items have no meta data.*Remedy") as caught:
        load_amazon_pair(folder, missing_meta="error")
    assert len(caught.value.value) == 5 and not set(caught.value.value) & known
    with pytest.raises(ValueError, match="missing_meta"):
        load_amazon_pair(folder, missing_meta="maybe")


# The same rows as the releases of 2018 and 2023 write them, under the names of either.


@pytest.mark.parametrize("year", [2018, 2023])
@pytest.mark.parametrize("packed", [False, True])
def test_releases_are_read_as_that_of_2014(amazon_generated, tmp_path, year, packed):
    expected = load_amazon_pair(amazon_generated[0])
    folder = write_release(amazon_generated[0], tmp_path / "raw", year)
    if packed:
        folder = compressed(folder, tmp_path / "packed")
    pair = load_amazon_pair(folder)
    for one, other in zip((pair.source, *pair.target), (expected.source, *expected.target)):
        assert_same([one], [other])
    for name, values in expected.names.items():
        np.testing.assert_array_equal(pair.names[name], values)
    for domain in NAMES:
        counts, known = (p.target_schema.split["domains"][domain] for p in (pair, expected))
        assert counts["release"] == year and known["release"] == 2014
        assert counts["items_without_meta"] == known["items_without_meta"]
        assert counts["items_without_category"] == 0
    assert detect.load(folder)[1].fields == load_amazon(amazon_generated[0])[1].fields


def test_files_of_2018_under_the_names_of_2014_and_beside_them(amazon_folder, tmp_path):
    """What the files hold decides; names of users and items are the same in both releases."""
    expected = load_amazon_pair(amazon_folder)
    later = write_release(amazon_folder, tmp_path / "later", 2018)
    shutil.copy(later / "meta_SynToys.json", meta(amazon_folder))
    pair = load_amazon_pair(amazon_folder)
    assert_same([pair.source, *pair.target], [expected.source, *expected.target])
    domains = pair.target_schema.split["domains"]
    assert [domains[name]["release"] for name in NAMES] == [2014, 2018]


def test_complete_files_are_taken_where_the_core_is_missing(amazon_generated, tmp_path):
    folder = write_release(amazon_generated[0], tmp_path / "raw", 2018)
    expected = load_amazon_pair(folder)
    for name in NAMES:  # beside the core
        (folder / f"{name}.json").write_text("no reviews\n")
        (folder / f"reviews_{name}.json").write_text("no reviews\n")
    assert_same(load_amazon_pair(folder).target, expected.target)
    for name in NAMES:
        (folder / f"reviews_{name}.json").unlink()
        (folder / f"{name}_5.json").replace(folder / f"{name}.json")
    assert_same(load_amazon_pair(folder).target, expected.target)
    for path in folder.glob("meta_*"):
        path.unlink()
    with pytest.raises(DataFormatError, match=r"SynBooks\.json.*expected the reviews and meta"):
        load_amazon_pair(folder)


def test_releases_with_other_users_are_refused(amazon_generated, tmp_path):
    folder = write_release(amazon_generated[0], tmp_path / "raw", 2023, NAMES[:1])
    write_release(amazon_generated[0], folder, 2018, NAMES[1:])
    with pytest.raises(DataFormatError, match=r"users differently.*2023.*2018.*Remedy"):
        load_amazon_pair(folder)
    with pytest.raises(DataFormatError, match="users differently"):
        prepare(DATASET, folder, tmp_path / "out", quiet=True, workers=1)


def test_a_key_that_no_line_has_and_meta_data_of_other_items(folder, tmp_path):
    records = [ast.literal_eval(line) for line in lines_of(meta(folder))]
    bare = [{"asin": record["asin"], "title": "x"} for record in records]
    write_lines(meta(folder), map(json.dumps, bare))
    with pytest.raises(DataFormatError, match=r"no line has.*asin, title.*2018.*Remedy") as caught:
        load_amazon_pair(folder)
    assert caught.value.file == meta(folder)
    with pytest.raises(DataFormatError, match="no line has"):
        prepare(DATASET, folder, tmp_path / "out", quiet=True, workers=1)
    write_lines(meta(folder), map(json.dumps, bare[:-1] + records[-1:]))  # found in the last line
    others = load_amazon_pair(folder).target_schema.split["domains"]["SynToys"]
    assert others["items_without_category"] == others["items"] - others["items_without_meta"]
    shutil.copy(meta(folder, "SynBooks"), meta(folder))
    with pytest.raises(JoinError, match=r"(\d+) items have no meta data, of \1 .*'others'"):
        load_amazon_pair(folder)
    load_amazon_pair(folder, missing_meta="others")
    write_release(folder, folder, 2023, NAMES[:1])
    (folder / "SynBooks.jsonl").rename(reviews(folder, "SynBooks"))
    (folder / "meta_SynBooks.jsonl").unlink()
    with pytest.raises(DataFormatError, match=r"no line has.*parent_asin, categories \(2023\)"):
        load_amazon_pair(folder)


def test_one_table_of_both_domains(amazon_generated):
    pair = load_amazon_pair(amazon_generated[0])
    splits, schema = load_amazon(amazon_generated[0])
    for table in splits:
        table.validate(schema)
    assert schema.num_domains == 2 and schema.domain_field == "domain_indicator"
    usable = pair.source.time < pair.valid_time[pair.source.sparse[:, 0]]
    assert np.bincount(splits.train.domain).tolist() == [usable.sum(), len(pair.target.train)]
    assert (splits.valid.domain == 1).all() and (splits.test.domain == 1).all()
    items = [set(splits.train.sparse[splits.train.domain == d, 1]) - {0} for d in (0, 1)]
    assert not items[0] & items[1] and len(np.unique(splits.train.row_id)) == len(splits.train)
    assert max(items[0]) == schema.vocab_sizes[1] - 1


def test_missing_ambiguous_and_empty_files(folder, tmp_path):
    with pytest.raises(DataFileNotFoundError, match="no such folder"):
        load_amazon_pair(tmp_path / "nowhere")
    shutil.copy(reviews(folder), reviews(folder, "Third"))
    with pytest.raises(DataFormatError, match=r"SynBooks, SynToys, Third.*name them: `pair="):
        load_amazon_pair(folder)
    pair = load_amazon_pair(folder, pair=("SynToys", "SynBooks"))
    assert pair.target_schema.domain_names == ("SynToys", "SynBooks")
    with pytest.raises(ValueError, match="two different categories"):
        load_amazon_pair(folder, pair=("SynToys", "SynToys"))
    with pytest.raises(DataFileNotFoundError, match=r"meta_Third\.json"):
        load_amazon_pair(folder, pair=("Third", "SynToys"))
    (folder / "reviews_SynToys_5.json.gz").write_bytes(b"")
    with pytest.raises(DataFormatError, match="ambiguous"):
        load_amazon_pair(folder, pair=NAMES)
    reviews(folder).unlink()
    with pytest.raises(EmptySplitError, match="the file is empty"):
        load_amazon_pair(folder, pair=NAMES)


def test_a_prepared_pair_is_the_pair(amazon_generated, tmp_path):
    raw, options = amazon_generated[0], Options(pair=NAMES)
    found = prepare(DATASET, raw, tmp_path / "out", options, workers=1, quiet=True)
    pair, expected = load_amazon_pair(tmp_path / "out"), load_amazon_pair(raw)
    for one, other in zip((pair.source, *pair.target), (expected.source, *expected.target)):
        assert listed(one) == listed(other) and isinstance(one.sparse, np.memmap)
    for name in ("source_categories", "target_categories", "valid_time"):
        np.testing.assert_array_equal(getattr(pair, name), getattr(expected, name))
    assert pair.names.keys() == expected.names.keys()
    for name, values in expected.names.items():
        np.testing.assert_array_equal(pair.names[name], values)
    assert pair.target_schema.fields == expected.target_schema.fields and pair.timed
    splits, schema = cache.open_cache(tmp_path / "out", verify=True)
    assert load_amazon(tmp_path / "out", pair=NAMES)[1] == schema
    others = (dict(pair=NAMES[::-1]), dict(split="global_time"), dict(vocabulary="all"))
    for load, asked in product((load_amazon, load_amazon_pair), others):
        with pytest.raises(ValueError, match="was prepared with"):
            load(tmp_path / "out", **asked)
    whole, known = load_amazon(raw)
    assert schema.fields == known.fields
    np.testing.assert_array_equal(splits.train.sparse, whole.train.sparse)
    assert found.stats["splits"]["train"]["users"] == pair.num_users
    packed = compressed(raw, tmp_path / "packed")
    again = prepare(DATASET, packed, tmp_path / "two", options, workers=2, quiet=True)
    files = sorted(path.relative_to(found.folder) for path in found.folder.rglob("*.npy"))
    assert Path("pair/valid_time.npy") in files
    for path in files:
        assert (found.folder / path).read_bytes() == (again.folder / path).read_bytes()
    (tmp_path / "out" / "pair" / "valid_time.npy").write_bytes(b"short")
    with pytest.raises(CacheError, match="another size"):
        load_amazon_pair(tmp_path / "out")


def test_preparing_names_the_bad_line_and_lists_what_it_skips(folder, tmp_path):
    set_line(reviews(folder), 7, with_field(overall=6.0))
    with pytest.raises(DataValueError) as caught:
        prepare(DATASET, folder, tmp_path / "out", quiet=True, workers=2)
    assert (caught.value.line, caught.value.column) == (7, "overall")
    assert not (tmp_path / "out").exists()
    options = Options(policy=Policy("skip"))
    found = prepare(DATASET, folder, tmp_path / "out", options, quiet=True, workers=1)
    assert found.stats["files"][reviews(folder).name]["dropped"] == {"overall": 1}
    listed_rows = lines_of(tmp_path / "out" / "bad_rows.csv")
    assert len(listed_rows) == 2 and listed_rows[1].startswith("reviews_SynToys_5.json,7,overall,")
