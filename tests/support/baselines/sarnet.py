"""Features scaled by domain; eight experts of all rows, two of the domain's, each with a norm."""

import numpy as np

from tests.support import oracle
from tests.support.baselines import _routed


class Pass(_routed.Pass):
    def run(self):
        views, domain = self.views(), self.domain
        x = self.instance_vector * self.params["affine.weight"][domain]
        x = x + self.params["affine.bias"][domain]
        rule, pooled = self.tower_rule()
        own = self.experts("own", 2, [x[rows] for _, rows in views], views, rule, pooled)
        shared = self.experts("shared", 8, [x], self.shared_view, oracle.NormRule(), False)
        outputs = [f for (f,) in shared] + [self.merge(xs, views) for xs in own]
        scores = np.exp(x @ self.params["gate.weight"] + self.params["gate.bias"])
        gates = scores / scores.sum(1, keepdims=True)
        mixed = sum(gate[:, None] * f for gate, f in zip(gates.T, outputs, strict=True))
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        (x,) = self.hidden_layers([mixed], self.shared_view, False, instance)
        return oracle.Result(self.dense_layer("output", 0, x)[:, 0], self.running, self.cells)

    def experts(self, name, number, xs, views, rule, pooled):
        """The outputs of each expert, a list of those on each x."""
        outputs = []
        for k in range(number):
            for part in ("gamma", "beta"):  # expert k's own, (T, in)
                self.params[f"{name}_norm.{part}"] = self.params[f"{name}_experts.{part}"][..., k]
            normed = self.norm(f"{name}_norm", xs, views, rule, pooled=pooled)
            weight, bias = (self.params[f"{name}_experts.{part}"] for part in ("weight", "bias"))
            columns = slice(weight.shape[2] // number * k, weight.shape[2] // number * (k + 1))
            outputs.append(
                [
                    x @ weight[d, :, columns] + bias[d, columns]
                    for x, (d, _) in zip(normed, views, strict=True)
                ]
            )
        return outputs
