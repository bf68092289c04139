"""Which behaviours a row may see, checked against walks over plain lists on random small pairs."""

import numpy as np
import pytest

from hamur.data.cross_domain.collate import (
    NONE,
    CrossDomainBatches,
    CrossDomainRows,
    RowRules,
    stream,
)
from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.errors import EmptySplitError
from tests.support.pairs import random_pair, with_flipped_label

SEEDS = range(200)
LENGTH = 5


def positives_before(table, user, time, rows=None):
    """[(item, category)] of the user's positive rows strictly before a time, oldest first."""
    chosen = range(len(table)) if rows is None else rows
    return [
        (table.sparse[r, ITEM], table.sparse[r, CATEGORY])
        for r in chosen
        if table.sparse[r, USER] == user and table.labels[r, 0] == 1 and table.time[r] < time
    ]


def check_histories(pair, rows, batch, table):
    offsets = rows.sizes.offsets
    for r in range(len(table)):
        user, time, drawn = table.sparse[r, USER], table.time[r], batch.source_row[r]
        seen = positives_before(rows.train, user, time)
        source = []
        if drawn != NONE:
            source = positives_before(pair.source, user, pair.source.time[drawn])
        for side, expected, field in ((0, source, 3), (1, seen, 1)):
            expected = expected[-rows.length :]
            found = (
                batch.history[side, r][batch.history_mask[side, r] > 0] - offsets[field : field + 2]
            )
            assert [tuple(pair_) for pair_ in found] == expected


@pytest.mark.parametrize("pool", ["before_row", "before_valid"])
def test_rows_see_strictly_earlier_behaviours_only(pool):
    for seed in SEEDS:
        pair = random_pair(seed)
        try:
            rows = CrossDomainRows(pair, RowRules(length=LENGTH, source_pool=pool, seed=seed))
        except EmptySplitError:
            continue
        for table in (rows.train, rows.dev, pair.target.valid, pair.target.test):
            if not len(table):
                continue
            drawn = rows.draw(table, stream(seed))
            batch = rows.collate(table, drawn)
            begin, end = rows.pool(table)
            limit = table.time if pool == "before_row" else pair.valid_time[table.sparse[:, USER]]
            for r in range(len(table)):
                own = pair.source.sparse[:, USER] == table.sparse[r, USER]
                allowed = np.flatnonzero(own & (pair.source.time < limit[r]))
                np.testing.assert_array_equal(np.arange(begin[r], end[r]), allowed)
                assert (drawn[r] in allowed) if len(allowed) else drawn[r] == NONE
            check_histories(pair, rows, batch, table)


def seen_by(batch, row):
    """All that a weight is made of."""
    real = batch.history_mask[:, row] > 0
    history = [batch.history[side, row][real[side]].tolist() for side in range(2)]
    return batch.ids[:, row].tolist(), batch.source_category[row], batch.has_source[row], history


def test_a_flipped_label_changes_nothing_that_its_row_sees():
    """Any three rows of 200 pairs; as published it does, see below."""
    checked = 0
    for seed in SEEDS:
        pair = random_pair(seed)
        rules = RowRules(length=LENGTH, seed=seed)
        try:
            rows = CrossDomainRows(pair, rules)
        except EmptySplitError:
            continue
        drawn = rows.draw(rows.train, stream(seed))
        batch = rows.collate(rows.train, drawn)
        places = np.flatnonzero(np.isin(pair.target.train.row_id, rows.train.row_id))
        chosen = stream(seed, 1).permutation(np.flatnonzero(drawn != NONE))[:3]
        for row in chosen:
            for part, place in (("train", places[row]), ("source", drawn[row])):
                flipped = CrossDomainRows(with_flipped_label(pair, part, place), rules)
                table = flipped.train.take([row])
                assert table.row_id == rows.train.row_id[row]
                again = flipped.collate(table, drawn[[row]])
                assert (again.labels[:, 0] != batch.labels[:, row]).sum() == 1
                assert seen_by(again, 0) == seen_by(batch, row)
                checked += 1
    assert checked > 800


def test_development_rows_are_the_last_training_rows_and_leave_training():
    for seed in range(30):
        pair = random_pair(seed)
        rows = CrossDomainRows(pair, RowRules(hold_out=0.5, seed=seed))
        everything = {tuple(r) for r in pair.target.train.sparse}
        ids = set(rows.train.row_id) | set(rows.dev.row_id)
        assert not set(rows.train.row_id) & set(rows.dev.row_id)
        assert ids == set(pair.target.train.row_id) and everything
        for user, time in zip(rows.dev.sparse[:, USER], rows.dev.time):
            own = rows.train.sparse[:, USER] == user
            assert own.any() and (rows.train.time[own] <= time).all()
        assert len(np.unique(rows.dev.sparse[:, USER])) == len(rows.dev)


