"""Source behaviours exchanged among users, against a loop over users."""

import numpy as np
import pytest

from hamur.commands.cross_domain import main
from hamur.data.cross_domain.dataset import USER
from hamur.data.cross_domain.exchange import exchange_users
from hamur.studies import planted
from tests.support.commands import assert_refused
from tests.support.pairs import random_pair


def contents(table, user):
    """(rows, 3): item, category and label of a user's rows."""
    rows = np.flatnonzero(table.sparse[:, USER] == user)
    return np.column_stack([table.sparse[rows, USER + 1 :], table.labels[rows]])


@pytest.mark.parametrize("seed", range(5))
def test_a_chosen_user_has_the_behaviours_of_another_chosen_one(seed):
    pair = random_pair(seed)
    found, harmed = exchange_users(pair, 0.4, seed)
    for before, after in ((pair.source.sparse[:, USER], found.source.sparse[:, USER]),
                          (pair.source.time, found.source.time)):  # fmt: skip
        np.testing.assert_array_equal(after, before)
    chosen, givers = np.flatnonzero(harmed), []
    assert len(chosen) == round(0.4 * len(np.unique(pair.source.sparse[:, USER])))
    for user in np.unique(pair.source.sparse[:, USER]):
        now = contents(found.source, user)
        if not harmed[user]:
            np.testing.assert_array_equal(now, contents(pair.source, user))
            continue
        stretched = {}
        for other in chosen:
            theirs = contents(pair.source, other)
            stretched[other] = theirs[[k * len(theirs) // len(now) for k in range(len(now))]]
        givers.append([o for o in chosen if o != user and np.array_equal(stretched[o], now)])
    # Each of them gives once: the sets of possible givers allow a permutation.
    assert all(givers) and set().union(*givers) == set(chosen)
    assert found.target is pair.target
    assert found.source_schema.split["exchanged"] == {
        "users": len(chosen), "of": len(np.unique(pair.source.sparse[:, USER])), "seed": seed,
    }  # fmt: skip


def test_what_cannot_be_exchanged_is_refused(capsys):
    with pytest.raises(ValueError, match="of 8 users with source behaviours is 1"):
        exchange_users(random_pair(0), 0.1, 0)
    flags = ["--exchange_source", "0.5", "--truth", "t.npz"]
    words = ["--exchange_source plants harm, --truth names harm that is there"]
    assert_refused(capsys, words, main, "x.py", "", flags)
    for flag in ("--exchange_source", "--search"):  # which the study would pass over
        flags, words = [flag, "0.5" if flag == "--exchange_source" else "5"], [flag]
        assert_refused(capsys, words, planted.main, "x.py", "", flags)
