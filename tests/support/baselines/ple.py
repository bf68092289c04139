"""Two experts of each domain on its rows and one on all rows, mixed by the domain's gate."""

import numpy as np

from tests.support.baselines import _routed


class Pass(_routed.Pass):
    def run(self):
        e, views = self.instance_vector, self.views()
        own = [e[rows] for _, rows in views]
        rule, pooled = self.tower_rule()
        outputs = [
            self.merge(self.blocks(f"specific.{k}", own, views, rule, pooled), views)
            for k in range(2)
        ]
        outputs += self.blocks("shared", [e], self.shared_view)
        mixed = [
            sum(g * f[row] for g, f in zip(self.gate(row), outputs, strict=True))
            for row in self.all_rows
        ]
        return self.run_on(np.array(mixed))
