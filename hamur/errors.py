"""The errors that bad data raise: what is wrong, where, and the remedy."""

from pathlib import Path

_ABSENT = object()
_MAX_VALUE = 1000  # characters of a value that an error keeps


class DataError(ValueError):
    """Data that cannot be used as they are.  Says where, what, what was expected and a remedy.

    Attributes: file, line (1-based), column (a name), value, remedy; None where not applicable.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: str | Path | None = None,
        line: int | None = None,
        column: str | None = None,
        column_number: int | None = None,
        value=_ABSENT,
        expected: str | None = None,
    ):
        try:
            shown = repr(value)
        except RecursionError:
            value = shown = f"a {type(value).__name__} of many levels"
        if len(shown) > _MAX_VALUE:
            value = (value if isinstance(value, str) else shown)[:_MAX_VALUE]
        self.file, self.line, self.column = file, line, column
        self.value = None if value is _ABSENT else value
        self.remedy = remedy
        self.parts = {"problem": problem, "remedy": remedy, "file": file and str(file)}
        self.parts |= {"line": line, "column": column, "column_number": column_number}
        self.parts |= {"expected": expected} | ({} if value is _ABSENT else {"value": value})
        place = "" if file is None else f"{file}:" if line is None else f"{file}:{line}:"
        if column is not None:
            number = "" if column_number is None else f"{column_number} "
            place += f" column {number}{column!r}:"
        text = f"{place} {problem}".strip()
        if value is not _ABSENT:
            text += f", got {shown if len(shown) <= 80 else shown[:77] + '...'}"
        if expected is not None:
            text += f"; expected {expected}"
        self.message = f"{text}. Remedy: {remedy}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class DataFileNotFoundError(DataError, FileNotFoundError):
    """A file or folder does not exist."""


def no_folder(path: Path) -> str:
    """What is wrong with a path that should be a folder."""
    return "a file, not a folder" if path.exists() else "no such folder"


class DataFormatError(DataError):
    """The shape of a file is wrong: separator, header, number of fields, encoding."""


class TruncatedFileError(DataFormatError):
    """A file ends in the middle of a row."""


class DataValueError(DataError):
    """A cell holds a value that its column does not allow."""


class UnknownDomainError(DataValueError):
    """A row belongs to no known domain."""


class JoinError(DataError):
    """A key of one file has no partner in the other."""


class DuplicateRowError(DataError):
    """A key that must be unique occurs twice."""


class EmptySplitError(DataError):
    """No row is left in a file or in a split."""


class LeakageError(DataError):
    """A feature gives the label away, or a row is in two splits."""


class StatsMismatchError(DataError):
    """A complete official file has other counts than the published ones."""


class CacheError(DataError):
    """A cache is incomplete, damaged, or of another version, or cannot be written."""


class DownloadError(DataError):
    """A file could not be fetched."""


class ChecksumError(DataError):
    """A file is not the published one."""


class MissingDomainWarning(UserWarning):
    """A domain has no training row."""


class SingleClassWarning(UserWarning):
    """A domain has one class only in a split, so its AUC is undefined there."""
