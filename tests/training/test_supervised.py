"""The supervised step: its loss and its dropout masks."""

import numpy as np
import pytest
from mindspore import Tensor

from hamur.training.supervised import draw_masks, logit_loss
from tests.support import oracle
from tests.support.runs import make_model, make_trainer


def loss_of(*arrays):
    tensors = [Tensor(np.asarray(a, np.float32)) for a in arrays]
    return float(logit_loss(*tensors).asnumpy())


@pytest.mark.parametrize("fillers", [0, 4])
def test_loss_equals_cross_entropy_over_the_real_rows(fillers):
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, 13).astype(np.float32)
    labels = random.integers(0, 2, 13)
    weight = np.ones(13)
    expected = oracle.logit_loss(logits.astype(np.float64), labels, weight)
    more = np.full(fillers, 50.0)
    found = loss_of(np.r_[logits, more], np.r_[labels, 0 * more], np.r_[weight, 0 * more])
    assert found == pytest.approx(expected, rel=1e-6)


def test_loss_by_hand_and_at_extreme_logits():
    assert loss_of([0.0], [1], [1]) == pytest.approx(np.log(2), rel=1e-6)
    assert loss_of([200.0, -200.0], [1, 0], [1, 1]) == 0.0
    assert loss_of([200.0, -200.0], [0, 1], [1, 1]) == 200.0


def masks(model, number, rows=5000, seed=7):
    return [mask.asnumpy() for mask in draw_masks(model.dropouts, rows, seed, number)]


def test_masks_depend_on_seed_and_step_only(tiny_schema):
    model = make_model("wd_md", tiny_schema, embedding_dropout=0.4)
    first = masks(model, 3)
    for again, mask in zip(masks(model, 3), first):
        np.testing.assert_array_equal(again, mask)
    for other in (masks(model, 4), masks(model, 3, seed=8)):
        assert all((a != b).mean() > 0.2 for a, b in zip(other, first))


def test_masks_keep_the_right_share_of_every_layer(tiny_schema):
    """Embedding dropout 0.4, then 0.2 behind each of the two hidden layers of W&D."""
    found = masks(make_model("wd_md", tiny_schema, embedding_dropout=0.4), 0)
    assert [mask.shape for mask in found] == [(5000, 9), (5000, 10), (5000, 6)]
    for mask, rate in zip(found, (0.4, 0.2, 0.2)):
        assert set(np.unique(mask)) == {0, 1} and mask.dtype == np.uint8
        error = 4 * np.sqrt(rate * (1 - rate) / mask.size)
        assert abs(mask.mean() - (1 - rate)) < error
        assert abs(mask.mean(0) - (1 - rate)).max() < 0.04  # no unit is favoured


def test_models_without_dropout_draw_no_mask(tiny_schema):
    assert draw_masks(make_model("mlp_adp", tiny_schema).dropouts, 10, 7, 0) == ()


def test_loss_falls_and_every_part_moves(tiny_schema, tiny_splits):
    """A compiled training of dropout, adapter and tower norms; running statistics included."""
    model = make_model("wd_md_adp", tiny_schema, embedding_dropout=0.1)
    before = {p.name: p.asnumpy().copy() for p in model.get_parameters()}
    run = make_trainer(epochs=4, learning_rate=1e-2).fit(model, *tiny_splits[:2])
    losses = [row["loss"] for row in run.history]
    assert losses[-1] < losses[0] - 0.02
    for parameter in model.get_parameters():
        moved = np.abs(parameter.asnumpy() - before[parameter.name]).max()
        assert moved > 0, parameter.name
