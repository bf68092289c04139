"""Lines of the raw Ali-CCP files as arrays.

    skeleton  sample_id,click,conversion,common_feature_index,feature_num,feature_list
    common    common_feature_index,feature_num,feature_list
    list      field 0x02 id 0x03 value, joined by 0x01, in any order

The CSV reader of pyarrow splits the lines, and, with the three marks replaced by line ends and
commas, the features of all of them.  What is left of a block without the bytes that lines are made
of, the marks and the line ends, tells how many features each line has, and catches what pyarrow
accepts but the format does not allow.  A block with anything odd is diagnosed line by line, which
names the place, and the sound lines are read again.
"""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hamur.data.ali_ccp.columns import COMMON_FIELDS, KEY, SKELETON_FIELDS
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows
from hamur.data.text.cells import LARGEST
from hamur.errors import DataError, DataFormatError, DataValueError, TruncatedFileError

LIST, LABELS = "feature_list", ("click", "conversion")
MARKS = b"\x01\x02\x03"
ID_LIMIT, INT_LIMIT = 2**31, 10**18
_KEY = re.compile(rb"[0-9a-fA-F]{16}")
_INT = re.compile(rb"[0-9]{1,18}")
_VALUE = re.compile(rb"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][0-9]+)?")
_BYTES = b"0123456789abcdefABCDEF_.,"
_AS_CSV = bytes.maketrans(MARKS, b"\n,,")
_HEX = np.full(256, 255, np.uint8)
_HEX[list(b"0123456789")] = np.arange(10)
_HEX[list(b"abcdef")] = _HEX[list(b"ABCDEF")] = np.arange(10, 16)


class LineFormat(NamedTuple):
    """head: the columns before the list, in order; fields: the names that a feature may have."""

    head: tuple[str, ...]
    fields: tuple[str, ...]


SKELETON = LineFormat(("sample_id", *LABELS, KEY, "feature_num"), SKELETON_FIELDS)
COMMON = LineFormat((KEY, "feature_num"), COMMON_FIELDS)


@dataclass(frozen=True)
class Features:
    """n lines.  head: name -> (n,) integers, the key as uint64; counts (n,): features of a line.

    Of all features in file order: field, the place among the form's names; ids int32; values
    float64.  lines (n,): the line numbers.
    """

    head: dict[str, np.ndarray]
    counts: np.ndarray
    field: np.ndarray
    ids: np.ndarray
    values: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self) -> np.ndarray:
        """The row of every feature."""
        return np.repeat(np.arange(len(self)), self.counts)


class _Odd(Exception):
    """Something in the block is not as it should be."""


def parse(block: bytes, form: LineFormat, bad_rows: BadRows, first_line: int) -> Features:
    """The sound lines of a block; the others go to `bad_rows`.

    Raises:  TruncatedFileError: the last line has no line end and is incomplete.
    """
    try:
        return _parse(block, form, first_line)
    except (_Odd, pa.ArrowInvalid):
        texts = block.split(b"\n")
        if not texts[-1]:
            del texts[-1]
        numbers = np.arange(first_line, first_line + len(texts))
        good = np.ones(len(texts), bool)
        for row, text in enumerate(texts):
            if problem := diagnose_line(text, form):
                good[row] = False
                at_end = row == len(texts) - 1 and not block.endswith(b"\n")
                _reject(form, bad_rows, int(numbers[row]), at_end, *problem)
        sound = b"".join(text + b"\n" for text, keep in zip(texts, good) if keep)
        return replace(_parse(sound, form), lines=numbers[good]) if sound else _nothing(form)


def _reject(
    form: LineFormat, bad_rows: BadRows, line: int, at_end: bool,
    kind, reason: str, problem: str, column: str | None, value: bytes, expected: str,
) -> None:  # fmt: skip
    names = (*form.head, LIST)
    about = dict(file=bad_rows.path, line=line, expected=expected)
    about["value"] = value.decode("utf-8", "backslashreplace")
    if at_end:
        raise TruncatedFileError(problem, **about, remedy="fetch or write the file again")
    number = names.index(column) + 1 if column in names else None
    error = kind(problem, **about, column=column, column_number=number, remedy=SKIP_REMEDY)
    bad_rows.add(line, reason, error)


