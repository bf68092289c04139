"""Every expert on every row; each row takes the gate and the tower of its domain."""

import numpy as np

from tests.support import oracle
from tests.support.baselines import _routed


class Pass(_routed.Pass):
    def run(self):
        e, number = self.instance_vector, self.network.num_domains
        outputs = [self.expert(e, k, number) for k in range(number)]
        mixed = [
            sum(g * f[row] for g, f in zip(self.gate(row), outputs, strict=True))
            for row in self.all_rows
        ]
        return self.run_on(np.array(mixed))

    def expert(self, x, k, number):
        """Expert k; its columns in the first matrix, its own matrix in the later ones."""
        layer = 0
        while f"experts.layers.{layer}.weight" in self.params:
            name = f"experts.layers.{layer}"
            weight, bias = self.params[f"{name}.weight"], self.params[f"{name}.bias"][0]
            own = slice(len(bias) // number * k, len(bias) // number * (k + 1))
            x = x @ (weight[:, own] if layer == 0 else weight[k]) + bias[own]
            x = oracle.relu(self.norm_columns(f"{name}.norm", x, own))
            layer += 1
        return x

    def norm_columns(self, name, x, own):
        """Batch norm over all rows by the columns ``own`` of the norm's parameters."""
        old = self.params[f"{name}.mean"][0, own], self.params[f"{name}.variance"][0, own]
        rule, real = oracle.NormRule(), x[self.real]
        centre, spread, mean, variance = oracle.norm_statistics(real, *old, rule, self.training)
        self.running[f"{name}.mean"][0, own] = mean
        self.running[f"{name}.variance"][0, own] = variance
        gamma, beta = self.params[f"{name}.gamma"][0, own], self.params[f"{name}.beta"][0, own]
        return gamma * (x - centre) / np.sqrt(spread + oracle.EPSILON) + beta
