"""Generated tables whose two domains disagree: what one likes of an item, the other dislikes.

    logit = s_d strength v_item + own v_user + 0.5 (dense - 0.5)        s_0 = +1, s_1 = -1

v are standard normal effects.  Both domains have the same number of rows and see the same items and
users, so without the domain the item tells nothing: a model that ignores domains cannot learn it,
one that separates them can.  A model must show here what it does for domains before figures of real
data, where domains agree about most, mean anything.
"""

import numpy as np

from hamur.data.schema import FieldSpec, Schema
from hamur.data.splits import random_split
from hamur.data.synthetic.planted import sigmoid, truth_of
from hamur.data.table import Splits, Table, drop_fields

NAME = "conflict"
DOMAIN_FIELD = "domain_indicator"
NUM_ITEMS, NUM_USERS = 40, 30
STRENGTH, OWN = 1.6, 0.5


def make_conflict(rows: int = 8_000, seed: int = 2022) -> tuple[Splits, Schema, Splits]:
    """Tables split 8:1:1, their schema, and the Truth of each split's rows.

    Fields item, user, domain_indicator and one dense column; no id 0, since nothing is unknown.
    Best possible AUC 0.80 to 0.87 by seed in each domain, about 0.6 without seeing the domain.
    """
    rng = np.random.Generator(np.random.PCG64([seed, rows]))
    domain = rng.permutation(np.arange(rows, dtype=np.int32) % 2)
    item, user = rng.integers(NUM_ITEMS, size=rows), rng.integers(NUM_USERS, size=rows)
    dense = rng.random((rows, 1)).astype(np.float32)
    item_effect, user_effect = rng.standard_normal(NUM_ITEMS), rng.standard_normal(NUM_USERS)
    agreed = OWN * user_effect[user] + 0.5 * (dense[:, 0] - 0.5)
    liked = STRENGTH * item_effect[item]
    by_domain = sigmoid(np.stack([agreed + liked, agreed - liked], axis=1))  # (N, 2)
    probability = by_domain[np.arange(rows), domain]
    labels = (rng.random(rows) < probability).astype(np.int8)
    table = Table(
        sparse=np.stack([item + 1, user + 1, domain], axis=1).astype(np.int32),
        dense=dense,
        labels=labels[:, None],
        domain=domain,
        row_id=np.arange(rows, dtype=np.int64),
    )
    parts = random_split(rows, seed)
    truth = truth_of(by_domain, labels, domain)
    splits = Splits(*(table.take(part) for part in parts))
    return splits, _schema(seed), Splits(*(truth.take(part) for part in parts))


def without_domain_field(splits: Splits, schema: Schema) -> tuple[Splits, Schema]:
    """The same rows for a model that may not see the domain; reports per domain still know it."""
    return drop_fields(splits, schema, [schema.domain_field])


def _schema(seed: int) -> Schema:
    fields = (
        FieldSpec("item", "sparse", NUM_ITEMS + 1),
        FieldSpec("user", "sparse", NUM_USERS + 1),
        FieldSpec(DOMAIN_FIELD, "sparse", 2),
        FieldSpec("dense", "dense"),
    )
    names = ("likes an item", "dislikes it")
    split = {"rule": "random", "seed": seed}
    return Schema(NAME, fields, ("label",), names, domain_field=DOMAIN_FIELD, split=split)
