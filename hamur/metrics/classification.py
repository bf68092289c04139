"""Metrics of binary predictions: pooled, per group, per domain and per task.

An undefined value (AUC of rows of one class, anything of no rows) is NaN where a function returns
a number, and None with a "reason" in the reports of `by_group` and `task_metrics`, because JSON
has no NaN.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

ONE_CLASS = "one class"
NO_ROWS = "no rows"


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: P(a positive row scores above a negative one), ties count half.

    labels (N,) of 0 and 1; scores (N,), probabilities or logits.  NaN if a class is missing.
    """
    labels = np.asarray(labels)
    if labels.size == 0 or labels.min() == labels.max():
        return math.nan
    from sklearn.metrics import roc_auc_score  # a second to import

    return float(roc_auc_score(labels, np.asarray(scores)))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log likelihood in nats, float64; defined for one class too.  NaN of no rows."""
    return float(row_losses(labels, probabilities).mean()) if len(labels) else math.nan


def row_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N,) negative log likelihood of each row in nats, float64.

    Probabilities are kept a float64 epsilon away from 0 and 1, so that one certain error costs
    36 nats instead of infinity.
    """
    positive = np.asarray(labels) > 0.5
    probabilities = np.asarray(probabilities, np.float64)
    of_truth = np.where(positive, probabilities, 1.0 - probabilities)
    return -np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0))


