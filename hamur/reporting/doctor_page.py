"""The sections of a report on what `hamur.reporting.doctor` found: verdicts, tables, plots."""

from collections.abc import Sequence
from datetime import datetime, timezone

from hamur.data.text.times import EARLIEST, LATEST
from hamur.metrics import diagnosis
from hamur.metrics.diagnosis import CALIBRATED
from hamur.metrics.protocols import CONFIDENCE
from hamur.reporting import doctor, figures, page
from hamur.reporting.tables import UNDEFINED, number_text

CURVES = 12  # domains with a plot, those with most rows
SENTENCES = 12  # of more domains, only those with something to tell have one
NAMED = 3  # features in a sentence
KINDS = {doctor.GAINS: "above", doctor.PAYS: "below"}
HEADINGS = {"auc": "Gain in AUC", "logloss": "Gain in log loss"}


def sections(content: dict) -> list[tuple[str, page.Html]]:
    """(heading, HTML) for `page.page`; content: of `doctor.examine_runs`."""
    found = [("Who gains from joint training", _gains(content))]
    if content["model"] is not None:
        model = content["model"]
        choice = f"Of {model['name']}, seed {model['seed']}: the model with the best mean AUC on "
        choice = page.paragraph(f"{choice}validation rows, {model['valid_auc']:.4f}.", "note")
        found.append(("Who is miscalibrated", page.joined(choice, _calibration(content))))
        found.append(("Which feature matters where", page.joined(choice, _importance(content))))
    return [*found, ("Drift of positives over time", _drift(content))]


def _per_domain(
    domains: Sequence[str], texts: Sequence[object], telling: Sequence[object]
) -> page.Html:
    """A sentence about each domain; telling: whether it says more than 'as expected'."""
    told = [d for d in range(len(domains)) if telling[d] or len(domains) <= SENTENCES]
    points = [page.joined(f"{domains[d]}:", texts[d]) for d in told]
    if rest := len(domains) - len(told):
        points.append(f"{rest} other domains: nothing to tell beyond the table.")
    return page.points(points)


def _gains(content: dict) -> page.Html:
    gains, domains = content["gains"], content["domains"]
    if "reason" in gains:
        return page.paragraph(f"Not known: {gains['reason']}.")
    models, joint = gains["models"], gains["joint"]
    texts, telling = [], [cell.get("auc", {}).get("verdict") in KINDS for cell in models[joint]]
    for d in range(len(domains)):
        cell = models[joint][d]
        if "auc" not in cell:
            texts.append(f"no verdict, {cell['reason']}.")
            continue
        verdicts = [row[d]["auc"]["verdict"] for row in models.values() if "auc" in row[d]]
        counts = f"; {verdicts.count(doctor.GAINS)} of {len(verdicts)} models gain, "
        counts += f"{verdicts.count(doctor.PAYS)} pay."
        auc = cell["auc"]
        verdict = page.coloured(auc["verdict"], KINDS.get(auc["verdict"]))
        # Beside 'within noise' an interval that is not corrected would say otherwise.
        change = _interval(auc) if telling[d] else f"{auc['difference']:+.4f}"
        texts.append(page.joined(verdict, f"with {joint}, AUC {change}{counts}"))
    parts = [_per_domain(domains, texts, telling), page.paragraph(_noise(gains), "note")]
    for figure, heading in HEADINGS.items():
        rows = [[name, *(_gain(cell, figure) for cell in row)] for name, row in models.items()]
        parts += [page.subheading(heading), page.table(["model", *domains], rows)]
    return page.joined(*parts)


