"""What a streaming preparation hands to the common end of `prepare`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hamur.data.arrays import Part
from hamur.data.schema import Schema
from hamur.data.text.bad_rows import BadRows


@dataclass(frozen=True)
class Product:
    """What a streaming preparation made.

    tables: split -> name of a Table's column -> its parts; files: the jobs, "files/<path>", whose
    array.npy becomes <path>.npy (array<end>.npy becomes <path><end>.npy where the report has
    "arrays": end -> entry); vocabularies: field -> job folder with values.npy, the raw values in
    the order of their ids; scales: field -> (low, high) that its values were scaled by;
    bad_rows: what was left out of each source file.
    """

    schema: Schema
    tables: dict[str, dict[str, list[Part]]]
    files: tuple[str, ...]
    vocabularies: dict[str, Path] = field(default_factory=dict)
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)
    bad_rows: tuple[BadRows, ...] = ()

    def with_bad_rows(self, bad_rows: Iterable[BadRows]) -> "Product":
        return replace(self, bad_rows=tuple(bad_rows))
