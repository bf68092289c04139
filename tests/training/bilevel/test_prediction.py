"""Evaluation of CoNet: fixed candidates, any batch size, and ranking against plain loops."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import Tensor

from hamur.commands.cross_domain import build_model, row_rules
from hamur.data.cross_domain.collate import (
    NONE,
    SOURCE_FIELDS,
    TARGET_FIELDS,
    TEST,
    VALID,
    CrossDomainRows,
)
from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.metrics import protocols
from hamur.reporting.cross_domain import ranking, results_table, split_report
from hamur.reporting.tables import UNDEFINED
from hamur.training.evaluation import CollapseError, CrossDomainEvaluation
from hamur.training.prediction import predict, predictor_of
from tests.support.pairs import options, random_pair


class Scored:
    """Splits of a pair with their candidates, scored by a function of source and target ids (B, 3),
    or by an untrained CoNet."""

    def __init__(self, pair, logits=None, **changes):
        self.config = options(**changes)
        self.rows = CrossDomainRows(pair, row_rules(self.config))
        model = build_model(dataclasses.replace(self.config, seed=4), self.rows.sizes)
        self.model, self.predictor = model, predictor_of(model, self.config.test_batchsize)
        if logits is not None:
            offsets = self.rows.sizes.offsets

            def scores(*columns):
                ids = np.stack([column.asnumpy() for column in columns], axis=1) + offsets
                source, target = ids[:, SOURCE_FIELDS], ids[:, TARGET_FIELDS]
                return Tensor(logits(source, target).astype(np.float32))

            self.predictor.make = lambda rows: scores

    def candidates(self, split):
        table = self.rows.pair.target[split]
        draws = None if self.config.eval_draws == "all" else int(self.config.eval_draws)
        return self.rows.candidates(table, draws, self.config.eval_seed, split)

    def report(self, split):
        rows = self.candidates(split)
        return split_report(rows, self.predictor(rows), self.config.bootstrap, 2022)

    def ranking(self):
        number, seed = self.config.rank_negatives, self.config.eval_seed
        return ranking(self.predictor, self.candidates(TEST), number, seed)


def constant(source, target):
    return np.zeros(len(target))


def mixed(source, target):
    """Any function of every field; values repeat, so that there are ties."""
    return np.round(np.sin(source @ [3.0, 1.0, 7.0] + target @ [0.0, 5.0, 2.0]), 1)


@pytest.fixture(scope="module")
def pair():
    return random_pair(2, users=190, items=(40, 14))


def test_scores_depend_neither_on_the_batch_nor_on_earlier_calls(pair):
    found = {}
    for size in (1, 64, 512):
        scored = Scored(pair, eval_draws="2", test_batchsize=size, embed_std=1.0)
        rows = scored.candidates(TEST).take(np.arange(70))
        probabilities = predict(scored.model, rows, size)
        np.testing.assert_array_equal(probabilities, scored.predictor(rows))
        assert np.ptp(probabilities) > 0.01
        assert len(rows.pairs(5)[0]) > len(probabilities) == 70 == len(rows.pairs(3)[0])
        found[size] = probabilities
    for size in (1, 64):
        np.testing.assert_allclose(found[size], found[512], rtol=0, atol=1e-6)


@pytest.mark.parametrize("draws", ["1", "8", "all"])
def test_a_score_is_the_mean_over_the_candidates_of_its_row(pair, draws):
    scored = Scored(pair, mixed, eval_draws=draws)
    table, rows = pair.target.valid, scored.candidates(VALID)
    probabilities = scored.predictor(rows)
    begin, end = scored.rows.pool(table)
    assert (end == begin).any()  # a row without a candidate is scored once
    for row in range(len(table)):
        drawn = [r for r in rows.source_row[row] if r != NONE]
        size = end[row] - begin[row]
        assert len(drawn) == (size if draws == "all" else min(int(draws), size))
        expected = []
        for source in drawn or [NONE]:
            batch = scored.rows.collate(table.take([row]), np.array([source]), histories=False)
            expected.append(1 / (1 + np.exp(-mixed(*batch.ids)[0])))
        assert probabilities[row] == pytest.approx(np.mean(expected), abs=1e-6)


def test_leave_two_out_has_no_auc_inside_a_user_and_a_split_by_time_has(pair):
    entry = Scored(pair, mixed).report(TEST)
    assert entry["gauc_user"]["value"] is None and "one row" in entry["gauc_user"]["reason"]
    assert entry["gauc_item"]["value"] is not None and entry["gauc_item"]["groups"] > 1
    later = random_pair(2, users=40, most=(40, 12), days=99, split="global_time")
    entry = Scored(later, mixed).report(TEST)
    assert 0 <= entry["gauc_user"]["value"] <= 1 and entry["gauc_user"]["groups"] > 1


def evaluation_of(scored, rows, **options):
    evaluation = CrossDomainEvaluation(scored.model, rows, **options)
    evaluation.predictor = scored.predictor
    return evaluation


def test_a_split_of_one_class_has_no_auc_and_says_why(pair):
    scored = Scored(pair, mixed)
    rows = scored.candidates(TEST)
    ones = dataclasses.replace(rows.table, labels=np.ones_like(rows.labels))
    rows = dataclasses.replace(rows, table=ones)
    entry = split_report(rows, scored.predictor(rows), 20, 2022)
    assert entry["auc"] is None and entry["auc_ci"] is None and entry["reason"] == "one class"
    assert np.isfinite(entry["logloss"])
    assert evaluation_of(scored, rows)()["auc"] is None
    evaluation_of(scored, rows).check("logloss")
    with pytest.raises(ValueError, match=r"'auc' is undefined .*one class.*`criterion='logloss'`"):
        evaluation_of(scored, rows).check("auc")
    content = {"valid": entry, "test": entry, "ranking": None}
    assert results_table(content).splitlines()[-1].split()[2] == UNDEFINED


def test_a_constant_model_is_noticed(pair, caplog):
    scored = Scored(pair, constant)
    run = SimpleNamespace(epochs=1, restarts=0)

    def check(auc, loss, spread, **options):
        evaluation = evaluation_of(scored, scored.candidates(VALID), **options)
        report = {"auc": auc, "logloss": 0.6, "spread": spread}
        return evaluation.check_epoch(report, loss, run), report["collapsed"]

    assert check(0.5, 0.693, 0.2) == (None, True)
    assert "predicts a constant" in caplog.text
    assert check(0.7, 0.5, 0.2) == (None, False) == check(0.5, 0.6, 0.2)
    with pytest.raises(CollapseError, match="constant"):
        check(0.7, 0.5, 1e-5, on_collapse="error")
    restart = dict(on_collapse="restart", initial_weights=lambda number: {"number": number})
    assert check(None, 0.5, 0.0, **restart) == ({"number": 1}, True)
    assert "beginning again" in caplog.text
    run.restarts = 3
    assert check(0.5, 0.7, 0.2, **restart) == (None, True)


def test_the_line_of_an_epoch_names_what_picks_the_best(pair):
    evaluation = evaluation_of(Scored(pair, mixed), Scored(pair, mixed).candidates(VALID))
    report, run = {"auc": 0.6, "logloss": 0.5}, SimpleNamespace(best=0.7, best_epoch=2)
    expected = "current auc 0.600000  best auc 0.700000  best epoch 2"
    assert evaluation.line(report, run) == expected
    evaluation.check("logloss")
    run.best = -0.4
    expected = "current auc 0.600000  logloss 0.500000  best logloss 0.400000  best epoch 2"
    assert evaluation.line(report, run) == expected


def items_of(pair, user):
    return {row[ITEM] for part in pair.target for row in part.sparse if row[USER] == user}


def test_ranking_equals_a_loop_over_users(pair):
    """As many negatives as there are: those of a user follow without a draw."""
    scored = Scored(pair, mixed, eval_draws="2", rank_negatives=60)
    report, drawn = scored.ranking(), scored.candidates(TEST).source_row
    train, test, offsets = scored.rows.train, pair.target.test, scored.rows.sizes.offsets
    own, others = [], []
    for row in np.flatnonzero(test.labels[:, 0] == 1):
        user = test.sparse[row, USER]
        negatives = sorted(set(train.sparse[:, ITEM].tolist()) - items_of(pair, user) - {0})

        def score(item, row=row, user=user):
            category = pair.target_categories[item]
            if item == test.sparse[row, ITEM]:
                category = test.sparse[row, CATEGORY]
            target = np.array([[user, item, category]]) + offsets[[0, 1, 2]]
            behaviours = [pair.source.sparse[[r]] for r in drawn[row] if r != NONE]
            behaviours = behaviours or [np.array([[user, 0, 0]])]
            values = [mixed(ids + offsets[[0, 3, 4]], target)[0] for ids in behaviours]
            return np.float64(np.mean(1 / (1 + np.exp(-np.float32(values).astype(float)))))

        own.append(score(test.sparse[row, ITEM]))
        others.append([score(item) for item in negatives] + [np.nan] * (60 - len(negatives)))
    assert report["users"] == report["users_with_fewer_negatives"] == len(own) >= 50
    assert report["users_skipped"] == {"negative test row": len(test) - len(own)}
    figures = protocols.ranking_report(np.round(own, 9), np.round(others, 9))
    for name, value in figures.items():
        assert report[name] == pytest.approx(value), name


def test_sampled_negatives_are_new_to_the_user_and_the_same_for_every_arm(pair):
    found = []
    for arm in ("conet_s", "conet_biao"):
        rows = Scored(pair, mixed, model_name=arm, seed=1).rows
        positives = pair.target.test.take(np.flatnonzero(pair.target.test.labels[:, 0] == 1))
        items, counts = rows.negative_items(positives, 5, 2022)
        assert (counts == 5).all() and items.all()
        for user, chosen in zip(positives.sparse[:, USER], items):
            assert len(set(chosen)) == 5 and not items_of(pair, user) & set(chosen)
        found.append(items)
    np.testing.assert_array_equal(*found)


def test_a_constant_scorer_ranks_nothing_and_has_auc_one_half(pair):
    scored = Scored(pair, constant, rank_negatives=20)
    report = scored.ranking()
    assert report["hr@10"] == report["hr@20"] == 0.0 and report["gauc_user"] == 0.5
    assert scored.report(TEST)["auc"] == 0.5
    report = evaluation_of(scored, scored.candidates(VALID))()
    assert report == {"auc": 0.5, "logloss": pytest.approx(np.log(2)), "spread": 0.0}
