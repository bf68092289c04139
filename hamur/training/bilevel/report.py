"""What the upper level learned, behaviour by behaviour: its weight, and its influence on the user's
development row."""

import numpy as np

from hamur.data.cross_domain.collate import CrossDomainRows, stream
from hamur.data.cross_domain.dataset import CATEGORY, ITEM, USER
from hamur.data.table import Table
from hamur.training.bilevel.conet_problem import CoNetProblem
from hamur.training.bilevel.graphs import BehaviourPerceptron
from hamur.training.bilevel.options import BilevelOptions
from hamur.training.bilevel.upper import UpperLevel

MAX_BEHAVIOURS = 20_000
ROWS = 256  # per batch
REPORT = 7  # purpose of the random stream


def behaviour_weights(
    model, rows: CrossDomainRows, options: BilevelOptions, seed: int
) -> dict[str, np.ndarray]:
    """Columns of weights.csv: at most MAX_BEHAVIOURS source behaviours of the users, with their
    weights under a `WeightedCoNet`.  options: fitted.

    row (position in the source table), user, item, category (raw names), label, g,
    relative_weight (n w, 1 = uniform), influence (c_j; NaN without a development row of the user),
    influence_count, harmful (only where the ground truth is known).
    The candidate's histories are what was before it; softmax weights are relative to this report's
    batches.
    """
    pair = rows.pair
    perceptron = BehaviourPerceptron(model, options.prior_weight, not options.detach_weights)
    upper = UpperLevel(perceptron, rows, options, seed)
    rng = stream(seed, REPORT)
    index = np.arange(len(pair.source))
    if len(index) > MAX_BEHAVIOURS:
        index = np.sort(rng.permutation(index)[:MAX_BEHAVIOURS])
    behaviours = pair.source.take(index)
    sparse = np.zeros_like(behaviours.sparse)
    sparse[:, USER] = behaviours.sparse[:, USER]  # no target row: the time is the behaviour's own
    table = Table(**{**behaviours.columns(), "sparse": sparse})
    scores, relative = [], []
    for batch in rows.batches(table, np.arange(len(table)), index, ROWS, histories=True):
        g, weights = upper.importance_weights(batch)
        real = batch.row_mask > 0
        scores.append(g[real])
        relative.append(weights[0][real] / batch.row_weight[real])
    columns = {
        "row": index,
        "user": pair.names["user"][behaviours.sparse[:, USER]],
        "item": pair.names["source_item"][behaviours.sparse[:, ITEM]],
        "category": pair.names["source_category"][behaviours.sparse[:, CATEGORY]],
        "label": behaviours.labels[:, 0].astype(int),
        "g": np.concatenate(scores),
        "relative_weight": np.concatenate(relative),
    }
    columns["influence"] = influences(upper, index, rng)
    columns["influence_count"] = np.isfinite(columns["influence"]).astype(int)
    if rows.harmful is not None:
        columns["harmful"] = rows.harmful[index].astype(int)
    return columns


def influences(upper: UpperLevel, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """c_j (N,) of source rows against the development row of their user, NaN where he has none.

    In the scope of the user table, which is what a single behaviour moves most directly; each
    behaviour is beside one of the user's training rows.
    """
    rows, dev_table = upper.rows, upper.dev_table
    users = rows.pair.source.sparse[index, USER]
    dev_of_user = np.full(rows.sizes.user + 1, -1)
    dev_of_user[dev_table.sparse[:, USER]] = np.arange(len(dev_table))
    begin, end = upper.first_of_user[users], upper.first_of_user[users + 1]
    usable = np.flatnonzero((dev_of_user[users] >= 0) & (end > begin))
    train_row = begin + (rng.random(len(users)) * (end - begin)).astype(np.int64)
    influence = np.full(len(index), np.nan)
    for start in range(0, len(usable), ROWS):
        part = usable[start : start + ROWS]
        dev_rows = dev_table.take(dev_of_user[users[part]])
        dev = rows.collate(dev_rows, rows.draw(dev_rows, rng), ROWS, histories=False)
        lower = rows.collate(rows.train.take(train_row[part]), index[part], ROWS)
        _, weights = upper.importance_weights(lower)
        problem = CoNetProblem(
            upper.cells, dev, lower, weights, upper.head_tensors(), "user",
            bool(upper.options.row_normalise), first_order=True,
        )  # fmt: skip
        c = problem.influence(problem.precondition(problem.dev_gradient()))
        influence[part] = c[: len(part)]
    return influence
