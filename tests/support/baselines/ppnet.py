"""An MLP per domain, each layer times a gate that trains the embeddings of the ids only."""

import numpy as np

from tests.support import oracle
from tests.support.baselines import epnet


class Pass(epnet.Pass):
    def run(self):
        size, views = self.params["embedding.table"].shape[1], self.views()
        e, x = np.concatenate([self.embedded, self.dense], axis=1), self.held_instance()
        x[:, : 2 * size] = e[:, : 2 * size]  # the first two fields tell user and item
        gates, start = [], 0
        for number in range(self.num_blocks("tower")):
            width = self.params[f"gates.outputs.{number}.weight"].shape[1]
            columns = slice(start, start + width)
            gates.append([self.gate(number, d, x[rows], columns) for d, rows in views])
            start += width
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        xs = self.hidden_layers([e[rows] for _, rows in views], views, True, instance, gates)
        logits = [self.dense_layer("output", d, x) for x, (d, _) in zip(xs, views, strict=True)]
        return oracle.Result(self.merge(logits, views)[:, 0], self.running, self.cells)
