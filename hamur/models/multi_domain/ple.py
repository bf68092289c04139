"""ple: experts of a domain beside shared ones (progressive layered extraction, RecSys 2020)."""

from mindspore import nn, ops

from hamur.layers import TowerDense, TowerMLP
from hamur.layers.experts import mix
from hamur.layers.routing import combine, dispatch
from hamur.models.ranking import ALL_ROWS, Baseline

SPECIFIC = 2  # experts of each domain, of the authors' benchmark, and one that all share


class ProgressiveLayeredExtraction(Baseline):
    """f_1, f_2 = Block_d(expert)(e), f_3 = Block(expert)(e);  g = softmax(G_d e);
    logit = Tower_d(sum_k g_k f_k).

    One level, as published: a row computes three experts, however many domains there are. (Below a
    second level a row would need the experts of all domains.)  The norms of a domain's experts are
    those of its tower.
    """

    towers_per_domain = True

    def add_layers(self, rng):
        width, towers, dims = self.instance_width, self.num_towers, self.sizes.expert_dims
        self.specific = nn.CellList(
            [TowerMLP(rng, width, dims, towers, norm=self.norm) for _ in range(SPECIFIC)]
        )
        self.shared = TowerMLP(rng, width, dims)
        self.gates = TowerDense(rng, width, SPECIFIC + 1, towers)
        self.add_deep(rng, dims[-1])

    def network(self, embeddings, dense, layout, context):
        instance = self.join(embeddings, dense)
        xs = dispatch(instance, layout)
        outputs = ()
        for expert in self.specific:
            outputs = outputs + (combine(expert(xs, layout), layout),)
        outputs = outputs + self.shared((instance,), context[ALL_ROWS])
        gates = ops.softmax(combine(self.gates(xs, layout), layout), -1)
        mixed = mix(gates.expand_dims(1), ops.stack(outputs, 1)).squeeze(1)
        return self.head(mixed, layout, context)
