"""Lazy embeddings: a step updates the rows of its batch only.  Against the oracle, in training."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from hamur.layers import InstanceEmbedding
from hamur.models import parameter_groups
from hamur.training import Adam
from hamur.training.checkpoint import snapshot
from hamur.training.loop import set_lazy
from tests.support import oracle
from tests.support.runs import make_model, make_trainer

VOCABULARIES = (5, 4)
LAYOUT = None  # is read by dropout only


class Weighted(nn.Cell):
    """sum(w * embedded), so that the gradient of an id is the sum of w over its occurrences."""

    def __init__(self, embedding):
        super().__init__(auto_prefix=False)
        self.embedding = embedding

    def construct(self, sparse, weight):
        return (self.embedding(sparse, LAYOUT) * weight).sum()


class Step(nn.Cell):
    def __init__(self, network, optimizer):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.gradients = ops.value_and_grad(network, None, optimizer.parameters)

    def construct(self, sparse, weight):
        loss, gradients = self.gradients(sparse, weight)
        return ops.depend(loss, self.optimizer(gradients, Tensor(1e-2, ms.float32)))


def test_three_updates_equal_adam_on_the_rows_of_the_batch():
    random = np.random.default_rng(0)
    embedding = InstanceEmbedding(random, VOCABULARIES, 2, std=0.5)
    embedding.lazy = True
    network = Weighted(embedding).set_train()
    optimizer = Adam(parameter_groups(network.trainable_params()), weight_decay=0.1, lazy=True)
    step, table = Step(network, optimizer), embedding.table.asnumpy().astype(np.float64)
    expected = oracle.Adam(learning_rate=1e-2)
    offsets = np.array([0, VOCABULARIES[0]])
    for sparse in ([[1, 2], [1, 0], [3, 2]], [[0, 1], [0, 1], [0, 1]], [[1, 3], [4, 3], [2, 1]]):
        sparse = np.array(sparse, np.int32)
        weight = random.normal(size=(3, 4)).astype(np.float32)
        gradient, ids = np.zeros_like(table), sparse + offsets
        np.add.at(gradient, ids, weight.reshape(3, 2, 2))
        kept = {k: v["table"].copy() for k, v in moments(expected).items() if "table" in v}
        moved = expected.update({"table": table}, {"table": gradient})["table"]
        idle = np.setdiff1d(np.arange(len(table)), ids)
        moved[idle] = table[idle]
        for moment, values in moments(expected).items():
            values["table"][idle] = kept[moment][idle] if moment in kept else 0.0
        table = moved
        step(Tensor(sparse), Tensor(weight))
        np.testing.assert_allclose(embedding.table.asnumpy(), table, atol=2e-7)


def moments(adam):
    return {"first": adam.first, "second": adam.second}


def test_training_leaves_unseen_rows_alone_and_learns(tiny_schema, tiny_splits):
    model = make_model("mlp_adp", tiny_schema)
    sparse = tiny_splits.train.sparse.copy()
    sparse[:, 0] %= 8  # users 8 to 10 are never seen
    train = replace(tiny_splits.train, sparse=sparse)
    start = snapshot(model)["embedding.table"]
    trainer = make_trainer(embeddings="lazy", weight_decay=1e-2, epochs=2, averaging=0.9)
    run = trainer.fit(model, train, tiny_splits.valid)
    table = snapshot(model)["embedding.table"]
    unseen = np.isin(np.arange(len(table)), (8, 9, 10))
    np.testing.assert_array_equal(table[unseen], start[unseen])
    assert (table[~unseen] != start[~unseen]).all()
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_a_model_without_a_joined_table_is_refused():
    with pytest.raises(ValueError, match="Weighted has none"):
        set_lazy(Weighted(nn.Dense(2, 2)), True)
