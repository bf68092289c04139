"""Tiny pairs for the tests of bi-level training."""

from dataclasses import replace

import numpy as np

from hamur.data.cross_domain import Interactions
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.encode import Codes
from hamur.data.table import Table
from hamur.training.bilevel.config import CrossDomainConfig


def interactions(name, user, item, category, rating, time):
    """Rows from plain integer columns; category is of the item."""

    def codes(values):
        found, code = np.unique(values, return_inverse=True)
        return Codes(code.astype(np.int32), np.char.add("n", np.char.zfill(found.astype(str), 4)))

    items = codes(item)
    of_item = np.array(
        [category[np.flatnonzero(items.codes == c)[0]] for c in range(items.codes.max() + 1)]
    )
    rows = np.arange(len(user))
    return Interactions(
        name, codes(user), items, codes(of_item), rows, np.asarray(rating, np.float32),
        np.asarray(time, np.int64),
    )  # fmt: skip


def random_pair(seed, users=12, items=(9, 14), most=(9, 12), days=20, **joined):
    """A pair with ties in time, users of few rows, and items of both labels."""
    rng = np.random.default_rng(seed)
    domains = []
    for name, number, top in (("Target", items[0], most[0]), ("Source", items[1], most[1])):
        counts = rng.integers(1, top, users)
        user = np.repeat(np.arange(100, 100 + users), counts)
        item = rng.integers(0, number, len(user))
        rating = rng.integers(1, 6, len(user))
        time = 10**9 + 86_400 * rng.integers(0, days, len(user))
        domains.append(interactions(name, user, item, item % 3, rating, time))
    return join_pair(domains[1], domains[0], JoinRules(**joined))


def with_flipped_label(pair, part, row):
    """The pair with the other label in one row of "source" or of a part of the target."""
    table = pair.source if part == "source" else getattr(pair.target, part)
    labels = table.labels.copy()
    labels[row] = 1 - labels[row]
    table = Table(**{**table.columns(), "labels": labels})
    if part == "source":
        return replace(pair, source=table)
    return replace(pair, target=pair.target._replace(**{part: table}))


def options(**changes):
    """A resolved configuration of small sizes."""
    small = dict(
        embed_dim=4, s_hislen=6, t_batchsize=8, meta_batchsize=8, upper_batchsize=8, interval=3,
        head_rows=16, epochs=2, bootstrap=20, rank_negatives=3, eval_draws="2", test_batchsize=16,
        seed=1, skip_self_test=True, descent_step=2,
    )  # fmt: skip
    return CrossDomainConfig(**{**small, **changes}).resolved()
