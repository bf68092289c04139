"""Which flags the scripts in examples/ have: `python -m tests.support.flags` prints their number.

Every script is run with --help in one process, so that what it loads is seen too.
"""

import contextlib
import io
import re
import runpy
import sys
from pathlib import Path

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


def help_of(script: Path) -> str:
    """What --help prints."""
    before, text = sys.argv, io.StringIO()
    sys.argv = [str(script), "--help"]
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before
    return text.getvalue()


def distinct_flags(texts: list[str]) -> list[set[str]]:
    """The flags of all help texts, each with its aliases."""
    flags = []
    for line in "\n".join(texts).splitlines():
        if not re.match(r"  -", line):
            continue
        names = set(re.findall(r"--?[\w-]+", line.partition("  ")[2].lstrip().split("  ")[0]))
        same = [other for other in flags if other & names]
        flags = [other for other in flags if not other & names] + [names.union(*same)]
    return flags


if __name__ == "__main__":
    texts = [help_of(script) for script in SCRIPTS]
    print(f"{len(distinct_flags(texts))} flags in {len(SCRIPTS)} scripts")
    loaded = [name for name in ("mindspore", "matplotlib", "sklearn") if name in sys.modules]
    print(f"loaded: {', '.join(loaded) or 'none of MindSpore, Matplotlib and scikit-learn'}")
