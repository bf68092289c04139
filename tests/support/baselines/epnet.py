"""Features times a gate, of which only the domain's embedding is trained through the gate."""

import numpy as np

from tests.support import oracle
from tests.support.oracle import embed, relu, sigmoid


class Pass(oracle.Pass):
    def gate(self, number, tower, x, columns):
        """2 sigmoid(Dense(ReLU(Dense(x)))); columns: of this gate among those of all."""
        hidden = relu(self.dense_layer("gates.hidden", tower, x)[:, columns])
        return 2 * sigmoid(self.dense_layer(f"gates.outputs.{number}", tower, hidden))

    def held_instance(self):
        """e without gradient."""
        table = self.held("embedding.table")
        held = embed(table, self.network.vocab_sizes, self.sparse)
        return np.concatenate([held, self.dense], axis=1)

    def run(self):
        size = self.params["embedding.table"].shape[1]
        own = slice((len(self.network.vocab_sizes) - 1) * size, self.embedded.shape[1])
        e, x = np.concatenate([self.embedded, self.dense], axis=1), self.held_instance()
        x[:, own] = self.embedded[:, own]
        agnostic = np.delete(e, own, axis=1)
        agnostic = agnostic * self.gate(0, 0, x, slice(None))
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        (x,) = self.hidden_layers([agnostic], [(0, self.all_rows)], False, instance)
        return oracle.Result(self.dense_layer("output", 0, x)[:, 0], self.running, self.cells)
