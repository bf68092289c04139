"""Adding a backbone costs one class and one entry of the dict of backbones."""

import numpy as np
from mindspore import ops

from hamur import models, training
from hamur.layers.routing import dispatch
from hamur.models.ranking import RankingModel, build
from tests.conftest import tiny_table

SIZES = dict(seed=1, embed_dim=3, hidden_dims=(8, 6))


class SquaredTowers(RankingModel):
    """logit_d = Dense(hidden blocks([e | e * e]), 1) of domain d."""

    towers_per_domain = True

    def add_layers(self, rng):
        self.add_deep(rng, 2 * self.instance_width)

    def network(self, embeddings, dense, layout, context):
        e = self.join(embeddings, dense)
        xs = dispatch(ops.concat((e, e * e), -1), layout)
        return self.output(self.deep(xs, layout, context), layout)


def test_a_backbone_of_ones_own_gets_adapters_trains_and_predicts(tiny_schema, tiny_splits):
    """The README's has none."""
    backbones = models.BACKBONES | {"squared": SquaredTowers}
    model = build(backbones, "squared_adp", tiny_schema, "paper", None, **SIZES)
    trainer = training.Trainer(training.supervised_step, epochs=1, batch_size=64, quiet=True)
    assert trainer.fit(model, *tiny_splits[:2]).epochs == 1
    table = tiny_table(tiny_schema, 20, 3)
    scores = training.predict(model, table)
    np.testing.assert_allclose(training.predict(model, table.take([5])), scores[[5]], atol=1e-6)
