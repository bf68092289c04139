"""`python tests/support/lowest_versions.py`: requirements.txt with the lowest allowed versions, as
constraints of pip.  `make test PINS=lowest` installs them.
"""

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


def lowest_versions(text: str) -> list[str]:
    """name==version per requirement, with the bound after >= or ==.

    Raises:  ValueError: a requirement without such a bound.
    """
    pins = []
    for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
        match = re.match(r"([\w.-]+)\s*(?:>=|==)\s*([\w.]+)", line)
        if not match:
            raise ValueError(f"requirements.txt: {line!r} has no lowest version; write name>=1.2.")
        pins.append("==".join(match.groups()))
    return pins


if __name__ == "__main__":
    print("\n".join(lowest_versions(REQUIREMENTS.read_text())))
