"""single_domain, domain_feature: a network per domain, and one plain network for all of them."""

import numpy as np
from mindspore import Tensor, nn, ops

from hamur.layers import InstanceEmbedding
from hamur.layers.collectives import AllSum
from hamur.layers.primitives import matmul, matmul_ta
from hamur.layers.routing import DOMAIN, dispatch, members
from hamur.models.mlp import MultiDomainMLP


class DomainFeature(MultiDomainMLP):
    """One plain MLP over e, in which the domain is a feature as any other."""

    in_public_code = False
    towers_per_domain = False


class OwnMean(nn.Cell):
    """Logits whose gradient is that of the mean loss of their own domain, where the loss is the
    mean over the batch.  logits and scale (rows, 1)."""

    def construct(self, logits, scale):
        return logits

    def bprop(self, logits, scale, out, dout):
        return dout * scale, ops.zeros_like(scale)


class SingleDomain(MultiDomainMLP):
    """D plain MLPs that share nothing, embeddings included, each trained on its own domain's rows.

    Value v of field f has D rows in the table, those of field f side by side, of which domain d
    reads and trains row d V_f + v.  A step of domain d is that of a model of its own on the rows
    which the batch holds of it, except that one epoch is chosen for all domains.
    """

    in_public_code = False

    def make_embedding(self, rng, embed_dim, std, dropout, lists):
        copies = self.num_domains
        sizes = self.schema.vocab_sizes
        self.sizes_of_fields = Tensor(np.array(sizes, np.int32).reshape(1, -1))
        widths = [size for size, length in lists for _ in range(length)]
        self.sizes_of_lists = Tensor(np.array(widths, np.int32).reshape(1, -1)) if lists else None
        self.own_mean, self.all_sum = OwnMean(), AllSum()
        lists = [(size * copies, length) for size, length in lists]
        sizes = [size * copies for size in sizes]
        return InstanceEmbedding(rng, sizes, embed_dim, std, dropout, lists)

    def embed(self, sparse, domain, layout, keep, multi_ids=None, multi_weight=None):
        # An id outside 0..D-1 gives NaN in the end, but must not read outside the table.
        domain = ops.maximum(ops.minimum(domain, self.num_domains - 1), 0).reshape(-1, 1)
        sparse = sparse + domain * self.sizes_of_fields
        if self.sizes_of_lists is not None:
            multi_ids = multi_ids + domain * self.sizes_of_lists
        return self.embedding(sparse, layout, keep, multi_ids, multi_weight)

    def network(self, embeddings, dense, layout, context):
        logits = super().network(embeddings, dense, layout, context)
        if not self.training or not self.per_domain:
            return logits
        weight = context[1].reshape(-1, 1)
        member = members(layout[DOMAIN], self.num_domains)
        counts = self.all_sum(matmul_ta(member, weight))  # (D, 1)
        total = ops.maximum(matmul(member, counts), 1.0)
        scales = dispatch(ops.stop_gradient(counts.sum() / total), layout)
        return tuple([self.own_mean(x, scale) for x, scale in zip(logits, scales)])
