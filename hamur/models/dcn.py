"""dcn_md, dcn_md_adp: Deep & Cross Network v1 (arXiv 1708.05123), one for all domains."""

from mindspore import ops

from hamur.layers import CrossNetwork
from hamur.layers.routing import dispatch
from hamur.models.ranking import RankingModel


class MultiDomainDCN(RankingModel):
    """logit = Dense([cross(e) | deep(e)], 1); the adapter cell is in the deep part only."""

    def add_layers(self, rng):
        width = self.instance_width
        self.cross = CrossNetwork(rng, width, self.sizes.cross_layers, self.num_towers)
        self.add_deep(rng, width, extra_dim=width)

    def network(self, embeddings, dense, layout, context):
        xs = dispatch(self.join(embeddings, dense), layout)
        pairs = zip(self.cross(xs, layout), self.deep(xs, layout, context))
        return self.output(tuple([ops.concat(pair, -1) for pair in pairs]), layout)
