"""Lines of the raw Ali-CCP files as arrays.

    skeleton  sample_id,click,conversion,common_feature_index,feature_num,feature_list
    common    common_feature_index,feature_num,feature_list
    list      field 0x02 id 0x03 value, joined by 0x01, in any order

pyarrow does the work: its CSV reader splits the lines, and, with the three marks replaced by line
ends and commas, a second time the features of all of them.  It was chosen by measurement
(`tests/benchmarks/text_engines.py`: one thread, 60,000 rows of 14 features, 273 bytes each):
pyarrow 470,000 rows/s, polars 350,000, NumPy on bytes 200,000 to 470,000 depending on what else
runs, duckdb 170,000.  pyarrow converts and checks the numbers, is needed for predictions anyway,
and its IPC files keep the parts of a preparation.

What it would accept but the format does not allow is caught by one pass over the bytes.  A block
that holds anything odd is judged line by line (`judge`), which names the place, and the sound
lines are read again.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hamur.data.ali_ccp.form import ID_LIMIT, INT_LIMIT, KEY, LABELS, LIST, MARKS, Form
from hamur.data.ali_ccp.judge import judge_line, torn
from hamur.data.text.bad_rows import BadRows

_BYTES = b"0123456789abcdefABCDEF_.,\n" + MARKS
_AS_CSV = bytes.maketrans(MARKS, b"\n,,")
_HEX = np.full(256, 255, np.uint8)
_HEX[list(b"0123456789")] = np.arange(10)
_HEX[list(b"abcdef")] = _HEX[list(b"ABCDEF")] = np.arange(10, 16)


@dataclass(frozen=True)
class Features:
    """n lines.  head: name -> (n,) integers, the key as uint64; counts (n,): features of a line.

    Of all features in file order: field, the place among the form's names; ids int32; values
    float64.  lines (n,): the line numbers, counted from 1 at the beginning of the block.
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


def parse(block: bytes, form: Form, bad_rows: BadRows, lines_before: int) -> Features:
    """The sound lines of a block; the others go to `bad_rows` under their number in the file.

    An incomplete last line without a line end makes the file unusable: TruncatedFileError.
    """
    try:
        if block.translate(None, _BYTES):
            raise _Odd
        return _parse(block, form)
    except (_Odd, pa.ArrowInvalid):
        texts = block.split(b"\n")
        if not texts[-1]:
            del texts[-1]
        errors = [judge_line(text, form, bad_rows, 0) for text in texts]
        good = np.array([error is None for error in errors])
        for row in np.flatnonzero(~good):
            line = lines_before + int(row) + 1
            reason, error = judge_line(texts[row], form, bad_rows, line)
            if row == len(texts) - 1 and not block.endswith(b"\n"):
                reason, error, bad_rows.fatal = "cut short", torn(bad_rows, line, error), True
            bad_rows.add(line, reason, error, texts[row])
        sound = b"".join(text + b"\n" for text, keep in zip(texts, good) if keep)
        features = _parse(sound, form) if sound else _nothing(form)
        return Features(**features.__dict__ | {"lines": np.flatnonzero(good) + 1})


def _parse(block: bytes, form: Form) -> Features:
    names = (*form.head, LIST)
    types = dict.fromkeys(form.head, pa.int64()) | {KEY: pa.binary(16), LIST: pa.string()}
    table = _read(block, names, types)
    lists = table.column(LIST).combine_chunks()
    counts = pc.count_substring(lists, "\x01").to_numpy() + 1
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lists)], lists), "\n")[0].as_buffer()
    marks = np.frombuffer(joined, np.uint8)
    marks = marks[marks < 4]
    marks = marks[marks != 1]
    if (marks[0::2] != 2).any() or (marks[1::2] != 3).any():
        raise _Odd
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
    if counts.sum() != len(ids) or min(known, default=0) < 0 or ids.max(initial=0) >= ID_LIMIT:
        raise _Odd
    values = features.column("value").to_numpy()
    if not np.isfinite(values).all():
        raise _Odd
    return Features(
        head=head | {KEY: _keys(table.column(KEY).combine_chunks())},
        counts=counts,
        field=np.array(known, np.int8)[field.indices.to_numpy()],
        ids=ids.astype(np.int32),
        values=values,
        lines=np.arange(1, len(lists) + 1),
    )


def _read(block: bytes, names: list[str], types: dict) -> pa.Table:
    table = csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, column_names=list(names), block_size=len(block) + 1),
        csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types={name: pa.float64() for name in names} | types,
            null_values=[],
            strings_can_be_null=False,
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


def _nothing(form: Form) -> Features:
    head = {name: np.empty(0, np.uint64 if name == KEY else np.int64) for name in form.head}
    none = np.empty(0, np.int64)
    return Features(head, none, none, none.astype(np.int32), np.empty(0), none)
