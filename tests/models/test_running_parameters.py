"""Numbers that move in training without a gradient: adasparse's steepness, adaptdhm's centres."""

import numpy as np
from mindspore import Tensor

from hamur import models
from hamur.layers import AdapterConfig
from hamur.layers.routing import single_layout
from hamur.models.multi_domain.adaptdhm import Clusters
from tests.models import test_against_oracle as against
from tests.models.test_sizes import schema_of
from tests.support import networks


def test_small_factors_of_adasparse_are_exactly_zero():
    """After a long training: a steepness at which many factors fall below 0.01."""
    model = networks.randomise(networks.make_model("adasparse", AdapterConfig.paper()))
    model.alpha.set_data(Tensor(np.full(1, 12.0, np.float32)))
    x = Tensor(np.random.default_rng(3).normal(size=(40, 9)).astype(np.float32))
    layout = single_layout(None, Tensor(np.ones(40, np.float32)))
    factors = model.pruners[2]((x,), model.alpha, layout)[0].asnumpy()
    assert 0.1 < np.mean(factors == 0) < 0.9
    assert factors[factors > 0].min() > 0.01 and factors.max() > 1.99
    against.assert_equal_to_oracle("adasparse", model, against.filled_batch())


def test_adaptdhm_has_three_centres_of_the_width_of_the_instance():
    model = models.RANKING["adaptdhm"](schema_of("ml-1m"))
    assert model.clusters.centres.size == 339


def clusters_and_rows(rows=9):
    random = np.random.default_rng(2)
    e = random.normal(size=(rows, 5)).astype(np.float32)
    return Clusters(random, 5, 3), e, np.ones((rows, 1), np.float32)


def test_centres_move_in_training_whatever_the_size_of_the_batch():
    centres = []
    for copies in (1, 3):
        clusters, e, weight = clusters_and_rows()
        before = clusters.centres.asnumpy().copy()
        batch = [Tensor(np.tile(part, (copies, 1))) for part in (e, weight)]
        clusters(*batch)
        np.testing.assert_array_equal(clusters.centres.asnumpy(), before)
        clusters.set_train()
        clusters(*batch)
        centres.append(clusters.centres.asnumpy())
        assert np.abs(centres[-1] - before).max() > 0.01
    np.testing.assert_allclose(*centres, atol=1e-6)


def test_rounding_chooses_no_cluster():
    """Centres that have met, but for the last digits."""
    clusters, e, weight = clusters_and_rows(400)
    noise = np.random.default_rng(4).normal(0, 1e-7, (3, 5))
    clusters.centres.set_data(Tensor((np.ones((3, 5)) + noise).astype(np.float32)))
    assert not clusters(Tensor(e), Tensor(weight)).asnumpy().any()
