"""Models are tested uncompiled unless a test asks for the fixture `compiled`.

Every test runs with the fused kernels and without them.
"""

from tests.support.networks import compiled, eager, kernel_form  # noqa: F401
