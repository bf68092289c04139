"""A network for all rows, and on its output a tower per domain."""

from tests.support.baselines import _routed


class Pass(_routed.Pass):
    def run(self):
        return self.run_on(self.blocks("bottom", [self.instance_vector], self.shared_view)[0])
