"""What the columns of a table mean, as values of Python and in JSON.

`table_rows` reads, checks and joins the rows by it, and `raw_columns` makes columns of them.
"""

import json
from collections.abc import Sequence
from dataclasses import MISSING as ABSENT
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import get_args, get_origin

from hamur.data.domains import Domain
from hamur.data.label_rules import label_name, parse_label
from hamur.data.splits import SPLITS, Split
from hamur.data.text.cells import MISSING_WORDS
from hamur.files import misfit

FLAGS = (0, 1)


@dataclass(frozen=True)
class MultiColumn:
    """A field from a text column of several values, "Action|Comedy", or of lists in Parquet: all of
    them up to max_len (0: of the longest list in training), or the first one alone as a sparse
    field."""

    name: str
    column: str = ""
    separator: str = "|"
    max_len: int = 0
    first_only: bool = False

    def __post_init__(self):
        object.__setattr__(self, "column", self.column or self.name)
        if not self.separator or self.max_len < 0:
            raise ValueError(
                f"the lists of {self.name!r} have separator {self.separator!r} and `max_len` "
                f"{self.max_len}; use a text and a length, or 0 for that of the longest"
            )


@dataclass(frozen=True)
class JoinRule:
    """A feature table: file; on: the key's name in both tables, or (left, right), None: the one
    column that both have; header: all its columns, where the file has none."""

    file: str
    on: str | tuple[str, str] | None = None
    header: tuple[str, ...] | None = None

    def __post_init__(self):
        if isinstance(self.on, tuple) and len(self.on) != 2:
            raise ValueError(f"the key of {self.file} is {self.on}; use a name, or one per table")


