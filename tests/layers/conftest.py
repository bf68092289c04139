"""Layers are tested uncompiled: tiny graphs take longer to compile than to run.

Every test runs with the fused kernels and without them.
"""

from tests.support.networks import compiled, eager, kernel_form  # noqa: F401