def _noise(gains: dict) -> str:
    counts = sorted({cell["seeds"] for row in gains["models"].values() for cell in row})
    text = f"Test rows, against {gains['baseline']}, which trains each domain alone. "
    if max(counts) > 1:
        text += f"Paired by seed ({' or '.join(map(str, counts))}), Student's intervals. "
    if 1 in counts:
        text += "One common seed: intervals over resampled test rows, without the noise of "
        text += "training. "
    text += f"Intervals of {100 * CONFIDENCE:.0f} % are of single cells; colours and words after "
    text += "Holm's correction over all cells of a table. The sentences are about the model that "
    return f"{text}is best on validation rows."


def _gain(cell: dict, figure: str) -> object:
    if figure not in cell:
        return UNDEFINED
    return page.coloured(_interval(cell[figure]), KINDS.get(cell[figure]["verdict"]))


def _interval(gain: dict) -> str:
    return f"{gain['difference']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"


def _calibration(content: dict) -> page.Html:
    reports, domains = content["calibration"], content["domains"]
    texts = [_calibration_text(report) for report in reports]
    telling = [r.get("before", {}).get("verdict", CALIBRATED) != CALIBRATED for r in reports]
    header = ["domain", "rows", "positives", "ratio", "interval", "ECE", "log loss", "recalibrated"]
    header += ["ratio", "ECE", "log loss", "gain in log loss"]
    rows = [[name, *_calibration_row(report)] for name, report in zip(domains, reports)]
    note = "Ratio: sum of probabilities over number of positives, 1 is calibrated. Its interval "
    note += "(exact binomial) holds for all domains at once. Recalibration is fitted on the "
    note += f"domain's validation rows, isotonic with {diagnosis.ISOTONIC_ROWS:,} of each class, "
    note += "else Platt's, and measured on test rows. ECE: over bins of as many rows each. "
    note += "Calibrated means that the interval holds 1, as the wide one of few rows easily does."
    drawn = sorted((d for d in range(len(domains)) if "before" in reports[d]),
                   key=lambda d: -reports[d]["rows"])[:CURVES]  # fmt: skip
    parts = [_per_domain(domains, texts, telling), page.paragraph(note, "note")]
    parts.append(page.table(header, rows))
    if drawn:
        shown = "" if len(drawn) < CURVES else f" of the {CURVES} largest domains"
        parts.append(page.subheading(f"Reliability{shown}"))
        parts.append(figures.panels(_curve(domains[d], reports[d]) for d in sorted(drawn)))
    return page.joined(*parts)


def _calibration_text(report: dict) -> object:
    if "reason" in report:
        return f"no verdict, {report['reason']}."
    before, after = report["before"], report["after"]
    kind = None if before["verdict"] == CALIBRATED else "below"
    text = f"({before['ratio']:.3f}, {before['low']:.3f} to {before['high']:.3f}); "
    if "reason" in after:
        return page.joined(
            page.coloured(before["verdict"], kind), f"{text}not recalibrated, {after['reason']}."
        )
    text += f"{after['helps']}: {after['verdict']} ({after['ratio']:.3f}) after it."
    return page.joined(page.coloured(before["verdict"], kind), text)


def _calibration_row(report: dict) -> list[object]:
    row = [f"{report['rows']:,}", f"{report['positives']:,}"]
    if "reason" in report:
        return row + [UNDEFINED] * 9
    before, after = report["before"], report["after"]
    row += [f"{before['ratio']:.3f}", f"{before['low']:.3f} to {before['high']:.3f}"]
    row += [number_text(before[name]) for name in ("ece", "logloss")]
    if "reason" in after:
        return row + [UNDEFINED] * 5
    row += [after["method"], f"{after['ratio']:.3f}"]
    row += [number_text(after[name]) for name in ("ece", "logloss")]
    return [*row, _interval(after["gain"])]


def _curve(name: str, report: dict) -> page.Html:
    series = {
        part: [(bin["probability"], bin["rate"]) for bin in report[part]["curve"]]
        for part in ("before", "after")
        if "curve" in report[part]
    }
    return figures.curves(series, name, "mean probability", "share of positives")


