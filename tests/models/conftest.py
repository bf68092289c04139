"""Models are tested uncompiled unless a test asks for the fixture `compiled`.

Those that are compared with the oracle run with the fused kernels and without them; the whole suite
runs without them every night.
"""

from tests.support.networks import KERNEL_FORMS, compiled, eager, kernel_form  # noqa: F401


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.endswith(("test_against_oracle", "test_baselines")):
        metafunc.parametrize("kernel_form", KERNEL_FORMS, indirect=True)
