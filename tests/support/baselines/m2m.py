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


def plain(params, name, x):
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]


def layer_norm(params, name, x):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return scaled * params[f"{name}.gamma"] + params[f"{name}.beta"]


def encoder(params, name, x):
    """One layer for the tokens (T, E) of one row."""
    queries, keys, values = np.split(plain(params, f"{name}.project", x), 3, axis=1)
    size, heads = x.shape[1] // HEADS, []
    for at in range(0, x.shape[1], size):
        q, k, v = (part[:, at : at + size] for part in (queries, keys, values))
        weights = np.array([softmax(row) for row in q @ k.T / np.sqrt(size)])
        heads.append(weights @ v)
    x = x + plain(params, f"{name}.join", np.concatenate(heads, axis=1))
    x = layer_norm(params, f"{name}.first_norm", x)
    x = x + plain(params, f"{name}.narrow", relu(plain(params, f"{name}.widen", x)))
    return layer_norm(params, f"{name}.second_norm", x)


class Pass(oracle.Pass):
    def mixed(self, row):
        """leaky(r A_d + a_d + r) of one row."""
        size = self.params["embedding.table"].shape[1]
        tokens = list(self.embedded[row].reshape(-1, size))
        for column, value in enumerate(self.dense[row]):
            weight, bias = (self.params[f"dense_tokens.{p}"][column] for p in ("weight", "bias"))
            tokens.append(value * weight + bias)
        tokens, domain = np.array(tokens), self.embedded[row, -size:]
        for number in range(2):
            tokens = encoder(self.params, f"encoder.{number}", tokens)
        experts = leaky(self.dense_layer("experts", 0, tokens.reshape(-1))).reshape(EXPERTS, -1)
        scenario = leaky(plain(self.params, "scenario", domain))
        width = len(scenario)
        matrix = leaky(plain(self.params, "attention.meta.matrix", scenario)).reshape(2 * width, -1)
        shift = leaky(plain(self.params, "attention.meta.shift", scenario))
        task, score = self.params["attention.task"][0], self.params["attention.score"][:, 0]
        scores = [score @ leaky(np.r_[x, task] @ matrix + shift) for x in experts]
        r = softmax(np.array(scores)) @ experts
        matrix = leaky(plain(self.params, "meta.matrix", scenario)).reshape(width, width)
        return leaky(r @ matrix + leaky(plain(self.params, "meta.shift", scenario)) + r)

    def run(self):
        x = np.array([self.mixed(row) for row in self.all_rows])
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        (x,) = self.hidden_layers([x], [(0, self.all_rows)], False, instance)
        return oracle.Result(self.dense_layer("output", 0, x)[:, 0], self.running, self.cells)
