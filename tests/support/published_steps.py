"""The published lower and upper updates of BIAO in NumPy, float64."""

import numpy as np

from hamur.training.bilevel.second_order_check import numpy_gradient
from tests.support import cross_domain_oracle as oracle
from tests.support.oracle import Adam, sigmoid
from tests.support.task_oracle import softmax


class Published:
    """The published updates in float64, from the weights of `Levels`; gradients by hand."""

    def __init__(self, levels):
        config, model = levels.config, levels.model
        self.theta = {p.name: p.asnumpy().astype(np.float64) for p in model.trainable_params()}
        self.phi = {p.name.removeprefix("phi."): p.asnumpy().astype(np.float64) for p in levels.phi}
        self.adam = Adam(config.learning_rate)
        self.head = levels.upper.head.copy()
        self.head_adam = Adam(config.learning_rate)

    def scores(self, theta, phi, batch, seen):
        """g and d g / d candidate; the attention reads `seen`, whose gradient is cut."""
        dim = seen.shape[1]
        candidate = seen[batch.ids[0, :, 1:]].reshape(len(batch.row_mask), 2 * dim)
        history = seen[batch.history].reshape(*batch.history.shape[:3], 2 * dim)
        neutral = {"item_weight": np.zeros_like(phi["item_weight"]), "item_bias": np.ones(1)}
        lengths = batch.history_mask.sum(-1).astype(int)
        gate = oracle.perceptron_scores({**phi, **neutral}, candidate, None, history, lengths, True)
        moving = theta["table"][batch.ids[0, :, 1:]].reshape(candidate.shape)
        gamma = moving @ phi["item_weight"][:, 0] + phi["item_bias"][0]
        return gamma * gate, gate[:, None] * phi["item_weight"][:, 0]

    def gradient(self, batch, theta, phi, seen, weights=None, head=None):
        """Gradient of L_low, or of a loss with given weights and head."""
        cross = [theta[name] for name in theta if name.startswith("cross")]
        w, b = head or (theta["head.weight"], theta["head.bias"])
        real = batch.row_mask > 0
        inside = weights is None
        if inside:
            g, slope = self.scores(theta, phi, batch, seen)
            share = np.zeros(len(real))
            share[real] = softmax(g[real])
            prior = max(float(phi["prior"][0]), 0.0)
            weights = np.stack([prior * share * batch.has_source, batch.row_weight])
        arguments = (theta["table"], cross, weights, batch.ids, batch.labels, w, b, 0.0)
        (rows, *layers), losses = numpy_gradient(*arguments)
        if inside:  # the way of theta into the weights: d w_k / d g_j = w_k (1[k = j] - share_j)
            of_g = weights[0] * losses[0] - share * (weights[0] * losses[0]).sum()
            along = (of_g[:, None] * slope).reshape(-1, rows.shape[1])
            np.add.at(rows, batch.ids[0, :, 1:].reshape(-1), along)
        named = dict(zip([name for name in theta if name.startswith("cross")], layers))
        return {"table": rows, **named}

    def heads_gradient(self, batch, theta, phi):
        """Gradient of L_low with respect to both heads, by differences."""

        def value(moved):
            g, _ = self.scores(theta, phi, batch, theta["table"])
            real = batch.row_mask > 0
            w = np.zeros(len(real))
            w[real] = oracle.published_weights(g[real], float(phi["prior"][0]))
            weights = np.stack([w * batch.has_source, batch.row_weight])
            cross = [theta[name] for name in theta if name.startswith("cross")]
            w, b = moved["head.weight"], moved["head.bias"]
            arguments = (theta["table"], cross, weights, batch.ids, batch.labels, w, b, 0.0)
            return (numpy_gradient(*arguments)[1] * weights).sum()

        found = {}
        heads = {name: theta[name] for name in ("head.weight", "head.bias")}
        for name, array in heads.items():
            entries = [(name, index) for index in np.ndindex(array.shape)]
            numbers = oracle.numerical_gradient(value, heads, entries)
            found[name] = numbers.reshape(array.shape)
        return found

    def lower(self, batch):
        gradient = self.gradient(batch, self.theta, self.phi, self.theta["table"])
        gradient |= self.heads_gradient(batch, self.theta, self.phi)
        theta = {name: self.theta[name] for name in gradient}
        self.theta = self.adam.update(theta, gradient)

    def features(self, batch):
        theta, x = self.theta, self.theta["table"][batch.ids].reshape(2, len(batch.row_mask), -1)
        for layer in range(4):
            private, h = (theta[f"cross.{layer}.{name}"] for name in ("private", "shared"))
            x = np.maximum(np.matmul(x, private) + np.matmul(x[::-1], h), 0)
        return x[1][batch.row_mask > 0]

    def fit_head(self, batch, size, steps, rate):
        x, y = self.features(batch), batch.labels[1][batch.row_mask > 0]
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        self.head_adam.learning_rate = rate
        for step in range(min(steps, -(-len(x) // size))):
            rows = slice(step * size, (step + 1) * size)
            error = sigmoid(x[rows] @ self.head) - y[rows]
            gradient = {"head": x[rows].T @ error / len(error)}
            self.head = self.head_adam.update({"head": self.head}, gradient)["head"]

    def neumann(self, dev, lower, terms):
        """v_0 + ... + v_K with a = 1, dense; products with H by differences of the gradient."""
        seen = self.theta["table"]
        head = np.zeros((2, 8, 1)), np.zeros((2, 1, 1))
        head[0][1, :, 0], head[1][1] = self.head[:-1], self.head[-1]
        weights = np.stack([np.zeros(len(dev.row_mask)), dev.row_weight])
        v = self.gradient(dev, self.theta, self.phi, seen, weights, head)
        total = dict(v)
        for _ in range(terms):
            sides = []
            for step in (1e-6, -1e-6):
                moved = {name: value.copy() for name, value in self.theta.items()}
                for name in v:
                    moved[name] += step * v[name]
                sides.append(self.gradient(lower, moved, self.phi, seen))
            v = {n: v[n] - (sides[0][n] - sides[1][n]) / 2e-6 for n in v}
            total = {n: total[n] + v[n] for n in v}
        return total

    def phi_gradient(self, p, lower, entries):
        """- d / d phi < gradient of L_low, p > at the entries (name, index)."""
        seen = self.theta["table"]

        def inner(phi):
            gradient = self.gradient(lower, self.theta, phi, seen)
            return sum((gradient[name] * p[name]).sum() for name in p)

        return -oracle.numerical_gradient(inner, self.phi, entries, 1e-5)
