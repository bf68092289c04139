"""What an injected fault must lead to: an error that this package wrote, of one line."""

import linecache
import traceback
from pathlib import Path

import hamur

PACKAGE = Path(hamur.__file__).parent


def is_ours(error: BaseException) -> bool:
    """Whether a `raise` of the package made the error, or the operating system with a file's name:
    anything else is a foreign text that a user would have to read."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    statement = linecache.getline(last.filename, last.lineno).strip()
    return Path(last.filename).is_relative_to(PACKAGE) and statement.startswith("raise")


def assert_ours(error: BaseException, context: object = "") -> None:
    """The error is one of the package: ValueError or OSError, raised by it, with one line."""
    if not (isinstance(error, ValueError | OSError) and is_ours(error)):
        raise AssertionError(f"a foreign error, {context}: {error!r}") from error
    assert "\n" not in str(error).strip(), context
