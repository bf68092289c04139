"""mmoe: experts that all domains share, mixed by a gate per domain (Ma et al., KDD 2018)."""

from mindspore import ops

from hamur.layers import TowerDense
from hamur.layers.experts import ExpertStack, mix
from hamur.layers.primitives import matmul
from hamur.layers.routing import combine, dispatch
from hamur.models.ranking import ALL_ROWS, Baseline


class MultiGateMixture(Baseline):
    """f_k = Block(expert)(e), k = 1..X;  g = softmax(G_d e);  logit = Tower_d(sum_k g_k f_k).

    There are X = D experts.  A row needs all of them, but one gate and one tower.
    """

    towers_per_domain = True

    def add_layers(self, rng):
        width, number, dims = self.instance_width, self.num_domains, self.sizes.expert_dims
        self.experts = ExpertStack(rng, width, dims, number, 0.0)
        self.gates = TowerDense(rng, width, number, self.num_towers)
        self.add_deep(rng, dims[-1])

    def network(self, embeddings, dense, layout, context):
        instance = self.join(embeddings, dense)
        first = matmul(instance, self.experts.layers[0].weight)
        outputs = self.experts.apart(self.experts(first, context[ALL_ROWS]))  # (B, X, H)
        gates = ops.softmax(combine(self.gates(dispatch(instance, layout), layout), layout), -1)
        mixed = mix(gates.expand_dims(1), outputs).squeeze(1)
        return self.head(mixed, layout, context)
