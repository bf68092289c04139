"""Raw rows -> a model's inputs, as fitted on the training rows; also what an export carries.

Needs NumPy, pandas and pyarrow only: a server of an exported graph has no MindSpore.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.data.columns import Columns
from hamur.data.encode import UNKNOWN, Scaler
from hamur.data.schema import Schema
from hamur.data.table import Table
from hamur.data.text.reader import Rows


@dataclass(frozen=True)
class Known:
    """A fitted vocabulary: values (n,), text or whole numbers, in the order of their ids first_id,
    first_id + 1, ...; every other value is id 0, 'unknown'."""

    values: np.ndarray
    first_id: int = 1

    @cached_property
    def index(self) -> pd.Index:
        return pd.Index(self.values)

    def ids(self, column: np.ndarray | pd.Categorical) -> np.ndarray:
        """(N,) int32."""
        if isinstance(column, pd.Categorical):
            codes, column = column.codes, column.categories
        else:
            codes = slice(None)
        place = self.index.get_indexer(column)
        return np.where(place < 0, UNKNOWN, place + self.first_id).astype(np.int32)[codes]


@dataclass
class Report:
    """Of one call: rows; unknown: sparse or multi field -> cells of no known value; clipped: dense
    field -> cells outside the fitted range; other_domain: rows scored as another domain."""

    rows: int
    unknown: dict[str, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    other_domain: int = 0


@dataclass(frozen=True)
class Encoders:
    """What the training rows determined.

    columns: the description of raw rows, with the fitted domain; vocabularies: field -> Known, of
    the sparse (without the domain's) and multi fields; scalers: of the dense fields.
    """

    columns: Columns
    vocabularies: Mapping[str, Known]
    scalers: Mapping[str, Scaler]

    def rows(self, source, allow_missing: bool = False) -> Rows:
        """A DataFrame, a list of dicts or an Arrow table as rows of the reader."""
        raise NotImplementedError

    def encode(
        self, rows: Rows, schema: Schema, unknown_domain: str | None = None
    ) -> tuple[Table, Report]:
        """The table of a schema and what was not as in training."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """columns.json, encoders/<field>.parquet, encoders/scalers.json, encoders/domains.json."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> "Encoders":
        """What `save` wrote.  Raises:  DataFormatError: damaged or missing."""
        raise NotImplementedError
