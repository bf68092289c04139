"""--help of the scripts: fast, and one vocabulary."""

import subprocess
import sys

from tests.support.flags import SCRIPTS, distinct_flags, help_of


def test_help_of_every_script_loads_no_mindspore():
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.flags"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "loaded: none of MindSpore" in done.stdout


def test_all_scripts_together_have_at_most_207_flags():
    texts = [help_of(script) for script in SCRIPTS]
    assert all("usage: " in text and "--help" in text for text in texts)
    assert len(distinct_flags(texts)) <= 207
    for script in SCRIPTS:
        assert len(script.read_text().splitlines()) <= 60
