"""What the columns of a table mean, and the errors that bad data raise.

A `Schema` is a value: frozen, comparable, and exactly the same after a round trip through JSON.
Models read their sizes from it and never from the data.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SPARSE, DENSE = "sparse", "dense"
_ABSENT = object()


class FrozenDict(Mapping):
    """A dictionary that cannot change, so that a frozen Schema really is frozen.

    Nested dictionaries become FrozenDicts and lists tuples, which makes equality independent of
    whether the values come from code or from JSON.
    """

    def __init__(self, items: Mapping = ()):
        self._items = {str(key): _freeze(value) for key, value in dict(items).items()}

    def __getitem__(self, key: str):
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenDict({self._items!r})"


def _freeze(value):
    if isinstance(value, Mapping):
        return FrozenDict(value)
    return tuple(map(_freeze, value)) if isinstance(value, (list, tuple)) else value


def thaw(value):
    """The plain dictionaries and lists of a frozen value, as JSON wants them."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    return list(map(thaw, value)) if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class FieldSpec:
    """One input column.  kind "sparse": ids 0..vocab_size-1, 0 = unknown; "dense": a float."""

    name: str
    kind: str
    vocab_size: int = 0

    def __post_init__(self):
        if self.kind not in (SPARSE, DENSE):
            raise ValueError(f"field {self.name!r}: kind is {self.kind!r}; use 'sparse' or 'dense'")
        if (self.kind == SPARSE) != (self.vocab_size > 0):
            raise ValueError(
                f"field {self.name!r}: vocab_size is {self.vocab_size}; a sparse field needs at "
                "least 1 id, a dense one has none"
            )


@dataclass(frozen=True)
class Schema:
    """Names and sizes of a data set's columns, in model order: sparse fields, then dense ones.

    name: picks the published sizes of a model ("ml-1m", "ali-ccp") or is the user's own.
    domain_field: the sparse field that holds the domain id again as a feature, or None.
    group: the column whose rows belong together for a grouped AUC, or None.
    split: how the rows were divided: rule, seed, rows, fingerprints.  JSON values only.
    """

    name: str
    fields: tuple[FieldSpec, ...]
    labels: tuple[str, ...] = ("label",)
    domain_names: tuple[str, ...] = ("0",)
    domain_field: str | None = None
    group: str | None = None
    split: Mapping = field(default_factory=FrozenDict)

    def __post_init__(self):
        for name in ("fields", "labels", "domain_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "split", FrozenDict(self.split))
        names = [spec.name for spec in self.fields]
        kinds = [spec.kind for spec in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(f"two fields have the same name: {sorted(names)}")
        if kinds != sorted(kinds, reverse=True):
            raise ValueError(f"sparse fields come before dense ones, got {list(zip(names, kinds))}")
        if not self.labels or not self.domain_names:
            raise ValueError("a schema needs at least one label and one domain")
        if self.domain_field is not None:
            self._check_domain_field()

    def _check_domain_field(self) -> None:
        if self.domain_field not in self.sparse_names:
            raise ValueError(
                f"domain field {self.domain_field!r} is none of the sparse fields "
                f"{list(self.sparse_names)}"
            )
        size = self.vocab_sizes[self.sparse_names.index(self.domain_field)]
        if size != self.num_domains:
            raise ValueError(
                f"domain field {self.domain_field!r} has {size} ids for {self.num_domains} "
                "domains; it holds the ids 0..D-1 and no 'unknown'"
            )

    @property
    def sparse_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.fields if spec.kind == SPARSE)

    @property
    def dense_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.fields if spec.kind == DENSE)

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return tuple(spec.vocab_size for spec in self.fields if spec.kind == SPARSE)

    @property
    def num_sparse(self) -> int:
        return len(self.sparse_names)

    @property
    def num_dense(self) -> int:
        return len(self.dense_names)

    @property
    def num_domains(self) -> int:
        return len(self.domain_names)

    def to_json(self) -> str:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["fields"] = [dataclasses.asdict(spec) for spec in self.fields]
        return json.dumps(thaw(values), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """The schema that `to_json` wrote.  ValueError for a key it does not know or misses."""
        values = json.loads(text)
        specs = [FieldSpec(**_known(FieldSpec, item)) for item in values.get("fields", [])]
        return cls(**{**_known(cls, values), "fields": tuple(specs)})


def _known(cls, values: dict) -> dict:
    names = {item.name for item in dataclasses.fields(cls)}
    if set(values) != names:
        raise ValueError(
            f"{cls.__name__} in JSON has unknown keys {sorted(set(values) - names)} and lacks "
            f"{sorted(names - set(values))}"
        )
    return values


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
            shown = repr(value)
            text += f", got {shown if len(shown) <= 80 else shown[:77] + '...'}"
        if expected is not None:
            text += f"; expected {expected}"
        self.message = f"{text}. Remedy: {remedy}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class DataFileNotFoundError(DataError, FileNotFoundError):
    """A file or folder does not exist."""


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
    """A key that must be unique stands twice."""


class EmptySplitError(DataError):
    """No row is left in a file or in a split."""


class LeakageError(DataError):
    """A feature gives the label away, or a row stands in two splits."""


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
