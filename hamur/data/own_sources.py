"""The files and tables in memory that hold a user's own table, and how each is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from hamur.data import frames, parquet
from hamur.data.columns import Columns, JoinRule
from hamur.data.descriptions import Description
from hamur.data.text.bad_rows import BadRows
from hamur.data.text.lines import SEPARATORS, FileFormat, separator_of
from hamur.data.text.reader import Rows, column_names
from hamur.errors import DataFormatError, EmptySplitError

IN_MEMORY = Path("rows")  # what errors say in the place of a file


def sources_of(source) -> list[Path | pa.Table]:
    return frames.files_of(source) if frames.is_files(source) else [frames.as_arrow(source)]


@dataclass(frozen=True)
class Form:
    """How text files are written, where it was said."""

    header: tuple[str, ...] | None
    separator: str | None
    encoding: str

    def input(
        self, source: Path | pa.Table, description: Description, header: Sequence[str] | None
    ) -> "Input":
        """Of a source that is written like this, where the description does not know it."""
        form = FileFormat({})
        if not (isinstance(source, pa.Table) or parquet.is_parquet(source)):
            known = description.format_of(source) if header is None else None
            form = known or self._of(source, header)
        form = replace(form, missing=description.columns.missing)
        names = form.names or column_names(source, form.separator, form.encoding)
        if len(names) == 1 and (seen := [mark for mark in SEPARATORS if mark in names[0]]):
            raise DataFormatError(
                f"wrong separator: {seen[0]!r} seen",
                file=source,
                line=1,
                value=names[0],
                expected=f"columns separated by {form.separator!r}",
                remedy=f"leave it out, as it is detected, or say `separator` {seen[0]!r}",
            )
        return Input(source, form, tuple(names))

    def _of(self, source: Path, header: Sequence[str] | None) -> FileFormat:
        form = FileFormat({}, names=header, encoding=self.encoding)
        said = self.separator and self.separator.replace("\\t", "\t")  # as a shell passes it
        mark = said or separator_of(source, header, self.encoding)
        return replace(form, separator=mark, quoted=mark != "::", multiline=mark != "::")


@dataclass(frozen=True)
class Input:
    """A file or a table in memory, how it is written, and its columns.

    derive: (its rows, bad_rows) -> rows with these columns, where it has others.
    """

    source: Path | pa.Table
    form: FileFormat
    names: tuple[str, ...]
    derive: Callable[[Rows, BadRows], Rows] | None = None

    def reading(self, kinds: Mapping[str, str], columns: Columns) -> FileFormat:
        """The format with those of these columns that it has."""
        kinds = {name: kind for name, kind in kinds.items() if name in self.names}
        lists = {m.column: m.separator for m in columns.multi}
        separators = {name: mark for name, mark in lists.items() if name in kinds}
        return replace(self.form, kinds=kinds, separators=separators)

    @property
    def place(self) -> Path:
        """What errors say."""
        return self.source if isinstance(self.source, Path) else IN_MEMORY

    @property
    def first_line(self) -> int:
        """The number of the first row."""
        text = isinstance(self.source, Path) and not parquet.is_parquet(self.source)
        return 2 if text and self.form.names is None else 1


def check_equal(inputs: list[Input]) -> None:
    """Raises DataFormatError for a file with other columns than the first one, or without any."""
    first, *others = inputs
    if not first.names:
        raise EmptySplitError("no column", file=first.place, remedy="check how it was made")
    for each in others:
        if set(each.names) != set(first.names):
            odd = sorted(set(each.names) ^ set(first.names))
            raise DataFormatError(
                "other columns than in the first file",
                file=each.place,
                value=", ".join(odd),
                expected=", ".join(first.names),
                remedy="give all files the same columns, in any order",
            )


def joined(
    first: Input, files: Sequence[Path], rules: Sequence[JoinRule], form: Form, known: Description
) -> tuple[list[Input], tuple[JoinRule, ...]]:
    """The feature tables, and their rules with the keys.

    Raises:  DataFormatError: no key, or a column that is in two tables.
    """
    inputs, found, names = [], [], list(first.names)
    for rule, source in zip(rules, files):
        key = known.key_of(source)
        described = known if key else replace(known, formats={})
        each = form.input(source, described, rule.header)
        if known.genres is not None and key == known.keys[-1]:
            each = replace(each, names=(key, "genres"), derive=known.genres)
        left, right = _key(each, names, rule.on or key)
        for name, present, where in ((left, names, first.place), (right, each.names, source)):
            if name not in present:
                raise DataFormatError(
                    "no such column",
                    file=where,
                    column=name,
                    expected="one of " + ", ".join(present),
                    remedy="name the key of both tables in the description",
                )
        if twice := [name for name in each.names if name in names and name != right]:
            problem, remedy = "the column is in another table too", "rename one of them"
            raise DataFormatError(problem, file=source, column=twice[0], remedy=remedy)
        inputs.append(each)
        found.append(replace(rule, file=source.name, on=(left, right)))
        names += [name for name in each.names if name != right]
    return inputs, tuple(found)


def _key(each: Input, names: list[str], on: str | tuple[str, str] | None) -> tuple[str, str]:
    """The key's name in the table, and in this feature table."""
    if on is not None:
        return on if isinstance(on, tuple) else (on, on)
    common = [name for name in each.names if name in names]
    if len(common) != 1:
        raise DataFormatError(
            f"{len(common)} columns are in the table too, one of which could be the key",
            file=each.place,
            value=", ".join(common) or "none",
            expected="one common column",
            remedy="name the key in the description: {'file': ..., 'on': ...}",
        )
    return common[0], common[0]
