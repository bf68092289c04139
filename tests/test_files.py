"""JSON files: an object of the expected form, or one line that says what is wrong with the file."""

import json

import pytest

from hamur.errors import DataFormatError
from hamur.files import misfit, read_json
from tests.support.faults import assert_ours

FORM = {
    "epoch": int,
    "run": {"best": (float, type(None)), "history": [dict]},
    str: (dict, str, int),
}
RIGHT = {"epoch": 3, "run": {"best": None, "history": [{"loss": 0.5}]}, "state": "x"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ":1: no JSON object: Expecting value at column 1"),
        (b'{"epoch": 3,\n "run', ":2: no JSON object: Unterminated string .* column 2"),
        (b"[3]", "the content is \\[3\\], no object"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"epoch": NaN}', "the number NaN is not finite"),
        (b'{"epoch": 1e999}', "the number 1e999 is not finite"),
        (b'{"epoch": ' + b"9" * 5000 + b"}", "the number 9{24} has more than 64 bits"),
        (b'{"epoch": 1, "epoch": 2}', "the key 'epoch' is there twice"),
        (b'{"epoch": "\xff"}', "no UTF-8: invalid start byte at position 11"),
        (b'{"epoch": "\\ud800"}', "no UTF-8: surrogates not allowed"),
        (json.dumps(RIGHT).encode("utf-16"), "no UTF-8"),
        (b'{"epoch": 3}', "the content lacks 'run'"),
        (json.dumps(RIGHT | {"epoch": "3"}).encode(), 'epoch is "3", no whole number'),
        (json.dumps(RIGHT | {"epoch": True}).encode(), "epoch is true, no whole number"),
        (json.dumps(RIGHT | {"run": []}).encode(), "run is \\[\\], no object"),
        (
            json.dumps(RIGHT | {"run": {"best": "", "history": []}}).encode(),
            'run.best is "", no number',
        ),
        (
            json.dumps(RIGHT | {"run": {"best": 1, "history": [{}, 7]}}).encode(),
            "run.history\\[1\\] is 7, no object",
        ),
        (json.dumps(RIGHT | {"state": [1]}).encode(), "state is \\[1\\], no object"),
    ],
)
def test_damaged_json_is_told_with_its_place_and_a_remedy(content, words, tmp_path):
    path = tmp_path / "progress.json"
    path.write_bytes(content)
    with pytest.raises(
        DataFormatError, match=f"progress.json.*{words}.*Remedy: begin again"
    ) as told:
        read_json(path, FORM, remedy="begin again")
    assert_ours(told.value)


def test_right_json_is_read_as_it_was_written(tmp_path):
    (tmp_path / "right.json").write_text(json.dumps(RIGHT))
    assert read_json(tmp_path / "right.json", FORM) == RIGHT
    assert misfit(1, float) is None and misfit(True, float) is not None
