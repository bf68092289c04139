"""What can be said about the rows of one domain: are its probabilities right, does recalibration
repair them, do its positives drift, is one model better there?

Plain functions of arrays.  labels (n,) of 0 and 1; probabilities (n,); numbers in reports are JSON
values.  Where there are too few rows to say anything, a report has a "reason" and no verdict.
"""

import math

import numpy as np

from hamur.metrics import protocols
from hamur.metrics.classification import auc, calibration, row_losses

BINS = 10
FEWEST = 10  # rows of each class, below which nothing is said about a domain
# Isotonic regression overfits below about a thousand rows of the rarer class, where two parameters
# do better (Niculescu-Mizil and Caruana 2005, figure 7).
ISOTONIC_ROWS = 1000
CALIBRATED = "calibrated"
RESAMPLES = 200  # for a standard error, of which they leave 5 % uncertain
RESAMPLED_ROWS = 100_000  # at most: the error of more rows follows from theirs


def too_few(positives: int, rows: int, where: str = "") -> str | None:
    """Why nothing is said about these rows; None: there are enough of both classes."""
    rarer, name = min((positives, "positive"), (rows - positives, "negative"))
    if rarer >= FEWEST:
        return None
    return f"{rarer} {name} {where}rows of {rows:,}; at least {FEWEST} are needed"


def lacking(labels: np.ndarray, where: str = "") -> str | None:
    """`too_few` of labels."""
    return too_few(int(np.count_nonzero(labels)), len(labels), where)


