"""Evaluation of CoNet: fixed candidates, any batch size, and ranking against plain loops."""

from types import SimpleNamespace

import numpy as np
import pytest
from mindspore import Tensor

from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.data.table import Table
from hamur.reporting.cross_domain import results_table
from hamur.reporting.tables import UNDEFINED
from hamur.training.bilevel.batch import NONE
from hamur.training.bilevel.evaluate import TEST, VALID, Evaluator
from hamur.training.bilevel.parts import build_model, row_rules
from hamur.training.bilevel.rows import PairRows
from tests.support.pairs import options, random_pair


def evaluator(pair, logits=None, **changes):
    """With the logits of a function of source and target ids (B, 3), or of an untrained CoNet."""
    config = options(**changes)
    made = Evaluator(PairRows(pair, row_rules(config)), config)
    if logits is None:
        made.attach(build_model(config, made.rows.sizes, seed=4))
        return made
    made.model = SimpleNamespace(towers=2)
    made.logits = lambda ids, known: Tensor(
        np.stack([np.zeros(ids.shape[1]), logits(*ids.asnumpy())]).astype(np.float32)
    )
    return made


def constant(source, target):
    return np.zeros(len(target))


def mixed(source, target):
    """Any function of every field; values repeat, so that there are ties."""
    return np.round(np.sin(source @ [3.0, 1.0, 7.0] + target @ [0.0, 5.0, 2.0]), 1)


@pytest.fixture(scope="module")
def pair():
    return random_pair(2, users=190, items=(40, 14))


def test_scores_depend_neither_on_the_batch_nor_on_earlier_calls(pair):
    found, table = {}, pair.target.test.take(np.arange(70))
    for size in (1, 64, 512):
        made = evaluator(pair, eval_draws="2", test_batchsize=size, embed_std=1.0)
        drawn = made.candidates(TEST)[:70]
        probabilities, logits = made.predict(table, drawn)
        again, _ = made.predict(table, drawn)
        np.testing.assert_array_equal(probabilities, again)
        assert np.ptp(probabilities) > 0.01 and len(logits) > len(probabilities) == 70
        found[size] = probabilities
    for size in (1, 64):
        np.testing.assert_allclose(found[size], found[512], rtol=0, atol=1e-6)


@pytest.mark.parametrize("draws", ["1", "8", "all"])
def test_a_score_is_the_mean_over_the_candidates_of_its_row(pair, draws):
    made = evaluator(pair, mixed, eval_draws=draws)
    table = pair.target.valid
    probabilities, _ = made.predict(table, made.candidates(VALID))
    begin, end = made.rows.pool(table)
    assert (end == begin).any()  # a row without a candidate is scored once
    for row in range(len(table)):
        drawn = [r for r in made.candidates(VALID)[row] if r != NONE]
        size = end[row] - begin[row]
        assert len(drawn) == (size if draws == "all" else min(int(draws), size))
        expected = []
        for source in drawn or [NONE]:
            batch = made.rows.assemble(table.take([row]), np.array([source]), histories=False)
            expected.append(1 / (1 + np.exp(-mixed(*batch.ids)[0])))
        assert probabilities[row] == pytest.approx(np.mean(expected), abs=1e-6)


def test_leave_two_out_has_no_auc_inside_a_user_and_a_split_by_time_has(pair):
    entry, _ = evaluator(pair, mixed).report(TEST)
    assert entry["gauc_user"]["value"] is None and "one row" in entry["gauc_user"]["reason"]
    assert entry["gauc_item"]["value"] is not None and entry["gauc_item"]["groups"] > 1
    later = random_pair(2, users=40, most=(40, 12), days=99, split="global_time")
    entry, _ = evaluator(later, mixed).report(TEST)
    assert 0 <= entry["gauc_user"]["value"] <= 1 and entry["gauc_user"]["groups"] > 1


