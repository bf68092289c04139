"""A transformer over the tokens of each row, and a head whose matrices the domain generates."""

import numpy as np

from tests.support import oracle
from tests.support.oracle import EPSILON, relu

HEADS, EXPERTS = 4, 4


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


class Pass(oracle.Pass):
    def plain(self, name, x):
        return x @ self.params[f"{name}.weight"] + self.params[f"{name}.bias"]

    def layer_norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        return scaled * self.params[f"{name}.gamma"] + self.params[f"{name}.beta"]

    def encoder(self, name, x):
        """One layer for the tokens (T, E) of one row."""
        queries, keys, values = np.split(self.plain(f"{name}.project", x), 3, axis=1)
        size, heads = x.shape[1] // HEADS, []
        for at in range(0, x.shape[1], size):
            q, k, v = (part[:, at : at + size] for part in (queries, keys, values))
            weights = np.array([softmax(row) for row in q @ k.T / np.sqrt(size)])
            heads.append(weights @ v)
        x = x + self.plain(f"{name}.join", np.concatenate(heads, axis=1))
        x = self.layer_norm(f"{name}.first_norm", x)
        x = x + self.plain(f"{name}.narrow", relu(self.plain(f"{name}.widen", x)))
        return self.layer_norm(f"{name}.second_norm", x)

    def mixed(self, row):
        """leaky(r A_d + a_d + r) of one row."""
        size = self.params["embedding.table"].shape[1]
        tokens = list(self.embedded[row].reshape(-1, size))
        for column, value in enumerate(self.dense[row]):
            weight, bias = (self.params[f"dense_tokens.{p}"][column] for p in ("weight", "bias"))
            tokens.append(value * weight + bias)
        tokens, domain = np.array(tokens), self.embedded[row, -size:]
        for number in range(2):
            tokens = self.encoder(f"encoder.{number}", tokens)
        experts = leaky(self.dense_layer("experts", 0, tokens.reshape(-1))).reshape(EXPERTS, -1)
        scenario = leaky(self.plain("scenario", domain))
        width = len(scenario)
        matrix = leaky(self.plain("attention.meta.matrix", scenario)).reshape(2 * width, -1)
        shift = leaky(self.plain("attention.meta.shift", scenario))
        task, score = self.params["attention.task"][0], self.params["attention.score"][:, 0]
        scores = [score @ leaky(np.r_[x, task] @ matrix + shift) for x in experts]
        r = softmax(np.array(scores)) @ experts
        matrix = leaky(self.plain("meta.matrix", scenario)).reshape(width, width)
        return leaky(r @ matrix + leaky(self.plain("meta.shift", scenario)) + r)

    def run(self):
        x = np.array([self.mixed(row) for row in self.all_rows])
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        (x,) = self.hidden_layers([x], [(0, self.all_rows)], False, instance)
        return oracle.Result(self.dense_layer("output", 0, x)[:, 0], self.running, self.cells)
