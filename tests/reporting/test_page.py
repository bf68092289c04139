"""Pages of reports: whole, escaped, and without a request to anybody."""

import re
from xml.etree import ElementTree

import pytest

from hamur.reporting import figures, page

NAME = "<script>alert('&')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;"


def whole_page() -> str:
    dots = [
        figures.Dot(NAME, 0.002, 0.001, 0.003, "+0.0020", "above"),
        figures.Dot("one seed", -0.001, None, None),
        figures.Dot("undefined", float("nan"), float("nan"), float("nan")),
    ]
    curve = figures.curves({NAME: [(0.1, 0.2), (0.3, 0.25)]}, NAME, NAME, NAME)
    parts = [page.table(["model", NAME], [[NAME, page.coloured(NAME, "below")]])]
    parts += [page.points([NAME]), page.subheading(NAME), page.code(NAME), page.paragraph(NAME)]
    parts += [figures.intervals(dots, NAME, rule=0.0), figures.panels([curve])]
    return page.page(NAME, [(NAME, page.joined(NAME, *parts)), ("plain", NAME)], NAME)


def test_every_text_is_escaped_and_the_markup_is_balanced():
    text = whole_page()
    assert "<script" not in text and text.count(ESCAPED) >= 17
    body = text[text.index("<body>") : text.index("</html>")]
    assert ElementTree.fromstring(body).tag == "body"


def test_a_page_asks_nobody_for_anything():
    text = whole_page()
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//|@import|url\(|<(script|link|img|iframe|object)|src=", text)
    targets = re.findall(r'href="([^"]*)"', text)
    assert targets == ["#s0", "#s1"] and all(f'id="{target[1:]}"' in text for target in targets)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.0, 1.0], [0.0, 0.5, 1.0]),
        ([-0.0042, 0.003], [-0.006, -0.004, -0.002, 0.0, 0.002, 0.004]),
        ([0.7], [0.699, 0.6995, 0.7, 0.7005, 0.701]),
        ([], [-0.001, -0.0005, 0.0, 0.0005, 0.001]),
    ],
)
def test_ticks_are_round_numbers_that_hold_the_values(values, expected):
    assert figures.scale(values) == pytest.approx(expected, abs=1e-12)


def test_a_dot_lies_where_its_value_is_and_its_interval_around_it():
    dot = figures.Dot("a", 0.25, 0.0, 1.0, kind="below")
    text = figures.intervals([dot], "caption", rule=0.5)
    assert '<g class="below"><line x1="4.00%" y1="13" x2="96.00%" y2="13"/>' in text
    assert 'cx="27.00%"' in text  # 4 % + a quarter of 92 %
    assert text.index('x1="50.00%"') < text.index("<g class")  # the rule lies below, uncoloured
