"""Damaged lines for the readers of text files, and damaged files for all others."""

import json
import random
from collections.abc import Sequence
from pathlib import Path


def mutated(
    rng: random.Random,
    line: str,
    marks: str,
    separator: str = ",",
    cells: tuple[str, ...] = ("", "nan", "-3", "1e4", "1e400", "0x1", "2.0", "0", "0.", "1"),
) -> str:
    """The line after one or two changes: characters left out, repeated or inserted from `marks`, or
    a cell that is replaced by one of `cells`."""
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
            row[rng.randrange(len(row))] = rng.choice(cells)
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
