"""mlp, mlp_adp: one MLP tower per domain over shared embeddings."""

from hamur.models.ranking import RankingModel


class MultiDomainMLP(RankingModel):
    """Tower d, for rows of domain d only: e -> hidden blocks (adapter cells behind some) ->
    Dense(., 1)."""

    towers_per_domain = True

    def add_layers(self, rng):
        self.add_deep(rng, self.instance_width)

    def network(self, embeddings, dense, layout, context):
        return self.head(self.join(embeddings, dense), layout, context)
