"""AliExpress through the pipeline: the tables of the processed files, whatever the packing."""

import gzip
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from hamur.data import cache, load_aliexpress
from hamur.data.aliexpress import raw
from hamur.data.aliexpress.files import COUNTRIES, find_raw
from hamur.data.detect import DATASETS
from hamur.data.streaming.prepare import prepare
from hamur.data.synthetic.aliexpress import make_aliexpress
from hamur.data.text.bad_rows import Policy
from hamur.errors import (
    DataFileNotFoundError,
    DataFormatError,
    DataValueError,
    DuplicateRowError,
    EmptySplitError,
    JoinError,
    TruncatedFileError,
)
from tests.support.caches import assert_same, content
from tests.support.lines import set_line, with_cell

SIGNAL = dict(rates=(0.3, 0.1), signal=1.5)
ROW_ID = ("row_id",)  # of archives other lines
SMALL = 45_000  # bytes of a job, so that a file has several


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("raw") / "csv"
    for country in ("NL", "US"):
        make_aliexpress(found, 400, 1, country, test_rows=120, **SIGNAL)
    return found


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    """The same rows as the published preparation has them."""
    found = tmp_path_factory.mktemp("processed")
    for country in ("NL", "US"):
        make_aliexpress(found, 400, 1, country, test_rows=120, form="processed", **SIGNAL)
    return found


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    """The raw files prepared: folder, ((splits, schema), Prepared)."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return out, run(folder, out)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "csv")


def run(source, out, workers=1, **options):
    options = raw.Options(range_bytes=SMALL, **options)
    made = prepare(DATASETS["aliexpress"], source, out, options, workers=workers, quiet=True)
    return cache.open_cache(out, verify=True), made


def item_lines(folder, country, part):
    """The line of every item, from 1, by the order of its page and then of the file."""
    users = (folder / f"{country}_user_{part}.csv").read_text().splitlines()
    page = {line.split(",", 1)[0]: n for n, line in enumerate(users)}
    items = (folder / f"{country}_item_{part}.csv").read_text().splitlines()
    return sorted(range(1, len(items) + 1), key=lambda n: (page[items[n - 1].split(",", 1)[0]], n))


def test_the_cache_holds_what_the_processed_files_give(folder, processed, plain, tmp_path):
    out, ((splits, schema), made) = plain
    expected, known = load_aliexpress(processed, cache_dir=tmp_path / "c")
    assert_same(splits, expected, ROW_ID)
    assert schema.fields == known.fields and schema.domain_names == known.domain_names
    for name in ("constant", "rule", "valid_fraction", "rows"):
        assert schema.split[name] == known.split[name]
    for d, country in enumerate(("nl", "us")):
        rows = splits.test.row_id[:][splits.test.domain[:] == d]
        lines = item_lines(folder, country, "test")
        assert rows.tolist() == [(d << 48) + (1 << 40) + line for line in lines]
    for table in splits:
        table.validate(schema)
    assert load_aliexpress(out)[1] == schema
    with pytest.raises(ValueError, match="prepare it again"):
        load_aliexpress(out, countries=("NL",))
    pages = np.load(out / "pages" / "dense.npy", mmap_mode="r")
    assert len(pages) < sum(map(len, splits)) / 2  # a page is stored once
    assert made.stats["splits"]["train"]["rows"] == len(splits.train)
    assert not out.with_name("out.work").exists()


def test_one_country_has_no_domain_field(folder, processed, tmp_path):
    (splits, schema), _ = run(folder, tmp_path / "out", countries=("NL",))
    assert schema.num_sparse == 16 and schema.domain_field is None
    expected, known = load_aliexpress(processed, countries=("NL",), cache_dir=tmp_path / "c")
    assert_same(splits, expected, ROW_ID)
    assert schema.fields == known.fields
    with pytest.raises(DataFileNotFoundError, match=r"no data of RU.*got 'NL, US'"):
        run(folder, tmp_path / "ru", countries=("RU",))


def test_countries_are_domains_in_the_order_asked_for(folder, processed, tmp_path):
    turned = ("US", "NL")
    splits, schema = load_aliexpress(folder, countries=turned, cache_dir=tmp_path)
    expected, known = load_aliexpress(processed, countries=turned, cache_dir=tmp_path)
    assert schema.domain_names == known.domain_names == turned
    assert_same(splits, expected, ROW_ID)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_bytes_do_not_depend_on_workers_or_ranges(folder, plain, tmp_path, workers):
    run(folder, tmp_path / "several", workers)
    whole = tmp_path / "whole"
    prepare(DATASETS["aliexpress"], folder, whole, raw.Options(), workers=1, quiet=True)
    wanted = content(plain[0], "*.npy")
    assert wanted == content(tmp_path / "several", "*.npy") == content(whole, "*.npy")


def test_an_interrupted_run_continues(folder, plain, tmp_path, monkeypatch):
    done = raw.divide

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(raw, "divide", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(raw, "divide", done)
    _, made = run(folder, tmp_path / "out")
    assert made.jobs_reused > 10
    assert content(tmp_path / "out", "*.npy") == content(plain[0], "*.npy")


def packed(folder, target, inner=True, outer=True):
    """The files of every country as inner zips, inside outer ones if asked for."""
    target.mkdir()
    for country in COUNTRIES:
        members = sorted(folder.glob(f"{country.lower()}_*.csv"))
        zips = []
        for path in members:
            zips.append(target / f"{path.stem}.zip")
            with zipfile.ZipFile(zips[-1], "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(path, path.name)
        if outer and members:
            with zipfile.ZipFile(target / f"aliexpress_{country}_datasets.zip", "w") as archive:
                for path in zips:
                    archive.write(path, f"aliexpress_{country}_datasets/{path.name}")
                    path.unlink()
    return target


def packings(folder, target):
    """The same files as zips, as zips in zips, as .gz and in a .tar.gz."""
    inner = packed(folder, target / "inner", outer=False)
    outer = packed(folder, target / "outer")
    assert {path.suffix for path in outer.iterdir()} == {".zip"} and len(list(outer.iterdir())) == 2
    for name in ("gz", "tar"):
        (target / name).mkdir()
    with tarfile.open(target / "tar" / "all.tar.gz", "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, f"inside/{path.name}")
            (target / "gz" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return inner, outer, target / "gz", target / "tar"


def test_packed_files_hold_the_same_tables_and_bad_rows(copy, tmp_path):
    set_line(copy / "nl_item_train.csv", 30, with_cell(49, "3"))
    set_line(copy / "nl_item_train.csv", 250, with_cell(1, "999999"))
    policy, outs = Policy("skip"), []
    for source in (copy, *packings(copy, tmp_path)):
        outs.append(tmp_path / f"out-{source.name}")
        run(source, outs[-1], policy=policy)
        listed = (outs[-1] / "bad_rows.csv").read_text().replace(".csv.gz,", ".csv,")
        assert listed == (outs[0] / "bad_rows.csv").read_text() and ',"999999,' in listed
        assert content(outs[-1], "*.npy") == content(outs[0], "*.npy")


# ---- bad input


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_row_of_a_file_is_named_with_its_line(copy, tmp_path, workers):
    path = copy / "nl_item_train.csv"
    assert path.stat().st_size > 2 * SMALL
    set_line(path, 390, with_cell(49, "3"))
    set_line(path, 330, with_cell(5, "x"))
    with pytest.raises(DataValueError) as caught:
        run(copy, tmp_path / "out", workers)
    found = caught.value
    assert (str(found.file), found.line, found.column) == (str(path), 330, "item_5")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.work").exists()


def test_seven_defects_are_counted_and_listed(copy, tmp_path):
    path = copy / "nl_item_train.csv"
    for line, column, value in (
        (30, 49, "3"), (90, 5, "x"), (150, 6, "nan"), (200, 19, "-1"), (250, 1, "999999"),
        (300, 2, "1,2"), (350, 35, "1.5"),
    ):  # fmt: skip
        set_line(path, line, with_cell(column, value))
    policy = Policy("skip", 0.05)
    (splits, _), made = run(copy, tmp_path / "out", policy=policy)
    counts = made.stats["files"][path.name]
    assert counts["rows_read"] == 400 == counts["rows_kept"] + 7
    assert sorted(counts["dropped"].values()) == [1] * 7
    listed = (tmp_path / "out" / "bad_rows.csv").read_text().splitlines()
    bad = [30, 90, 150, 200, 250, 300, 350]
    assert [int(line.split(",")[1]) for line in listed[1:]] == bad
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    path.write_text("".join(line for n, line in enumerate(lines, 1) if n not in bad))
    without, _ = load_aliexpress(copy, cache_dir=tmp_path / "c")
    assert_same(splits, without, ROW_ID)
    path.write_text(text)
    for line in range(1, 30):
        set_line(path, line, with_cell(5, "x"))
    with pytest.raises(DataFormatError, match="rows are bad"):
        run(copy, tmp_path / "more", policy=policy)


def test_pages_twice_and_items_without_page(copy, tmp_path):
    path = copy / "nl_user_train.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:30], lines[3], *lines[30:]]) + "\n")
    with pytest.raises(DuplicateRowError, match=r"user_train\.csv:31: .*is in line 4"):
        run(copy, tmp_path / "out")
    run(copy, tmp_path / "skip", policy=Policy("skip", 0.1))
    path.write_text("\n".join(lines[2:]) + "\n")
    with pytest.raises(JoinError, match=r"rows of \d keys have no partner in nl_user_train\.csv"):
        run(copy, tmp_path / "out")


def test_truncated_and_empty_files_are_refused_in_both_modes(copy, tmp_path):
    path = copy / "nl_item_test.csv"
    whole = path.read_bytes()
    lines = whole.split(b"\n")
    path.write_bytes(b"\n".join([*lines[:4], lines[4].rpartition(b",")[0], *lines[5:]]))
    with pytest.raises(DataFormatError, match=r"nl_item_test\.csv:5: 48 fields.*expected 49"):
        run(copy, tmp_path / "out")
    for mode in ("error", "skip"):
        path.write_bytes(whole[:-90])
        with pytest.raises(TruncatedFileError, match=r"nl_item_test\.csv:120: .*ends inside"):
            run(copy, tmp_path / mode, policy=Policy(mode))
        path.write_bytes(b"")
        with pytest.raises(EmptySplitError, match="no row"):
            run(copy, tmp_path / mode, policy=Policy(mode))
        path.write_bytes(whole.replace(b",", b";"))
        with pytest.raises(DataFormatError, match="wrong separator"):
            run(copy, tmp_path / mode, policy=Policy(mode))
        path.write_bytes(whole[:5_000] + b"\0" + whole[5_000:])
        with pytest.raises(DataFormatError, match="NUL"):
            run(copy, tmp_path / mode, policy=Policy(mode))
    path.unlink()
    packed_file = gzip.compress(whole)
    (copy / "nl_item_test.csv.gz").write_bytes(packed_file[: len(packed_file) // 2])
    with pytest.raises(TruncatedFileError, match="ends early"):
        run(copy, tmp_path / "out")


def test_missing_damaged_and_foreign_files(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFormatError, match="not recognised as AliExpress"):
        find_raw(tmp_path / "empty")
    inner = packed(folder, tmp_path / "inner", outer=False)
    (inner / "us_item_test.zip").unlink()
    with pytest.raises(DataFileNotFoundError, match=r"us_item_test\.csv not found"):
        find_raw(inner)
    archive = inner / "nl_item_test.zip"
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(TruncatedFileError, match="damaged"):
        find_raw(inner)