def mean_label(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of positive rows, the observed rate."""
    return float(np.mean(labels, dtype=np.float64)) if len(labels) else math.nan


def mean_probability(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean prediction, the expected rate."""
    return float(np.mean(probabilities, dtype=np.float64)) if len(labels) else math.nan


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected over observed rate: 1 is calibrated, above 1 predicts too much.

    NaN without a positive row.
    """
    observed = mean_label(labels, probabilities)
    return mean_probability(labels, probabilities) / observed if observed > 0 else math.nan


Metric = Callable[[np.ndarray, np.ndarray], float]

# What a report holds for each group of rows.  A new line here appears in metrics.json,
# history.csv and the tables.
METRICS: dict[str, Metric] = {
    "auc": auc,
    "logloss": log_loss,
    "mean_label": mean_label,
    "mean_probability": mean_probability,
    "calibration": calibration,
}


def gauc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """AUC inside each group (a user, a search page), averaged with the groups' rows as weights.

    Groups of one class have no AUC and are left out; NaN if none is left.  All groups at once by
    ranks (Mann-Whitney), since a call of scikit-learn per user takes a millisecond each.

    labels (N,) of 0 and 1; scores (N,); groups (N,) any sortable ids.
    """
    if len(labels) == 0:
        return math.nan
    _, group = np.unique(groups, return_inverse=True)
    _, score = np.unique(scores, return_inverse=True)
    order = np.lexsort((score, group))
    group, score = group[order], score[order]
    positive = np.asarray(labels)[order] > 0.5
    new_run = np.r_[True, (np.diff(group) != 0) | (np.diff(score) != 0)]
    starts = np.flatnonzero(new_run)
    ends = np.r_[starts[1:], len(group)]
    ranks = ((starts + 1 + ends) / 2)[np.cumsum(new_run) - 1]  # (N,) mean rank among equal scores
    rows = np.bincount(group)
    ranks -= np.r_[0, np.cumsum(rows)[:-1]][group]  # ranks start at 1 in every group
    positives = np.bincount(group, positive)
    pairs = positives * (rows - positives)
    wins = np.bincount(group, ranks * positive) - positives * (positives + 1) / 2
    defined = pairs > 0
    if not defined.any():
        return math.nan
    return float(np.average(wins[defined] / pairs[defined], weights=rows[defined]))


def by_group(
    labels: np.ndarray,
    probabilities: np.ndarray,
    domain: np.ndarray,
    num_domains: int | None = None,
) -> dict:
    """Every metric over all rows and per domain: one split's entry of metrics.json.

    `macro_auc` is the mean and `worst_auc` the minimum over the `defined_domains` domains that
    have both classes.  The pooled `auc` also rewards a model for knowing which domain clicks more;
    these two do not.

    labels (N,) of 0 and 1; probabilities (N,); domain (N,) of 0..D-1; num_domains D, by default
    the largest id + 1.  None takes the place of an undefined number, and "reason" says why.
    Raises:  ValueError: arrays of different length, a label other than 0 and 1, a probability
        that is NaN or outside [0, 1], a domain id outside 0..D-1.
    """
    labels, probabilities, domain = map(np.asarray, (labels, probabilities, domain))
    _check(labels, probabilities, domain, num_domains)
    if num_domains is None:
        num_domains = int(domain.max()) + 1 if len(domain) else 0
    report = _describe(labels, probabilities)
    domains = {}
    for d in range(num_domains):
        rows = np.flatnonzero(domain == d)
        domains[str(d)] = _describe(labels[rows], probabilities[rows])
    defined = [entry["auc"] for entry in domains.values() if entry["auc"] is not None]
    report["macro_auc"] = float(np.mean(defined)) if defined else None
    report["worst_auc"] = min(defined) if defined else None
    report["defined_domains"] = len(defined)
    if not defined:
        report.setdefault("reason", f"{ONE_CLASS} in every domain")
    report["domains"] = domains
    return report


def _describe(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """All METRICS of one group of rows, its size, and the reason if something is undefined."""
    values = {name: metric(labels, probabilities) for name, metric in METRICS.items()}
    entry = {name: None if math.isnan(value) else value for name, value in values.items()}
    entry["rows"] = len(labels)
    entry["positives"] = int(np.count_nonzero(labels))
    if None in entry.values():
        entry["reason"] = ONE_CLASS if len(labels) else NO_ROWS
    return entry


def _check(
    labels: np.ndarray, probabilities: np.ndarray, domain: np.ndarray, num_domains: int | None
) -> None:
    shapes = {"labels": labels.shape, "probabilities": probabilities.shape, "domain": domain.shape}
    if len(set(shapes.values())) > 1 or labels.ndim != 1:
        raise ValueError(f"by_group wants three arrays of one shape (N,), got {shapes}.")
    _refuse("labels", "0 or 1", labels, (labels != 0) & (labels != 1))
    outside = ~((probabilities >= 0) & (probabilities <= 1))  # also true for NaN
    _refuse("probabilities", "in [0, 1] (NaN: the training diverged)", probabilities, outside)
    unknown = domain < 0
    if num_domains is not None:
        unknown |= domain >= num_domains
    limit = "..." if num_domains is None else str(num_domains - 1)
    _refuse("domain", f"in 0..{limit}", domain, unknown)


def _refuse(name: str, rule: str, values: np.ndarray, wrong: Sequence[bool]) -> None:
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} must be {rule}; row {row} is {values[row]!r}.")


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean cross entropy in nats from logits (N,), in float64."""
    z = np.asarray(logits, np.float64)
    return float(np.mean(np.maximum(z, 0.0) - z * labels + np.log1p(np.exp(-np.abs(z)))))


def base_entropy(rates: np.ndarray) -> np.ndarray:
    """H_k (T,) of a constant prediction at the base rates (T,), in nats."""
    rates = np.asarray(rates, np.float64)
    return -(rates * np.log(rates) + (1.0 - rates) * np.log(1.0 - rates))


def label_entropy(labels: np.ndarray, names=None) -> np.ndarray:
    """H_k (T,) in nats of the best constant prediction for labels (N, T).

    Raises:  ValueError: a task with one class only; names it.
    """
    rates = np.asarray(labels, np.float64).mean(axis=0)
    for k, rate in enumerate(rates):
        if rate in (0.0, 1.0):
            name = names[k] if names else k
            raise ValueError(
                f"task {name!r} has one class only in the {len(labels):,} training rows (every "
                f"label is {rate:.0f}); leave the task out or use other rows."
            )
    return base_entropy(rates)


def task_metrics(labels, logits, entropy, names, group=None) -> dict:
    """{task: metrics} for labels (N, T) and logits (N, T); entropy (T,) divides the log loss to NE.

    auc, logloss, ne, pcoc (mean prediction over observed rate), gauc with the share of rows it
    covers (groups with both classes), rows, positives; from the second task on cvr_auc: the AUC of
    p_k / p_{k-1} on the rows whose label k-1 is 1.
    """
    report = {}
    log_probability = -np.logaddexp(0.0, -np.asarray(logits, np.float64))
    for k, name in enumerate(names):
        truth, z = np.asarray(labels[:, k]), logits[:, k]
        entry = {"auc": auc(truth, z), "logloss": cross_entropy(truth, z)}
        entry["ne"] = entry["logloss"] / float(entropy[k])
        entry["pcoc"] = calibration(truth, np.exp(log_probability[:, k]))
        if group is not None:
            entry["gauc"] = gauc(truth, z, group)
            entry["gauc_coverage"] = coverage(truth, group)
        if k:
            earlier = np.asarray(labels[:, k - 1]) > 0
            score = log_probability[earlier, k] - log_probability[earlier, k - 1]
            entry["cvr_auc"] = auc(truth[earlier], score)
        entry = {key: None if math.isnan(v) else float(v) for key, v in entry.items()}
        entry |= {"rows": len(truth), "positives": int(np.count_nonzero(truth))}
        if None in entry.values():
            entry["reason"] = f"{ONE_CLASS} in some group of rows"
            if entry["auc"] is None:
                entry["reason"] = ONE_CLASS
        report[name] = entry
    return report


def coverage(labels: np.ndarray, groups: np.ndarray) -> float:
    """Share of rows in groups that have both classes."""
    return float(mixed_groups(labels, groups).sum() / len(labels))


def mixed_groups(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Rows of each group that has both classes."""
    _, index, rows = np.unique(groups, return_inverse=True, return_counts=True)
    positives = np.bincount(index, np.asarray(labels, np.float64))
    return rows[(positives > 0) & (positives < rows)]


def normalized_entropy(labels: np.ndarray, logits: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """NE (R, T) of logits (N, R, T): cross entropy over the entropy (T,) of the base rates."""
    return _per_task(cross_entropy, labels, logits) / entropy


def aucs(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """AUC (R, T) of logits (N, R, T); NaN for a task of one class."""
    return _per_task(auc, labels, logits)


def _per_task(metric: Callable, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    tasks, points = range(logits.shape[2]), range(logits.shape[1])
    return np.array([[metric(labels[:, k], logits[:, r, k]) for k in tasks] for r in points])
