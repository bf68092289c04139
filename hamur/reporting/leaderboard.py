"""Models of one family over the same seeds: figures, and differences to a baseline with verdicts.

leaderboard.csv and leaderboard.md hold what depends on data, options and seeds alone, so they are
the same bytes however often the runs were interrupted; costs.csv holds what was measured on the
machine.
"""

import csv
import html
import re
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hamur.errors import DataFormatError
from hamur.files import write_history, write_text
from hamur.metrics import diagnosis
from hamur.reporting.compare import Comparison, compare, figures, holm, spread
from hamur.reporting.results import TRAIN_AGAIN
from hamur.reporting.tables import UNDEFINED, markdown_table, number_text

ALPHA = 0.05  # that any model of a figure gets a wrong verdict
Runs = Mapping[int, Mapping]  # seed -> metrics.json


@dataclass(frozen=True)
class Entry:
    """A model: the metrics.json of its finished runs and their seconds of training until the best
    epoch, both by seed; why others have none; and its differences to the baseline by figure."""

    name: str
    runs: Runs
    seconds_to_best: Mapping[int, float] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)
    against: Mapping[str, Comparison] = field(default_factory=dict)

    def values(self, figure: str, split: str = "test") -> dict[int, float]:
        """Seed -> figure, of the runs in which it is defined."""
        found = {seed: quality(run, split).get(figure) for seed, run in self.runs.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def text(self, figure: str, split: str = "test") -> str:
        """Mean ± standard deviation."""
        return str(spread(self.values(figure, split).values()))

    def train(self, name: str) -> float | None:
        """The mean over the runs of a number in their "train" block."""
        return _mean(run["train"].get(name) for run in self.runs.values())


def quality(run: Mapping, split: str) -> dict[str, float | None]:
    """Name -> figure of a split of a run: `compare.figures`, and the log loss of each domain."""
    domains = run[split]["domains"].items()
    return figures(run, split) | {f"logloss_domain_{d}": entry["logloss"] for d, entry in domains}


def make_board(entries: Sequence[Entry], baseline: str) -> list[Entry]:
    """The entries with their differences to the baseline, the best validation AUC first: nothing is
    chosen on test rows.  A domain of too few test rows (`diagnosis.too_few`) has no differences:
    its AUC takes so few values that seeds agree by chance, which looks like certainty."""
    own = next(entry for entry in entries if entry.name == baseline)
    names = dict.fromkeys(
        name for entry in entries for run in entry.runs.values() for name in quality(run, "test")
    )
    runs = [run["test"]["domains"] for entry in entries for run in entry.runs.values()]
    domains = [item for run in runs for item in run.items()]
    few = {d for d, each in domains if diagnosis.too_few(each["positives"], each["rows"])}
    families: dict[str, dict] = {}  # a figure of all rows, or that of every domain together
    for figure in names:
        head, of_domain, d = figure.partition("_domain_")
        if d not in few:
            others = {
                e.name: (own.values(figure), e.values(figure)) for e in entries if e is not own
            }
            family = families.setdefault(head + of_domain, {})
            family |= {(name, figure): pair for name, pair in others.items()}
    found = {entry.name: {} for entry in entries}
    for pairs in families.values():
        for (name, figure), difference in corrected(pairs).items():
            found[name][figure] = difference
    board = [Entry(e.name, e.runs, e.seconds_to_best, e.failures, found[e.name]) for e in entries]
    return sorted(board, key=lambda e: (-(_mean(e.values("auc", "valid").values()) or 0), e.name))


def corrected(
    pairs: Mapping[Hashable, tuple[Mapping[int, float], Mapping[int, float]]],
) -> dict[Hashable, Comparison]:
    """Each candidate against its baseline, paired by seed, with p-values by Holm's rule and
    intervals that agree with them.

    pairs: (baseline, candidate), one family of n tests.  Holm tests the i-th smallest p-value at
    a_i = ALPHA / (n - i + 1) and stops at the first one that is not below; the interval of a
    candidate has the confidence 1 - a_i of its own test, and that of the first not rejected where
    the rule stopped before.  So an interval leaves 0 out exactly where the corrected p-value is
    below ALPHA, and `Comparison.verdict` is the corrected one.  Every interval covers its
    difference with at least 95 %, but all together are no simultaneous region.
    """
    plain = {name: compare(*pair) for name, pair in pairs.items()}
    tested = sorted((n for n, each in plain.items() if each.count > 1), key=lambda n: plain[n].p)
    adjusted = holm([plain[name].p for name in tested])
    rejected = sum(value < ALPHA for value in adjusted)
    for rank, name in enumerate(tested):
        confidence = 1 - ALPHA / (len(tested) - min(rank, rejected))
        wide = compare(*pairs[name], confidence)
        plain[name] = wide._replace(p=float(adjusted[rank]))
    return plain


def answer(board: Sequence[Entry], baseline: str) -> str:
    """Which models are above the baseline, in a sentence."""
    others = [entry for entry in board if entry.name != baseline]
    verdicts = {entry.name: entry.against["auc"].verdict for entry in others if entry.against}
    if not any(verdict in ("above", "below", "within noise") for verdict in verdicts.values()):
        if not others:
            return f"{baseline} was trained alone, so nothing is compared."
        return f"No model has two seeds in common with {baseline}: no interval, so no verdict."
    parts = []
    for word in ("above", "below"):
        names = [name for name, verdict in verdicts.items() if verdict == word]
        if names:
            verb = "is" if len(names) == 1 else "are"
            count = f"{len(names)} of {len(others)} models {verb} {word} {baseline} beyond noise"
            parts.append(f"{count}: {', '.join(names)}.")
        elif word == "above":
            parts.append(f"No model is above {baseline} beyond noise.")
    return " ".join(parts)


def seconds_to_best(history: Path, best_epoch: int) -> float:
    """Seconds of training until the best epoch, from history.csv.

    Raises:  OSError; DataFormatError: no table of epochs.
    """
    try:
        with history.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["seconds"]]
        return sum(float(row["seconds"]) for row in rows if int(row["epoch"]) <= best_epoch)
    except (ValueError, KeyError, csv.Error):
        raise DataFormatError("no table of epochs", file=history, remedy=TRAIN_AGAIN) from None


