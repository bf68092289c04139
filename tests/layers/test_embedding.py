"""InstanceEmbedding and Dropout."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers import Dropout, InstanceEmbedding
from hamur.layers.routing import single_layout
from tests.support.oracle import embed, pool

VOCABULARIES = (5, 3, 4)
LAYOUT = None  # is read by dropout only


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


def test_lists_are_pooled_as_the_loop_does_and_empty_ones_are_zero():
    sizes, lengths = (6, 4), (3, 2)
    layer = InstanceEmbedding(
        np.random.default_rng(0), VOCABULARIES, 2, 0.5, multi=list(zip(sizes, lengths))
    )
    assert layer.table.shape == (22, 2) and layer.width == 10
    rng = np.random.default_rng(1)
    sparse = rng.integers(0, 3, (7, 3)).astype(np.int32)
    ids = np.concatenate([rng.integers(0, n, (7, m)) for n, m in zip(sizes, lengths)], axis=1)
    weight = rng.random((7, 5)).astype(np.float32) * (rng.random((7, 5)) < 0.6)
    weight[2] = 0.0
    out = layer(
        Tensor(sparse), LAYOUT, None, Tensor(ids.astype(np.int32)), Tensor(weight)
    ).asnumpy()
    table = layer.table.asnumpy()
    np.testing.assert_array_equal(out[:, :6], embed(table, VOCABULARIES, sparse).astype(np.float32))
    for begin, own, columns in ((12, slice(0, 3), slice(6, 8)), (18, slice(3, 5), slice(8, 10))):
        lists = [list(zip(i, w)) for i, w in zip(ids[:, own], weight[:, own])]
        np.testing.assert_allclose(out[:, columns], pool(table[begin:], lists), atol=1e-6)
    assert not out[2, 6:].any()


def test_gradient_of_a_list_goes_to_its_entries_by_their_share():
    """d pool / d e_j = w_j / sum w: checked entry by entry, repeated ids and fillers included."""
    layer = InstanceEmbedding(np.random.default_rng(0), (5,), 3, 0.5, multi=[(4, 3)])
    sparse = np.array([[1], [1], [4]], np.int32)
    ids = np.array([[2, 2, 0], [3, 0, 0], [1, 2, 3]], np.int32)
    weight = np.array([[1, 2, 0], [0.5, 0, 0], [1, 1, 1]], np.float32)
    direction = np.random.default_rng(2).normal(size=(3, 6)).astype(np.float32)

    def directed(*inputs):
        return (layer(inputs[0], LAYOUT, None, *inputs[1:]) * Tensor(direction)).sum()

    gradient = ms.grad(directed, None, layer.trainable_params())
    found = gradient(Tensor(sparse), Tensor(ids), Tensor(weight))[0].asnumpy()
    expected = np.zeros((9, 3))
    for row in range(3):
        expected[sparse[row, 0]] += direction[row, :3]
        for number, own in zip(ids[row], weight[row]):
            expected[5 + number] += own / weight[row].sum() * direction[row, 3:]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not found[5].any()  # id 0 only filled up lists