def _importance(content: dict) -> page.Html:
    found, domains = content["importance"], content["domains"]
    if "reason" in found:
        return page.paragraph(f"Not known: {found['reason']}")
    features = found["features"]
    texts, telling = [], [False] * len(domains)
    for d in range(len(domains)):
        cells = {name: row[d] for name, row in features.items()}
        reason = next((cell["reason"] for cell in cells.values() if "reason" in cell), None)
        if reason is not None:
            texts.append(f"no verdict, {reason}.")
            continue
        mattering = sorted(
            (n for n in cells if cells[n]["matters"]), key=lambda n: -cells[n]["drop"]
        )
        named = ", ".join(f"{n} (AUC {-cells[n]['drop']:+.4f})" for n in mattering[:NAMED])
        text = f"depends most on {named}" if named else "no feature matters beyond noise"
        only = [n for n in mattering if sum(c.get("matters", False) for c in features[n]) == 1]
        if only and len(domains) > 1:
            telling[d], text = True, f"{text}; beyond noise only here: {', '.join(only)}"
        texts.append(f"{text}.")
    drops = {name: [cell.get("drop", 0.0) for cell in row] for name, row in features.items()}
    top = max(map(max, drops.values()), default=0.0)
    rows = [
        [name, *(_drop(cell, top) for cell in features[name])]
        for name in sorted(drops, key=lambda name: -max(drops[name]))
    ]
    header = ["feature", *domains]
    note = "What the AUC of the domain loses when the feature is shuffled among its validation "
    note += f"rows (up to {max(found['rows'], default=0):,} of them; mean and standard deviation "
    note += f"of {found['repeats']} shuffles), shaded where it matters beyond noise after Holm's "
    note += "correction. Features that tell the same share what they are worth."
    if found["left_out"] is not None:
        note += " The domain itself is left out: inside a domain it is constant."
    return page.joined(
        _per_domain(domains, texts, telling), page.paragraph(note, "note"), page.table(header, rows)
    )


def _drop(cell: dict, top: float) -> object:
    if "reason" in cell:
        return UNDEFINED
    text = f"{cell['drop']:.4f} ± {cell['spread']:.4f}"
    return page.shaded(text, cell["drop"] / top) if cell["matters"] else text


def _drift(content: dict) -> page.Html:
    drift, domains = content["drift"], content["domains"]
    if "reason" in drift:
        return page.paragraph(f"Not known: {drift['reason']}.")
    reports = drift["domains"]
    texts = [_drift_text(report) for report in reports]
    telling = [report.get("verdict", doctor.STEADY) != doctor.STEADY for report in reports]
    drawn = [(name, r["periods"]) for name, r in zip(domains, reports) if "periods" in r]
    most = max((len(periods) for _, periods in drawn), default=0)
    header = ["domain", "from", "until", *(f"period {n + 1}" for n in range(most))]
    rows = []
    for name, periods in drawn:
        rates = [_percent(period["rate"]) for period in periods]
        ends = [_moment(periods[0]["first"]), _moment(periods[-1]["last"])]
        rows.append([name, *ends, *rates, *[UNDEFINED] * (most - len(rates))])
    note = f"Share of positive labels in periods of as many rows each, {drift['rows']:,} rows of "
    note += "all splits; a straight line through them is tested against their scatter, with Holm's "
    note += "correction over the domains."
    return page.joined(
        _per_domain(domains, texts, telling), page.paragraph(note, "note"), page.table(header, rows)
    )


def _drift_text(report: dict) -> str:
    if "reason" in report:
        return f"no verdict, {report['reason']}."
    ends = f"{_percent(report['from'])} to {_percent(report['to'])}"
    if report["verdict"] == doctor.STEADY:
        return f"{report['verdict']} ({ends})."
    return f"the share of positives {report['verdict']} from {ends}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _moment(seconds: int) -> str:
    if EARLIEST <= seconds <= LATEST:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}"
    return f"{seconds:,}"
