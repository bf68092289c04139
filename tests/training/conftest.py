"""Training is tested compiled unless a test asks for the fixture `uncompiled`."""

from contextlib import nullcontext

import mindspore as ms
import pytest

from hamur.training import trainer


@pytest.fixture
def uncompiled(monkeypatch):
    """Run without compiling, which suits scripted steps; graph mode comes back afterwards."""
    monkeypatch.setattr(trainer, "graph_mode", nullcontext)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)
