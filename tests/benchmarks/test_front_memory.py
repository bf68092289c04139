"""Memory of a front of 25 points at the published size; each figure from a process of its own."""

import pytest
from preference_step import MIB, evaluation_memory

FORMS = pytest.mark.parametrize("form", ["plain", "factored"])


@pytest.mark.slow
@FORMS
def test_more_rows_take_the_room_of_their_result_only(form):
    """4 N R T bytes; the rows themselves lie in the process before."""
    few, many = (evaluation_memory(25, form, rows)["added_mib"] for rows in (4_096, 65_536))
    result = 4 * (65_536 - 4_096) * 25 * 2 / MIB
    assert many - few <= result + 40, (few, many, result)


@pytest.mark.slow
@FORMS
def test_a_front_takes_model_batch_result_and_200_mib(form):
    figures = evaluation_memory(25, form, 20_480)
    assert figures["added_mib"] <= figures["allowed_mib"], figures
