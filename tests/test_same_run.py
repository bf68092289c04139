"""Which earlier run counts as the same one, and what is read instead of trained."""

import json

import pytest

from hamur.files import write_json
from hamur.same_run import difference, finished, load_or_train

RUN = {"options": {"seed": 1, "epochs": 2, "sizes": (3, 4)}, "data": {"fingerprint": "a"}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"epochs": 9}, None),  # a resumed run may be longer
        ({"seed": 2}, "--seed 1, this one 2"),
        ({"new": 0}, "--new None, this one 0"),
        ({"allow_leakage": (), "max_bad_fraction": 0.05, "criterion": "auc"}, None),  # older runs
        ({"criterion": "logloss"}, "--criterion auc, this one logloss"),
        ({"verify": True, "max_line_mib": 8, "time_unit": None}, None),
    ],
)
def test_only_options_that_change_the_result_make_another_run(changes, expected):
    had = json.loads(json.dumps(RUN))  # as config.json has it
    assert difference(had, RUN | {"options": RUN["options"] | changes}) == expected


def test_other_data_make_another_run_and_plain_values_are_compared_too():
    assert difference(RUN, RUN | {"data": {"fingerprint": "b"}}) == "other data or another split"
    assert difference({"epochs": 1}, {"epochs": 2}, changeable=()) == "epochs 1, this one 2"


def test_an_interrupted_run_is_not_finished(tmp_path):
    write_json(tmp_path / "config.json", RUN)
    write_json(tmp_path / "metrics.json", {"train": {"epochs": 1, "interrupted": True}})
    assert finished(tmp_path, RUN) is None
    write_json(tmp_path / "metrics.json", {"train": {"epochs": 1}})
    assert finished(tmp_path, RUN) == {"train": {"epochs": 1}}


def test_a_run_is_trained_once_and_another_one_is_refused(tmp_path):
    calls = []

    def train():
        calls.append(1)
        return {"auc": 0.5}

    for description in (RUN, RUN | {"options": RUN["options"] | {"quiet": True}}):
        assert load_or_train(tmp_path, description, train) == {"auc": 0.5}
    assert len(calls) == 1
    other = RUN | {"options": RUN["options"] | {"seed": 5}}
    with pytest.raises(ValueError, match="finished run, which had --seed 1, this one 5"):
        load_or_train(tmp_path, other, train)
