"""Evaluation of CoNet: polarity of observed rows, and ranking of a positive among sampled items.

A score needs a source candidate; it is the mean probability over fixed candidates, drawn once from
(eval_seed, user, split): the same for every arm, seed and batch size.
"""

import math

import numpy as np

from hamur import metrics
from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.data.cross_domain.implicit import observed
from hamur.data.table import Table
from hamur.metrics import protocols
from hamur.training.bilevel.batch import NONE
from hamur.training.bilevel.head import sigmoid
from hamur.training.bilevel.problem import tensor
from hamur.training.bilevel.reads import Logits
from hamur.training.bilevel.rows import NEGATIVES, PairRows, stream

VALID, TEST = 1, 2
ONE_ROW = "leave_two_out gives every user one row"


class Evaluator:
    """Predictions and metrics of the model that is attached."""

    def __init__(self, rows: PairRows, config):
        self.rows, self.config = rows, config
        self.target = rows.pair.target
        self.drawn = {}
        self.logits = None

    def attach(self, model) -> None:
        self.model, self.logits = model, Logits(model)

    def candidates(self, split: int) -> np.ndarray:
        """(N, K) source rows of a split's rows; drawn once."""
        if split not in self.drawn:
            table = self.target.valid if split == VALID else self.target.test
            self.drawn[split] = self.draw(table, split)
        return self.drawn[split]

    def draw(self, table: Table, split: int) -> np.ndarray:
        draws = self.config.eval_draws
        number = None if draws == "all" else int(draws)
        return self.rows.draw_several(table, number, self.config.eval_seed, split)

    def target_logits(self, table: Table, source_row: np.ndarray) -> np.ndarray:
        """(N,) float32 target logits of rows with one source row each."""
        size = self.config.test_batchsize
        towers = slice(None) if self.model.towers == 2 else slice(1, None)
        parts = []
        order = np.arange(len(table))
        for batch in self.rows.batches(table, order, source_row, size, histories=False):
            ids, known = batch.ids[towers], batch.known[towers]
            out = self.logits(tensor(ids), tensor(known)).asnumpy()
            parts.append(out[-1][batch.mask > 0])
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def predict(self, table: Table, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities (N,), logits (M,)): the mean over each row's candidates, and every logit.

        A row without candidate is scored once, without a source behaviour.
        """
        if self.model.towers == 1:
            logits = self.target_logits(table, np.full(len(table), NONE))
            return sigmoid(logits.astype(np.float64)), logits
        used = drawn != NONE
        used[:, 0] = True
        row, draw = np.nonzero(used)
        logits = self.target_logits(table.take(row), drawn[row, draw])
        total = np.bincount(row, sigmoid(logits.astype(np.float64)), len(table))
        return total / used.sum(1), logits

    def validate(self) -> tuple[dict, float]:
        """AUC and log loss of the validation split, and the spread of its logits."""
        table = self.target.valid
        probabilities, logits = self.predict(table, self.candidates(VALID))
        labels = table.labels[:, 0]
        value = metrics.auc(labels, probabilities)
        report = {
            "auc": None if math.isnan(value) else value,
            "logloss": metrics.log_loss(labels, probabilities),
        }
        return report, float(np.std(logits)) if len(logits) else 0.0

    def report(self, split: int) -> tuple[dict, np.ndarray]:
        """(entry of metrics.json, probabilities) of a split."""
        table = self.target.valid if split == VALID else self.target.test
        probabilities, _ = self.predict(table, self.candidates(split))
        labels, users = table.labels[:, 0], table.sparse[:, USER]
        entry = {
            "auc": metrics.auc(labels, probabilities),
            "auc_ci": None,
            "logloss": metrics.log_loss(labels, probabilities),
            "ece": protocols.calibration_error(labels, probabilities),
            "rows": len(labels),
            "positives": int(labels.sum()),
        }
        if math.isnan(entry["auc"]):
            entry["auc"], entry["reason"] = None, metrics.ONE_CLASS
        elif self.config.bootstrap:
            samples = protocols.bootstrap_auc(
                labels, [probabilities], users, self.config.bootstrap, self.config.eval_seed
            )
            entry["auc_ci"] = protocols.interval(samples[:, 0])
        for name, column in (("item", ITEM), ("category", CATEGORY)):
            groups = table.sparse[:, column]
            entry[f"gauc_{name}"] = protocols.auc_within(labels, probabilities, groups)
        if len(np.unique(users)) == len(users):
            entry["gauc_user"] = {"value": None, "reason": ONE_ROW}
        else:
            entry["gauc_user"] = protocols.auc_within(labels, probabilities, users)
        return entry, probabilities

    def ranking(self) -> dict | None:
        """Each positive test row among items drawn uniformly from those the user has in no split.

        The model is trained for the polarity of observed rows, not for ranking unobserved items.
        """
        number = self.config.rank_negatives
        if not number:
            return None
        test = self.target.test
        chosen = np.flatnonzero(test.labels[:, 0] == 1)
        positives = test.take(chosen)
        items, fewer = self.negative_items(positives, number)
        drawn = self.candidates(TEST)[chosen]
        positive, _ = self.predict(positives, drawn)
        row, place = np.nonzero(items)
        sparse = positives.sparse[row].copy()
        sparse[:, ITEM] = items[row, place]
        sparse[:, CATEGORY] = self.rows.pair.target_categories[sparse[:, ITEM]]
        others = positives.take(row)
        others = Table(**{**others.columns(), "sparse": sparse})
        scores, _ = self.predict(others, drawn[row]) if len(row) else (np.zeros(0), None)
        negatives = np.full(items.shape, np.nan)
        negatives[row, place] = scores
        report = protocols.ranking_report(positive, negatives)
        report["negatives"] = items.shape[1]
        skipped = int(observed(test).sum()) - len(chosen)
        report["users_skipped"] = {"negative test row": skipped}
        report["users_with_fewer_negatives"] = fewer
        report["test_items_unseen_in_training"] = int((positives.sparse[:, ITEM] == 0).sum())
        return report

    def negative_items(self, positives: Table, number: int) -> tuple[np.ndarray, int]:
        """(U, number) item ids, 0 where a user has fewer eligible ones, and how many have fewer.

        A number above that of the items is all of them.
        """
        everything = [part.sparse[observed(part), :2] for part in self.target]
        user, item = np.concatenate(everything).T
        order = np.argsort(user, kind="stable")
        user, item = user[order], item[order]
        known = np.unique(self.rows.train.sparse[observed(self.rows.train), ITEM])
        known = known[known > 0]
        number = min(number, len(known))
        chosen = np.zeros((len(positives), number), np.int32)
        fewer = 0
        for row, person in enumerate(positives.sparse[:, USER]):
            begin, end = np.searchsorted(user, (person, person + 1))
            eligible = known[~np.isin(known, item[begin:end])]
            rng = stream(self.config.eval_seed, person, NEGATIVES)
            count = min(number, len(eligible))
            fewer += count < number
            chosen[row, :count] = rng.choice(eligible, count, replace=False)
        return chosen, fewer
