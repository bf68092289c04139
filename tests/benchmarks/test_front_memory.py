"""A front of many points takes hardly more memory than its result: published size, one process."""

import pytest
from preference_step import evaluation_memory


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "factored"])
def test_a_front_takes_model_batch_result_and_200_mib(form):
    figures = evaluation_memory(25, form, 20_480)
    assert figures["added_mib"] <= figures["allowed_mib"], figures
