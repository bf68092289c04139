"""Metrics of several tasks on the same rows: plain functions of arrays.

Undefined numbers are None with a "reason", as in `hamur.metrics.by_group`.
"""

import math

import numpy as np

from hamur import metrics


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean cross entropy in nats from logits (N,), in float64."""
    z = np.asarray(logits, np.float64)
    return float(np.mean(np.maximum(z, 0.0) - z * labels + np.log1p(np.exp(-np.abs(z)))))


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
    return -(rates * np.log(rates) + (1.0 - rates) * np.log(1.0 - rates))


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
        entry = {"auc": metrics.auc(truth, z), "logloss": cross_entropy(truth, z)}
        entry["ne"] = entry["logloss"] / float(entropy[k])
        entry["pcoc"] = metrics.calibration(truth, np.exp(log_probability[:, k]))
        if group is not None:
            entry["gauc"] = metrics.gauc(truth, z, group)
            entry["gauc_coverage"] = coverage(truth, group)
        if k:
            given = np.asarray(labels[:, k - 1]) > 0
            score = log_probability[given, k] - log_probability[given, k - 1]
            entry["cvr_auc"] = metrics.auc(truth[given], score)
        entry = {key: None if math.isnan(v) else float(v) for key, v in entry.items()}
        entry |= {"rows": len(truth), "positives": int(np.count_nonzero(truth))}
        if None in entry.values():
            entry["reason"] = f"{metrics.ONE_CLASS} in some group of rows"
            if entry["auc"] is None:
                entry["reason"] = metrics.ONE_CLASS
        report[name] = entry
    return report


def coverage(labels: np.ndarray, group: np.ndarray) -> float:
    """Share of rows in groups that have both classes."""
    _, index, rows = np.unique(group, return_inverse=True, return_counts=True)
    positives = np.bincount(index, np.asarray(labels, np.float64))
    mixed = (positives > 0) & (positives < rows)
    return float(rows[mixed].sum() / rows.sum())


def normalised_losses(labels, logits, entropy) -> np.ndarray:
    """NE (R, T) of logits (N, R, T)."""
    tasks = range(labels.shape[1])
    losses = [
        [cross_entropy(labels[:, k], logits[:, r, k]) for k in tasks]
        for r in range(logits.shape[1])
    ]
    return np.array(losses) / entropy


def areas(labels, logits) -> np.ndarray:
    """AUC (R, T) of logits (N, R, T); NaN for a task of one class."""
    tasks = range(labels.shape[1])
    return np.array(
        [
            [metrics.auc(labels[:, k], logits[:, r, k]) for k in tasks]
            for r in range(logits.shape[1])
        ]
    )
