"""wd_md, wd_md_adp: Wide & Deep (arXiv 1606.07792), one for all domains."""

from mindspore import ops

from hamur.layers import TowerDense
from hamur.layers.routing import dispatch
from hamur.models.ranking import RankingModel


class MultiDomainWideDeep(RankingModel):
    """logit = Dense(dense, 1) + Dense(deep(embeddings), 1): the wide part reads the dense columns
    only."""

    hyper_repeats = False  # the public code calls this hyper-network once

    def add_layers(self, rng):
        if self.num_dense:
            self.wide = TowerDense(rng, self.num_dense, 1, self.num_towers)
        self.add_deep(rng, self.embedding.width)

    def hyper_input(self, embeddings, dense):
        """[dense | embeddings]: dense first, as the public code joins them here."""
        return ops.concat((dense, embeddings), -1) if self.num_dense else embeddings

    def network(self, embeddings, dense, layout, context):
        logits = self.output(self.deep(dispatch(embeddings, layout), layout, context), layout)
        if not self.num_dense:
            return logits
        wide = self.wide(dispatch(dense, layout), layout)
        return tuple([a + b for a, b in zip(logits, wide)])