def equal_bins(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(n,) number 0, 1, ... of the bin of each value, of about as many rows each: equal values
    share a bin, so that there may be fewer of them."""
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="lower"))
    place = np.searchsorted(edges, values, side="left")
    return np.unique(place, return_inverse=True)[1]


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> list[dict]:
    """The reliability curve: rows, mean probability and share of positives of each bin of
    `equal_bins`, small probabilities first."""
    place = equal_bins(probabilities, bins)
    rows = np.bincount(place)
    means = [np.bincount(place, np.asarray(v, np.float64)) / rows for v in (probabilities, labels)]
    names = ("rows", "probability", "rate")
    return [dict(zip(names, each)) for each in zip(*(v.tolist() for v in (rows, *means)))]


def ratio_interval(
    labels: np.ndarray, probabilities: np.ndarray, confidence: float = protocols.CONFIDENCE
) -> tuple[float, float]:
    """Interval of the calibration ratio sum p / sum y: the mean probability over the ends of the
    exact interval of the rate of positives (Clopper and Pearson 1934).

    Binomial, so wider than need be where the probabilities of the rows differ.  Needs both classes.
    """
    from scipy import stats

    positives, tail = int(np.count_nonzero(labels)), (1 - confidence) / 2
    low = stats.beta.ppf(tail, positives, len(labels) - positives + 1)
    high = stats.beta.ppf(1 - tail, positives + 1, len(labels) - positives)
    mean = float(np.mean(probabilities, dtype=np.float64))
    return mean / float(high), mean / float(low)


def calibration_figures(
    labels: np.ndarray, probabilities: np.ndarray, confidence: float = protocols.CONFIDENCE
) -> dict:
    """Ratio sum p / sum y with its interval, log loss in nats, the reliability curve, its expected
    calibration error (mean |rate - probability| of the bins, weighted by rows), and the verdict:
    calibrated, or by how much the positives are over- or underestimated."""
    curve = reliability(labels, probabilities)
    gaps = [bin["rows"] * abs(bin["rate"] - bin["probability"]) for bin in curve]
    ratio = calibration(labels, probabilities)
    low, high = ratio_interval(labels, probabilities, confidence)
    verdict = CALIBRATED
    if low > 1 or high < 1:
        verdict = f"{'over' if low > 1 else 'under'}estimates by {abs(ratio - 1):.1%}"
    figures = {"ratio": ratio, "low": low, "high": high, "ece": sum(gaps) / len(labels)}
    figures["logloss"] = float(row_losses(labels, probabilities).mean())
    return figures | {"curve": curve, "verdict": verdict.replace("%", " %")}


def recalibrated(
    labels: np.ndarray, probabilities: np.ndarray, new: np.ndarray
) -> tuple[str, np.ndarray]:
    """(method, probabilities (m,) in the place of `new` (m,)), fitted on the rows given.

    "isotonic": the best ascending step function (Zadrozny and Elkan 2002), with ISOTONIC_ROWS of
    each class at least; else "Platt": sigmoid(a logit + b) (Platt 1999).  Needs both classes.
    """
    positives = int(np.count_nonzero(labels))
    if min(positives, len(labels) - positives) >= ISOTONIC_ROWS:
        from sklearn.isotonic import IsotonicRegression

        least = 1 / (len(labels) + 2)  # Laplace's rule: no rate is 0 or 1 for certain
        step = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
        return "isotonic", step.fit(probabilities, labels).predict(new)
    from sklearn.linear_model import LogisticRegression

    logits = [_logit(p)[:, None] for p in (probabilities, new)]
    line = LogisticRegression(C=1e6).fit(logits[0], labels)
    return "Platt", line.predict_proba(logits[1])[:, 1]


def _logit(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped) - np.log1p(-clipped)


def calibration_report(
    valid: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    confidence: float = protocols.CONFIDENCE,
) -> dict:
    """`calibration_figures` of the test rows of a domain before and after its recalibration, which
    is fitted on its validation rows, and whether that helps: the difference of the log losses with
    its interval.

    valid, test: (labels, probabilities).
    """
    counts = {"rows": len(test[0]), "positives": int(np.count_nonzero(test[0]))}
    if reason := too_few(counts["positives"], counts["rows"], "test "):
        return counts | {"reason": reason}
    report = counts | {"before": calibration_figures(*test, confidence)}
    if reason := lacking(valid[0], "validation "):
        return report | {"after": {"reason": reason}}
    method, after = recalibrated(*valid, test[1])
    report["after"] = {"method": method, **calibration_figures(test[0], after, confidence)}
    gain = mean_gain(row_losses(*test) - row_losses(test[0], after))
    words = ("recalibration makes it worse", "recalibration changes nothing beyond noise")
    words += ("recalibration helps",)
    report["after"] |= {"gain": gain, "helps": words[1 + _sign(gain)]}
    return report


def mean_gain(differences: np.ndarray, confidence: float = protocols.CONFIDENCE) -> dict:
    """Mean of paired differences of rows (n,), its normal interval and two-sided p-value."""
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    return _normal(float(np.mean(differences)), error, confidence)


def auc_gain(
    labels: np.ndarray,
    probabilities: np.ndarray,
    baseline: np.ndarray,
    confidence: float = protocols.CONFIDENCE,
    times: int = RESAMPLES,
) -> dict:
    """AUC of `probabilities` minus that of `baseline` on the same rows, with the normal interval of
    the standard deviation over resampled rows and the two-sided p-value.

    Of more than RESAMPLED_ROWS, evenly spaced ones are resampled; errors go with 1 / sqrt(rows).
    """
    ours, theirs = auc(labels, probabilities), auc(labels, baseline)
    part = slice(None, None, -(-len(labels) // RESAMPLED_ROWS))
    scores, number = (probabilities[part], baseline[part]), len(labels[part])
    samples = protocols.bootstrap_auc(labels[part], scores, np.arange(number), times)
    error = float(np.nanstd(samples[:, 0] - samples[:, 1])) * math.sqrt(number / len(labels))
    return _normal(ours - theirs, error, confidence)


def _normal(difference: float, error: float, confidence: float) -> dict:
    from scipy import stats

    half = float(stats.norm.ppf((1 + confidence) / 2)) * error
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return {"difference": difference, "low": difference - half, "high": difference + half, "p": p}


def _sign(gain: dict) -> int:
    return int(gain["low"] > 0) - int(gain["high"] < 0)


def trend(labels: np.ndarray, time: np.ndarray, bins: int = BINS) -> dict:
    """Rows, first and last time and share of positives in each of `bins` periods of about as many
    rows, and the p-value of a straight line through the shares.

    A test against the scatter of the periods, which rows that come in bursts (of one user, of one
    day) make larger than that of independent rows.  from, to: ends of the line.
    """
    if reason := lacking(labels):
        return {"reason": reason}
    place = equal_bins(time, bins)
    rows = np.bincount(place)
    if len(rows) < 4:
        return {"reason": f"the rows are of {len(rows)} periods only; at least 4 are needed"}
    rates = np.bincount(place, np.asarray(labels, np.float64)) / rows
    order = np.argsort(place, kind="stable")
    starts = np.cumsum(rows) - rows
    first, last = np.minimum.reduceat(time[order], starts), np.maximum.reduceat(time[order], starts)
    from scipy import stats

    line = stats.linregress(np.arange(len(rows)), rates)
    ends = {"from": float(line.intercept)}
    ends["to"] = float(line.intercept + line.slope * (len(rows) - 1))
    columns = dict(rows=rows, first=first, last=last, rate=rates)
    values = zip(*(column.tolist() for column in columns.values()))
    periods = [dict(zip(columns, each)) for each in values]
    return {"periods": periods, **ends, "p": float(line.pvalue) if np.ptp(rates) > 0 else 1.0}
