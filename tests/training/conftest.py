"""Training is tested compiled unless a test asks for the fixture `uncompiled`."""

from contextlib import nullcontext
from importlib import import_module

import mindspore as ms
import pytest


@pytest.fixture
def uncompiled(monkeypatch):
    """Run without compiling, which suits scripted steps; graph mode comes back afterwards."""
    for name in ("trainer", "prediction"):
        monkeypatch.setattr(import_module(f"hamur.training.{name}"), "graph_mode", nullcontext)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)
