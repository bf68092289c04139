"""Generated tables, made in memory, whose domains or whose tasks disagree.

`make_conflict`: what one domain likes of an item, the other dislikes.

    logit = s_d strength v_item + own v_user + 0.5 (dense - 0.5)        s_0 = +1, s_1 = -1

v are standard normal effects.  Both domains have the same number of rows, items and users, so
without the domain the item tells nothing: a model that ignores domains cannot learn it.  A model
must show here what it does for domains before figures of real data, where domains agree about most,
mean anything.

`make_task_conflict`: AliExpress-like rows whose tasks disagree about the order of items, with the
exact front of what one shared score can reach.

    s_1 = G_1,   s_k = rho G_1 + sqrt(1 - rho^2) G_k,   rho = 1 - 2 conflict
    q_k = sigmoid(o_k + slope s_k), at most q_{k-1}

G_k are standardised sums of item, page and category effects; q_k is the probability of label k, and
label k implies label k - 1, as buying implies a click.  With a tower per task, all tasks reach
their optimum at once; where one score must serve all, weights decide, and the best scores are known
in closed form (`hamur.metrics.exact_front`).
"""

from dataclasses import dataclass

import numpy as np

from hamur.data.encode import factorise, fit_vocabulary
from hamur.data.schema import FieldSpec, Schema
from hamur.data.splits import random_split
from hamur.data.synthetic.signals import GroundTruth, intercept, stream
from hamur.data.table import Splits, Table
from hamur.metrics.exact_front import sigmoid

DOMAINS_NAME = "conflict"
DOMAIN_FIELD = "domain_indicator"
NUM_ITEMS, NUM_USERS = 40, 30
STRENGTH, OWN = 1.6, 0.5

TASKS_NAME = "aliexpress-synthetic"
LABELS = ("click", "conversion")
FUNNEL = ("click", "cart", "conversion")
RATES = (0.25, 0.14, 0.08)
NUM_SPARSE, NUM_DENSE = 16, 63
PAGE, ITEM = slice(0, 23), slice(23, 57)  # dense columns that carry the page's and the item's part
CONSTANT, HALF_ZERO = slice(57, 60), slice(60, 63)
FLAGS = slice(9, 16)
MEAN_EXTRA_ITEMS = 7  # a page shows 1 + Poisson(7) items
ZERO_SHARE = 0.7
TRAIN_SHARE, VALID_SHARE = 0.8, 0.1


def make_conflict(rows: int = 8_000, seed: int = 2022) -> tuple[Splits, Schema, Splits]:
    """Tables split 8:1:1, their schema, and the GroundTruth of each split's rows.

    Fields item, user, domain_indicator and one dense column; no id 0, since nothing is unknown.
    Best possible AUC 0.80 to 0.87 by seed in each domain, about 0.6 without seeing the domain.
    """
    rng = stream(seed, rows)
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
    truth = GroundTruth.of(by_domain, labels, domain)
    splits = Splits(*(table.take(part) for part in parts))
    return splits, _schema(seed), Splits(*(truth.take(part) for part in parts))


def _schema(seed: int) -> Schema:
    fields = (
        FieldSpec("item", "sparse", NUM_ITEMS + 1),
        FieldSpec("user", "sparse", NUM_USERS + 1),
        FieldSpec(DOMAIN_FIELD, "sparse", 2),
        FieldSpec("dense", "dense"),
    )
    names = ("likes an item", "dislikes it")
    split = {"rule": "random", "seed": seed}
    return Schema(DOMAINS_NAME, fields, ("label",), names, domain_field=DOMAIN_FIELD, split=split)


@dataclass(frozen=True)
class TaskTruth:
    """probability (N, T) float64 of the labels; intercepts (T,): o_k."""

    probability: np.ndarray
    intercepts: np.ndarray


def make_task_conflict(
    num_rows: int = 40_000,
    tasks: int = 2,
    conflict: float = 0.25,
    rates: tuple[float, ...] | None = None,
    slope: float = 1.5,
    seed: int = 0,
    nonlinearity: float = 0.0,
    valid_share: float = VALID_SHARE,
) -> tuple[Splits, Schema, Splits]:
    """Tables by page (first 80 % train, of which the last 10 % of pages are validation), their
    schema, and the TaskTruth of each split's rows.

    conflict: 0 = all tasks want the same order, 0.5 = unrelated ones; rates: mean of each label.
    Raises:  ValueError: a number out of its range.
    """
    if rates is None:
        rates = (RATES[0], RATES[2]) if tasks == 2 else RATES[:tasks]
    _check(num_rows, tasks, conflict, rates)
    effects, inputs, draws = (np.random.default_rng(seed + i) for i in range(3))
    search_id, categorical, numerical = _draw_inputs(inputs, num_rows)
    scores = slope * _scores(effects, categorical, numerical, tasks, conflict, nonlinearity)
    intercepts = np.array([intercept(score, rate) for score, rate in zip(scores.T, rates)])
    probability = np.minimum.accumulate(sigmoid(scores + intercepts), axis=1)  # the funnel
    parts = split_by_page(search_id, valid_share)
    sparse, vocab_sizes = _encode(categorical, parts[0])
    table = Table(
        sparse=sparse,
        dense=numerical.astype(np.float32),
        labels=_draw_labels(draws, probability),
        domain=np.zeros(num_rows, np.int32),
        group=search_id,
        row_id=np.arange(num_rows, dtype=np.int64),
    )
    fields = [FieldSpec(f"categorical_{i + 1}", "sparse", v) for i, v in enumerate(vocab_sizes)]
    fields += [FieldSpec(f"numerical_{i + 1}", "dense") for i in range(NUM_DENSE)]
    split = {"rule": "pages in order", "seed": seed, "conflict": conflict, "slope": slope}
    names, domains = task_names(tasks), ("synthetic",)
    schema = Schema(TASKS_NAME, tuple(fields), names, domains, group="search_id", split=split)
    tables = Splits(*(table.take(part) for part in parts))
    return tables, schema, Splits(*(TaskTruth(probability[part], intercepts) for part in parts))


