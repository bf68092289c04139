"""Metrics: plain functions of arrays, which know neither models nor files.

classification  AUC, log loss, calibration, GAUC; per domain, per task; METRICS of every report
fronts          hypervolume, control and spread of a front of losses
protocols       intervals over users, ranking of one positive among sampled items
diagnosis       of the rows of a domain: calibration, recalibration, drift, gain of a model
"""

from hamur.metrics.classification import (
    METRICS,
    NO_ROWS,
    ONE_CLASS,
    auc,
    aucs,
    by_group,
    calibration,
    cross_entropy,
    gauc,
    label_entropy,
    log_loss,
    mean_label,
    mean_probability,
    normalized_entropy,
    row_losses,
    task_metrics,
)

__all__ = [
    "METRICS",
    "NO_ROWS",
    "ONE_CLASS",
    "auc",
    "aucs",
    "by_group",
    "calibration",
    "cross_entropy",
    "gauc",
    "label_entropy",
    "log_loss",
    "mean_label",
    "mean_probability",
    "normalized_entropy",
    "row_losses",
    "task_metrics",
]