@dataclass(frozen=True)
class Columns:
    """What the columns of a table mean.

    kinds: column -> how its cells are read, see `FileFormat`; ignore: other columns of the header.
    labels: name -> rule, a column of 0 and 1 or a comparison "column > number".
    sparse, dense: columns that are features, in the order of a model's input; multi: further ones,
        those with `first_only` come after the sparse ones.
    domain: None where every file is of one domain, see `raw_columns`.
    group: the column of the users, for GAUC and splits by user; time: seconds.
    key: columns of which every combination occurs once; values: column -> its allowed values.
    implies: (a, b): label a is 1 only where label b is; drop_implied: rows that break it are left
        out under this name, otherwise they are bad rows.
    zero_is_missing: of the whole numbers in `sparse`.

    Of a user's own table:
    transforms: dense column -> "minmax" (where it is not named), "standard", "log1p" or "none".
    missing: texts that mean a missing cell, besides the empty one.
    join: feature tables, see `JoinRule`; split: how the rows are divided, None: by time if there is
        one, else at random.
    min_domain_rows: domains of fewer training rows become one, `other`; 0 = never.
    domain_feature: the domain id is a sparse feature too.
    min_count: values seen less often in training are unknown.
    hash_size: a field of more different values is `hashed`, so that they share this many ids, see
        `encode.buckets`; 0 = none is.  hashed: the fields that are, found by reading the table.
    """

    kinds: dict[str, str]
    labels: dict[str, str]
    sparse: tuple[str, ...]
    dense: tuple[str, ...] = ()
    multi: tuple[MultiColumn, ...] = ()
    domain: Domain | None = None
    group: str | None = None
    time: str | None = None
    ignore: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    values: dict[str, Sequence[str | float]] = field(default_factory=dict)
    implies: tuple[str, str] | None = None
    drop_implied: str | None = None
    zero_is_missing: bool = False
    transforms: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = MISSING_WORDS
    join: tuple[JoinRule, ...] = ()
    split: Split | None = None
    min_domain_rows: int = 100
    domain_feature: bool = True
    min_count: int = 1
    hash_size: int = 0
    hashed: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """JSON values, of the fields that are not as by default."""
        blank = Columns({}, {}, ())
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {n: v for n, v in values.items() if v != getattr(blank, n)}
        return json.loads(json.dumps(values, default=_plain))

    @classmethod
    def from_json(cls, values: dict) -> "Columns":
        """What `to_json` wrote, or the short forms that people write: labels as a list of rules, a
        name alone for a domain, a split, a multi field or a dense column with its transform.

        Raises:  ValueError: an unknown key, or a value of another type.
        """
        values = {"kinds": {}, "labels": {}, "sparse": []} | _long_forms(values)
        _check_form(cls, values)
        parts = {"domain": Domain, "split": Split}
        values |= {n: _known(parts[n], values[n]) for n in parts if values.get(n) is not None}
        parts = {"multi": MultiColumn, "join": JoinRule}
        values |= {n: tuple(_known(parts[n], v) for v in values[n]) for n in parts}
        return cls(**_tuples(values))

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of a header, in any order."""
        return (*self.kinds, *self.ignore)

    @property
    def label_columns(self) -> set[str]:
        return {parse_label(rule)[0] for rule in self.labels.values()}

    @property
    def allowed(self) -> dict[str, Sequence[int]]:
        """column -> the values that it may have, 0 and 1 for a column that is a label."""
        flags = {rule: FLAGS for rule in self.labels.values() if rule in self.kinds}
        by = self.split is not None and self.split.column
        return self.values | flags | ({by: SPLITS} if by else {})


def _long_forms(values: dict) -> dict:
    """The short forms of `Columns.from_json` written out.  Raises:  ValueError: another type."""

    def each(name: str, key: str) -> list:
        return [{key: v} if isinstance(v, str) else v for v in values.get(name, ())]

    values = dict(values)
    try:
        if isinstance(labels := values.get("labels", {}), list):
            values["labels"] = {label_name(rule): rule for rule in labels}
        values["multi"], values["join"] = each("multi", "name"), each("join", "file")
        for spec in values["multi"]:
            spec |= {"first_only": spec.pop("first")} if "first" in spec else {}
        dense = each("dense", "name")
        transforms = {d["name"]: d["transform"] for d in dense if "transform" in d}
        values["dense"] = [d["name"] for d in dense]
        values["transforms"] = values.get("transforms", {}) | transforms
        for name, key in (("domain", "column"), ("split", "rule")):
            if isinstance(values.get(name), str):
                values[name] = {key: values[name]}
        for join in values["join"]:
            if isinstance(on := join.get("on"), dict):
                join["on"] = [on["left"], on["right"]]
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"a description of columns has another form: {error}") from None
    return values


def _plain(value):
    """What JSON has for a value of a description."""
    if is_dataclass(value):
        present = {f.name: (getattr(value, f.name), f.default) for f in fields(value) if f.compare}
        return {name: value for name, (value, usual) in present.items() if value != usual}
    return list(value)  # a range or an array


def _known(cls, values: dict):
    """The dataclass with these values, lists as tuples.  Raises:  ValueError, see `_check_form`."""
    _check_form(cls, values)
    return cls(**_tuples(values))


def _check_form(cls, values: dict) -> None:
    """Raises ValueError for an unknown or a missing key, and a value of another type."""
    names = [f.name for f in fields(cls)]
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"{unknown[0]!r} is no key of a description; use {', '.join(names)}")
    needed = {f.name for f in fields(cls) if (f.default, f.default_factory) == (ABSENT, ABSENT)}
    form = {f.name: _form(f.type) for f in fields(cls) if f.name in values or f.name in needed}
    if problem := misfit(values, form):
        raise ValueError(f"a description of columns: {problem}")


def _form(hint):
    """What `misfit` takes for the type of a field."""
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return tuple(map(_form, inner))
    if get_origin(hint) is dict:
        return {str: _form(inner[1])}
    return dict if is_dataclass(hint) else [_form(inner[0])] if inner else hint


def _tuples(value):
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
