"""Models are tested uncompiled unless a test asks for the fixture `compiled`."""

from tests.support.networks import compiled, eager  # noqa: F401
