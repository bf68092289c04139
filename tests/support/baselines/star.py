"""A network per domain whose numbers are those of a shared one times, or plus, the domain's own."""

import numpy as np

from tests.support.baselines import _routed


class Pass(_routed.Pass):
    def join_numbers(self):
        for key, own in list(self.params.items()):
            layer, _, part = key.rpartition(".")
            if part.startswith("domain_"):
                name = f"{layer}.{part.removeprefix('domain_')}"
                shared = self.params[name][0]
                product = part in ("domain_weight", "domain_gamma")
                each = [shared * array if product else shared + array for array in own]
                self.params[name] = np.array(each)

    def run(self):
        self.join_numbers()
        e, views = self.instance_vector, self.views()
        rule, _ = self.tower_rule()
        xs = self.norm("partition", [e[rows] for _, rows in views], views, rule)
        result = self.run_on(self.merge(xs, views))
        (aux,) = self.blocks("aux", [e], self.shared_view)
        result.logits += self.dense_layer("aux_output", 0, aux)[:, 0]
        return result