def test_a_split_of_one_class_has_no_auc_and_says_why(pair):
    test = pair.target.test
    ones = Table(**{**test.columns(), "labels": np.ones_like(test.labels)})
    made = evaluator(pair, mixed)
    made.target = pair.target._replace(test=ones, valid=ones)
    entry, _ = made.report(TEST)
    assert entry["auc"] is None and entry["auc_ci"] is None and entry["reason"] == "one class"
    assert np.isfinite(entry["logloss"])
    assert made.validate()[0]["auc"] is None
    content = {"valid": made.report(VALID)[0], "test": entry, "ranking": None}
    assert results_table(content).splitlines()[-1].split()[2] == UNDEFINED


def test_ranking_equals_a_loop_over_users(pair):
    """As many negatives as there are: those of a user follow without a draw."""
    made = evaluator(pair, mixed, eval_draws="2", rank_negatives=60)
    report = made.ranking()
    train, test, offsets = made.rows.train, pair.target.test, made.rows.sizes.offsets
    ranks, below = [], []
    for row in np.flatnonzero(test.labels[:, 0] == 1):
        user = test.sparse[row, USER]
        met = {
            r[ITEM] for part in pair.target for r in part.sparse if r[USER] == user
        }  # fmt: skip
        negatives = sorted(set(train.sparse[:, ITEM].tolist()) - met - {0})

        def score(item, row=row, user=user):
            category = pair.target_categories[item]
            if item == test.sparse[row, ITEM]:
                category = test.sparse[row, CATEGORY]
            target = np.array([[user, item, category]]) + offsets[[0, 1, 2]]
            values = []
            for source in made.candidates(TEST)[row]:
                if source != NONE or not values:
                    ids = np.array([[user, 0, 0]])
                    if source != NONE:
                        ids = pair.source.sparse[[source]].copy()
                    values.append(mixed(ids + offsets[[0, 3, 4]], target)[0])
                if source == NONE:
                    break
            return np.float64(np.mean(1 / (1 + np.exp(-np.float32(values).astype(float)))))

        own = score(test.sparse[row, ITEM])
        others = np.array([score(item) for item in negatives])
        ranks.append(1 + (others > own - 1e-9).sum())
        ties = np.abs(others - own) <= 1e-9
        below.append(((others < own - 1e-9).sum() + ties.sum() / 2) / len(others))
    ranks = np.array(ranks)
    assert report["users"] == report["users_with_fewer_negatives"] == len(ranks) >= 50
    assert report["users_skipped"] == {"negative test row": len(test) - len(ranks)}
    for k in (1, 5, 10, 20):
        assert report[f"hr@{k}"] == pytest.approx((ranks <= k).mean())
        gain = np.where(ranks <= k, 1 / np.log2(ranks + 1), 0)
        assert report[f"ndcg@{k}"] == pytest.approx(gain.mean())
    assert report["mrr"] == pytest.approx((1 / ranks).mean())
    assert report["gauc_user"] == pytest.approx(np.mean(below))


def test_sampled_negatives_are_new_to_the_user_and_the_same_for_every_arm(pair):
    found = []
    for arm in ("conet_s", "conet_biao"):
        made = evaluator(pair, mixed, model_name=arm, rank_negatives=5, seed=1)
        positives = pair.target.test.take(np.flatnonzero(pair.target.test.labels[:, 0] == 1))
        items, fewer = made.negative_items(positives, 5)
        assert fewer == 0 and items.all()
        for user, chosen in zip(positives.sparse[:, USER], items):
            met = {
                r[ITEM] for part in pair.target for r in part.sparse if r[USER] == user
            }  # fmt: skip
            assert len(set(chosen)) == 5 and not met & set(chosen)
        found.append(items)
    np.testing.assert_array_equal(*found)


def test_a_constant_scorer_ranks_nothing_and_has_auc_one_half(pair):
    made = evaluator(pair, constant, rank_negatives=20)
    report = made.ranking()
    assert report["hr@10"] == report["hr@20"] == 0.0 and report["gauc_user"] == 0.5
    entry, _ = made.report(TEST)
    assert entry["auc"] == 0.5
    assert made.validate() == ({"auc": 0.5, "logloss": pytest.approx(np.log(2))}, 0.0)
