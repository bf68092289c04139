"""CoNet and CoNet-S against a restatement with separate tables and matrices."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.data.cross_domain.collate import FieldSizes
from hamur.models.conet import CoNet, CoNetConfig, CoNetS
from tests.support import cross_domain_oracle as oracle

SIZES = FieldSizes(11, 7, 4, 9, 5)
CROSS_WEIGHTS, TOWER_WEIGHTS = 13_824, 4_608  # at embed_dim 10


def rows(batch, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, size, batch) for size in SIZES]


def inputs(ids):
    raw = np.stack([np.stack([ids[f] for f in fields], 1) for fields in ((0, 3, 4), (0, 1, 2))])
    offsets = SIZES.offsets[[[0, 3, 4], [0, 1, 2]]][:, None]
    return (raw + offsets).astype(np.int32), (raw > 0).astype(np.float32)[..., None]


def joined_tables(model):
    """The (size, E) array of every field of CoNet, cut from the joined table."""
    return np.split(model.table.asnumpy(), np.cumsum(SIZES)[:-1])


def theta_of(model):
    return {each.name: each.asnumpy().astype(np.float64) for each in model.theta()}


def single(theta, ids, slope):
    """Logits (1, B) of CoNet-S; theta: its parameters by name, float64."""
    tables = np.split(theta["table"], np.cumsum(SIZES[:3])[:-1])
    x = np.concatenate([table[i] for table, i in zip(tables, ids)], axis=1)
    for name in (name for name in theta if name.startswith("tower")):
        z = x @ theta[name]
        x = np.where(z > 0, z, slope * z)
    return (x @ theta["head.weight"][:, 0] + theta["head.bias"])[None]


def conet(theta, ids, slope):
    """Logits of the source, of the target, and the last target layer of CoNet."""
    tables = np.split(theta["table"], np.cumsum(SIZES)[:-1])
    cross = [value for name, value in theta.items() if name.startswith("cross")]
    layers = [(p[0].T, p[1].T, h.T) for p, h in zip(cross[::2], cross[1::2])]
    w, b = theta["head.weight"][..., 0], theta["head.bias"][:, 0, 0]
    target, source = (ids[1], ids[2]), (ids[3], ids[4])
    return oracle.conet(tables, layers, list(zip(w, b)), ids[0], target, source, slope)


def double(theta, ids, slope):
    """Logits (2, B) of CoNet, source first."""
    return np.stack(conet(theta, ids, slope)[:2])


KINDS = pytest.mark.parametrize(("kind", "restated"), [(CoNet, double), (CoNetS, single)])


@KINDS
@pytest.mark.parametrize("dim", [4, 10, 16])
@pytest.mark.parametrize("batch", [1, 2, 64])
@pytest.mark.parametrize("config", [CoNetConfig(), CoNetConfig.official()])
def test_logits_equal_the_restatement(config, dim, batch, kind, restated):
    model = kind(SIZES, CoNetConfig(**{**vars(config), "embed_dim": dim}), seed=3)
    ids, theta = rows(batch), theta_of(model)
    arrays = [Tensor(array[2 - model.towers :]) for array in inputs(ids)]
    expected = restated(theta, ids, config.slope)
    np.testing.assert_allclose(model.construct(*arrays).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    if kind is CoNet:
        last = conet(theta, ids, config.slope)[2]
        np.testing.assert_allclose(model.features(*arrays).asnumpy(), last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slope", [0.05, 0.0])
@KINDS
def test_gradients_equal_central_differences(kind, restated, slope):
    model = kind(SIZES, CoNetConfig(embed_dim=4, slope=slope), seed=3)
    ids = rows(8)
    ids[3][0] = ids[4][0] = 0  # a row without source behaviour
    towers = model.towers
    weight = np.random.default_rng(1).random((towers, 8))
    arrays = [Tensor(array[2 - towers :]) for array in inputs(ids)]

    def loss(*theta):
        return (model(*arrays) * Tensor(weight.astype(np.float32))).sum()

    found = ms.grad(loss, None, ms.ParameterTuple(model.theta()))()
    found = {each.name: gradient.asnumpy() for each, gradient in zip(model.theta(), found)}
    rng = np.random.default_rng(2)
    read = np.unique(np.concatenate([i + o for i, o in zip(ids, SIZES.offsets)][: 3 * towers - 1]))
    padding = SIZES.offsets[: 3 * towers - 1]
    assert (found["table"][padding] == 0).all()  # padding never moves
    for name, gradient in found.items():
        entries = [
            (name, tuple(rng.integers(0, size) for size in gradient.shape)) for _ in range(60)
        ]
        if name == "table":
            moving = np.setdiff1d(read, padding)
            entries = [(name, (rng.choice(moving), rng.integers(0, 4))) for _ in range(60)]
        expected = oracle.numerical_gradient(
            lambda theta: (restated(theta, ids, slope) * weight).sum(), theta_of(model), entries
        )
        values = np.array([gradient[index] for _, index in entries])
        assert np.linalg.norm(values - expected) <= 1e-5 * np.linalg.norm(expected), name


def test_sizes_and_initial_values_are_the_published_ones():
    model, single = CoNet(SIZES, CoNetConfig.official()), CoNetS(SIZES)
    assert sum(int(np.prod(w.shape)) for w in model.cross) == CROSS_WEIGHTS
    assert sum(int(np.prod(w.shape)) for w in single.tower) == TOWER_WEIGHTS
    assert model.table.shape == (sum(SIZES), 10) and single.table.shape == (11 + 7 + 4, 10)
    assert all(table[0].any() for table in joined_tables(model))
    assert not any(table[0].any() for table in joined_tables(CoNet(SIZES)))


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
