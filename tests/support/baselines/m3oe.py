"""Four shared experts and one of each domain, all on every row, with the fusion row by row."""

import numpy as np

from tests.support import oracle
from tests.support.baselines import _routed

SHARED = 4


def layer_norm(x, gamma, beta):
    centre, spread = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    return gamma * (x - centre) / np.sqrt(spread + oracle.EPSILON) + beta


class Pass(_routed.Pass):
    def run(self):
        x, domains = self.before_experts(), self.network.num_domains
        live, self.params = self.params, {name: self.held(name) for name in self.params}
        stopped = self.before_experts()
        self.params = live
        number = SHARED + domains
        experts = [self.block("experts", x, k, number) for k in range(number)]
        balance, scale = oracle.sigmoid(self.params["theta"][:, 0])
        mixed = []
        for row, d in enumerate(self.domain):
            own, others = experts[SHARED + d][row], 0.0
            for j in range(domains):
                if j != d:
                    others = others + experts[SHARED + j][row] / (domains - 1)
            if domains > 1:
                own = balance * own + (1 - balance) * others
            gates = zip(self.gate(row, x=stopped), experts[:SHARED], strict=True)
            mixed.append(sum(g * f[row] for g, f in gates) + scale * own)
        return self.run_on(np.array(mixed))

    def before_experts(self):
        e = np.concatenate([self.embed(), self.dense], axis=1)
        star = np.zeros((len(e), self.params["star.weight"].shape[2]))
        for row, d in enumerate(self.domain):
            weight = self.params["star.weight"][0] * self.get("star.domain_weight", d)
            bias = self.params["star.bias"][0] + self.get("star.domain_bias", d)
            star[row] = e[row] @ weight + bias
        return self.block("star_block", star) + self.block("block", e)

    def block(self, name, x, k=0, number=1):
        """relu(LayerNorm(Dense)) of network k among those whose columns are side by side."""
        x = self.dense_layer(f"{name}.dense", 0, x)
        width = x.shape[1] // number
        own = slice(k * width, (k + 1) * width)
        gamma, beta = self.params[f"{name}.gamma"][0], self.params[f"{name}.beta"][0]
        return oracle.relu(layer_norm(x[:, own], gamma[own], beta[own]))

    def norm(self, name, xs, views, *args, **kwargs):
        if not name.startswith("tower."):
            return super().norm(name, xs, views, *args, **kwargs)
        block = name.removesuffix(".norm")
        return [
            layer_norm(x, self.get(f"{block}.gamma", d), self.get(f"{block}.beta", d))
            for x, (d, _) in zip(xs, views, strict=True)
        ]
