"""Layers are tested uncompiled: tiny graphs take longer to compile than to run."""

from tests.support.networks import compiled, eager  # noqa: F401
