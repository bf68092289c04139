"""singletask: a network of its own for every task, embeddings included."""

from dataclasses import replace

from mindspore import nn, ops

from hamur.models.multi_task import MultiTaskModel
from hamur.models.sharedbottom import SharedBottom


class SingleTask(MultiTaskModel):
    """z_k = Tw_k(Ex_k(e_k)) with an embedding e_k for each task."""

    has_embedding = False

    def add_layers(self, rng):
        networks = []
        for label in self.schema.labels:
            one = replace(self.schema, labels=(label,))
            networks.append(SharedBottom(one, self.config, int(rng.integers(2**31))))
            self.mask_widths += networks[-1].mask_widths
        self.networks = nn.CellList(networks)
        self.each = networks[0].mask_count

    def construct(self, sparse, dense, weight=None, keep=()):
        logits = ()
        start = 0
        for network in self.networks:
            own = keep[start : start + self.each] if keep else ()
            logits = logits + (network(sparse, dense, weight, own),)
            start += self.each
        return ops.concat(logits, 1)
