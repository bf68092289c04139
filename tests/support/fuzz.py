"""Damaged lines of text files, read as an oracle says or refused, and damaged files of others."""

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamur.data.text.bad_rows import BadRows, Policy
from hamur.errors import DataError
from tests.support.faults import assert_ours

ODD = "\0\x1f\x1c\r\x85\ufeff\u2028\u0661"  # of lines that are read alone
CELLS = ("", "nan", "-3", "1e4", "1e400", "0x1", "2.0", "0", "0.", "1", "True", ".0", "+7", "inf")
CELLS += ("9007199254740993.0", "9223372036854775807", "9223372036854775808", "0" * 20 + "1")
CELLS += ("0." + "0" * 15 + "12345", "1_0", '"1"', '"', '1"', "\ud800", "9" * 400, "-0", " 3 ")
CELLS += ("1e39",)


@dataclass(frozen=True)
class TextFormat:
    """lines: sound ones; read: path, bad rows -> (line, values) of every row that is read; by_hand:
    the values in a line, or None where it is no row; marks: characters of the format; header: of a
    file."""

    lines: list[str]
    read: Callable[[Path, BadRows], Iterable[tuple[int, tuple]]]
    by_hand: Callable[[str], tuple | None]
    marks: str
    separator: str = ","
    header: str | None = None
    encoding: str = "utf-8"
    name: str = "lines.csv"

    def encode(self, texts: Iterable[str]) -> bytes:
        head = [] if self.header is None else [self.header]
        text = "".join(f"{line}\n" for line in (*head, *texts))
        return text.encode(self.encoding, "replace")


def mutated(rng: random.Random, line: str, marks: str, separator: str) -> str:
    """The line after one or two changes: characters left out, repeated or inserted from `marks`, or
    a cell that is replaced by one of `CELLS`."""
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(line) + 1)
        to = min(len(line), at + rng.randint(1, 4))
        change = rng.randrange(4)
        if change == 0:
            line = line[:at] + line[to:]
        elif change == 1:
            line = line[:at] + line[at:to] + line[at:]
        elif change == 2:
            line = line[:at] + rng.choice(marks) + line[at:]
        else:
            row = line.split(separator)
            row[rng.randrange(len(row))] = rng.choice(CELLS)
            line = separator.join(row)
    return line


def damaged(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """The bytes of a file after one change: bits flipped, bytes left out, inserted or zeroed, the
    file cut off, another file in its place."""
    at = rng.randrange(len(content) + 1)
    to = min(len(content), at + rng.randint(1, 8))
    change = rng.randrange(7)
    if change < 2 and content:
        at = rng.randrange(len(content))
        flipped = content[at] ^ (1 << rng.randrange(8))
        return content[:at] + bytes([flipped]) + content[at + 1 :]
    if change == 2:
        return content[:at]
    if change == 3:
        return content[:at] + content[to:]
    if change == 4:
        return content[:at] + rng.randbytes(rng.randint(1, 8)) + content[at:]
    if change == 5:
        return content[:at] + bytes(to - at) + content[to:]
    return rng.choice(others) if others else b""


VALUES = (None, True, 0, -1, 1 << 40, 0.5, "", "|O", "../x", "x" * 300, [], {}, [[1]], {"a": 1})


def damaged_json(rng: random.Random, content: bytes) -> bytes:
    """The bytes of a JSON object after one value or key in it became another."""
    root = json.loads(content)
    nodes = [root]
    for node in nodes:
        inner = node.values() if isinstance(node, dict) else node
        nodes += [each for each in inner if isinstance(each, dict | list) and each]
    node = rng.choice(nodes)
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    change = rng.randrange(4)
    if change == 0:
        del node[key]
    elif change == 1 and isinstance(node, dict):
        node[rng.choice(("x", "", str(key) + " "))] = node.pop(key)
    elif change == 2 and isinstance(node[key], int | float):
        node[key] = rng.choice((-node[key] - 1, node[key] + 1, node[key] * 3, float(node[key])))
    else:
        node[key] = rng.choice(VALUES)
    return json.dumps(root).encode()


def damage(rng: random.Random, path: Path, others: Sequence[Path]) -> None:
    """Damages a file in place; others: files that may come to stand in its place."""
    before = content = path.read_bytes()
    while content == before:
        if path.suffix == ".json" and rng.random() < 0.5:
            content = damaged_json(rng, before)
        else:
            content = damaged(rng, before, [other.read_bytes() for other in others])
    path.write_bytes(content)


def check_mutated(of: TextFormat, folder: Path, number: int, seed: int) -> dict[str, int]:
    """Reads `number` damaged lines in one file, and a tenth of as many others one by one."""
    rng, began = random.Random(seed), time.perf_counter()
    path, first = folder / of.name, 1 if of.header is None else 2
    texts = [mutated(rng, rng.choice(of.lines), of.marks, of.separator) for _ in range(number)]
    texts = [_as_read(of, text) for text in (*texts, of.lines[0])]
    path.write_bytes(of.encode(texts))
    expected = {n: values for n, t in enumerate(texts, first) if (values := of.by_hand(t))}
    bad_rows = BadRows(path, Policy("skip", 1.0))
    found = dict(of.read(path, bad_rows))
    bad_rows.raise_if_any()
    for line in found.keys() | expected.keys():
        text = texts[line - first]
        assert equal(found.get(line), expected.get(line)), (seed, line, text)
    refused = sum(bad_rows.dropped.values())
    assert refused == len(texts) - len(found) and 0.1 < refused / number < 0.97
    try:
        strict = BadRows(path, Policy())
        list(of.read(path, strict))
        strict.raise_if_any()
    except DataError as error:
        assert_ours(error)
        assert error.line == next(n for n in range(first, len(texts)) if n not in expected)
    counts = {"lines": number, "refused": refused, "agreed": len(found), "alone": number // 10}
    for _ in range(number // 10):
        text = mutated(rng, rng.choice(of.lines), of.marks + ODD, of.separator)
        text = _as_read(of, text)
        path.write_bytes(of.encode([of.lines[0], text, of.lines[0]]))
        bad_rows = BadRows(path, Policy())
        try:
            found = dict(of.read(path, bad_rows))
            bad_rows.raise_if_any()
        except Exception as error:
            assert_ours(error, (seed, text))
            assert of.by_hand(text) is None or not text.isprintable(), (seed, text, error)
            counts["refused"] += 1
        else:
            assert equal(found.get(first + 1), of.by_hand(text)), (seed, text)
            counts["agreed"] += 1
    return counts | {"seed": seed, "seconds": round(time.perf_counter() - began, 1)}


def _as_read(of: TextFormat, text: str) -> str:
    """The text as its encoding can write it, without a CR before the line end."""
    return text.encode(of.encoding, "replace").decode(of.encoding).removesuffix("\r")


def equal(found: tuple | None, expected: tuple | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return len(found) == len(expected) and all(map(_same, found, expected))


def _same(found, expected) -> bool:
    if expected != expected:  # a missing number
        return found != found
    if isinstance(expected, float):  # a parser may leave out digits that a float32 has not
        return math.isclose(found, expected, rel_tol=1e-8, abs_tol=1e-300)
    return type(found) is type(expected) and found == expected
