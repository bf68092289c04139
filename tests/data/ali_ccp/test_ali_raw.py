"""Raw Ali-CCP files -> tables, cell by cell against a naive reader; what bad lines are told."""

import gzip
import random
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from hamur.data import load_ali_ccp, synthetic
from hamur.data.ali_ccp import lines as ali_ccp_lines
from hamur.data.ali_ccp import raw as ali_ccp_raw
from hamur.data.ali_ccp.lines import SKELETON
from hamur.data.cache import open_cache
from hamur.data.detect import DATASETS
from hamur.data.streaming.prepare import prepare
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.errors import (
    DataError,
    DataFileNotFoundError,
    DataFormatError,
    DuplicateRowError,
    JoinError,
    TruncatedFileError,
    UnknownDomainError,
)
from tests.support import naive
from tests.support.caches import assert_same, content
from tests.support.lines import get_line, set_line, with_cell

ROWS, TEST_ROWS = 3_000, 1_501


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """The four raw files; few users, so that many ids are known."""
    folder = tmp_path_factory.mktemp("raw") / "ali"
    synthetic.make_ali_ccp_raw(
        folder, ROWS, 3, test_rows=TEST_ROWS, min_domain_rows=40, min_positives=2
    )
    return folder


@pytest.fixture(scope="module")
def plain(raw, tmp_path_factory):
    """The raw files prepared: folder, (splits, schema, Prepared)."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return out, prepared(raw, out)


@pytest.fixture
def copy(raw, tmp_path) -> Path:
    return Path(shutil.copytree(raw, tmp_path / "copy"))


def prepared(folder: Path, out: Path, workers: int = 1, **options):
    given = ali_ccp_raw.Options(range_bytes=options.pop("range_bytes", 300_000), **options)
    made = prepare(DATASETS["ali-ccp"], folder, out, given, workers=workers, quiet=True)
    return *open_cache(made.folder), made


def assert_equals_naive(folder: Path, out: Path, splits, schema) -> None:
    expected = naive.tables(folder, min_count=10)
    assert schema.vocab_sizes[:-1] == tuple(
        len(expected["vocabularies"][f]) + 1 for f in schema.sparse_names[:-1]
    )
    for field, vocabulary in expected["vocabularies"].items():
        assert np.load(out / "vocab" / f"{field}.npy").tolist() == list(vocabulary)
    for part, table in splits._asdict().items():
        own = expected[part]
        assert table.sparse.shape == own["ids"].shape
        np.testing.assert_array_equal(np.asarray(table.sparse), own["ids"])
        np.testing.assert_allclose(np.asarray(table.dense), own["dense"], atol=1e-6)
        np.testing.assert_array_equal(table.labels[:, 0], own["click"])
        np.testing.assert_array_equal(table.domain, own["ids"][:, -1])
        np.testing.assert_array_equal(np.asarray(table.group), own["ids"][:, 0])
        table.validate(schema)


def test_every_cell_equals_the_naive_reader(raw, plain):
    assert_equals_naive(raw, plain[0], *plain[1][:2])


def mutate_harmlessly(folder: Path) -> None:
    """Other line ends, permuted lists, fields left out or repeated, a blank last line."""
    rng = random.Random(5)
    for path in folder.glob("*.csv"):
        text = []
        for line in path.read_text().splitlines():
            head, _, features = line.rpartition(",")
            listed = features.split("\x01")
            rng.shuffle(listed)
            if rng.random() < 0.3:
                listed.append(rng.choice(listed))
            if rng.random() < 0.3 and "301" not in listed[0].partition("\x02")[0]:
                listed = listed[1:] or listed
            text.append(head + "," + "\x01".join(listed))
        path.write_bytes("\r\n".join([*text, "", ""]).encode())


def test_order_repetition_and_line_ends_are_read_as_the_naive_reader_does(copy, tmp_path):
    mutate_harmlessly(copy)
    splits, schema, _ = prepared(copy, tmp_path / "out")
    assert_equals_naive(copy, tmp_path / "out", splits, schema)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_and_ranges_do_not_change_a_byte(raw, plain, tmp_path, workers):
    splits, _, one = plain[1]
    *_, more = prepared(raw, tmp_path / "more", workers=workers)
    assert one.jobs_done == more.jobs_done > 40 and content(one.folder) == content(more.folder)
    parts, _, _ = prepared(raw, tmp_path / "parts", range_bytes=90_000)
    assert_same(splits, parts)


def test_compressed_files_and_archives_give_the_same_tables(plain, copy, tmp_path):
    reference, _, _ = plain[1]
    for path in sorted(copy.glob("common*")):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    with tarfile.open(copy / "sample_train.tar.gz", "w:gz") as archive:
        for path in sorted(copy.glob("sample_skeleton_*.csv")):
            archive.add(path, f"inside/{path.name}")
            path.unlink()
    splits, _, _ = prepared(copy, tmp_path / "packed")
    assert_same(reference, splits)


def test_truncated_archives_are_never_accepted(copy, tmp_path):
    path = copy / "common_features_test.csv"
    packed = gzip.compress(path.read_bytes())
    path.with_name(path.name + ".gz").write_bytes(packed[: len(packed) * 2 // 3])
    path.unlink()
    with pytest.raises(TruncatedFileError, match=r"common_features_test.csv.gz.*Remedy"):
        prepared(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.work").exists()


def test_loader_takes_raw_files_and_prepared_caches(raw, tmp_path):
    splits, schema = load_ali_ccp(raw, cache_dir=tmp_path / "cache")
    again, schema_again = load_ali_ccp(next((tmp_path / "cache").iterdir()))
    assert schema == schema_again and np.array_equal(splits.test.sparse, again.test.sparse)
    with pytest.raises(ValueError, match="prepare it again"):
        load_ali_ccp(next((tmp_path / "cache").iterdir()), split="hash")


def test_halves_by_hash_are_disjoint_and_depend_on_the_seed(raw, tmp_path):
    a, _, _ = prepared(raw, tmp_path / "a", split="hash")
    b, _, _ = prepared(raw, tmp_path / "b", split="hash", split_seed=1)
    assert abs(len(a.test) - TEST_ROWS / 2) < 4 * np.sqrt(TEST_ROWS) / 2
    assert not set(a.valid.row_id.tolist()) & set(a.test.row_id.tolist())
    assert set(a.valid.row_id.tolist()) != set(b.valid.row_id.tolist())


def test_purchase_is_a_label_and_never_a_feature(raw, tmp_path):
    splits, schema, _ = prepared(raw, tmp_path / "out", labels=("click", "purchase"))
    expected = [[r["click"], r["conversion"]] for r in naive.rows(raw, "train")]
    np.testing.assert_array_equal(splits.train.labels, expected)
    assert not {"purchase", "click"} & {*schema.sparse_names, *schema.dense_names}


SKELETON_DEFECTS = {
    "wrong number of fields": (lambda line: line.replace(",", ";"), DataFormatError, None),
    "bad value in sample_id": (with_cell(1, "x"), DataError, "sample_id"),
    "not an allowed value in click": (with_cell(2, "2"), DataError, "click"),
    "bad common_feature_index": (with_cell(4, "12g4"), DataFormatError, "common_feature_index"),
    "malformed feature": (with_cell(6, "205\x02\x021"), DataFormatError, "feature_list"),
    "unknown field": (with_cell(6, "999\x021\x031.0"), DataFormatError, "feature_list"),
    "bad feature id": (with_cell(6, "205\x02-1\x031.0"), DataError, "feature_list"),
    "bad feature value": (with_cell(6, "205\x021\x03nan"), DataError, "feature_list"),
    "no common row": (with_cell(4, "0" * 16), JoinError, "common_feature_index"),
    "repeated sample_id": (with_cell(1, "7"), DuplicateRowError, "sample_id"),
    "no domain": (
        lambda line: re.sub("301\x02935166[567]", "301\x025", line),
        UnknownDomainError,
        "301",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", SKELETON_DEFECTS)
def test_bad_row_is_named_or_skipped_and_counted(copy, tmp_path, reason):
    change, kind, column = SKELETON_DEFECTS[reason]
    set_line(copy / "sample_skeleton_train.csv", 2_345, change)
    with pytest.raises(kind, match=r"sample_skeleton_train.csv:2345: .*Remedy") as caught:
        prepared(copy, tmp_path / "out")
    assert caught.value.line == 2_345 and caught.value.column == column
    assert not (tmp_path / "out").exists()
    splits, _schema, made = prepared(copy, tmp_path / "out", policy=Policy("skip"))
    counts = made.stats["files"]["sample_skeleton_train.csv"]
    assert counts["dropped"][reason] == 1
    assert counts["rows_read"] == counts["rows_kept"] + sum(counts["dropped"].values()) == ROWS
    assert len(splits.train) == counts["rows_kept"]
    listed = (made.folder / "bad_rows.csv").read_text().splitlines()
    assert len(listed) == 2 and listed[1].startswith(f"sample_skeleton_train.csv,2345,{reason}")


def test_first_bad_row_of_the_file_is_told_whatever_the_workers(copy, tmp_path):
    path = copy / "sample_skeleton_train.csv"
    for line in (2_900, 2_300, 1_811):
        set_line(path, line, with_cell(2, "7"))
    with pytest.raises(DataError, match=r"sample_skeleton_train\.csv:1811"):
        prepared(copy, tmp_path / "out", 2, range_bytes=100_000)


def test_several_defects_are_counted_one_by_one(copy, tmp_path):
    path = copy / "sample_skeleton_train.csv"
    chosen = list(SKELETON_DEFECTS)[:8]
    for number, reason in enumerate(chosen):
        set_line(path, 400 + 300 * number, SKELETON_DEFECTS[reason][0])
    *_, made = prepared(copy, tmp_path / "out", policy=Policy("skip"))
    dropped = made.stats["files"]["sample_skeleton_train.csv"]["dropped"]
    assert {reason: dropped[reason] for reason in chosen} == dict.fromkeys(chosen, 1)
    assert len((made.folder / "bad_rows.csv").read_text().splitlines()) == len(chosen) + 1


def test_too_many_bad_rows_stop_all_the_same(copy, tmp_path):
    path = copy / "sample_skeleton_train.csv"
    lines = path.read_bytes().split(b"\n")
    lines[-1 - ROWS // 16 : -1] = [b"nonsense"] * (ROWS // 16)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataFormatError, match=r"of 3000 rows are bad.*at most 5.0%"):
        prepared(copy, tmp_path / "out", policy=Policy("skip"))


def test_doubled_common_key_is_named(copy, tmp_path):
    path = copy / "common_features_train.csv"
    set_line(path, 41, get_line(path, 8))
    with pytest.raises(DuplicateRowError, match=r"common_features_train.csv:41: .*in line 8"):
        prepared(copy, tmp_path / "out")


def test_last_line_cut_short_is_a_truncated_file(copy, tmp_path):
    path = copy / "sample_skeleton_test.csv"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TruncatedFileError, match=f":{TEST_ROWS}: the file ends inside"):
        prepared(copy, tmp_path / "out", policy=Policy("skip"))


def test_missing_file_says_what_to_fetch(copy, tmp_path):
    (copy / "common_features_test.csv").unlink()
    with pytest.raises(DataFileNotFoundError, match=r"common_features_test.csv.*tianchi"):
        prepared(copy, tmp_path / "out")


def test_feature_num_is_counted_and_an_error_on_request(copy, tmp_path, caplog):
    set_line(copy / "sample_skeleton_train.csv", 10, with_cell(5, "99"))
    prepared(copy, tmp_path / "a")
    assert "feature_num differs" in caplog.text
    with pytest.raises(DataFormatError, match="feature_num differs"):
        prepared(copy, tmp_path / "b", check_feature_num=True)


def test_domains_of_other_ids_need_a_map(copy, tmp_path):
    for path in copy.glob("sample_skeleton_*"):
        path.write_bytes(path.read_bytes().replace(b"301\x029351666", b"301\x029351665"))
    with pytest.raises(UnknownDomainError, match=r"2 ids of field 301.*`domain_map="):
        prepared(copy, tmp_path / "out")


def test_limit_reads_the_first_rows(raw, tmp_path):
    splits, _, made = prepared(raw, tmp_path / "out", limit_rows=750)
    assert made.stats["files"]["sample_skeleton_train.csv"]["rows_read"] == 750
    assert len(splits.valid) + len(splits.test) == 750


def test_sound_lines_alone_take_the_fast_path_and_agree_with_the_slow_one(raw):
    block = (raw / "sample_skeleton_train.csv").read_bytes()
    bad_rows = BadRows(Path("x"), Policy("skip"))
    fast = ali_ccp_lines.parse(block, SKELETON, bad_rows, 1)
    slow = ali_ccp_lines.parse(block + b"nonsense\n", SKELETON, bad_rows, 1)
    assert sum(bad_rows.dropped.values()) == 1
    for name in ("counts", "field", "ids", "values", "lines"):
        assert np.array_equal(getattr(fast, name), getattr(slow, name))
