"""Plots as inline SVG, for `hamur.reporting.page`, whose style colours them.

Their texts have the size of the page's on every screen: what stretches is given in percent.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hamur.reporting.page import VERDICTS, Html, escape

HEIGHT, SIDE, MARGIN = 26, 240, 40  # pixels: of a strip, of a panel, around a panel


class Dot(NamedTuple):
    """A line of an interval plot: its name, the value, its interval if there is one, the figure as
    text; kind colours it: above, below."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    kind: str | None = None


def intervals(
    dots: Sequence[Dot], caption: str, rule: float | None = None, digits: int = 4
) -> Html:
    """A dot and its interval per line, over one scale; rule: a value with a line through all;
    digits: of the numbers at the scale."""
    values = [v for dot in dots for v in (dot.value, dot.low, dot.high) if _finite(v)]
    ticks = scale([*values, *([] if rule is None else [rule])])
    low, high = ticks[0], ticks[-1]

    def place(value: float) -> str:
        return f"{4 + 92 * (value - low) / (high - low):.2f}%"  # room for half a number at the ends

    def strip(name: object, drawn: str, text: object, height: int, kind: str = "strip") -> str:
        svg = f'<svg width="100%" height="{height}" role="img">{drawn}</svg>'
        return (
            f'<div class="{kind}"><span>{escape(name)}</span>{svg}<span>{escape(text)}</span></div>'
        )

    lines = []
    for dot in dots:
        through = "" if rule is None else _line(place(rule), 0, place(rule), HEIGHT, "axis")
        drawn = ""
        if _finite(dot.low) and _finite(dot.high):
            drawn += _line(place(dot.low), HEIGHT / 2, place(dot.high), HEIGHT / 2)
        if _finite(dot.value):
            drawn += f'<circle cx="{place(dot.value)}" cy="{HEIGHT / 2:g}" r="5"/>'
        kind = f' class="{dot.kind}"' if dot.kind in VERDICTS else ""
        lines.append(strip(dot.name, f"{through}<g{kind}>{drawn}</g>", dot.text, HEIGHT))
    drawn = _line(place(low), 1, place(high), 1, "axis")
    shown = ticks[:: max(1, (len(ticks) - 1) // 3)]  # few enough for a phone
    for tick in shown:
        drawn += _line(place(tick), 1, place(tick), 6, "axis")
        drawn += f'<text x="{place(tick)}" y="20" text-anchor="middle">{tick:.{digits}f}</text>'
    lines.append(strip("", drawn, "", HEIGHT, "strip scale"))
    return _figure(caption, "\n".join(lines))


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], caption: str, x: str, y: str
) -> Html:
    """Up to two curves of points (x, y) >= 0 by name, on equal axes and with the diagonal; x, y:
    what the axes are.  Put several into `panels`."""
    top = max([v for points in series.values() for point in points for v in point], default=1.0)
    top = scale([0.0, top])[-1]

    def at(px: float, py: float) -> tuple[float, float]:
        return MARGIN + SIDE * px / top, 10 + SIDE * (1 - py / top)

    (left, bottom), (right, up) = at(0, 0), at(top, top)
    drawn = _line(left, bottom, right, up, "axis") + _line(left, bottom, right, bottom, "axis")
    drawn += _line(left, bottom, left, up, "axis")
    for value, anchor in ((0, "start"), (top, "end")):
        drawn += f'<text x="{at(value, 0)[0]:g}" y="{bottom + 18:g}" text-anchor="{anchor}">'
        drawn += f"{value:g}</text>"
    drawn += f'<text x="{left - 6:g}" y="{up + 5:g}" text-anchor="end">{top:g}</text>'
    middle = (up + bottom) / 2
    drawn += f'<text x="{(left + right) / 2:g}" y="{bottom + 18:g}" text-anchor="middle">'
    drawn += f'{escape(x)}</text><text x="{left - 8:g}" y="{middle:g}" text-anchor="middle" '
    drawn += f'transform="rotate(-90 {left - 8:g} {middle:g})">{escape(y)}</text>'
    for n, (name, kind) in enumerate(zip(series, ("first", "second"), strict=False)):
        places = [at(*point) for point in series[name]]
        marks = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in places)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        label = f'<text x="{left + 8:g}" y="{up + 14 + 18 * n:g}">{escape(name)}</text>'
        drawn += f'<g class="{kind}"><polyline points="{path}"/>{marks}{label}</g>'
    size = f'width="{SIDE + MARGIN + 10}" height="{SIDE + 36}"'
    return _figure(caption, f'<svg {size} role="img">{drawn}</svg>')


def panels(figures: Iterable[Html]) -> Html:
    """Small figures beside each other, as many as the screen is wide."""
    return Html(f'<div class="panels">{"".join(map(escape, figures))}</div>')


def scale(values: Iterable[float]) -> list[float]:
    """Round numbers that hold the values: 3 to 7 ticks at steps of 1, 2 or 5 times a power of
    ten."""
    values = list(values) or [0.0]
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 1e-3, high + 1e-3
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _figure(caption: object, content: str) -> Html:
    return Html(f"<figure><figcaption>{escape(caption)}</figcaption>{content}</figure>")


def _line(x1: object, y1: float, x2: object, y2: float, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<line x1="{x1}" y1="{y1:g}" x2="{x2}" y2="{y2:g}"{kind}/>'


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