def test_reuse_takes_the_training_rows_again():
    pair = random_pair(0)
    rows = CrossDomainRows(pair, RowRules(hold_out=0.0))
    assert rows.dev is rows.train and len(rows.train) == len(pair.target.train)


def test_a_pair_without_long_histories_of_users_cannot_hold_rows_out():
    pair = random_pair(3, most=(4, 5))
    with pytest.raises(EmptySplitError, match="dev_mode"):
        CrossDomainRows(pair, RowRules())


def test_every_training_row_occurs_once_an_epoch_and_fillers_do_not_count():
    rows = CrossDomainRows(random_pair(1), RowRules(length=LENGTH))
    batches = list(CrossDomainBatches(rows, 8, 2022, histories=True).epoch(1))
    real = np.concatenate([batch.target_row[batch.row_mask > 0] for batch in batches])
    np.testing.assert_array_equal(np.sort(real), np.arange(len(rows.train)))
    assert {batch.ids.shape for batch in batches} == {(2, 8, 3)}
    for batch in batches:
        assert batch.row_weight.sum() == pytest.approx(1.0)
        chosen = batch.target_row[batch.row_mask > 0]
        np.testing.assert_array_equal(batch.labels[1, : len(chosen)], rows.train.labels[chosen, 0])
    without = CrossDomainBatches(rows, 8, 2022, histories=False)
    again, other = list(without.epoch(1)), list(without.epoch(2))
    assert without.steps == len(batches) and without.batch_rows == 8
    np.testing.assert_array_equal(batches[0].ids, again[0].ids)
    assert (batches[0].ids != other[0].ids).any() and again[0].history is None


def test_candidates_of_evaluation_depend_on_user_and_split_alone():
    rows = CrossDomainRows(random_pair(5), RowRules())
    table = rows.pair.target.test
    drawn = rows.candidates(table, 2, 2022, 2).source_row
    backwards = np.arange(len(table))[::-1]
    np.testing.assert_array_equal(
        drawn[backwards], rows.candidates(table.take(backwards), 2, 2022, 2).source_row
    )
    begin, end = rows.pool(table)
    everything = rows.candidates(table, None, 2022, 2).source_row
    np.testing.assert_array_equal((everything != NONE).sum(1), np.maximum(end - begin, 0))
    assert ((drawn != NONE).sum(1) == np.minimum(end - begin, 2)).all()
    for line in drawn:
        assert len(set(line[line != NONE])) == (line != NONE).sum()


def test_a_user_without_pool_gets_nothing_or_item_1_as_published():
    pair = random_pair(5)
    for published in (False, True):
        rows = CrossDomainRows(pair, RowRules(replace_missing=published))
        batch = rows.collate(rows.train, np.full(len(rows.train), NONE))
        offsets = rows.sizes.offsets
        assert not batch.has_source.any() and not batch.labels[0].any()
        assert (batch.ids[0, :, 1] == offsets[3] + published).all()
        assert (batch.id_mask[0, :, 1] == published).all()


def test_published_histories_hold_the_current_row_if_and_only_if_it_is_positive():
    pair = random_pair(7)
    rows = CrossDomainRows(pair, RowRules(causal=False, hold_out=0.0, source_pool="before_valid"))
    drawn = rows.draw(rows.train, stream(0))
    batch = rows.collate(rows.train, drawn)
    sides = ((1, rows.train, np.arange(len(rows.train))), (0, pair.source, drawn))
    for side, table, own in sides:
        told = {0: 0, 1: 0}
        for r in np.flatnonzero(own != NONE):
            label, user = table.labels[own[r], 0], table.sparse[own[r], USER]
            item = table.sparse[own[r], ITEM]
            same = (table.sparse[:, USER] == user) & (table.sparse[:, ITEM] == item)
            if same.sum() > 1:
                continue  # met more than once: either may be in the history
            history = batch.history[side, r][batch.history_mask[side, r] > 0][:, 0]
            assert (batch.ids[side, r, 1] in history) == (label == 1)
            told[int(label)] += 1
        assert min(told.values()) > 0
