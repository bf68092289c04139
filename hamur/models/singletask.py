"""singletask: a separate network per task, embeddings included."""

from dataclasses import replace

from mindspore import nn, ops

from hamur.models.multi_task import MultiTaskModel
from hamur.models.sharedbottom import SharedBottom


class SingleTask(MultiTaskModel):
    """z_k = Tw_k(Ex_k(e_k)) with an embedding e_k per task."""

    has_embedding = False

    def add_layers(self, rng):
        networks = []
        for label in self.schema.labels:
            one = replace(self.schema, labels=(label,))
            networks.append(SharedBottom(one, self.config, int(rng.integers(2**31))))
            self.mask_widths += networks[-1].mask_widths
        self.networks = nn.CellList(networks)
        self.masks_per_task = len(networks[0].mask_widths)

    def construct(self, sparse, dense, weight=None, keep=()):
        logits, start = (), 0
        for network in self.networks:
            end = start + self.masks_per_task
            logits = logits + (network(sparse, dense, weight, keep[start:end] if keep else ()),)
            start = end
        return ops.concat(logits, 1)
