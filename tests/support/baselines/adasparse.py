"""A network for all rows whose input and layers are multiplied by factors of 0 to 2."""

import numpy as np

from tests.support import oracle
from tests.support.baselines import _routed


class Pass(_routed.Pass):
    def run(self):
        size = self.params["embedding.table"].shape[1]
        self.params["alpha"] = self.params["alpha"] + 1e-4 * self.training
        end = len(self.network.vocab_sizes) * size
        c = self.embedded[:, end - size : end]  # the domain's is the last of the fields
        agnostic = np.concatenate([self.embedded[:, : end - size], self.dense], axis=1)
        agnostic = agnostic * self.factors(0, self.instance_vector)
        x = np.insert(agnostic, [end - size] * size, c, axis=1)  # in the order of e
        gates = [
            [lambda x, number=number: self.factors(number, np.concatenate([c, x], axis=1))]
            for number in range(1, 1 + self.num_blocks("tower"))
        ]
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        (x,) = self.hidden_layers([x], self.shared_view, False, instance, gates)
        self.running["alpha"] = self.params["alpha"]
        return oracle.Result(self.dense_layer("output", 0, x)[:, 0], self.running, self.cells)

    def factors(self, number, x):
        v = 2 * oracle.sigmoid(
            self.params["alpha"] * (x @ self.params[f"pruners.{number}.weight"][0])
        )
        return np.where(v <= 0.01, 0.0, v)