def task_names(tasks: int) -> tuple[str, ...]:
    """Names of the labels, in funnel order."""
    if tasks == 2:
        return LABELS
    return FUNNEL if tasks == 3 else tuple(f"stage_{k + 1}" for k in range(tasks))


def _check(num_rows, tasks, conflict, rates):
    if num_rows < 200:
        raise ValueError(f"at least 200 rows must be generated, got {num_rows}.")
    if tasks < 2 or len(rates) != tasks:
        raise ValueError(
            f"{tasks} tasks with {len(rates)} rates; give at least 2 tasks, a rate each."
        )
    if not 0.0 <= conflict <= 0.5:
        raise ValueError(f"`conflict` must lie in [0, 0.5], got {conflict}.")
    if not all(0.0 < rate < 1.0 for rate in rates):
        raise ValueError(f"rates must lie in (0, 1), got {rates}.")


def _draw_inputs(rng, num_rows):
    """search_id (N,), categorical (N, 16), numerical (N, 63) float64, drawn in a fixed order."""
    sizes = 1 + rng.poisson(MEAN_EXTRA_ITEMS, num_rows)
    pages = int(np.searchsorted(np.cumsum(sizes), num_rows) + 1)
    page = np.repeat(np.arange(pages), sizes[:pages])[:num_rows]  # the last page is cut
    numerical = rng.random((num_rows, NUM_DENSE))
    numerical[:, PAGE] = rng.random((pages, PAGE.stop))[page]
    numerical[:, CONSTANT] = 0.0
    numerical[:, HALF_ZERO] *= rng.random((num_rows, 3)) >= ZERO_SHARE
    categorical = np.empty((num_rows, NUM_SPARSE), np.int64)
    categorical[:, 6] = rng.integers(0, 50, pages)[page]
    categorical[:, 7] = rng.integers(0, 8, pages)[page]
    categorical[:, FLAGS] = rng.integers(0, 2, (num_rows, 7))
    categorical[:, 0] = 9
    categorical[:, 1] = rng.integers(0, 4, pages)[page]
    categorical[:, 2] = rng.integers(0, 6, pages)[page]
    categorical[:, 3] = rng.integers(0, 2, pages)[page]
    categorical[:, 4] = np.where(rng.integers(0, 2, pages) == 0, 9, 20)[page]
    categorical[:, 5] = rng.integers(3, 7, pages)[page]
    categorical[:, 8] = rng.integers(0, 7, pages)[page]
    return page.astype(np.int64) + 1, categorical, numerical


def _scores(rng, categorical, numerical, tasks, conflict, nonlinearity):
    """(N, T) standardised s_k."""
    centred = (numerical - 0.5) * np.sqrt(12.0)
    parts = []
    for k in range(tasks):
        item, page = _unit_vector(rng, ITEM.stop - ITEM.start), _unit_vector(rng, PAGE.stop)
        effects = rng.standard_normal(50), rng.standard_normal(8), rng.standard_normal(7)
        category = effects[0][categorical[:, 6]] + effects[1][categorical[:, 7]]
        category = category + categorical[:, FLAGS] @ effects[2]
        part = np.sqrt(0.5) * centred[:, ITEM] @ item + np.sqrt(0.3) * centred[:, PAGE] @ page
        part = part + np.sqrt(0.2) * _standardised(category)
        if k == 0 and nonlinearity:
            part = part + nonlinearity * centred[:, 23] * centred[:, 24]
        parts.append(_standardised(part))
    rho = 1.0 - 2.0 * conflict
    others = [rho * parts[0] + np.sqrt(1.0 - rho**2) * part for part in parts[1:]]
    return np.stack([parts[0], *others], axis=1)


def _unit_vector(rng, width):
    vector = rng.standard_normal(width)
    return vector / np.linalg.norm(vector)


def _standardised(column):
    return (column - column.mean()) / column.std()


def _draw_labels(rng, probability):
    """(N, T) int8: label k is drawn where label k - 1 is 1."""
    labels = np.empty(probability.shape, np.int8)
    before, reached = np.ones(len(labels), bool), 1.0
    for k, q in enumerate(probability.T):
        before = before & (rng.random(len(labels)) < q / reached)
        labels[:, k], reached = before, q
    return labels


def split_by_page(
    search_id: np.ndarray, valid_share: float = VALID_SHARE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of training, validation and test rows; no page is cut."""
    rows = np.arange(len(search_id))
    page = search_id - search_id[0]
    cut = page[int(TRAIN_SHARE * len(page)) - 1] + 1
    held = np.floor(cut * (1.0 - valid_share))
    return rows[page < held], rows[(page >= held) & (page < cut)], rows[page >= cut]


def _encode(categorical, train):
    columns = [factorise(categorical[:, f]) for f in range(categorical.shape[1])]
    vocabularies = [fit_vocabulary(column, train) for column in columns]
    ids = [v.encode(column) for v, column in zip(vocabularies, columns)]
    return np.stack(ids, axis=1).astype(np.int32), [v.size for v in vocabularies]
