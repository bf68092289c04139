"""What a training measures after each epoch: one object per family of models, made from (model,
validation table), whose report holds the criterion that picks the best epoch.

Scores that are not finite are a `DivergenceError` before any metric reads them.
"""

import logging
import math
import warnings

import numpy as np
from scipy.special import logit

from hamur import metrics, workers
from hamur.layers import collectives
from hamur.metrics import fronts
from hamur.models.prediction import sigmoid
from hamur.training.divergence import require_finite
from hamur.training.prediction import predictor_of

logger = logging.getLogger(__name__)
LESS_IS_BETTER = ("logloss",)  # of the criteria; of all others more
SPLIT_FIGURES = ("auc", "logloss", "macro_auc", "worst_auc")


class RankingEvaluation:
    """One task, several domains.

    evaluation() -> report, a dict that holds every criterion.  batch_size: rows per batch of
    prediction; of what the batch decides for models with batch statistics, see `predict`.
    """

    criteria = ("auc", "macro_auc", "worst_auc", "logloss")

    def __init__(self, model, table, batch_size=None):
        self.model, self.table = model, table
        self.predictor = predictor_of(model, batch_size)
        self.own = None if model.batch_statistics else worker_rows(table)

    def report(self, probabilities):
        labels, domain = self.table.labels[:, 0], self.table.domain
        return metrics.by_group(labels, probabilities, domain, self.model.schema.num_domains)

    def check(self, criterion):
        """ValueError if the criterion cannot be computed on this table, whatever the model."""
        report = self.report(np.full(len(self.table), 0.5))
        if report[criterion] is None:
            raise undefined(criterion, report["reason"])

    def __call__(self):
        if self.own is None:
            return self.report(finite_scores(self.predictor(self.table)))
        logits = collectives.gathered(self.predictor.logits(self.own), len(self.table))
        return self.report(finite_scores(sigmoid(logits)))

    def against_constant(self, report, constant):
        """(log loss, that of the constant predictor), the latter from `constant_losses` (1,)."""
        return report["logloss"], float(constant[0])

    def figures(self, report):
        """Columns of history.csv."""
        row = {name: report[name] for name in SPLIT_FIGURES}
        return row | {f"auc_domain_{d}": entry["auc"] for d, entry in report["domains"].items()}

    def line(self, report, run):
        """Its part of the line that is printed for an epoch."""
        return f"valid auc {auc_text(report['auc'], 5)}  logloss {report['logloss']:.5f}"


def worker_rows(table):
    """The rows of a table that this worker scores; None where there is one process."""
    return None if workers.count() == 1 else table.take(collectives.own_rows(len(table)))


def auc_text(auc: float | None, digits: int) -> str:
    return "undefined" if auc is None else f"{auc:.{digits}f}"


def undefined(criterion: str, reason: str) -> ValueError:
    """The error of a criterion that the validation labels do not define."""
    return ValueError(
        f"the criterion {criterion!r} is undefined on the validation split: {reason}. Use "
        "`criterion='logloss'`, or validation rows of both classes."
    )


def finite_scores(scores: np.ndarray) -> np.ndarray:
    """The scores of validation rows.  Raises DivergenceError where one is not finite."""
    require_finite("the scores of the validation rows are", scores, "at the end")
    return scores