def write(folder: Path, board: Sequence[Entry], baseline: str, domains: Sequence[str]) -> None:
    """leaderboard.csv, leaderboard.md and costs.csv."""
    write_history(folder / "leaderboard.csv", [row(entry) for entry in board])
    write_history(folder / "costs.csv", [costs(entry) for entry in board])
    parts = [answer(board, baseline), markdown_table(*summary(board, baseline))]
    for title, table in domain_tables(board, domains).items():
        header, rows = table
        parts += [
            f"{title[0].upper()}{title[1:]} of each domain:",
            markdown_table(list(map(_escaped, header)), rows),
        ]
    parts += map(_escaped, failures(board))
    write_text(folder / "leaderboard.md", "\n\n".join(parts))


def row(entry: Entry) -> dict:
    """Line of leaderboard.csv: every figure in full."""
    cells = {"model": entry.name, "seeds": len(entry.runs), "failed": len(entry.failures)}
    cells |= _spread("valid_auc", entry.values("auc", "valid"))
    names = dict.fromkeys(n for run in entry.runs.values() for n in quality(run, "test"))
    for name in names:
        cells |= _spread(name, entry.values(name))
        found = entry.against.get(name)
        if found is not None and found.count:
            cells[f"{name}_difference"] = found.difference
            if found.count > 1:
                cells |= {f"{name}_low": found.low, f"{name}_high": found.high}
                cells |= {f"{name}_p": found.p}
            cells[f"{name}_verdict"] = found.verdict
    for name in ("parameters", "embedding_parameters", "best_epoch"):
        cells[name] = entry.train(name)
    return cells


def costs(entry: Entry) -> dict:
    """Line of costs.csv: means over the runs."""
    cells = {"model": entry.name, "rows_per_second": entry.train("rows_per_second")}
    cells |= {"peak_rss_mib": entry.train("peak_rss_mib"), "seconds": entry.train("seconds")}
    return cells | {"seconds_to_best": _mean(entry.seconds_to_best.values())}


