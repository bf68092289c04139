"""Layers are tested uncompiled: tiny graphs take longer to compile than to run.

Every test runs with the fused kernels and without them.
"""

from tests.support.networks import KERNEL_FORMS, compiled, eager, kernel_form  # noqa: F401


def pytest_generate_tests(metafunc):
    metafunc.parametrize("kernel_form", KERNEL_FORMS, indirect=True)
