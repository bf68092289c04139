"""Each row through the network of the cluster whose centre is nearest; centres that move."""

import numpy as np

from tests.support import oracle
from tests.support.baselines import star


def unit(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True))


class Pass(star.Pass):
    def run(self):
        self.join_numbers()
        e, centres = unit(self.instance_vector), self.params["clusters.centres"]
        clusters = (e @ unit(centres).T).argmax(1)
        if self.training:
            self.running["clusters.centres"] = self.moved(centres, e[self.real])
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        layers = tuple(self.config.adapter_layers or self.network.layers)
        xs, number = self.instance_vector, 0
        while f"tower.blocks.{number}.weight" in self.params:
            xs = oracle.relu(self.by_row(f"tower.blocks.{number}", clusters, xs))
            number += 1
            if instance is not None and number in layers:
                views = self.views()
                parts = [xs[rows] for _, rows in views]
                xs = self.merge(self.cell(layers.index(number), parts, views, instance), views)
        logits = self.by_row("output", clusters, xs)
        return oracle.Result(logits[:, 0], self.running, self.cells)

    def by_row(self, name, clusters, xs):
        """Each row of xs by the layer of its cluster."""
        pairs = zip(clusters, xs, strict=True)
        return np.array([self.dense_layer(name, cluster, x) for cluster, x in pairs])

    def moved(self, centres, e):
        for _ in range(3):
            exponential = np.exp(e @ unit(centres).T)
            shares = exponential / exponential.sum(1, keepdims=True)
            means = [
                sum(r * x for r, x in zip(each, e, strict=True)) / each.sum() for each in shares.T
            ]
            centres = unit(0.9 * centres + 0.1 * np.array(means))
        return centres
