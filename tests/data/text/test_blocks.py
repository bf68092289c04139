"""Blocks of lines: limits of a line, a cell and a packed file, in every format; gz as plain."""

import ast
import gzip
import io
import itertools
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hamur.data import load_ali_ccp, load_aliexpress, load_amazon_pair, load_movielens, load_pair
from hamur.data.ali_ccp.load import SAMPLE as ALI_CCP
from hamur.data.aliexpress.load import SAMPLE as ALIEXPRESS
from hamur.data.amazon.load import SAMPLE as AMAZON
from hamur.data.cross_domain.implicit import load_abxi_pair
from hamur.data.encode import factorise
from hamur.data.movielens.load import SAMPLE as MOVIELENS
from hamur.data.text import blocks, reader
from hamur.data.text.bad_rows import BadRows, Policy, counts_by_file
from hamur.data.text.blocks import line_blocks
from hamur.data.text.cells import MAX_CELL
from hamur.data.text.lines import FileFormat, read_header
from hamur.errors import DataError, DataFormatError, DataValueError
from tests.support.faults import assert_ours

LONG = (1 << 20) + 5  # longer than max_line_mib=1 allows


class Endless(io.RawIOBase):
    """A file of one line without end."""

    def __init__(self):
        self.given = 0

    def read(self, size):
        self.given += size
        return b"7" * size

    readline = read


@pytest.mark.parametrize("size", [1000, 4096])
def test_a_line_without_end_is_left_soon(size):
    file = Endless()
    with pytest.raises(DataFormatError, match=r"x\.csv:1: a line of at least .* bytes") as caught:
        list(line_blocks(file, Path("x.csv"), size, max_line=10_000))
    assert file.given <= 10_000 + 2 * size and "`max_line_mib`" in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_every_line_up_to_the_limit_is_read_whatever_the_blocks(seed):
    rng = random.Random(seed)
    most, ends = rng.randint(3, 14), rng.choice([[b"\n"], [b"\r\n"], [b"\n", b"\r\n"]])
    longest = most - 1 + (2 if seed % 4 == 0 else 0)  # a CR counts
    lines = [b"x" * rng.randint(1, longest) for _ in range(rng.randint(1, 40))]
    content = b"".join(line + rng.choice(ends) for line in lines)
    content = content if rng.random() < 0.5 else content.rstrip(b"\r\n")
    long = [n for n, line in enumerate(content.split(b"\n"), 1) if len(line) > most]
    size, found = rng.randint(1, 30), b""
    cuts = sorted(rng.choices(range(1, len(content) + 1), k=rng.choice([0, 0, 2])))
    cuts = [0, *cuts, len(content)]
    try:
        for start, stop in itertools.pairwise(cuts):
            before = found.count(b"\n")
            blocks = line_blocks(io.BytesIO(content), Path("x"), size, start, stop, most)
            found += b"".join(block for block, _, _ in blocks)
    except DataFormatError as error:
        assert before + error.line == long[0]
    else:
        assert not long and found.split() == content.split()


def test_the_lines_by_then_are_counted():
    content = b"".join(b"%d\n" % n for n in range(1000))
    found = [(block.count(b"\n"), lines) for block, _, lines in line_blocks(
        io.BytesIO(content), Path("x"), 100)]  # fmt: skip
    assert np.cumsum([lines for lines, _ in found]).tolist() == [by_then for _, by_then in found]


def movielens_dat(folder, line):
    for path in MOVIELENS.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    write(folder / "ratings.dat", lines_of(MOVIELENS / "ratings.dat"), line)
    return lambda **options: load_movielens(folder, **options), "ratings.dat:3"


def ali_ccp_raw(folder, line):
    for path in (ALI_CCP.parent / "ali-ccp-raw-sample").iterdir():
        write(
            folder / f"{path.name}.gz",
            lines_of(path),
            line if "skeleton_train" in path.name else None,
        )
    return lambda **options: load_ali_ccp(folder, **options), "sample_skeleton_train.csv.gz:3"


