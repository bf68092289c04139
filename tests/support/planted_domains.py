"""Rows of which is planted who gains from joint training, who is miscalibrated, and which feature
matters where.

    own      many rows, likes the items that the others dislike; alone it depends on the context
    shared   many rows of the common taste; alone it depends on the tags
    thinned  half of the positives of validation and test rows are missing, and they fall with time
    small    few rows of the common taste
    quiet    a few rows without a positive one
"""

import numpy as np
import pandas as pd

from hamur.data.multi_valued import MultiValued
from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Splits, Table
from hamur.metrics.exact_front import sigmoid

NAMES = ("own", "shared", "thinned", "small", "quiet")
OWN, SHARED, THINNED, SMALL, QUIET = range(5)
SHARES = (0.3, 0.35, 0.29, 0.055, 0.005)
ITEMS, CONTEXTS, TAGS, USERS = 200, 6, 8, 30
START, SECONDS = 1_600_000_000, 10_000_000
SIZES = dict(item=ITEMS, context=CONTEXTS, user=USERS, domain_indicator=len(NAMES))
FEATURES = [FieldSpec(name, "sparse", size) for name, size in SIZES.items()]
FEATURES += [FieldSpec("tags", "multi", TAGS, max_len=2)]
FEATURES += [FieldSpec("price", "dense"), FieldSpec("noise", "dense")]
SCHEMA = Schema("planted", tuple(FEATURES), ("like",), NAMES, "domain_indicator")
TASTE, MOOD, LIKING = (
    np.random.default_rng(5).standard_normal(size) for size in (ITEMS, CONTEXTS, TAGS)
)


def logits(sparse: np.ndarray, dense: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """(N,) of which the labels of training rows are drawn; tags (N, 2)."""
    item, context, _, domain = sparse.T
    score = 1.5 * np.where(domain == OWN, -1, 1) * TASTE[item]
    score += np.where(domain == OWN, MOOD[context], 0.0)
    score += np.where(domain == SHARED, LIKING[tags].sum(1), 0.0)
    return score + 1.5 * (dense[:, 0] - 0.5) - 0.5


def make(rows: int = 8000, seed: int = 0) -> Splits:
    """Tables split 6:2:2."""
    rng = np.random.default_rng(seed)
    counts = np.round(np.array(SHARES) * rows).astype(int)
    domain = rng.permutation(np.repeat(np.arange(len(NAMES)), counts))
    rows = len(domain)
    columns = [rng.integers(size, size=rows) for size in (ITEMS, CONTEXTS, USERS)]
    sparse = np.stack([*columns, domain], axis=1).astype(np.int32)
    dense, tags = rng.random((rows, 2)).astype(np.float32), rng.integers(TAGS, size=(rows, 2))
    share = rng.random(rows)
    z = logits(sparse, dense, tags) - np.where(domain == THINNED, 2.0 * (share - 0.5), 0.0)
    labels = (rng.random(rows) < sigmoid(z)) & (domain != QUIET)
    lists = MultiValued(
        tags.ravel().astype(np.int32),
        np.ones(2 * rows, np.float32),
        2 * np.arange(rows + 1, dtype=np.int64),
        max_len=2,
    )
    time = START + (SECONDS * share).astype(np.int64)
    table = Table(
        sparse,
        dense,
        labels[:, None].astype(np.int8),
        domain.astype(np.int32),
        time=time,
        row_id=np.arange(rows),
        multi_valued=(lists,),
    )
    parts = np.split(rng.permutation(rows), [int(0.6 * rows), int(0.8 * rows)])
    kept = ~((domain == THINNED) & labels & (rng.random(rows) < 0.5))
    return Splits(*(table.take(p if n == 0 else p[kept[p]]) for n, p in enumerate(parts)))


def score(table: Table) -> np.ndarray:
    """What the best model knows of a table: the probabilities of training rows."""
    tags = table.multi_valued[0].take(np.arange(len(table))).ids.reshape(-1, 2)
    return sigmoid(logits(np.asarray(table.sparse), np.asarray(table.dense), tags))


def frame(splits: Splits) -> pd.DataFrame:
    """The rows as a table of one's own, whose column `part` is the split."""
    parts = []
    for name, table in splits._asdict().items():
        columns = dict(zip(("item", "context", "user"), table.sparse.T))
        columns["domain"] = np.array(NAMES)[table.domain]
        columns["tags"] = table.multi_valued[0].ids.reshape(-1, 2).tolist()
        columns |= dict(zip(("price", "noise"), table.dense.T))
        columns |= {"at": table.time, "like": table.labels[:, 0], "part": name}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
