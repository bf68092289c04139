"""InstanceEmbedding and Dropout."""

import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers import Dropout, InstanceEmbedding
from hamur.layers.routing import single_layout
from tests.oracle import embed

VOCABULARIES = (5, 3, 4)
LAYOUT = ("single", (), (), None, ())


def test_fields_lie_one_behind_the_other():
    layer = InstanceEmbedding(np.random.default_rng(0), VOCABULARIES, 2, std=0.5)
    table = np.arange(24, dtype=np.float32).reshape(12, 2)
    layer.table.set_data(Tensor(table))
    sparse = np.array([[4, 0, 3], [0, 2, 1]], np.int32)
    out = layer(Tensor(sparse), LAYOUT).asnumpy()
    np.testing.assert_array_equal(out[0], [8, 9, 10, 11, 22, 23])  # rows 4, 5 + 0, 8 + 3
    np.testing.assert_array_equal(out, embed(table, VOCABULARIES, sparse))


def test_start_has_the_given_spread():
    layer = InstanceEmbedding(np.random.default_rng(0), (4000,), 5, std=1e-2)
    assert layer.table.asnumpy().std() == pytest.approx(1e-2, rel=0.02)


@pytest.mark.parametrize(
    ("vocabularies", "text"), [((5, 0), "at least 1"), ((2**31, 2), "int32")], ids=str
)
def test_impossible_vocabularies_are_errors(vocabularies, text):
    with pytest.raises(ValueError, match=text):
        InstanceEmbedding(np.random.default_rng(0), vocabularies, 2, std=1.0)


def test_dropout_keeps_the_mean_and_follows_a_given_mask():
    layer, x = Dropout(0.25), Tensor(np.ones((400, 50), np.float32))
    layout = single_layout(None, Tensor(np.ones(400, np.float32)))
    assert layer((x,), layout)[0] is x  # evaluation
    layer.set_train()
    values = layer((x,), layout)[0].asnumpy()
    assert set(np.round(np.unique(values), 5)) == {0.0, np.float32(1.33333)}
    assert values.mean() == pytest.approx(1.0, abs=0.03)
    keep = np.zeros((400, 50), np.uint8)
    keep[:, 3] = 1
    values = layer((x,), layout, Tensor(keep))[0].asnumpy()
    assert (values[:, 3] > 1.33).all()
    assert np.delete(values, 3, axis=1).max() == 0.0


def test_a_rate_of_one_is_an_error():
    with pytest.raises(ValueError, match="rate"):
        Dropout(1.0)
