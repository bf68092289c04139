"""HAMUR for MindSpore: hyper adapters for multi-domain recommendation, as published and as it
should be.

``data`` loads tables, ``layers`` holds the published ideas, ``models`` the networks, ``training``
the trainer, ``metrics`` plain functions of arrays, ``reporting`` what ends on disk, ``commands``
the way of a script, ``studies`` comparisons of many runs; ``config`` makes flags, ``files`` writes
whole files.
"""

from importlib import import_module

__version__ = "0.1.0"
_PACKAGES = ("data", "layers", "metrics", "models", "reporting", "training")
_FUNCTIONS = {"Predictor": "predictor", "load": "trained_model"}
__all__ = ["Predictor", "__version__", "load", *_PACKAGES]


def __getattr__(name):
    """Import a subpackage when it is first used, so that a look at metrics does not load
    MindSpore."""
    if name in _PACKAGES:
        return import_module(f"hamur.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(f"hamur.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'hamur' has no attribute {name!r}")
