"""report.html: the comparison of models as one page, see `hamur.reporting.page`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hamur.metrics import diagnosis
from hamur.reporting import figures, page
from hamur.reporting.leaderboard import (
    Entry,
    answer,
    costs,
    count_text,
    difference_cells,
    domain_tables,
    failures,
    summary,
)
from hamur.reporting.tables import number_text

PLOTTED_DOMAINS = 8  # more of them are in the table alone
READING = (
    "Test figures are mean ± standard deviation over seeds; a seed decides initial weights and the "
    "order of the rows. All runs have the same rows and the same split.",
    "A difference is the mean over common seeds of model minus baseline, paired by seed. Its "
    "interval is Student's, at the level at which Holm's correction over the compared models "
    "tests it: it leaves 0 out exactly where the corrected p-value is below 0.05. Each figure "
    "(AUC, log loss) of all rows is a family of its own, and that of all domains together is one.",
    "above, below: the interval leaves 0 out. within noise: it holds 0, so these runs do not tell "
    "the two apart; that does not show that they are equal. Of log loss, below is better.",
    f"A domain has no verdict below {diagnosis.FEWEST} positive or negative test rows.",
    "Seeds stand for noise of training alone. The test rows are a sample as well, which no number "
    "of seeds makes larger.",
    "Models are sorted by validation AUC, and the epoch of each run was chosen by validation; test "
    "rows chose nothing. Rows per second, memory and time are of the machine and of what else ran "
    "on it.",
)


class About(NamedTuple):
    """What a report says beside the figures.  facts: what was compared, a line each; data: header
    and rows of the table of splits; versions: name -> text."""

    dataset: str
    baseline: str
    domains: Sequence[str]
    facts: Sequence[str]
    data: tuple[Sequence[str], Sequence[Sequence[str]]]
    command: str
    versions: Mapping[str, str]


def render(board: Sequence[Entry], about: About, further: Sequence[tuple[str, str]] = ()) -> str:
    """The page; further: sections of other examinations, before how to read it all."""
    baseline = about.baseline
    sections = [
        ("What was compared", page.joined(page.points(about.facts), page.table(*about.data))),
        ("Leaderboard", leaderboard(board, baseline)),
        (f"Against {baseline}", differences(board, "auc", baseline, "Test AUC")),
        ("Per domain", domains(board, about)),
        ("Cost", cost_table(board)),
        *further,
        ("How to read it", page.points(READING)),
        ("Reproduce", reproduce(about)),
    ]
    title = f"Multi-domain models on {about.dataset}"
    return page.page(title, sections, page.paragraph(answer(board, baseline), "answer"))


def leaderboard(board: Sequence[Entry], baseline: str) -> page.Html:
    """The main table, with verdicts in colour, and the failed runs."""
    header, rows = summary(board, baseline)
    auc, loss = (header.index(name) for name in ("verdict", "its verdict"))
    for cells in rows:
        cells[auc] = page.coloured(cells[auc], cells[auc])
        cells[loss] = page.coloured(cells[loss], better(cells[loss], "logloss"))
    lines = failures(board)
    parts = [page.paragraph("The best validation AUC first.", "note"), page.table(header, rows, 2)]
    return page.joined(*parts, *([page.points(lines)] if lines else []))


def better(verdict: str, figure: str) -> str:
    """The verdict as one where above is better."""
    swapped = {"above": "below", "below": "above"} if figure.startswith("logloss") else {}
    return swapped.get(verdict, verdict)


def differences(board: Sequence[Entry], figure: str, baseline: str, title: str) -> page.Html:
    """The dot plot of one figure against the baseline."""
    dots = []
    for entry in board:
        found = entry.against.get(figure)
        if found is None or not found.count:
            continue
        difference, interval, _, verdict = difference_cells(entry, figure, baseline)
        text = f"{difference} ({interval})" if found.count > 1 else difference
        dots.append(figures.Dot(entry.name, *found[:3], text, better(verdict, figure)))
    if not dots:
        return page.paragraph(f"{title}: nothing to compare with {baseline}.")
    return figures.intervals(dots, f"{title}: difference to {baseline}", rule=0.0)


def domains(board: Sequence[Entry], about: About) -> page.Html:
    """Tables of AUC and log loss per domain, and the differences of AUC as plots."""
    parts = []
    for title, (header, rows) in domain_tables(board, about.domains).items():
        parts += [page.subheading(title), page.table(header, rows)]
    if len(about.domains) <= PLOTTED_DOMAINS:
        for d, name in enumerate(about.domains):
            parts.append(differences(board, f"auc_domain_{d}", about.baseline, f"AUC of {name}"))
    return page.joined(*parts)


def cost_table(board: Sequence[Entry]) -> page.Html:
    """Size, speed, memory and time of each model."""
    header = ["model", "parameters", "in embeddings", "rows per second", "peak memory (MiB)"]
    header += ["seconds of training", "until the best epoch", "best epoch"]
    rows = []
    for entry in board:
        measured = costs(entry)
        cells = [count_text(entry.train(n)) for n in ("parameters", "embedding_parameters")]
        cells += [count_text(measured[name]) for name in ("rows_per_second", "peak_rss_mib")]
        cells += [number_text(measured[name], 1) for name in ("seconds", "seconds_to_best")]
        rows.append([entry.name, *cells, number_text(entry.train("best_epoch"), 1)])
    return page.table(header, rows)


def reproduce(about: About) -> page.Html:
    """The command, and what it ran with."""
    versions = [f"{name} {text}" for name, text in about.versions.items()]
    return page.joined(page.code(about.command), page.points(versions))
