"""The description of a user's own table: from what was said, and what follows from it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamur.data.columns import Columns, JoinRule, MultiColumn
from hamur.data.domains import Domain
from hamur.data.encode import TRANSFORMS
from hamur.data.label_rules import label_name, parse_label
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.text.cells import DTYPES, NAMES
from hamur.data.text.rows import plain_text
from hamur.errors import DataFileNotFoundError, DataFormatError
from hamur.files import read_json

RULES = ("random", "time", "last", "column", "files")
FIRST = ":first"
_SPARSE_KINDS = (*NAMES, "int", "category")
_DENSE_KINDS = ("number", "float", "int")


def read_description(path: Path, known: Iterable[str]) -> Columns:
    """Of a columns.json; known: names that would do instead.

    Raises:  DataFileNotFoundError; DataFormatError: it is none.
    """
    if not path.is_file():
        remedy = f"pass a columns.json, or one of {', '.join(known)}"
        raise DataFileNotFoundError("no such file", file=path, remedy=remedy)
    values = read_json(path, {})
    try:
        return Columns.from_json(values)
    except (TypeError, ValueError) as error:
        problem, remedy = " ".join(str(error).split()), "correct the file"
        raise DataFormatError(problem, file=path, remedy=remedy) from None


def changed(
    columns: Columns,
    label: str | Sequence[str] | Mapping[str, str] | None,
    domain: str | Domain | None,
    join: Sequence[str | Path | JoinRule],
    split: str | Split | None,
    split_seed: int,
) -> Columns:
    """The description with these in the place of its own ones, see `load_table`, and a split."""
    if label is not None:
        rules = [label] if isinstance(label, str) else label
        named = rules if isinstance(rules, Mapping) else {label_name(rule): rule for rule in rules}
        columns = replace(columns, labels=dict(named))
    if domain is not None:
        columns = replace(columns, domain=Domain(domain) if isinstance(domain, str) else domain)
    if (of := columns.domain) is not None and of.column.endswith(FIRST):
        column = of.column.removesuffix(FIRST)
        mark = next((m.separator for m in columns.multi if m.column == column), "|")
        columns = replace(columns, domain=replace(of, column=column, first=mark))
    if join:
        rules = (j if isinstance(j, JoinRule) else JoinRule(str(j)) for j in join)
        columns = replace(columns, join=tuple(rules))
    split = columns.split if split is None else split
    if split is None:
        split = "time" if columns.time is not None else "random"
    if isinstance(split, str):
        rule, _, column = split.partition(":")
        split = Split(rule, column=column or None)
    if split.rule == "random" and split.seed is None:
        split = replace(split, seed=split_seed)
    return replace(columns, split=split)


def with_roles(
    columns: Columns,
    sparse: Sequence[str] = (),
    dense: Sequence[str] | Mapping[str, str] = (),
    multi: Sequence[str | MultiColumn] = (),
    ignore: Sequence[str] = (),
    **single,
) -> Columns:
    """The description with these columns in these roles, and in no other one.

    dense: names, with their transforms or without; single: group, time, min_count, hash_size
    and min_domain_rows, None for what the description says.
    """
    lists = [MultiColumn(each) if isinstance(each, str) else each for each in multi]
    roles = {*sparse, *dense, *ignore, *(spec.column for spec in lists)}

    def others(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in roles)

    transforms = {name: rule for name, rule in columns.transforms.items() if name not in roles}
    return replace(
        columns,
        kinds={name: kind for name, kind in columns.kinds.items() if name not in roles},
        sparse=(*others(columns.sparse), *sparse),
        dense=(*others(columns.dense), *dense),
        multi=(*(spec for spec in columns.multi if spec.column not in roles), *lists),
        ignore=(*others(columns.ignore), *ignore),
        transforms=transforms | (dict(dense) if isinstance(dense, Mapping) else {}),
        **{name: value for name, value in single.items() if value is not None},
    )


def continued(schema: Schema, new_domains: Sequence[str] = ()) -> Columns:
    """The complete description of a table that continues one of this schema: the same columns,
    lengths of lists and domains, and `new_domains` after them, each a value of the domain's column.

    Raises:  ValueError: the schema does not say how raw rows are read, numbers its ids from 0 (as
        `fit_on="all"`), or cannot have another domain.
    """
    if schema.encoders is None or schema.split.get("fit_on", "train") != "train":
        raise ValueError(
            "a table continues one whose vocabularies were fitted on its training rows and are "
            "known; train the earlier run again, with `fit_on=train`."
        )
    columns, lengths = schema.encoders.columns, {spec.name: spec.max_len for spec in schema.multi}
    multi = [replace(m, max_len=lengths.get(m.name, m.max_len)) for m in columns.multi]
    domain = columns.domain
    if domain is not None:
        domain = replace(domain, remedy="add its domain by `add_domain`, or correct the cell")
    if new_domains:
        if domain is None or domain.bins:
            raise ValueError(
                "`add_domain` names a value of the column of domains, which "
                + ("has bins." if domain else "the earlier table had none of.")
            )
        text = columns.kinds[domain.column] in NAMES
        groups = dict(domain.groups)
        for name in new_domains:
            if name in groups:
                raise ValueError(f"`add_domain={name}`: the earlier run has this domain.")
            try:
                groups[name] = (name if text else float(name),)
            except ValueError:
                raise ValueError(
                    f"`add_domain={name}`: column {domain.column!r} holds numbers."
                ) from None
        domain = replace(domain, groups=groups)
    split = columns.split
    if split is not None and split.rule == "files":
        split = None
    return replace(columns, multi=tuple(multi), domain=domain, min_domain_rows=0, split=split)


def used(columns: Columns) -> list[str]:
    """The columns that have a role."""
    domain = columns.domain and columns.domain.column
    single = (domain, columns.group, columns.time, columns.split and columns.split.column)
    lists = (spec.column for spec in columns.multi)
    roles = (*sorted(columns.label_columns), *columns.sparse, *columns.dense, *lists, *single)
    return [name for name in dict.fromkeys(roles) if name is not None]


def named(columns: Columns) -> set[str]:
    """The columns that the description names."""
    return {*used(columns), *columns.kinds, *columns.ignore}


def check_present(columns: Columns, names: Collection[str]) -> None:
    """Raises DataFormatError for a column that none of the tables has."""
    if missing := [name for name in used(columns) if name not in names]:
        raise DataFormatError(
            f"no column {', '.join(map(repr, missing))} in the table",
            column=missing[0],
            expected="one of " + ", ".join(names),
            remedy="correct the name, or the header of the file",
        )


def completed(columns: Columns) -> Columns:
    """The description with the kind of every column that it uses.

    Raises:  ValueError: roles that exclude each other.
    """
    sparse = {*columns.sparse, *(m.column for m in columns.multi if m.first_only)}
    multi = {m.column for m in columns.multi if not m.first_only}
    _check(columns, sparse | multi)
    kinds = {}

    def read(names: Iterable[str | None], kind: str, fitting: Collection[str] = ()) -> None:
        """Gives the kind to those that have none yet; the description may say another one."""
        for name in names:
            if name is not None and name not in kinds:
                said = columns.kinds.get(name)
                kinds[name] = said if said in fitting else kind

    rules = map(parse_label, columns.labels.values())
    for column, comparison, value in sorted(rules, key=lambda rule: rule[1] is None):
        kind = "code" if isinstance(value, str) else "float" if comparison else "int"
        read([column], kind, ("code", "id") if kind == "code" else ())
    read([columns.time], "time", ("time", "int"))
    read([columns.group], "id", _SPARSE_KINDS)
    read((*columns.sparse, *(m.column for m in columns.multi)), "code", _SPARSE_KINDS)
    read(columns.dense, "number", _DENSE_KINDS)
    if (domain := columns.domain) is not None:
        if domain.bins:
            read([domain.column], "number", (*_DENSE_KINDS, *NAMES))
        read([domain.column], "code", (*_SPARSE_KINDS, *_DENSE_KINDS))
        if domain.groups is not None and kinds[domain.column] in NAMES and not domain.bins:
            of = str if kinds[domain.column] == "text" else plain_text
            groups = {n: tuple(map(of, map(str, v))) for n, v in domain.groups.items()}
            columns = replace(columns, domain=replace(domain, groups=groups))
    if columns.split.rule == "column":
        read([columns.split.column], "code")
    texts = [m.column for m in columns.multi]
    texts += [domain.column] if domain is not None and domain.first else []
    if numbers := [name for name in texts if kinds[name] not in NAMES]:
        raise ValueError(f"column {numbers[0]!r} is read as numbers, and a list is text")
    if unread := [name for name in columns.implies or () if name not in kinds]:
        raise ValueError(f"column {unread[0]!r}, which 'implies' names, has no role")
    return replace(columns, kinds=kinds, key=())


def _check(columns: Columns, categories: set[str]) -> None:
    """Raises ValueError where the description contradicts itself."""
    features = categories | set(columns.dense)
    wrong = dict.fromkeys(columns.label_columns, "a label") | {columns.time: "the time"}
    for name, role in wrong.items():
        if name in features:
            raise ValueError(f"column {name!r} is {role} and cannot be a feature")
    if not columns.labels:
        raise ValueError("no label is named: use `label`, a column of 0 and 1 or 'column > number'")
    if odd := [name for name, kind in columns.kinds.items() if kind not in DTYPES]:
        raise ValueError(f"the kind of {odd[0]!r} is none; use one of {', '.join(DTYPES)}")
    if both := categories & set(columns.dense):
        raise ValueError(f"column {min(both)!r} is both sparse and dense; name it once")
    names = [*dict.fromkeys(columns.sparse), *(spec.name for spec in dict.fromkeys(columns.multi))]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two fields have the name {twice[0]!r}; give the lists another one")
    for name, transform in columns.transforms.items():
        if name not in columns.dense or transform not in TRANSFORMS:
            raise ValueError(
                f"the transform of {name!r} is {transform!r}; use one of {TRANSFORMS}, of a dense "
                "column"
            )
    if not categories and (columns.domain is None or not columns.domain_feature):
        raise ValueError("no column is a category, and a model needs one: name it as `sparse`")
    if columns.hash_size < 0:
        raise ValueError(f"`hash_size` is {columns.hash_size}; it must be at least 0")
    rule = columns.split.rule
    needs = {"time": columns.time, "last": columns.group, "column": columns.split.column}
    if rule not in RULES:
        raise ValueError(f"`split` is {rule!r}; use one of {RULES}")
    if needs.get(rule, rule) is None:
        role = {"time": "`time`", "last": "`group`", "column": "its column, 'column:NAME',"}[rule]
        raise ValueError(f"`split={rule!r}` needs {role} to be named")
    if both := features & set(columns.ignore):
        raise ValueError(f"column {min(both)!r} is ignored and a feature; name it once")
