"""Pages of HTML that need nothing but themselves: no script, no request, one file for a phone, a
wide screen, light and dark.

A text is escaped wherever it comes from; what is HTML already is an `Html`, which only the
functions here and in `hamur.reporting.figures` make.
"""

import html
from collections.abc import Iterable, Sequence

# Even a mistake here could not make a browser ask anybody for anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #59636e; --line: #d1d9e0;
  --shade: #f4f6f8; --mark: #0b62c4; --above: #1a7f37; --below: #c4232b; --second: #b35900 }
@media (prefers-color-scheme: dark) { :root { --back: #0f1419; --text: #e6edf3; --soft: #9aa5b1;
  --line: #343c45; --shade: #1a2129; --mark: #6cb2ff; --above: #4ac26b; --below: #ff7b72;
  --second: #f0a050 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.25rem; margin-top: 2.2rem }
h3 { font-size: 1.05rem; margin-bottom: .3rem }
p, ul, ol { max-width: 46rem } .answer { font-size: 1.15rem; font-weight: 600 }
nav a { margin-right: 1rem; white-space: nowrap } a { color: var(--mark) }
.note, figcaption, caption { color: var(--soft); text-align: left }
.scroll { overflow-x: auto; width: fit-content; max-width: 100%;
  border: 1px solid var(--line); border-radius: 6px }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap }
th { vertical-align: bottom; border-bottom: 2px solid var(--line) }
td { border-bottom: 1px solid var(--line) } tr:last-child td { border-bottom: 0 }
.left { text-align: left } th:first-child, td:first-child { position: sticky; left: 0;
  background: var(--back) }
code, pre { font: 15px/1.45 ui-monospace, monospace }
pre { background: var(--shade); padding: .7rem; border-radius: 6px; white-space: pre-wrap }
.above { color: var(--above) } .below { color: var(--below) }
figure { margin: 1rem 0 } figcaption { margin-bottom: .4rem }
.panels { display: flex; flex-wrap: wrap; gap: 1rem } .panels figure { margin: 0 }
.strip { display: grid; grid-template-columns: 12rem 1fr 16rem; gap: 0 1rem; align-items: center;
  margin: .25rem 0 }
.strip span:last-child { font-variant-numeric: tabular-nums; text-align: right;
  white-space: nowrap }
@media (max-width: 700px) { .strip { display: flex; flex-wrap: wrap;
  justify-content: space-between } .strip svg { order: 1; width: 100% }
  .strip span:last-child { margin-left: auto } .scale span { display: none } }
svg { display: block; overflow: visible } svg text { fill: var(--soft); font-size: 14px }
svg line, svg polyline { stroke: var(--mark); stroke-width: 2; fill: none }
svg circle { fill: var(--mark) } svg .axis { stroke: var(--line); stroke-width: 1 }
svg .above line { stroke: var(--above) } svg .above circle { fill: var(--above) }
svg .below line { stroke: var(--below) } svg .below circle { fill: var(--below) }
svg .second polyline { stroke: var(--second) } svg .second circle { fill: var(--second) }
svg .second text { fill: var(--second) } svg .first text { fill: var(--mark) }
"""


class Html(str):
    """Text that is HTML: it is not escaped again."""


def escape(text: object) -> Html:
    """A text as HTML; an Html as it is."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def page(title: str, sections: Iterable[tuple[str, str]], lead: str = "") -> str:
    """A whole page: the title, the lead, links to the sections, and each with its heading.

    sections: (heading, content); contents and lead are escaped where they are no Html.
    """
    sections = [(escape(heading), escape(content)) for heading, content in sections]
    links = (f'<a href="#s{n}">{heading}</a>' for n, (heading, _) in enumerate(sections))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        escape(lead),
        f"<nav>{' '.join(links)}</nav>",
        *(f'<h2 id="s{n}">{title}</h2>\n{text}' for n, (title, text) in enumerate(sections)),
        "</body></html>",
    ]
    return "\n".join(parts)


def joined(*parts: object) -> Html:
    """Parts of a page one after the other, each escaped where it is no Html."""
    return Html("\n".join(map(escape, parts)))


def paragraph(text: object, kind: str | None = None) -> Html:
    """A paragraph; kind: answer (large) or note (pale)."""
    return Html(f"<p{_class(kind)}>{escape(text)}</p>")


def points(texts: Iterable[object]) -> Html:
    """A list with bullets."""
    return Html("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>")


def subheading(text: object) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{escape(text)}</h3>")


def code(text: str) -> Html:
    """A command line or a file."""
    return Html(f"<pre>{escape(text)}</pre>")


def coloured(text: object, kind: str | None) -> Html:
    """A text in the colour of a verdict; kind: above, below, or any other for none."""
    return Html(f"<span{_class(kind)}>{escape(text)}</span>" if kind in VERDICTS else escape(text))


VERDICTS = ("above", "below")


def shaded(text: object, share: float) -> Html:
    """A text on a ground that is the stronger the nearer the share is to 1."""
    strength = f"{min(max(0.55 * share, 0.08), 0.55):.2f}"
    style = f"background: rgb(75 145 225 / {strength}); padding: .35rem .7rem; margin: 0 -.7rem"
    return Html(f'<span style="{style}">{escape(text)}</span>')


def table(header: Sequence[object], rows: Iterable[Sequence[object]], left: int = 1) -> Html:
    """A table that scrolls inside its box; the first `left` columns are of text, the first one
    stays in sight."""
    lines = [_row("th", header, left), *(_row("td", row, left) for row in rows)]
    return Html(f'<div class="scroll" tabindex="0"><table>{"".join(lines)}</table></div>')


def _row(tag: str, cells: Sequence[object], left: int) -> str:
    marks = (_class("left") if n < left else "" for n in range(len(cells)))
    inner = (f"<{tag}{mark}>{escape(c)}</{tag}>" for mark, c in zip(marks, cells, strict=True))
    return f"<tr>{''.join(inner)}</tr>\n"


def _class(name: str | None) -> str:
    return f' class="{name}"' if name else ""
