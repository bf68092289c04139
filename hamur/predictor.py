"""Scores of raw rows by what was trained: `hamur.load(run)` gives a `Predictor`."""

import threading
import warnings
from collections.abc import Callable

import numpy as np

from hamur.data import raw_rows
from hamur.data.frames import names_of
from hamur.data.schema import Schema
from hamur.data.table import Table
from hamur.data.text.reader import Rows
from hamur.encoders import Report


class Predictor:
    """Probabilities of raw rows; threads may share one.

    score: (table, preference) -> (B,) or (B, T); preference None, (T,) or (B, T).
    score_many: the same where more rows of such domains follow; it may compile for them.
    about: the content of schema.json; name: of the model.
    """

    def __init__(self, schema: Schema, score: Callable, name: str = "", about: dict | None = None):
        self.schema, self.score, self.name, self.about = schema, score, name, about or {}
        self.score_many, self.encoders = score, schema.encoders
        self._last, self._told = threading.local(), set()
        for known in self.encoders.vocabularies.values():
            known.places(known.values[:1])  # makes the look-up, which no two threads should do

    @property
    def report(self) -> Report | None:
        """Of this thread's last call."""
        return getattr(self._last, "report", None)

    @property
    def takes_preferences(self) -> bool:
        return bool(self.about.get("takes_preferences"))

    def predict(
        self, rows, preference=None, unknown_domain: str | None = None, allow_missing: bool = False
    ) -> np.ndarray:
        """(B,) float32, or (B, T) of several tasks.

        rows: a DataFrame, dictionaries, or an Arrow table, with at least `encoders.needed`.
        preference: (T,) or one per row (B, T), of pomoe.  The others: see `Encoders`.
        Raises:  DataError; ValueError: a preference that the model cannot take.
        """
        table = self.encode(rows, unknown_domain, allow_missing)
        return self.score_table(table, preference)

    def score_table(self, table: Table, preference=None) -> np.ndarray:
        """The same of rows that are encoded already."""
        if np.ndim(preference) == 2 and len(preference) != len(table):
            raise ValueError(
                f"a preference is one for all rows or one per row: got {len(preference)} for "
                f"{len(table)} rows."
            )
        return np.asarray(self.score(table, preference), np.float32)

    def encode(self, rows, unknown_domain: str | None = None, allow_missing: bool = False) -> Table:
        """The rows as ids and scaled numbers, labels 0."""
        rows = raw_rows.one_row(rows)
        self._warn_of_others(names_of(rows))
        cells = self.encoders.rows(rows, allow_missing)
        table, self._last.report = self.encoders.encode(cells, self.schema, unknown_domain)
        return table

    def _warn_of_others(self, names) -> None:
        others = set(names).difference(self.encoders.columns.names, self._told)
        if others:
            self._told |= others
            text = ", ".join(sorted(others))
            warnings.warn(f"columns that the model does not read: {text}", stacklevel=4)

    def warm_up(self, max_rows: int = 1) -> None:
        """Compile what scores of 1 to max_rows rows need, in seconds per size."""
        for rows in (1 << power for power in range(13)):
            nothing = Rows({}, np.arange(rows))  # every cell is missing
            about = self.schema, self.schema.domain_names[0]
            table, _ = self.encoders.encode(nothing, *about)
            self.score_table(table)
            if self.takes_preferences:
                each = np.random.default_rng(0).dirichlet(np.ones(len(self.schema.labels)), rows)
                self.score_table(table, each)
            if rows >= max_rows:
                return
