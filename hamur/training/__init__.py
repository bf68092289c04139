"""Training and prediction: one trainer for every paper, one ``step`` per training scheme.

``Trainer`` runs epochs, validates, stops early, averages weights, saves and resumes; a step turns
a batch into a loss and updates the parameters.  Models and data know nothing of it.
"""

from importlib import import_module

_MODULES = {
    "Adam": "optimizer",
    "BilevelOptions": "bilevel.options",
    "CrossDomainEvaluation": "evaluation",
    "DivergenceError": "divergence",
    "PreferenceOptions": "preference.step",
    "RankingEvaluation": "evaluation",
    "Run": "trainer",
    "TaskEvaluation": "evaluation",
    "Trainer": "trainer",
    "cross_domain_trainer": "bilevel.step",
    "export": "mindir",
    "export_mindir": "mindir",
    "load_mindir": "mindir",
    "load_onnx": "onnx",
    "meta_step": "preference.meta",
    "predict": "prediction",
    "predict_split": "prediction",
    "preference_step": "preference.step",
    "supervised_step": "supervised",
}
__all__ = list(_MODULES)


def __getattr__(name):
    """Import what is asked for, so that a look at options loads no MindSpore."""
    if name not in _MODULES:
        raise AttributeError(f"module 'hamur.training' has no attribute {name!r}")
    return getattr(import_module(f"hamur.training.{_MODULES[name]}"), name)
