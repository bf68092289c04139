"""What is wrong with a line of the raw Ali-CCP files: the slow, precise half of `lists`."""

import re

import numpy as np

from hamur.data.ali_ccp.form import ID_LIMIT, KEY, LABELS, LIST, Form
from hamur.data.errors import DataError, DataFormatError, DataValueError, TruncatedFileError
from hamur.data.text.bad_rows import SKIP_REMEDY, BadRows

_KEY = re.compile(rb"[0-9a-fA-F]{16}")
_INT = re.compile(rb"[0-9]{1,18}")
_VALUE = re.compile(rb"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][0-9]+)?")


def judge_line(
    text: bytes, form: Form, bad_rows: BadRows, line: int
) -> tuple[str, DataError] | None:
    """The reason and the error of a bad line, None for a sound one."""
    found = judge(text, form)
    if found is None:
        return None
    kind, reason, problem, column, value, expected = found
    names = (*form.head, LIST)
    error = kind(
        problem,
        file=bad_rows.path,
        line=line,
        column=column,
        column_number=names.index(column) + 1 if column in names else None,
        value=value.decode("utf-8", "backslashreplace"),
        expected=expected,
        remedy=SKIP_REMEDY,
    )
    return reason, error


def judge(text: bytes, form: Form) -> tuple | None:
    """What is wrong with a line: error class, reason, problem, column, value, what was expected."""
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
        wrong = _judge_feature(feature, form)
        if wrong:
            problem = f"{wrong[1]} at byte {position + 1} of the line"
            return wrong[0], wrong[1], problem, LIST, feature, wrong[2]
        position += len(feature) + 1
    return None


def _judge_feature(feature: bytes, form: Form) -> tuple[type[DataError], str, str] | None:
    field, mark, rest = feature.partition(b"\x02")
    number, other, value = rest.partition(b"\x03")
    if not (mark and other) or b"\x02" in rest or b"\x03" in field + value:
        return DataFormatError, "malformed feature", "field 0x02 id 0x03 value"
    if field.decode("latin-1") not in form.fields:
        return DataFormatError, "unknown field", "one of " + ", ".join(form.fields)
    if not _INT.fullmatch(number) or int(number) >= ID_LIMIT:
        return DataValueError, "bad feature id", f"a whole number below {ID_LIMIT}"
    if not _VALUE.fullmatch(value) or not np.isfinite(float(value)):
        return DataValueError, "bad feature value", "a finite number >= 0"
    return None


def torn(bad_rows: BadRows, line: int, error: DataError) -> TruncatedFileError:
    """The error of a last line that ends too early."""
    return TruncatedFileError(
        f"the file ends inside this line ({error.parts['problem']})",
        file=bad_rows.path,
        line=line,
        value=error.value,
        expected=error.parts["expected"],
        remedy="fetch or write the file again",
    )
