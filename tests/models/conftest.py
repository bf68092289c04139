"""Models are tested uncompiled unless a test asks for the fixture `compiled`.

Those that are compared with the oracle run with the fused kernels and without them (models of
others in the slow run only); the whole suite runs without them every night.
"""

import pytest

from tests.support.networks import KERNEL_FORMS, compiled, eager, kernel_form  # noqa: F401


def pytest_generate_tests(metafunc):
    name = metafunc.module.__name__
    if name.endswith(("test_against_oracle", "test_baselines")):
        fused, plain = KERNEL_FORMS
        if name.endswith("test_baselines"):
            plain = pytest.param(plain, marks=pytest.mark.slow)
        metafunc.parametrize("kernel_form", (fused, plain), indirect=True)
