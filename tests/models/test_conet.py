"""CoNet and CoNet-S against a restatement with separate tables and matrices."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.models.conet import CoNet, CoNetConfig, CoNetS, FieldSizes, joined_tables
from tests import cross_domain_oracle as oracle

SIZES = FieldSizes(11, 7, 4, 9, 5)
CROSS_WEIGHTS, TOWER_WEIGHTS = 13_824, 4_608  # at embed_dim 10


def rows(batch, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, size, batch) for size in SIZES]


def inputs(ids):
    raw = np.stack([np.stack([ids[f] for f in fields], 1) for fields in ((0, 3, 4), (0, 1, 2))])
    offsets = SIZES.offsets[[[0, 3, 4], [0, 1, 2]]][:, None]
    return (raw + offsets).astype(np.int32), (raw > 0).astype(np.float32)[..., None]


def parts(model):
    """Tables, layers and heads in the oracle's form, float64."""
    weights = [w.asnumpy().astype(np.float64) for w in model.cross]
    layers = [(p[0].T, p[1].T, h.T) for p, h in zip(weights[::2], weights[1::2])]
    w, b = model.head_weight.asnumpy(), model.head_bias.asnumpy()
    heads = [(w[side, :, 0].astype(np.float64), float(b[side, 0, 0])) for side in range(2)]
    return list(joined_tables(model).values()), layers, heads


def expected(model, ids):
    slope = model.config.slope
    target, source = (ids[1], ids[2]), (ids[3], ids[4])
    return oracle.conet(*parts(model), ids[0], target, source, slope)


@pytest.mark.parametrize(("dim", "batch"), [(4, 1), (4, 64), (10, 2), (16, 64)])
@pytest.mark.parametrize("config", [CoNetConfig(), CoNetConfig.published()])
def test_logits_equal_the_restatement(config, dim, batch):
    model = CoNet(SIZES, CoNetConfig(**{**vars(config), "embed_dim": dim}), seed=3)
    ids = rows(batch)
    found = model.construct(*map(Tensor, inputs(ids))).asnumpy()
    z_s, z_t, x_t = expected(model, ids)
    assert found.shape == (2, batch)
    np.testing.assert_allclose(found, np.stack([z_s, z_t]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        model.features(*map(Tensor, inputs(ids))).asnumpy(), x_t, rtol=1e-5, atol=1e-5
    )


def test_the_target_tower_alone_equals_a_network_without_cross_connections():
    model = CoNetS(SIZES, CoNetConfig(embed_dim=4), seed=3)
    ids = rows(6)
    x = np.concatenate([t[i] for t, i in zip(joined_tables(model).values(), ids)], axis=1)
    for weight in model.tower:
        z = x @ weight.asnumpy()
        x = np.where(z > 0, z, 0.05 * z)
    z = x @ model.head_weight.asnumpy()[:, 0] + model.head_bias.asnumpy()
    found = model.construct(*(Tensor(array[1:]) for array in inputs(ids))).asnumpy()
    np.testing.assert_allclose(found, z[None], rtol=1e-5, atol=1e-6)
    assert len(joined_tables(model)) == 3  # it has no source table


def test_gradients_equal_central_differences():
    model = CoNet(SIZES, CoNetConfig(embed_dim=4), seed=3)
    ids = rows(8)
    ids[3][0] = ids[4][0] = 0  # a row without source behaviour
    weight = np.random.default_rng(1).random((2, 8))

    def loss(*theta):
        return (model(*map(Tensor, inputs(ids))) * Tensor(weight.astype(np.float32))).sum()

    parameters = ms.ParameterTuple(model.theta())
    gradients = ms.grad(loss, None, parameters)()
    tables, layers, heads = parts(model)

    def value(tables, layers):
        z_s, z_t, _ = oracle.conet(
            tables, layers, heads, ids[0], (ids[1], ids[2]), (ids[3], ids[4]), 0.05
        )
        return (np.stack([z_s, z_t]) * weight).sum()

    tables = [table.astype(np.float64) for table in tables]
    table_gradient = np.split(gradients[0].asnumpy(), np.cumsum(SIZES)[:-1])
    for field in range(5):
        entry, step = (ids[field][1], 2), 1e-6
        tables[field][entry] += step
        up = value(tables, layers)
        tables[field][entry] -= 2 * step
        down = value(tables, layers)
        tables[field][entry] += step
        assert table_gradient[field][entry] == pytest.approx((up - down) / (2 * step), rel=1e-4)
        assert (table_gradient[field][0] == 0).all()  # padding never moves
    shared = gradients[2].asnumpy()
    layers[0][2][5, 3] += 1e-6
    up = value(tables, layers)
    layers[0][2][5, 3] -= 2e-6
    assert shared[3, 5] == pytest.approx((up - value(tables, layers)) / 2e-6, rel=1e-4)


def test_sizes_and_initial_values_are_the_published_ones():
    model, single = CoNet(SIZES, CoNetConfig.published()), CoNetS(SIZES)
    assert sum(int(np.prod(w.shape)) for w in model.cross) == CROSS_WEIGHTS
    assert sum(int(np.prod(w.shape)) for w in single.tower) == TOWER_WEIGHTS
    assert model.table.shape == (sum(SIZES), 10) and single.table.shape == (11 + 7 + 4, 10)
    assert all(table[0].any() for table in joined_tables(model).values())
    assert not any(table[0].any() for table in joined_tables(CoNet(SIZES)).values())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(embed_dim=0), "at least 1"),
        (dict(slope=1.0), "slope must lie"),
        (dict(embed_std=-1.0), "embed_std"),
    ],
)
def test_bad_sizes_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        CoNetConfig(**options)
