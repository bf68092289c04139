"""sharedbottom: one network for all domains below a tower for each (Caruana 1997)."""

from hamur.layers import TowerMLP
from hamur.models.ranking import ALL_ROWS, Baseline


class SharedBottom(Baseline):
    """x = Block(bottom)(e);  logit = Tower_d(x).

    The bottom's norms take statistics over all rows, a tower's over the rows of its domain.
    """

    towers_per_domain = True

    def add_layers(self, rng):
        dims = self.sizes.bottom_dims
        self.bottom = TowerMLP(rng, self.instance_width, dims)
        self.add_deep(rng, dims[-1])

    def network(self, embeddings, dense, layout, context):
        (bottom,) = self.bottom((self.join(embeddings, dense),), context[ALL_ROWS])
        return self.head(bottom, layout, context)