def _spread(name: str, values: Mapping[int, float]) -> dict:
    found = spread(values.values())
    cells = {name: found.mean if found.count else None}
    return cells | ({f"{name}_std": found.std} if found.count > 1 else {})


Table = tuple[list[str], list[list[str]]]  # header, rows


def summary(board: Sequence[Entry], baseline: str) -> Table:
    """The main table, as text."""
    header = ["model", "verdict", "test AUC", f"AUC - {baseline}", "interval", "p (Holm)", "seeds"]
    header += ["validation AUC", "mean of domains", "worst domain"]
    header += ["log loss", "its difference", "its interval", "its verdict"]
    header += ["parameters", "in embeddings", "best epoch"]
    rows = []
    for entry in board:
        *found, verdict = difference_cells(entry, "auc", baseline)
        cells = [entry.name, verdict, entry.text("auc"), *found, seeds_text(entry)]
        cells += [entry.text("auc", "valid"), entry.text("macro_auc"), entry.text("worst_auc")]
        difference, interval, _, verdict = difference_cells(entry, "logloss", baseline)
        cells += [entry.text("logloss"), difference, interval, verdict]
        cells += [count_text(entry.train(name)) for name in ("parameters", "embedding_parameters")]
        rows.append([*cells, number_text(entry.train("best_epoch"), 1)])
    return header, rows


def difference_cells(entry: Entry, figure: str, baseline: str) -> list[str]:
    """Difference, interval, corrected p-value and verdict, as text."""
    if entry.name == baseline:
        return [UNDEFINED, UNDEFINED, UNDEFINED, "baseline"]
    found = entry.against.get(figure)
    if found is None or not found.count:
        return [UNDEFINED, UNDEFINED, UNDEFINED, "no common seed"]
    p = UNDEFINED if found.count < 2 else "< 0.0001" if found.p < 1e-4 else f"{found.p:.4f}"
    return [f"{found.difference:+.4f}", found.interval, p, found.verdict]


def domain_tables(board: Sequence[Entry], domains: Sequence[str]) -> dict[str, Table]:
    """Title -> mean ± standard deviation, per domain, of test AUC and log loss, with the verdict
    where it is one."""
    tables = {}
    for title, figure in (("AUC", "auc"), ("log loss", "logloss")):
        rows = []
        for entry in board:
            cells = []
            for d in range(len(domains)):
                verdict = verdict_of(entry, f"{figure}_domain_{d}")
                mark = f" {verdict}" if verdict in ("above", "below") else ""
                cells.append(entry.text(f"{figure}_domain_{d}") + mark)
            rows.append([entry.name, *cells])
        tables[title] = (["model", *domains], rows)
    return tables


def verdict_of(entry: Entry, figure: str) -> str | None:
    """The verdict on one figure; None of the baseline."""
    return entry.against[figure].verdict if figure in entry.against else None


def failures(board: Sequence[Entry]) -> list[str]:
    """A line per run that has no result, and per one that a constant prediction beats."""
    lines = [
        f"{entry.name}, seed {seed}: failed, {text}"
        for entry in board
        for seed, text in entry.failures.items()
    ]
    return lines + [
        f"{entry.name}, seed {seed}: a constant prediction has a lower validation log loss."
        for entry in board
        for seed, run in entry.runs.items()
        if "worse_than_constant" in run["train"]
    ]


def seeds_text(entry: Entry) -> str:
    """'3', or '2 of 3' where one failed."""
    done, failed = len(entry.runs), len(entry.failures)
    return f"{done} of {done + failed}" if failed else str(done)


def count_text(value: float | None) -> str:
    """A number with thousands marked."""
    return UNDEFINED if value is None else f"{value:,.0f}"


def _escaped(text: str) -> str:
    """A text from outside, such as the name of a domain, which is no Markdown, no HTML, and a line:
    it cannot end a cell either."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[\\`*|]", r"\\\g<0>", text)


def _mean(values) -> float | None:
    defined = [value for value in values if value is not None]
    if len(set(defined)) == 1:
        return defined[0]  # a number of parameters stays a whole one
    return statistics.fmean(defined) if defined else None
