"""MetaHeac's second-order step against differences of its own outer loss."""

from dataclasses import replace
from functools import partial

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from hamur import models, training
from hamur.data.synthetic.conflict import make_task_conflict
from hamur.training.checkpoint import snapshot
from hamur.training.preference import meta

SIZES = dict(embed_dim=4, num_experts=2, expert_dims=(6, 5), tower_dims=(5, 3), dropout=0.0)


@pytest.fixture(scope="module")
def data():
    return make_task_conflict(600, seed=5)[:2]


def batch_of(table, begin, end):
    part = table.take(np.arange(begin, end))
    labels, weight = part.labels.astype(np.float32), np.ones(len(part), np.float32)
    return replace(part, labels=labels, weight=weight)


class Slope(nn.Cell):
    """outer and d outer / d Z, compiled: uncompiled second derivatives are wrong in MindSpore."""

    def __init__(self, model, order):
        super().__init__(auto_prefix=False)
        self.outer = meta.OuterLoss(model, order)
        parameters = model.trainable_params()
        self.place = [p.name for p in parameters].index("task_embedding")
        self.gradients = ops.value_and_grad(self.outer, None, ms.ParameterTuple(parameters))

    def construct(self, sparse, dense, labels, weight):
        value, gradients = self.gradients(sparse, dense, labels, weight, ())
        return value, gradients[self.place]


@pytest.fixture
def large_inner_step(monkeypatch):
    """So that the second-order part is large against float32 differences."""
    monkeypatch.setattr(meta, "INNER_RATE", 50.0)


MODES = [False, pytest.param(True, marks=pytest.mark.slow)]


@pytest.mark.parametrize("training_mode", MODES, ids=["running", "batch statistics"])
def test_the_outer_gradient_equals_differences_of_the_outer_loss(
    data, large_inner_step, training_mode
):
    """Where first and second order differ most, differences side with the second."""
    splits, schema = data
    model = models.MULTI_TASK["metaheac"](schema, **SIZES)
    rows = batch_of(splits.train, 0, 48)
    batch = [Tensor(x) for x in (rows.sparse, rows.dense, rows.labels, rows.weight)]
    slopes = [Slope(model, order) for order in ("first", "second")]
    for slope in slopes:
        slope.set_train(training_mode)
    first, second = (slope(*batch)[1].asnumpy().astype(np.float64) for slope in slopes)
    index = np.unravel_index(np.abs(second - first).argmax(), second.shape)
    z, step, values = model.task_embedding.asnumpy().copy(), 2e-2, []
    for sign in (1, -1):
        changed = z.copy()
        changed[index] += sign * step
        model.task_embedding.set_data(Tensor(changed))
        values.append(float(slopes[1](*batch)[0].asnumpy()))
    expected = (values[0] - values[1]) / (2 * step)
    assert abs(second[index] - expected) < 0.1 * abs(second[index] - first[index])
    along, values = second / np.linalg.norm(second), []
    for sign in (1, -1):
        model.task_embedding.set_data(Tensor((z + sign * step * along).astype(np.float32)))
        values.append(float(slopes[1](*batch)[0].asnumpy()))
    expected = (values[0] - values[1]) / (2 * step)
    tolerance = 5e-3 if training_mode else 1e-3  # batch statistics bend the loss over the step
    assert np.linalg.norm(second) == pytest.approx(expected, rel=tolerance)


@pytest.mark.slow
def test_nothing_adapted_survives_a_step(data):
    splits, schema = data
    model = models.MULTI_TASK["metaheac"](schema, **SIZES)
    frozen = {k: v for k, v in snapshot(model).items() if k.endswith((".mean", ".variance"))}
    before = training.predict(model, splits.test)
    step = meta.MetaStep(model, training.Adam(model.parameter_groups(), 0.0), None, 1, 4)
    batches = [batch_of(splits.train, 64 * i, 64 * (i + 1)) for i in range(2)]
    assert step(batches[0], 0.0, 0) is None
    assert np.isfinite(float(step(batches[1], 0.0, 1).asnumpy()))
    moved = snapshot(model)
    assert any(np.abs(moved[k] - v).max() > 0 for k, v in frozen.items())
    for parameter in model.get_parameters():
        if parameter.name in frozen:
            parameter.set_data(Tensor(frozen[parameter.name]))
    np.testing.assert_array_equal(training.predict(model, splits.test), before)
    assert step(batches[0], 0.0, 2) is None and step.counters() == {"dropped_batches": 0}
    assert step(batches[0].take(np.arange(2)), 0.0, 3) is None
    assert step.counters() == {"dropped_batches": 1}


def test_one_batch_an_epoch_is_refused(data):
    _splits, schema = data
    model = models.MULTI_TASK["metaheac"](schema, **SIZES)
    step = partial(meta.meta_step, steps_per_epoch=1)
    with pytest.raises(ValueError, match="an epoch has one"):
        step(model, training.Adam(model.parameter_groups()), None, 1)
