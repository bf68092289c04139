"""Training and prediction: one trainer for every paper, one ``step`` a training scheme.

``Trainer`` runs epochs, validates, stops early, averages weights, saves and resumes; a step turns
a batch into a loss and updates the parameters.  Models and data know nothing of it.
"""

from hamur.training.evaluation import RankingEvaluation, TaskEvaluation
from hamur.training.export import export, export_mindir
from hamur.training.optimizer import Adam
from hamur.training.predict import predict
from hamur.training.preference.step import PreferenceOptions, preference_step
from hamur.training.supervised import supervised_step
from hamur.training.trainer import Run, Trainer

__all__ = [
    "Adam",
    "PreferenceOptions",
    "RankingEvaluation",
    "Run",
    "TaskEvaluation",
    "Trainer",
    "export",
    "export_mindir",
    "predict",
    "preference_step",
    "supervised_step",
]
