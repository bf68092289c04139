"""A preference a request: kept features, and exported graphs, equal the model."""

import numpy as np
import pytest
from mindspore import Tensor

from hamur import models
from hamur.data.synthetic.conflict import make_task_conflict
from hamur.training.preference import serving
from hamur.training.preference.serving import PreferenceCache

SIZES = dict(embed_dim=4, num_experts=2, expert_dims=(6, 5), tower_dims=(5, 3))
PREFERENCE = np.array([0.3, 0.7], np.float32)


@pytest.fixture(scope="module")
def served():
    splits, schema, _ = make_task_conflict(400, seed=3)
    model = models.MULTI_TASK["pomoe"](schema, **SIZES)
    model.set_train(False)
    table = splits.train.take(np.arange(7))
    inputs = Tensor(table.sparse), Tensor(table.dense)
    return model, table, model(*inputs, Tensor(PREFERENCE[None])).asnumpy()[:, 0]


def test_kept_features_give_the_same_logits_and_the_oldest_goes(served):
    model, table, expected = served
    cache = PreferenceCache(model, capacity=2)
    first = cache(table.sparse, table.dense, PREFERENCE)
    np.testing.assert_allclose(first, expected, atol=1e-5)
    np.testing.assert_array_equal(cache(table.sparse, table.dense, PREFERENCE), first)
    cache.features_of([0.30004, 0.69996])
    assert list(cache.cached) == [(0.3, 0.7)]
    cache.features_of([0.5, 0.5])
    cache.features_of(PREFERENCE)
    cache.features_of([0.0, 1.0])
    assert list(cache.cached) == [(0.3, 0.7), (0.0, 1.0)]
    with pytest.raises(ValueError, match="sums to 1"):
        cache(table.sparse, table.dense, [0.3, 0.3])


def test_rows_with_preferences_of_their_own(served, monkeypatch):
    monkeypatch.setattr(serving, "SEVERAL", 3)
    model, table, _ = served
    cache = PreferenceCache(model)
    preferences = np.array([[0.3, 0.7], [1, 0], [0.3, 0.7], [0, 1], [1, 0], [0.5, 0.5], [1, 0]])
    found = cache(table.sparse, table.dense, preferences)
    for row, preference in enumerate(preferences):
        own = slice(row, row + 1)
        alone = cache(table.sparse[own], table.dense[own], preference)
        np.testing.assert_allclose(found[own], alone, atol=1e-6)
    assert len(cache.cached) == 4
    # any number of rows: 1 and 3 at one preference, 3 and 1 at several
    assert [len(cell.compile_cache) for cell in (cache.one, cache.several)] == [1, 1]
    with pytest.raises(ValueError, match="7 rows have 3 preferences"):
        cache(table.sparse, table.dense, preferences[:3])
    for preference in (PREFERENCE, preferences[:0]):
        assert cache(table.sparse[:0], table.dense[:0], preference).shape == (0, 2)
    with pytest.raises(ValueError, match="sums to 1"):
        cache(table.sparse[:0], table.dense[:0], [0.3, 0.3])


def test_an_unknown_id_is_0_and_a_dense_value_that_is_not_finite_is_nan_in_its_row(served):
    model, table, expected = served
    cache, sparse, dense = PreferenceCache(model), table.sparse.copy(), table.dense.copy()
    sparse[:, 0] = 0
    unknown = cache(sparse, dense, PREFERENCE)
    sparse[:, 0] = np.resize([model.schema.vocab_sizes[0], -1, 2**31 - 1], len(sparse))
    np.testing.assert_array_equal(cache(sparse, dense, PREFERENCE), unknown)
    dense[2, 0] = np.nan
    found = cache(sparse, dense, PREFERENCE)
    assert np.isnan(found[2]).all() and np.isfinite(np.delete(found, 2, 0)).all()
    np.testing.assert_allclose(cache(table.sparse, table.dense, PREFERENCE), expected, atol=1e-5)


def test_rounding_takes_no_preference_off_the_simplex():
    schema = make_task_conflict(400, 3, seed=3)[1]
    cache = PreferenceCache(models.MULTI_TASK["pomoe"](schema, **SIZES), capacity=10)
    preferences = np.random.default_rng(0).dirichlet(np.ones(3), 150)
    assert cache.features_of(preferences).shape == (150, cache.model.features.width)
    assert len(cache.cached) == 10


def test_the_published_form_is_not_served(served):
    model = models.MULTI_TASK["pomoe"](served[0].schema, preset="official", **SIZES)
    with pytest.raises(ValueError, match="has no preference features to serve"):
        PreferenceCache(model)
