"""Metrics: plain functions of arrays.  `groups` has those of one list of predictions, pooled, per
group and per domain, and the dict METRICS of what every report holds.

Nothing here knows models or files; tables and plots of the figures are in `reporting`.
"""

from hamur.metrics.groups import (
    METRICS,
    NO_ROWS,
    ONE_CLASS,
    auc,
    by_group,
    calibration,
    gauc,
    log_loss,
    mean_label,
    mean_probability,
)

__all__ = [
    "METRICS",
    "NO_ROWS",
    "ONE_CLASS",
    "auc",
    "by_group",
    "calibration",
    "gauc",
    "log_loss",
    "mean_label",
    "mean_probability",
]
