"""Requests: tables of any few rows, from any number of threads, compile nothing of their own."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hamur import models, training
from hamur.data.synthetic.conflict import make_task_conflict
from hamur.models import prediction
from hamur.training.prediction import predictor_of
from tests.conftest import make_tiny_schema, tiny_table
from tests.support.runs import compiled_graphs, make_model, make_trainer

THREADS = 8
PREFERENCES = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)


class Requests:
    """A model, a table, its scores by one large call, and the graphs of small ones warm."""

    def __init__(self, name, sizes):
        self.random, self.preference = np.random.default_rng(0), None
        if name in models.RANKING:
            schema = make_tiny_schema()
            self.model, self.table = make_model(name, schema), tiny_table(schema, 320, 2)
        else:
            splits, schema, _ = make_task_conflict(400, seed=3)
            options = dict(embed_dim=4, num_experts=2, expert_dims=(6, 5), tower_dims=(5, 3))
            self.model, self.table = models.MULTI_TASK[name](schema, **options), splits.train
            self.preference = PREFERENCES if name == "pomoe" else None
        with training.prediction.graph_mode():
            self.scores = self.model.predictor()(self.table, self.preference)
        self.limit = sizes[-1] if sizes else 300
        for rows in sizes:
            self.predict(np.arange(rows) % len(self.table))

    def predict(self, rows):
        return training.predict(self.model, self.table.take(rows), preference=self.preference)

    def check(self, number, seed):
        """Whether so many random requests get the scores of the large call."""
        random = np.random.default_rng(seed)
        for _ in range(number):
            rows = random.permutation(len(self.table))[: random.integers(1, self.limit + 1)]
            np.testing.assert_allclose(self.predict(rows), self.scores[rows], atol=1e-6)

    def check_in_threads(self, number):
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.check, [number] * THREADS, range(THREADS)))


FAST, SLOW = ("mlp", (1, 4, 16)), ("mlp_adp", "dcn_md_adp", "mmoe", "pomoe")


@pytest.fixture(scope="module")
def requests():
    return Requests(*FAST)


def assert_nothing_is_compiled(requests, number):
    with compiled_graphs() as graphs:
        requests.check(number, seed=1)
        requests.check_in_threads(number // 4)
    assert graphs == []


def test_no_request_compiles_once_its_sizes_are_warm(requests):
    """Random rows, so random domains, of random number, in one thread and in eight."""
    assert_nothing_is_compiled(requests, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_request_of_up_to_300_rows_compiles(name):
    assert_nothing_is_compiled(Requests(name, (1, 4, 16, 64, 128, 256, 512)), 800)


def test_a_prediction_waits_for_a_training_in_another_thread(requests):
    splits = tiny_table(make_tiny_schema(), 600, 0), tiny_table(make_tiny_schema(), 150, 1)
    other = make_model("mlp", make_tiny_schema())
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(make_trainer(epochs=1).fit, other, *splits)
        requests.check_in_threads(1)
        assert run.result().epochs == 1


def test_graphs_that_were_not_used_for_long_go(monkeypatch, requests):
    monkeypatch.setattr(prediction, "KEPT", 2)
    predictor = requests.model.predictor()
    cells = [predictor.cell(None, size) for size in (1, 4, 1, 16)]
    assert cells[0] is cells[2] and list(predictor.compiled) == [(None, 1), (None, 16)]
    for size in range(20, 30):
        predictor_of(requests.model, size)
    assert list(requests.model._predictors) == [26, 27, 28, 29]


def test_calls_cover_every_row_once_with_few_spare_ones():
    for rows in (*range(300), 4095, 4096, 4097, 9000, 100_001):
        calls = list(prediction.pieces(rows))
        real = np.concatenate([np.zeros(0, int)] + [index[good] for index, good in calls])
        np.testing.assert_array_equal(real, np.arange(rows))
        assert {len(index) for index, _ in calls} <= set(prediction.SIZES)
        assert sum(len(index) for index, _ in calls) <= max(2 * rows, 64)
        assert len(calls) == -(-rows // 4096)  # one padded call costs less than two small ones
    assert [len(index) for index, _ in prediction.pieces(300, 64)] == [64, 64, 64, 64, 64]
