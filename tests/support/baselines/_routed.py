"""What the models with a tower per domain have in common."""

import numpy as np

from tests.support import oracle


class Pass(oracle.Pass):
    def __init__(self, *args):
        super().__init__(*args)
        self.instance_vector = np.concatenate([self.embedded, self.dense], axis=1)
        self.shared_view = [(0, self.all_rows)]

    def tower_rule(self):
        """Statistics of the towers' norms, and whether they are pooled over the domains."""
        pooled = getattr(self.config, "tower_norm", "domain") == "pooled"
        return oracle.NormRule(self.config.min_domain_rows), pooled

    def blocks(self, name, xs, views, rule=None, pooled=False):
        """Hidden blocks outside of the towers."""
        for number in range(self.num_blocks(name)):
            block = f"{name}.blocks.{number}"
            xs = [
                self.dense_layer(f"{block}.dense", d, x)
                for x, (d, _) in zip(xs, views, strict=True)
            ]
            rule = rule or oracle.NormRule()
            xs = [
                oracle.relu(x) for x in self.norm(f"{block}.norm", xs, views, rule, pooled=pooled)
            ]
        return xs

    def gate(self, row, name="gates", x=None):
        """softmax(G_d x) of one row; x: e by default."""
        x = self.instance_vector if x is None else x
        scores = np.exp(self.dense_layer(name, self.domain[row], x[row]))
        return scores / scores.sum()

    def run_on(self, x):
        """The domain towers, with their adapter cells, on x (B, .)."""
        views = self.views()
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        xs = self.hidden_layers([x[rows] for _, rows in views], views, True, instance)
        logits = [self.dense_layer("output", d, x) for x, (d, _) in zip(xs, views, strict=True)]
        return oracle.Result(self.merge(logits, views)[:, 0], self.running, self.cells)