def _parse(block: bytes, form: LineFormat, first_line: int = 1) -> Features:
    counts = _features_per_line(block)
    names = (*form.head, LIST)
    types = dict.fromkeys(form.head, pa.int64()) | {KEY: pa.binary(16), LIST: pa.string()}
    table = _read(block, names, types)
    lists = table.column(LIST).combine_chunks()
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lists)], lists), "\n")[0].as_buffer()
    types = {"field": pa.dictionary(pa.int32(), pa.string()), "id": pa.int64()}
    features = _read(joined.to_pybytes().translate(_AS_CSV), [*types, "value"], types)
    field = features.column("field").combine_chunks()
    place = {name: number for number, name in enumerate(form.fields)}
    known = [place.get(name, -1) for name in field.dictionary.to_pylist()]
    ids = features.column("id").to_numpy()
    head = {name: table.column(name).to_numpy() for name in form.head if name != KEY}
    for name, numbers in head.items():
        if numbers.max(initial=0) >= (2 if name in LABELS else INT_LIMIT):
            raise _Odd
    if len(counts) != len(lists) or counts.sum() != len(ids):
        raise _Odd
    if min(known, default=0) < 0 or ids.max(initial=0) >= ID_LIMIT:
        raise _Odd
    values = features.column("value").to_numpy()
    if not (values <= LARGEST).all():
        raise _Odd
    return Features(
        head=head | {KEY: _keys(table.column(KEY).combine_chunks())},
        counts=counts,
        field=np.array(known, np.int8)[field.indices.to_numpy()],
        ids=ids.astype(np.int32),
        values=values,
        lines=np.arange(first_line, first_line + len(counts)),
    )


def _features_per_line(block: bytes) -> np.ndarray:
    """(n,) the features of each line, whose marks are 2, 3 and 1 in turn, and in place of its last
    1 the line end."""
    marks = block.translate(None, _BYTES)
    marks += b"" if block.endswith(b"\n") else b"\n"
    if len(marks) % 3:
        raise _Odd
    first, second, last = np.frombuffer(marks, np.uint8).reshape(-1, 3).T
    line_end = last == ord("\n")
    if (first != 2).any() or (second != 3).any() or not (line_end | (last == 1)).all():
        raise _Odd
    return np.diff(np.flatnonzero(line_end), prepend=-1)


def _read(block: bytes, names: list[str], types: dict) -> pa.Table:
    table = csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, column_names=list(names), block_size=len(block) + 1),
        csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types={name: pa.float64() for name in names} | types,
            null_values=[],
            strings_can_be_null=False,
            check_utf8=False,  # `_features_per_line` has seen every byte
        ),
    )
    if any(table.column(name).null_count for name in names):
        raise _Odd
    return table.combine_chunks()


def _keys(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """(n,) uint64 of 16 hexadecimal digits each."""
    data = np.frombuffer(column.buffers()[1], np.uint8)[: 16 * len(column)]
    digits = _HEX[data].reshape(-1, 16)
    if (digits == 255).any():
        raise _Odd
    pairs = np.ascontiguousarray(digits[:, 0::2] << 4 | digits[:, 1::2])
    return pairs.view(">u8")[:, 0].astype(np.uint64)


def _nothing(form: LineFormat) -> Features:
    head = {name: np.empty(0, np.uint64 if name == KEY else np.int64) for name in form.head}
    none = np.empty(0, np.int64)
    return Features(head, none, none, none.astype(np.int32), np.empty(0), none)


def diagnose_line(text: bytes, form: LineFormat) -> tuple | None:
    """What is wrong with a line: error class, reason, problem, column, value, what was expected.

    Slow; for the blocks that pyarrow rejects only.
    """
    cells = text.split(b",")
    names = (*form.head, LIST)
    if len(cells) != len(names):
        expected = f"{len(names)}: {','.join(names)}"
        problem = f"{len(cells) if text else 0} fields"
        return DataFormatError, "wrong number of fields", problem, None, text, expected
    for name, cell in zip(form.head, cells):
        if name == KEY:
            if not _KEY.fullmatch(cell):
                expected = "16 hexadecimal digits"
                return DataFormatError, f"bad {KEY}", "not a key", name, cell, expected
        elif not _INT.fullmatch(cell):
            expected = "a whole number >= 0"
            return DataValueError, f"bad value in {name}", "not a number", name, cell, expected
        elif name in LABELS and int(cell) > 1:
            reason = f"not an allowed value in {name}"
            return DataValueError, reason, "not an allowed value", name, cell, "0 or 1"
    position = len(text) - len(cells[-1])
    for feature in cells[-1].split(b"\x01"):
        wrong = _diagnose_feature(feature, form)
        if wrong:
            problem = f"{wrong[1]} at byte {position + 1} of the line"
            return wrong[0], wrong[1], problem, LIST, feature, wrong[2]
        position += len(feature) + 1
    return None


def _diagnose_feature(feature: bytes, form: LineFormat) -> tuple[type[DataError], str, str] | None:
    field, mark, rest = feature.partition(b"\x02")
    number, other, value = rest.partition(b"\x03")
    if not (mark and other) or b"\x02" in rest or b"\x03" in field + value:
        return DataFormatError, "malformed feature", "field 0x02 id 0x03 value"
    if field.decode("latin-1") not in form.fields:
        return DataFormatError, "unknown field", "one of " + ", ".join(form.fields)
    if not _INT.fullmatch(number) or int(number) >= ID_LIMIT:
        return DataValueError, "bad feature id", f"a whole number below {ID_LIMIT}"
    if not _VALUE.fullmatch(value) or not float(value) <= LARGEST:
        return DataValueError, "bad feature value", f"a number from 0 to {LARGEST:.2g}"
    return None
