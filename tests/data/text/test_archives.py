"""Archives: what is damaged, odd or hostile is refused in one line, and nothing is written."""

import gzip
import io
import random
import shutil
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from hamur.data import load_ali_ccp, load_aliexpress
from hamur.data.ali_ccp.load import SAMPLE as ALI_CCP
from hamur.data.aliexpress.load import SAMPLE as ALIEXPRESS
from hamur.errors import DataError, TruncatedFileError
from tests.support.faults import assert_ours

NAME = "sample_skeleton_train.csv"


@pytest.fixture
def ali(tmp_path):
    """The raw files, of which the training skeleton is missing."""
    shutil.copytree(ALI_CCP.parent / "ali-ccp-raw-sample", tmp_path / "raw")
    return tmp_path / "raw", (tmp_path / "raw" / NAME).read_bytes()


def tar(path, *members, mode="w:gz"):
    """members: (name, content) or TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))


def of_type(kind, name=NAME):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(*member)


def bytes_of_zip(*members):
    buffer = io.BytesIO()
    zipped(buffer, *members)
    return buffer.getvalue()


def link_in_zip(path, content):
    info = zipfile.ZipInfo(NAME)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    zipped(path, (info, b"/etc/passwd"))


def encrypted(path, content):
    data = bytearray(bytes_of_zip((NAME, content)))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)


def wrong_crc(path, content):
    data = bytearray(bytes_of_zip((NAME, content)))
    for signature, crc in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        data[data.index(signature) + crc] ^= 1
    path.write_bytes(data)


def cut(path, content):
    tar(path, (NAME, random.Random(0).randbytes(len(content))))
    path.write_bytes(path.read_bytes()[:-1000])


ODD = {
    "folder in a tar": ("a.tar.gz", lambda p, c: tar(p, of_type(tarfile.DIRTYPE)), "a folder"),
    "link in a tar": ("a.tar.gz", lambda p, c: tar(p, of_type(tarfile.SYMTYPE)), "a link"),
    "hard link in a tar": ("a.tar.gz", lambda p, c: tar(p, of_type(tarfile.LNKTYPE)), "a link"),
    "device in a tar": ("a.tar.gz", lambda p, c: tar(p, of_type(tarfile.CHRTYPE)), "a device"),
    "absolute": ("a.tar.gz", lambda p, c: tar(p, (f"/tmp/{NAME}", c)), "outside"),
    "parent": ("a.tar.gz", lambda p, c: tar(p, (f"a/../../{NAME}", c)), "outside"),
    "parent in a zip": ("a.zip", lambda p, c: zipped(p, (f"../{NAME}", c)), "outside"),
    "twice": ("a.tar.gz", lambda p, c: tar(p, (f"a/{NAME}", c), (f"b/{NAME}", c)), "twice"),
    "twice in a zip": ("a.zip", lambda p, c: zipped(p, (f"a/{NAME}", c), (NAME, c)), "twice"),
    "folder in a zip": ("a.zip", lambda p, c: zipped(p, (f"{NAME}/", b"")), "a folder"),
    "link in a zip": ("a.zip", link_in_zip, "a link"),
    "no gzip": ("a.tar.gz", lambda p, c: p.write_bytes(b"garbage" * 99), "damaged"),
    "gzip of no tar": ("a.tar.gz", lambda p, c: p.write_bytes(gzip.compress(c)), "damaged"),
    "cut": ("a.tar.gz", cut, "damaged or ends early"),
    "no zip": ("a.zip", lambda p, c: p.write_bytes(b"garbage" * 99), "damaged"),
    "no zip in a zip": ("a.zip", lambda p, c: zipped(p, ("b.zip", b"garbage")), "damaged"),
    "checksum": ("a.zip", wrong_crc, "damaged"),
    "password": ("a.zip", encrypted, "cannot be read .*password"),
    "no file": ("a.tar.gz", lambda p, c: p.write_bytes(b""), "damaged"),
    "no member": ("a.tar.gz", lambda p, c: tar(p), "not found"),
    "no member in a zip": ("a.zip", lambda p, c: zipped(p), "not found"),
    "tar in a tar": ("a.tar.gz", lambda p, c: tar(p, ("b.tar.gz", c)), "not found"),
    "a folder": ("a.tar.gz", lambda p, c: p.mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_archives_are_refused_and_nothing_is_written(ali, tmp_path, case):
    name, write, words = ODD[case]
    folder, content = ali
    (folder / NAME).unlink()
    write(folder / name, content)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=words) as caught:
        load_ali_ccp(folder, cache_dir=tmp_path / "c")
    assert_ours(caught.value)
    assert str(caught.value.file).startswith(str(folder))
    assert {
        path for path in tmp_path.rglob("*") if tmp_path / "c" not in (path, *path.parents)
    } == before


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.zip", f"{NAME}.gz", "nested.zip"])
def test_sound_archives_give_the_rows_of_the_plain_file(ali, tmp_path, name):
    folder, content = ali
    expected = load_ali_ccp(folder, cache_dir=tmp_path / "a")[0].train
    (folder / NAME).unlink()
    readme = ("README.csv", b"nothing to see")
    write = {
        "a.zip": lambda p: zipped(p, readme, (f"./in/{NAME}", content), ("x/README.csv", b"")),
        "nested.zip": lambda p: zipped(p, readme, ("b.zip", bytes_of_zip((NAME, content)))),
        f"{NAME}.gz": lambda p: p.write_bytes(gzip.compress(content)),
    }.get(name, lambda p: tar(p, of_type(tarfile.SYMTYPE, "latest"), (f"in/{NAME}", content)))
    write(folder / name)
    found = load_ali_ccp(folder, cache_dir=tmp_path / "b")[0].train
    assert np.array_equal(found.sparse, expected.sparse)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
@pytest.mark.parametrize("number", [25, pytest.param(1_000, marks=pytest.mark.slow)])
def test_damaged_archives_are_refused_or_harmless(ali, tmp_path, name, number):
    """Bytes changed, cut out or doubled; seed 5."""
    folder, content = ali
    expected = load_ali_ccp(folder, cache_dir=tmp_path / "a")[0].train
    (folder / NAME).unlink()
    path, rng = folder / name, random.Random(5)
    (tar if name == "a.tar.gz" else zipped)(path, (NAME, content))
    sound, refused = path.read_bytes(), 0
    for turn in range(number):
        data, at = bytearray(sound), rng.randrange(len(sound))
        if name == "a.zip" and turn % 2:  # the directory at the end
            at = rng.randrange(len(sound) - 120, len(sound))
        to = at + rng.randint(1, 8)
        data[at:to] = [rng.randbytes(to - at), b"", data[at:to] * 2][rng.randrange(3)]
        path.write_bytes(data)
        try:
            found = load_ali_ccp(folder, cache_dir=tmp_path / "b")[0].train
        except Exception as error:
            assert_ours(error, (turn, at))
            refused += 1
        else:
            assert np.array_equal(found.sparse, expected.sparse)
    print(f"{name}: {number} damaged archives of seed 5, {refused} refused")
    assert refused > number / 2


def test_a_changed_value_in_a_tar_is_seen_by_its_checksum(ali, tmp_path):
    """That of a .tar.gz is compared at its very end, behind all members."""
    folder, content = ali
    (folder / NAME).unlink()
    tar(tmp_path / "a.tar", (NAME, content), mode="w")
    packed = gzip.compress((tmp_path / "a.tar").read_bytes(), compresslevel=0)  # as it is
    old, new = b"\x030.69315", b"\x039.69315"
    assert old in content and content.replace(old, new, 1) != content
    (folder / "a.tar.gz").write_bytes(packed.replace(old, new, 1))
    with pytest.raises(TruncatedFileError, match="CRC check failed"):
        load_ali_ccp(folder, cache_dir=tmp_path / "b")


def test_two_archives_of_one_country_are_named(tmp_path):
    """A file that an archive holds twice is not the first of the two."""
    names = [path.name for path in (ALIEXPRESS / "raw").iterdir()]
    content = [(f"{folder}/{name}", b"1\n") for folder in "ab" for name in names]
    zipped(tmp_path / "aliexpress_NL_datasets.zip", *content)
    with pytest.raises(DataError, match="twice, also as a/nl_"):
        load_aliexpress(tmp_path, cache_dir=tmp_path / "c")
