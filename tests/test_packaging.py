"""The lowest allowed versions that the nightly job installs are those of requirements.txt."""

import re

import pytest

from tests.support.lowest_versions import REQUIREMENTS, lowest_versions


def test_the_lowest_version_is_the_bound_of_each_requirement():
    text = "# comment\nnumpy>=1.26,<2\nmindspore==2.10.0  # exact\n\nscikit-learn >= 1.5, <2\n"
    assert lowest_versions(text) == ["numpy==1.26", "mindspore==2.10.0", "scikit-learn==1.5"]
    with pytest.raises(ValueError, match="'tqdm<5' has no lowest version"):
        lowest_versions("tqdm<5")


def test_every_requirement_of_the_package_has_a_lowest_version():
    pins = lowest_versions(REQUIREMENTS.read_text())
    assert len(pins) >= 9 and all(re.fullmatch(r"[\w-]+==\d+(\.\d+)*", pin) for pin in pins)
