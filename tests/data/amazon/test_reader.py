"""Lines of Amazon's files: bad, repeated and torn ones, and what is never executed."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hamur.data import load_amazon_pair
from hamur.errors import (
    DataFormatError,
    DataValueError,
    DuplicateRowError,
    TruncatedFileError,
)
from tests.support.amazon_raw import first_asin, lines_of, meta, reviews, with_field
from tests.support.lines import set_line
from tests.support.pair_reference import listed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(amazon_folder):
    return amazon_folder


def test_crlf_blank_last_line_and_byte_order_mark(folder):
    whole = listed(load_amazon_pair(folder).target.train)
    text = reviews(folder).read_bytes()
    reviews(folder).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n")
    assert listed(load_amazon_pair(folder).target.train) == whole


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
        ("", DataFormatError, None),
        ("[1, 2]", DataFormatError, None),
        ("[" * 5000, DataFormatError, None),
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
    assert ("milliseconds" in str(found)) == ("1393545600000" in str(found))
    pair = load_amazon_pair(folder, on_bad_rows="skip")
    counts = pair.target_schema.split["domains"]["SynToys"]["files"][reviews(folder).name]
    assert counts["rows_read"] == counts["rows_kept"] + 1 == len(lines_of(reviews(folder)))
    assert sum(counts["dropped"].values()) == 1


def test_the_same_review_twice(folder):
    set_line(reviews(folder), 9, lines_of(reviews(folder))[3])
    with pytest.raises(DuplicateRowError, match=r"SynToys_5\.json:9: .*the row repeats line 4"):
        load_amazon_pair(folder)
    pair = load_amazon_pair(folder, on_bad_rows="skip")
    assert 8 not in np.concatenate([part.row_id for part in pair.target])


def test_too_many_bad_rows_stop_a_skipping_run_too(folder):
    for number in range(1, 120):
        set_line(reviews(folder), number, lambda text: text[:-3])
    with pytest.raises(DataFormatError, match="rows are bad"):
        load_amazon_pair(folder, on_bad_rows="skip")


def test_truncated_files_are_never_accepted(folder):
    whole = reviews(folder).read_bytes()
    packed = gzip.compress(whole)
    target = reviews(folder).with_name(reviews(folder).name + ".gz")

    def refused(words):
        for mode in ("error", "skip"):
            with pytest.raises(TruncatedFileError, match=words):
                load_amazon_pair(folder, on_bad_rows=mode)

    reviews(folder).write_bytes(whole[:-30])
    refused(rf":{whole.count(bytes([10]))}: .*ends inside this line")
    reviews(folder).unlink()
    target.write_bytes(packed[: len(packed) // 2])
    half = b""
    with gzip.open(target) as file, pytest.raises(EOFError):
        while piece := file.read(1):
            half += piece
    refused(f"last complete line is {half.count(bytes([10]))}")
    target.write_bytes(b"no gzip at all")
    refused("damaged")


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
    set_line(meta(folder), 2, text.replace("'X'", f"'{first_asin(folder)}'"))
    with pytest.raises(error) as caught:
        load_amazon_pair(folder)
    assert (caught.value.line, caught.value.column) == (2, column)


def test_meta_lines_of_other_items_are_parsed_on_request_only(folder):
    with meta(folder).open("a") as file:
        file.write("{'asin': 'B0NOBODY', 'title': 'unclosed}\n{'asin': 'B0OTHER'}\n")
    load_amazon_pair(folder)
    with pytest.raises(DataFormatError, match="meta_SynToys"):
        load_amazon_pair(folder, strict_meta=True)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_reviews_read(tmp_path):
    """Text fields are dropped at once: 200,000 lines of 2,000 characters need at most 200 MiB more
    than 20,000."""
    script = (
        "import sys; from pathlib import Path\n"
        "from hamur.data.amazon.reader import GENERATIONS, read_reviews\n"
        "from hamur.data.text.bad_rows import Policy, BadRows\n"
        "from hamur.reporting.results import peak_rss_mib\n"
        "path = Path(sys.argv[1])\n"
        "rows = read_reviews(path, 'Books', BadRows(path, Policy()), GENERATIONS[0])\n"
        "print(len(rows), peak_rss_mib())"
    )
    peaks = []
    for lines in (20_000, 200_000):
        path = tmp_path / f"{lines}.json.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            for n in range(lines):
                record = {"reviewerID": f"A{n // 10:013d}", "asin": f"B{n % 5_000:09d}"}
                record |= {"reviewText": f"{n} " * (2_000 // (len(str(n)) + 1)), "overall": 5.0}
                record |= {"unixReviewTime": 1_300_000_000 + 86_400 * (n % 900)}
                file.write(json.dumps(record) + "\n")
        command = [sys.executable, "-c", script, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        rows, peak = done.stdout.split()
        assert int(rows) == lines
        peaks.append(float(peak))
    assert peaks[1] - peaks[0] <= 200
