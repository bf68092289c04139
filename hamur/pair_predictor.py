"""Scores of a target domain's raw rows beside their users' behaviours in a source domain."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from hamur.data import raw_rows
from hamur.data.cross_domain.collate import (
    NONE,
    TEST,
    Candidates,
    draw_candidates,
    joined_fields,
)
from hamur.data.cross_domain.dataset import ENDLESS, FIELDS, RAW, USER, UserHistories
from hamur.data.frames import names_of
from hamur.data.table import Table
from hamur.data.text.reader import Rows
from hamur.encoders import Report
from hamur.predictor import Predictor


class Behaviours(NamedTuple):
    """Encoded source rows (M, 3), as `Candidates` reads them; replaced: see `joined_fields`."""

    source: np.ndarray
    replaced: tuple[int, int]

    def fields(self, target: np.ndarray, source_row: np.ndarray) -> np.ndarray:
        return joined_fields(target, self.source, source_row, self.replaced)


class PairPredictor(Predictor):
    """Of CoNet: rows have the columns user and item, and may have timestamp and category."""

    def predict(
        self,
        rows,
        preference=None,
        unknown_domain: str | None = None,
        allow_missing: bool = False,
        histories=None,
    ) -> np.ndarray:
        """(B,) float32: the mean over the source behaviours that a row is scored with.

        histories: the source domain's rows, of the same form.  Of those of the row's user, earlier
            than the row where both have times (and the run's `source_pool` is before_row), as many
            are drawn as the run was evaluated with, by its `eval_draws` and `eval_seed`.  A row
            without any is scored as the run scores users without a source.  conet_s reads none.
        Raises:  DataError; ValueError: a preference or a domain, which these models do not have.
        """
        if preference is not None or unknown_domain is not None:
            raise ValueError("a cross-domain model takes no preference and knows no domains.")
        candidates = self.encode(rows, None, allow_missing, histories)
        row, pairs = candidates.pairs(self.schema.num_sparse)
        return candidates.means(row, self.score_table(pairs)).astype(np.float32)

    def encode(
        self, rows, unknown_domain=None, allow_missing: bool = False, histories=None
    ) -> Candidates:
        """The rows as ids, and the source behaviours that each is scored with."""
        rules, target = self.about["cross_domain"], self._read(rows, allow_missing)
        self._last.report = Report(len(target))
        table = self._table(target, "target", self._last.report)
        source, drawn = table.sparse[:0], np.full((len(table), 1), NONE)
        if histories is not None and self.schema.num_sparse > len(FIELDS):
            behaviours = self._read(histories, allow_missing)
            source = self._table(behaviours, "source", Report(len(behaviours)))
            codes = pd.factorize(np.concatenate([_texts(each) for each in (behaviours, target)]))[0]
            timed = source.time is not None and table.time is not None
            timed = timed and rules["source_pool"] == "before_row"
            ordered = UserHistories.of(_of_users(source, codes[: len(source)]))
            pools = ordered.before(codes[len(source) :], table.time if timed else ENDLESS)
            about = rules["draws"], rules["seed"], TEST
            drawn = draw_candidates(*pools, table.sparse[:, USER], *about)
            source = source.sparse[ordered.row]
        return Candidates(Behaviours(source, tuple(rules["replaced"])), table, drawn)

    def _read(self, source, allow_missing: bool) -> Rows:
        source = raw_rows.one_row(source)
        names = set(names_of(source))
        self._warn_of_others(names)
        file_format = self.encoders.format(names, allow_missing or not len(source))
        optional = {name: RAW.kinds[name] for name in ("category", "timestamp") if name in names}
        kinds = file_format.kinds | optional
        return raw_rows.read(source, replace(file_format, kinds=kinds))

    def _table(self, rows: Rows, side: str, report: Report) -> Table:
        """Ids (N, 3) of user, item and category, and the times if there are any."""
        known, cells, ids = self.encoders.vocabularies, rows.columns, []
        nothing = np.full(len(rows), "", object)
        for name, field in (("user", "user"), ("item", f"{side}_item")):
            own, unknown = known[field].ids(cells.get(name, nothing))
            ids.append(own)
            if unknown.any():
                report.unknown[name] = int(unknown.sum())
        category = known[f"{side}_item"].category[ids[-1]]
        if "category" in cells:  # of an unknown item
            of_rows, _ = known[f"{side}_category"].ids(cells["category"])
            category = np.where(unknown, of_rows, category)
        return Table(
            sparse=np.stack([*ids, category], axis=1),
            dense=np.zeros((len(rows), 0), np.float32),
            labels=np.zeros((len(rows), 1), np.int8),
            domain=np.zeros(len(rows), np.int32),
            time=cells.get("timestamp"),
            row_id=rows.lines.astype(np.int64),
        )


def _texts(rows: Rows) -> np.ndarray:
    """The users as they are called, unknown ones too."""
    return np.asarray(rows.columns.get("user", np.full(len(rows), "")), object)


def _of_users(source: Table, codes: np.ndarray) -> Table:
    """The table with these numbers of the users, and times."""
    time = np.zeros(len(source), np.int64) if source.time is None else source.time
    return replace(source, sparse=np.stack([codes, *source.sparse.T[1:]], axis=1), time=time)
