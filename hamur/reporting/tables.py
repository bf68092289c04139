"""Aligned text tables for the terminal, and the same rows as Markdown."""

from collections.abc import Iterator, Sequence

import numpy as np

UNDEFINED = "-"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns aligned: the first `left` ones to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([_line(header, widths, left), rule, *(_line(r, widths, left) for r in rows)])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a table of a README."""
    marks = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, marks, *rows])


def data_table(splits, schema) -> str:
    """`data_rows` for the terminal."""
    return text_table(*data_rows(splits, schema))


def data_rows(splits, schema) -> tuple[list[str], list[list[str]]]:
    """Header and rows: number and share of positives of each split, per domain and in total."""
    rows = []
    for d, name in [*enumerate(schema.domain_names), (None, "all")]:
        columns = [np.asarray(table.labels)[:, 0] for table in splits]
        if d is not None:
            columns = [y[np.asarray(table.domain) == d] for y, table in zip(columns, splits)]
        rows.append([str(name), *_shares(columns, digits=1)])
    return ["domain", *_parts(splits)], rows


def task_table(splits, schema) -> str:
    """Rows and share of positives of each split, per task."""
    rows = []
    for k, name in enumerate(schema.labels):
        columns = [np.asarray(table.labels)[:, k] for table in splits]
        rows.append([name, *_shares(columns, digits=2)])
    return text_table(["task", *_parts(splits)], rows)


def _parts(splits) -> list[str]:
    return [title for part in splits._fields for title in (f"{part} rows", "positive")]


def _shares(columns: Sequence[np.ndarray], digits: int) -> Iterator[str]:
    for labels in columns:
        yield f"{len(labels):,}"
        yield f"{labels.mean(dtype=np.float64):.{digits}%}" if len(labels) else UNDEFINED


def metrics_table(report: dict, domain_names: Sequence[str]) -> str:
    """One split's metrics: a line per domain, all rows, then mean and worst of the domains."""
    header = ["domain", "rows", "positives", "AUC", "logloss", "calibration"]
    entries = [report["domains"][str(d)] for d in range(len(domain_names))]
    rows = [_metrics_row(name, entry) for name, entry in zip(domain_names, entries, strict=True)]
    rows.append(_metrics_row("all rows", report))
    for name, key in (("mean of domains", "macro_auc"), ("worst domain", "worst_auc")):
        rows.append([name, "", "", number_text(report[key]), "", ""])
    notes = [
        f"\n{name}: undefined figures, {entry['reason']}"
        for name, entry in zip(domain_names, entries, strict=True)
        if "reason" in entry
    ]
    return text_table(header, rows) + "".join(notes)


def _metrics_row(name: str, entry: dict) -> list[str]:
    counts = [f"{entry['rows']:,}", f"{entry['positives']:,}"]
    calibration = number_text(entry["calibration"], digits=3)
    return [
        str(name),
        *counts,
        number_text(entry["auc"]),
        number_text(entry["logloss"]),
        calibration,
    ]


def number_text(value: float | None, digits: int = 4) -> str:
    """A figure as text, also an undefined one."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    return "  ".join(c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in pairs).rstrip()