def ali_ccp_csv(folder, line):
    for path in ALI_CCP.iterdir():
        write(folder / path.name, lines_of(path), line if "val" in path.name else None)
    return lambda **options: load_ali_ccp(folder, **options), "ali_ccp_val_sample.csv:3"


def aliexpress_raw(folder, line):
    with zipfile.ZipFile(folder / "aliexpress_NL_datasets.zip", "w") as archive:
        for path in (ALIEXPRESS / "raw").iterdir():
            lines = with_line(lines_of(path), line if path.name == "nl_item_train.csv" else None)
            archive.writestr(path.name, b"".join(lines))
    return lambda **options: load_aliexpress(folder, **options), "zip/nl_item_train.csv:3"


def amazon(folder, line, name="reviews_SynToys"):
    for path in AMAZON.iterdir():
        write(folder / path.name, lines_of(path), line if path.name.startswith(name) else None)

    def load(cache_dir, **options):
        return load_amazon_pair(folder, **options)

    return load, r"SynToys.*json\.gz:3"


def pair(folder, line):
    for name in ("a.csv", "b.csv.gz"):
        rows = [
            b"u%d,%s%d,5,%d\n" % (n % 9, name[:1].encode(), n, 13 * 10**8 + n) for n in range(60)
        ]
        lines = [b"user,item,rating,timestamp\n", *rows]
        write(folder / name, lines, line if name == "b.csv.gz" else None)

    def load(cache_dir, **options):
        return load_pair(folder / "a.csv", folder / "b.csv.gz", **options)

    return load, r"b\.csv\.gz:3"


def abxi(folder, line):
    items = {f"B{n}": [n, n % 2] for n in range(8)}
    (folder / "map_item_50.txt").write_text(json.dumps(items))
    rows = [" ".join([f"{u}", *(f"{n}|{13 * 10**8 + n}" for n in range(8))]) for u in range(5)]
    write(folder / "afk_50_preprocessed.txt", [f"{row}\n".encode() for row in rows], line)

    def load(cache_dir, **options):
        return load_abxi_pair(folder, **options)

    return load, "afk_50_preprocessed.txt:3"


def lines_of(path):
    return (
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    ).splitlines(True)


def with_line(lines, line):
    return lines if line is None else [*lines[:2], line + b"\n", *lines[2:]]


def write(path, lines, line=None):
    content = b"".join(with_line(lines, line))
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


FORMATS = (movielens_dat, ali_ccp_raw, ali_ccp_csv, aliexpress_raw, amazon, pair, abxi)


@pytest.mark.parametrize("make", FORMATS)
def test_a_line_too_long_is_named_in_every_format(tmp_path, make):
    folder = tmp_path / "data"
    folder.mkdir()
    load, place = make(folder, b"1" * LONG)
    for mode in ("error", "skip"):
        with pytest.raises(DataFormatError, match=rf"{place}: a line of .*1,048,5\d\d") as caught:
            load(cache_dir=tmp_path / "c", on_bad_rows=mode, max_line_mib=1)
        assert_ours(caught.value)
    try:  # within the limit it is a row like others, most often a bad one
        load(cache_dir=tmp_path / "c", max_line_mib=2)
    except DataError as error:
        assert "a line of" not in str(error)


def test_what_costs_memory_to_parse_is_refused_before(tmp_path, monkeypatch):
    """A literal of half a MiB, and JSON of many levels."""
    evaluate = ast.literal_eval
    short = "hamur.data.amazon.reader.ast.literal_eval"
    monkeypatch.setattr(short, lambda text: evaluate(text) if len(text) < 1 << 19 else 1 / 0)
    load, _ = amazon(tmp_path, None)
    asin = json.loads(lines_of(AMAZON / "reviews_SynToys_5.json.gz")[0])["asin"].encode()
    path, lines = tmp_path / "meta_SynToys.json.gz", lines_of(tmp_path / "meta_SynToys.json.gz")
    write(path, lines, b"{'asin': '%s', 'x': [%s]}" % (asin, b"1," * (300 << 10)))
    with pytest.raises(DataFormatError, match=r"json\.gz:3: no JSON .*: 614,.* at most 524,288"):
        load(None)
    monkeypatch.undo()
    for deep in (b"[" * 100_000, b'{"asin": ' * 100_000, b"[" * 970 + b"]" * 970, b"1+" * 9_999):
        write(path, lines, b'{"asin": "%s", "categories": %s}' % (asin, deep))
        with pytest.raises((DataFormatError, DataValueError), match=r"json\.gz:3") as caught:
            load(None)
        assert_ours(caught.value)


