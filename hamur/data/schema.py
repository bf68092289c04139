"""What the columns of a table mean.

A `Schema` is a value: frozen, comparable, and exactly the same after a round trip through JSON.
Models read their sizes from it and never from the data.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SPARSE, MULTI, DENSE = "sparse", "multi", "dense"
DOMAIN_FIELD = "domain_indicator"  # the name of the domain id among the sparse fields
KINDS = (SPARSE, MULTI, DENSE)  # in the order of a model's input
POOL_WEIGHTS = ("uniform", "value")


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
    """One input column.

    kind "sparse": an id 0..vocab_size-1, 0 = unknown; "multi": a list of up to max_len such ids,
    of whose embeddings a model takes the mean, each counting once (pool_weight "uniform") or as
    much as its value ("value"); "dense": a float.
    """

    name: str
    kind: str
    vocab_size: int = 0
    max_len: int = 0
    pool_weight: str = POOL_WEIGHTS[0]

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"field {self.name!r}: kind is {self.kind!r}; use one of {KINDS}")
        if (self.kind != DENSE) != (self.vocab_size > 0):
            raise ValueError(
                f"field {self.name!r}: vocab_size is {self.vocab_size}; a sparse or multi field "
                "needs at least 1 id, a dense one has none"
            )
        if (self.kind == MULTI) != (self.max_len > 0):
            raise ValueError(
                f"field {self.name!r}: FieldSpec.max_len is {self.max_len}; a multi field needs "
                "room for at least 1 id, other kinds have none"
            )
        if self.pool_weight not in POOL_WEIGHTS:
            raise ValueError(
                f"field {self.name!r}: FieldSpec.pool_weight is {self.pool_weight!r}; use one of "
                f"{POOL_WEIGHTS}"
            )


@dataclass(frozen=True)
class Schema:
    """Names and sizes of a data set's columns, in model order: sparse, multi, then dense fields.

    name: picks the published sizes of a model ("ml-1m", "ali-ccp") or is the user's own.
    domain_field: the sparse field that holds the domain id again as a feature, or None.
    group: the column whose rows belong together for a grouped AUC, or None.
    split: how the rows were divided: rule, seed, rows, fingerprints.  JSON values only.
    encoders: `hamur.encoders.Encoders`, what turns raw rows into these columns, where it is known;
        no part of the value: neither compared nor in the JSON.
    """

    name: str
    fields: tuple[FieldSpec, ...]
    labels: tuple[str, ...] = ("label",)
    domain_names: tuple[str, ...] = ("0",)
    domain_field: str | None = None
    group: str | None = None
    split: Mapping = field(default_factory=FrozenDict)
    encoders: object | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        for name in ("fields", "labels", "domain_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "split", FrozenDict(self.split))
        names = [spec.name for spec in self.fields]
        kinds = [spec.kind for spec in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(f"two fields have the same name: {sorted(names)}; rename a column")
        if kinds != sorted(kinds, key=KINDS.index):
            raise ValueError(
                "sparse fields come before multi ones and these before dense ones, got "
                f"{list(zip(names, kinds))}"
            )
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
    def multi(self) -> tuple[FieldSpec, ...]:
        """The fields that hold lists."""
        return tuple(spec for spec in self.fields if spec.kind == MULTI)

    @property
    def dense_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.fields if spec.kind == DENSE)

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """Of the sparse fields."""
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
        values = {name: getattr(self, name) for name in _names(Schema)}
        values["fields"] = [dataclasses.asdict(spec) for spec in self.fields]
        return json.dumps(thaw(values), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """The schema that `to_json` wrote.  ValueError: an unknown or a missing key."""
        values = json.loads(text)
        specs = [FieldSpec(**_known(FieldSpec, item)) for item in values.get("fields", [])]
        return cls(**{**_known(cls, values), "fields": tuple(specs)})


def _known(cls, values: dict) -> dict:
    names = _names(cls)
    if set(values) != set(names):
        raise ValueError(
            f"{cls.__name__} in JSON has unknown keys {sorted(set(values) - set(names))} and lacks "
            f"{sorted(set(names) - set(values))}"
        )
    return values


def _names(cls) -> list[str]:
    return [item.name for item in dataclasses.fields(cls) if item.compare]
