"""README.zh.md says what README.md says: code, figures, names and links are the same."""

import difflib
import itertools
import re
from pathlib import Path

import pytest

NAMES = ("README.md", "README.zh.md")
ENGLISH, CHINESE = ((Path(__file__).parents[1] / name).read_text("utf-8") for name in NAMES)

FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`[^`]*`")
TARGET = re.compile(r"\]\(([^)]*)\)")
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*")  # digits alone: numbers in words differ by language


def sections(text: str) -> list[list[str]]:
    """The lines of each section, its heading first; comments in code are no headings."""
    found, in_code = [], False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        if line.startswith("#") and not in_code:
            found.append([])
        found[-1].append(line)
    return found


def levels(text: str) -> list[str]:
    """The marks of each heading, such as ##."""
    return [heading.split()[0] for heading, *_ in sections(text)]


def tokens(text: str) -> list[str]:
    """Inline code, targets of links (without those between the two pages) and numbers."""
    without_spans = SPAN.sub("", text)
    targets = [target for target in TARGET.findall(without_spans) if target not in NAMES]
    numbers = NUMBER.findall(TARGET.sub("", without_spans))
    spans = [" ".join(span.split()) for span in SPAN.findall(text)]
    return [*spans, *targets, *numbers]


def facts(section: list[str]) -> list[str]:
    """What a section says in any language: lines of code, rows of tables, tokens of its prose."""
    text = "\n".join(section)
    code = "\n".join(FENCED.findall(text)).splitlines()
    rest = FENCED.sub("", text).splitlines()
    rows = [line.split("|")[1:-1] for line in rest if line.startswith("|")]
    prose = "\n".join(line for line in rest if not line.startswith("|"))
    return [
        *(f"code: {line}" for line in code),
        *("row: " + " | ".join(" ".join(tokens(cell)) for cell in row) for row in rows),
        *(f"text: {token}" for token in sorted(tokens(prose))),
    ]


def differences(english: str, chinese: str) -> list[str]:
    """Per section that differs: its heading, what only README.md has (-), only README.zh.md (+)."""
    found = []
    pairs = itertools.zip_longest(sections(english), sections(chinese), fillvalue=["no section"])
    for one, other in pairs:
        lines = difflib.unified_diff(facts(one), facts(other), n=0, lineterm="")
        changed = [line for line in lines if re.match(r"[+-](code|row|text):", line)]
        if changed:
            found.append("\n".join([one[0], *changed]))
    return found


def test_both_have_the_same_headings():
    assert levels(ENGLISH) == levels(CHINESE)


def test_both_say_the_same():
    found = differences(ENGLISH, CHINESE)
    assert not found, "README.md (-) and README.zh.md (+) differ:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AUC 为 0.98 |", "AUC 为 0.89 |", "# HAMUR for MindSpore\n-row: "),
        ("MLP +0.0026 |", "MLP -0.0026 |", "# HAMUR for MindSpore\n-row: "),
        ("3 GB", "4 GB", "## Install, and the first minute\n-text: 3\n+text: 4"),
        ("epochs=2, batch", "epochs=3, batch", "## From Python\n-code: trainer = "),
        ("md#comparison", "md#compare", "## Your own table\n-text: examples/README.md#comp"),
        ("`--search 30` ", "", "## Your own table\n-text: `--search 30`"),
        ("0.8241 ± 0.0004", "0.0004 ± 0.8241", "## Results on MovieLens-1M\n-row: "),
        ("最近 5 分", "最近 15 分", "## What a run writes\n-text: 5\n+text: 15"),
    ],
)
def test_what_changes_in_one_page_is_found(old, new, message):
    assert CHINESE.count(old) == 1
    (found,) = differences(ENGLISH, CHINESE.replace(old, new))
    assert found.startswith(message)