def test_a_packed_file_of_nothing_but_repetition_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "EXPANDED_BYTES", 1 << 20)
    for make, number in ((ali_ccp_raw, 4_000), (pair, 200_000), (amazon, 70_000)):
        folder = tmp_path / make.__name__
        folder.mkdir()
        load, _ = make(folder, None)
        path = next(folder.glob("*skeleton_train*" if make is ali_ccp_raw else "*.gz"))
        lines = lines_of(path)
        write(path, [lines[0], *lines[1:2] * number])
        monkeypatch.setattr(blocks, "EXPANSION", 50)
        with pytest.raises(DataFormatError, match="bytes on disk unpack to more than 50 times"):
            load(cache_dir=tmp_path / "c", on_bad_rows="skip", max_bad_fraction=1.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\r\n", 3),
        lambda text: text.rstrip(b"\n"),
        lambda text: text + b"\n",
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: text.decode().encode("utf-16"),
        lambda text: text[:20] + b"\0" + text[20:],
        lambda text: text + b"\n\n",
        lambda text: text[:-3],
        lambda text: b"",
    ],
)
def test_a_gz_file_is_read_as_the_plain_one(tmp_path, change):
    text = change(b"a,b,c\n" + b"".join(b"%d,x%d,.5\n" % (n, n % 3) for n in range(50)))
    found = []
    for name, content in (("x.csv", text), ("x.csv.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(content)
        bad_rows = BadRows(tmp_path / name, Policy())
        try:
            header = read_header(tmp_path / name)
            rows = reader.read_rows(
                tmp_path / name, FileFormat({"a": "int", "c": "float"}), bad_rows
            )
            bad_rows.raise_if_any()
            found.append((header, rows.columns["a"].tolist(), rows.lines.tolist()))
        except DataError as error:
            assert_ours(error)
            found.append(str(error).replace(".csv.gz", ".csv").split(", at byte")[0])
    assert found[0] == found[1]


def test_texts_have_a_limit(tmp_path):
    path, longest = tmp_path / "x.csv", MAX_CELL
    path.write_text(f"a,b\n1,x\n2,{'y' * longest}\n3,{'z' * (longest + 1)}\n")
    bad_rows = BadRows(path, Policy("skip", 1.0))
    rows = reader.read_rows(path, FileFormat({"a": "int", "b": "text"}), bad_rows)
    assert rows.columns["a"].tolist() == [1, 2] and dict(bad_rows.dropped) == {"bad value in b": 1}
    ((_, (_, error)),) = bad_rows._errors.items()
    assert (error.line, error.column, len(error.value)) == (4, "b", 1000)
    texts = reader.pd.Categorical([f"t{n}" for n in range(9_000)] + ["y" * longest])
    with pytest.raises(DataValueError, match="a text of 65,536 characters among 9,001"):
        factorise(texts)


def test_files_of_one_name_in_two_folders_keep_their_folders(tmp_path):
    one, other = (tmp_path / name / "train.csv" for name in ("NL", "US"))
    rows = [BadRows(path, Policy()) for path in (one, other, tmp_path / "US" / "test.csv")]
    assert list(counts_by_file(rows)) == ["NL/train.csv", "US/train.csv", "US/test.csv"]
    assert list(counts_by_file(rows[1:])) == ["train.csv", "test.csv"]
    assert counts_by_file([]) == {}


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_the_share_of_bad_rows_is_a_share(share):
    with pytest.raises(ValueError, match=r"`max_bad_fraction` is .*from 0 to 1"):
        Policy("skip", share)
