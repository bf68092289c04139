"""What the upper level learned, behaviour by behaviour: its weight, and its influence on the user's
development row at the best weights."""

import numpy as np

from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.data.table import Table
from hamur.training.bilevel.problem import CoNetProblem
from hamur.training.bilevel.rows import stream

MOST = 20_000  # behaviours in the report
ROWS = 256  # of a batch
REPORT = 7  # purpose of the random stream


def behaviour_weights(session) -> dict[str, np.ndarray]:
    """Columns of weights.csv: at most MOST source behaviours of the users, with their weights.

    row (position in the source table), user, item, category (raw names), label, g,
    relative_weight (n w, 1 = uniform), influence (c_j; NaN without a development row of the user),
    influence_count, harmful (only where the truth is known).
    The candidate's histories are what was before it; softmax weights are relative to this report's
    batches.
    """
    pair, upper = session.rows.pair, session.upper
    rng = stream(session.config.seed, REPORT)
    chosen = np.arange(len(pair.source))
    if len(chosen) > MOST:
        chosen = np.sort(rng.permutation(chosen)[:MOST])
    behaviours = pair.source.take(chosen)
    sparse = np.zeros_like(behaviours.sparse)
    sparse[:, USER] = behaviours.sparse[:, USER]  # no target row: the time is the behaviour's own
    rows = Table(**{**behaviours.columns(), "sparse": sparse})
    scores, relative = [], []
    for batch in session.rows.batches(rows, np.arange(len(rows)), chosen, ROWS, histories=True):
        g, weights = upper.weigh(batch)
        real = batch.mask > 0
        scores.append(g[real])
        relative.append(weights[0][real] / batch.share[real])
    columns = {
        "row": chosen,
        "user": pair.names["user"][behaviours.sparse[:, USER]],
        "item": pair.names["source_item"][behaviours.sparse[:, ITEM]],
        "category": pair.names["source_category"][behaviours.sparse[:, CATEGORY]],
        "label": behaviours.labels[:, 0].astype(int),
        "g": np.concatenate(scores),
        "relative_weight": np.concatenate(relative),
    }
    columns["influence"] = influences(session, chosen, rng)
    columns["influence_count"] = np.isfinite(columns["influence"]).astype(int)
    if session.harmful is not None:
        columns["harmful"] = session.harmful[chosen].astype(int)
    return columns


def influences(session, chosen: np.ndarray, rng) -> np.ndarray:
    """c_j (N,) of source rows against the development row of their user, NaN where he has none.

    In the scope of the user table, which is what a single behaviour moves most directly; each
    behaviour stands beside one of the user's training rows.
    """
    rows, upper, config = session.rows, session.upper, session.config
    users = rows.pair.source.sparse[chosen, USER]
    dev_table = upper.dev_table
    dev_of_user = np.full(rows.sizes.user + 1, -1)
    dev_of_user[dev_table.sparse[:, USER]] = np.arange(len(dev_table))
    begin, end = upper.first_of_user[users], upper.first_of_user[users + 1]
    usable = np.flatnonzero((dev_of_user[users] >= 0) & (end > begin))
    train_row = begin + (rng.random(len(users)) * (end - begin)).astype(np.int64)
    found = np.full(len(chosen), np.nan)
    for start in range(0, len(usable), ROWS):
        part = usable[start : start + ROWS]
        dev_rows = dev_table.take(dev_of_user[users[part]])
        dev = rows.assemble(dev_rows, rows.draw(dev_rows, rng), ROWS, histories=False)
        lower = rows.assemble(rows.train.take(train_row[part]), chosen[part], ROWS)
        _, weights = upper.weigh(lower)
        problem = CoNetProblem(
            upper.cells, dev, lower, weights, upper.dev_head(), "user",
            bool(config.row_normalise), first_order=True,
        )  # fmt: skip
        c = problem.influence(problem.precondition(problem.dev_gradient()))
        found[part] = c[: len(part)]
    return found
