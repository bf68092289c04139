"""Scores of raw rows by what was trained: `hamur.load(run)` gives a `Predictor`."""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hamur.data import raw_rows
from hamur.data.schema import Schema
from hamur.data.table import Table
from hamur.encoders import Encoders, Report


class Predictor:
    """Probabilities of raw rows; threads may share one.

    score: (table, preference) -> (B,) or (B, T); preference None, (T,) or (B, T).
    name: of the model, for people.
    """

    def __init__(self, schema: Schema, encoders: Encoders, score: Callable, name: str = ""):
        self.schema, self.encoders, self.score, self.name = schema, encoders, score, name
        self._last = threading.local()
        self._told: set[str] = set()

    @property
    def report(self) -> Report | None:
        """Of this thread's last call."""
        return getattr(self._last, "report", None)

    def predict(
        self, rows, preference=None, unknown_domain: str | None = None, allow_missing: bool = False
    ) -> np.ndarray:
        """(B,) float32, or (B, T) of several tasks.

        rows: a DataFrame, dictionaries, or an Arrow table, with at least `encoders.needed`.
        preference: (T,) or (B, T), of pomoe.  The others are those of `Encoders`.
        Raises:  DataError; ValueError: a preference that the model cannot take.
        """
        table = self.encode(rows, unknown_domain, allow_missing)
        return np.asarray(self.score(table, preference), np.float32)

    def encode(self, rows, unknown_domain: str | None = None, allow_missing: bool = False) -> Table:
        """The rows as ids and scaled numbers, labels 0."""
        self._warn_of_others(raw_rows.names_of(rows))
        cells = self.encoders.rows(rows, allow_missing)
        table, self._last.report = self.encoders.encode(cells, self.schema, unknown_domain)
        return table

    def _warn_of_others(self, names) -> None:
        columns = self.encoders.columns
        others = set(names).difference(columns.names, self._told)
        if others:
            self._told |= others
            text = ", ".join(sorted(others))
            warnings.warn(f"columns that the model does not read: {text}", stacklevel=4)

    def warm_up(self, max_rows: int = 1) -> None:
        """Compile what scores 1 to max_rows rows."""


def load(folder: str | Path) -> Predictor:
    """The predictor of a run, or of an export.

    Raises:  DataFormatError: damaged or missing files.
    """
    raise NotImplementedError