class TaskEvaluation:
    """Several tasks, and several preferences where the model takes them.

    hypervolume: of the validation points in NE space below (1, ..., 1); minus the mean NE while all
    points are outside.  auc_hypervolume: the public code's measure; minus the mean NE where a task
    has one class only, and no AUC.  negative_loss: minus mean NE.
    weighted_loss: minus the NE weighed by ``weights`` (R, T) or (T,), the mean over preferences:
        steadier from epoch to epoch than a volume, and a criterion for one preference as for many.
    preferences (R, T), entropy (T,) of the training rows.
    """

    criteria = ("hypervolume", "auc_hypervolume", "negative_loss", "weighted_loss")

    def __init__(self, model, table, preferences, entropy, weights=None):
        self.model, self.table = model, table
        self.preferences, self.entropy = preferences, entropy
        self.weights = np.ones(len(entropy)) if weights is None else np.asarray(weights)
        self.predictor = predictor_of(model)
        self.own = worker_rows(table)
        low, high = table.labels.min(0), table.labels.max(0)
        self.aucs_defined = bool((low == 0).all() and (high == 1).all())

    def check(self, criterion):
        """Warns where the criterion has no AUC to go by."""
        if criterion == "auc_hypervolume" and not self.aucs_defined:
            warnings.warn(
                "a task has one class only in the validation split, and no AUC there: the epoch is "
                "chosen by the mean loss in place of the public code's rule.",
                stacklevel=2,
            )

    def __call__(self):
        own = self.table if self.own is None else self.own
        logits = self.predictor.logits(own, self.preferences)
        if self.own is not None:
            logits = collectives.gathered(np.ascontiguousarray(logits), len(self.table))
        finite_scores(logits)
        labels = self.table.labels
        losses = metrics.normalized_entropy(labels, logits, self.entropy)
        volume = fronts.hypervolume(losses, np.ones(losses.shape[1]))
        middle = logits[:, logits.shape[1] // 2]
        report = {"losses": losses, "aucs": metrics.aucs(labels, middle[:, None])[0]}
        report["negative_loss"] = -float(losses.mean())
        report["weighted_loss"] = -float((losses * self.weights).sum(axis=1).mean())
        report["hypervolume"] = volume if volume > 0 else report["negative_loss"]
        report["auc_hypervolume"] = report["negative_loss"]
        if self.aucs_defined:
            report["auc_hypervolume"] = fronts.published_hypervolume(metrics.aucs(labels, logits))
        return report

    def against_constant(self, report, constant):
        """(log loss, that of the constant predictor): means over the tasks, weighed by `weights`,
        at the preference where the first is the smallest share of the second.

        A point of a front may give a task up, so the best one speaks for the model.
        """
        losses = report["losses"] * self.entropy  # (R, T) in nats
        weights = np.broadcast_to(self.weights, losses.shape)
        means = [
            np.average(np.broadcast_to(x, losses.shape), 1, weights) for x in (losses, constant)
        ]
        best = int(np.argmin(means[0] / means[1]))
        return float(means[0][best]), float(means[1][best])

    def figures(self, report):
        row = {name: report[name] for name in self.criteria}
        for k, name in enumerate(self.model.schema.labels):
            auc = float(report["aucs"][k])
            row |= {f"auc_{name}": None if np.isnan(auc) else auc}
            row |= {f"ne_{name}_min": float(report["losses"][:, k].min())}
            row |= {f"ne_{name}_max": float(report["losses"][:, k].max())}
        return row

    def line(self, report, run):
        losses = "  ".join(
            f"ne {name} {low:.4f}" + (f"..{high:.4f}" if high > low else "")
            for name, low, high in zip(
                self.model.schema.labels, report["losses"].min(0), report["losses"].max(0)
            )
        )
        return f"valid {losses}  hv {report['hypervolume']:.5f}"


class CollapseError(ValueError):
    """The model predicts a constant."""


FLAT_LOSS, FLAT_AUC, FLAT_SPREAD = 0.69, 0.01, 1e-4
TINY = 1e-12
MAX_RESTARTS = 3


class CrossDomainEvaluation:
    """Polarity of target rows, each scored with its source candidates.

    A model that predicts a constant (standard deviation of its logits below 1e-4, or an AUC within
    0.01 of one half at a training loss above 0.69) is noted in the report.  on_collapse: "warn",
    "error", or "restart": begin again with the weights that initial_weights(number) gives, {name:
    array}, at most 3 times.  batch_size: rows per batch of prediction.
    """

    criteria = ("auc", "logloss")

    def __init__(
        self, model, candidates, batch_size=None, on_collapse="warn", initial_weights=None
    ):
        self.model, self.candidates = model, candidates
        self.row, self.pairs = candidates.pairs(model.schema.num_sparse)
        self.on_collapse, self.initial_weights = on_collapse, initial_weights
        self.criterion = self.criteria[0]
        self.predictor = predictor_of(model, batch_size)

    def check(self, criterion):
        """ValueError if the criterion cannot be computed on these rows, whatever the model."""
        self.criterion = criterion
        if criterion == "auc" and len(np.unique(self.candidates.labels)) < 2:
            raise undefined(criterion, metrics.ONE_CLASS)

    def __call__(self):
        scores = finite_scores(self.predictor(self.pairs))
        logits = logit(np.clip(scores, TINY, 1.0 - TINY))  # of a saturated one out of reach
        probabilities = self.candidates.means(self.row, scores)
        labels = self.candidates.labels[:, 0]
        auc = metrics.auc(labels, probabilities)
        report = {"auc": None if math.isnan(auc) else auc}
        report |= {"logloss": metrics.log_loss(labels, probabilities)}
        return report | {"spread": float(np.std(logits)) if len(logits) else 0.0}

    against_constant = RankingEvaluation.against_constant

    def check_epoch(self, report, loss, run):
        """Notes in the report whether the model collapsed; returns None, or the weights to begin
        again with.

        Raises:  CollapseError: a collapse, and on_collapse is "error".
        """
        auc, spread = report["auc"], report["spread"]
        flat = auc is not None and abs(auc - 0.5) <= FLAT_AUC and loss > FLAT_LOSS
        report["collapsed"] = bool(spread < FLAT_SPREAD or flat)
        if not report["collapsed"]:
            return None
        text = (
            f"the model predicts a constant after epoch {run.epochs} (standard deviation of the "
            f"logits {spread:.1e}, validation AUC {auc_text(auc, 3)})"
        )
        if self.on_collapse == "error":
            raise CollapseError(text + "; try another `seed`, or `on_collapse='restart'`.")
        if self.on_collapse == "restart" and run.restarts < MAX_RESTARTS:
            logger.warning("%s; beginning again with other initial weights", text)
            return self.initial_weights(run.restarts + 1)
        logger.warning("%s; most runs leave this state within a few epochs", text)
        return None

    def figures(self, report):
        row = {name: report[name] for name in ("auc", "logloss")}
        return {"kind": "epoch"} | row | {"collapsed": int(report["collapsed"])}

    def line(self, report, run):
        text, name, best = f"current auc {auc_text(report['auc'], 6)}", "auc", run.best
        if self.criterion in LESS_IS_BETTER:
            text, name, best = f"{text}  logloss {report['logloss']:.6f}", self.criterion, -best
        return f"{text}  best {name} {best:.6f}  best epoch {run.best_epoch}"
