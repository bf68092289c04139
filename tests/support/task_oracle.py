"""Float64 NumPy restatement of the eight multi-task models: obvious, slow, independent of `hamur`.

Row vectors, `y = x W + b`; experts, tasks and preferences are really looped over, and the instance
e is really built. Dropout is not restated: compare with probability 0. `p` maps the parameter
names of a model to arrays; `training` chooses the statistics of the batch.
"""

import numpy as np

from tests.support.oracle import cross_network, embed, relu, sigmoid

EPSILON = 1e-5


class Oracle:
    """Logits of one model: (B, T), or (B, R, T) for pomoe."""

    def __init__(self, name, schema, config, params, training=False):
        self.name, self.schema, self.config, self.training = name, schema, config, training
        self.p = {key: np.asarray(value, np.float64) for key, value in params.items()}
        self.tasks = len(schema.labels)

    def __call__(self, sparse, dense, preferences=None):
        if self.name == "singletask":
            each = [self.shared_bottom(f"networks.{k}.", sparse, dense) for k in range(self.tasks)]
            return np.concatenate(each, axis=1)
        if self.name == "sharedbottom":
            return self.shared_bottom("", sparse, dense)
        e = self.instance("", sparse, dense)
        if self.name == "pomoe":
            form = self.published if self.config.preset == "official" else self.pareto
            return np.stack([form(e, r) for r in np.asarray(preferences, np.float64)], axis=1)
        return getattr(self, self.name)(e)

    # parts

    def instance(self, prefix, sparse, dense):
        fields = embed(self.p[prefix + "embedding.table"], self.schema.vocab_sizes, sparse)
        weight, bias = (self.p[f"{prefix}embedding.numeric_{part}"] for part in ("weight", "bias"))
        return np.concatenate([fields, np.asarray(dense, np.float64) @ weight + bias], axis=1)

    def norm_relu(self, prefix, x, index=slice(None), columns=slice(None)):
        """Batch norm and ReLU; parameters (T or 1, H)."""
        take = lambda part: self.p[f"{prefix}.norm.{part}"][index, columns].reshape(-1)  # noqa: E731
        mean, variance = take("mean"), take("variance")
        if self.training:
            mean, variance = x.mean(0), x.var(0)
        return relu(take("gamma") * (x - mean) / np.sqrt(variance + EPSILON) + take("beta"))

    def expert(self, prefix, i, number, x):
        """MLP of expert i of `number`; layer 0 lies in columns, the others are stacked."""
        layer = 0
        while f"{prefix}layers.{layer}.weight" in self.p:
            x = self.expert_layer(f"{prefix}layers.{layer}", i, number, x)
            layer += 1
        return x

    def expert_layer(self, prefix, i, number, x):
        weight, bias = self.p[prefix + ".weight"], self.p[prefix + ".bias"]
        width = bias.shape[1] // number
        columns = slice(i * width, (i + 1) * width)
        weight = weight[i] if weight.ndim == 3 else weight[:, columns]
        return self.norm_relu(prefix, x @ weight + bias[0, columns], 0, columns)

    def tower(self, prefix, k, x):
        block = 0
        while f"{prefix}mlp.blocks.{block}.dense.weight" in self.p:
            name = f"{prefix}mlp.blocks.{block}"
            x = x @ self.p[name + ".dense.weight"][k] + self.p[name + ".dense.bias"][k]
            x = self.norm_relu(name, x, k)
            block += 1
        return x @ self.p[prefix + "output.weight"][k] + self.p[prefix + "output.bias"][k]

    def towers(self, xs, prefix="towers."):
        return np.concatenate([self.tower(prefix, k, x) for k, x in enumerate(xs)], axis=1)

    def gate(self, prefix, x, columns=slice(None)):
        logits = x @ self.p[prefix + ".weight"][:, columns] + self.p[prefix + ".bias"][columns]
        return softmax(logits)

    # models

    def shared_bottom(self, prefix, sparse, dense):
        h = self.expert(prefix + "bottom.", 0, 1, self.instance(prefix, sparse, dense))
        tasks = self.tasks if not prefix else 1
        return self.towers([h] * tasks, prefix + "towers.")

    def experts(self, e, number=None, prefix="experts."):
        number = number or self.config.num_experts
        return [self.expert(prefix, i, number, e) for i in range(number)]

    def omoe(self, e):
        mixed = mixture(self.gate("gates", e), self.experts(e))
        return self.towers([mixed] * self.tasks)

    def mmoe(self, e):
        outputs, number = self.experts(e), self.config.num_experts
        gates = [
            self.gate("gates", e, slice(k * number, (k + 1) * number)) for k in range(self.tasks)
        ]
        return self.towers([mixture(g, outputs) for g in gates])

    def ple(self, e):
        each = self.config.num_experts // 2
        total, levels = each * (self.tasks + 1), len(self.config.expert_dims)
        tasks, shared = [e] * self.tasks, e
        for level in range(levels):
            prefix = "first" if level == 0 else f"later.{level - 1}"
            inputs = [x for x in (*tasks, shared) for _ in range(each)]
            outputs = [self.expert_layer(prefix, i, total, x) for i, x in enumerate(inputs)]
            common, following = outputs[-each:], []
            for k in range(self.tasks):
                if level == 0:
                    g = self.gate("first_gates", e, slice(2 * each * k, 2 * each * (k + 1)))
                else:
                    g = self.gate(f"gates.{(level - 1) * self.tasks + k}", tasks[k])
                following.append(mixture(g, outputs[each * k : each * (k + 1)] + common))
            if level == 0:
                shared = mixture(self.gate("first_shared_gate", e), outputs)
            elif level + 1 < levels:
                shared = mixture(self.gate(f"shared_gates.{level - 1}", shared), outputs)
            tasks = following
        return self.towers(tasks)

    def aitm(self, e):
        features = [self.expert("bottoms.", k, self.tasks, e) for k in range(self.tasks)]
        for k in range(1, self.tasks):
            passed = self.dense(f"transfers.{k - 1}", features[k - 1])
            tokens = np.stack([passed, features[k]], axis=1)
            value, key, query = (self.dense(n, tokens) for n in ("value", "key", "query"))
            a = softmax((key * query).sum(-1) / np.sqrt(tokens.shape[-1]))
            features[k] = (a[:, :, None] * value).sum(1)
        return self.towers(features)

    def dense(self, prefix, x):
        return x @ self.p[prefix + ".weight"] + self.p[prefix + ".bias"]

    def metaheac(self, e):
        return logit(self.metaheac_probability(e))

    def metaheac_probability(self, e):
        width = self.config.embed_dim
        mean = e.reshape(len(e), -1, width).mean(1)
        outputs, columns = self.experts(e), []
        for z in self.p["task_embedding"]:
            u = np.concatenate([np.tile(z, (len(e), 1)), mean], axis=1)
            h = mixture(self.gate("expert_gate", u), outputs)
            shares = self.gate("critic_gate", u)
            hidden = self.experts(h, 5, "critics.")
            scores = [sigmoid(self.dense(f"outputs.{j}", x))[:, 0] for j, x in enumerate(hidden)]
            p = (shares * np.stack(scores, axis=1)).sum(1)
            columns.append(p / 5 if self.config.preset == "official" else p)
        return np.stack(columns, axis=1)

    # pomoe

    def trunk(self, r, prefix):
        v = relu(self.dense(prefix + "layers.0", r))
        v = relu(self.dense(prefix + "layers.1", v))
        return self.dense(prefix + "layers.2", v)

    def anchored(self, logits, r, groups):
        """tanh(logits) - strength |sqrt(r) - sqrt(a_i)|^2 / (the least such distance of two
        anchors); a softmax cannot tell this from the network's form."""
        strength, number = self.config.gate_anchor, logits[0].shape[1]
        if strength is None:
            strength = 5.4 if self.config.head == "shared_score" else 0.0
        if strength == 0:
            return logits
        if self.tasks == 2:
            first = np.sin(np.linspace(0, np.pi / 2, number // groups)) ** 2
            points = np.stack([first, 1 - first], 1)
        else:
            points = np.vstack([np.eye(3), np.full((1, 3), 1 / 3)])[: number // groups]
        roots = np.sqrt(points)
        gaps = [((a - b) ** 2).sum() for i, a in enumerate(roots) for b in roots[:i]]
        distance = ((np.sqrt(r) - np.tile(roots, (groups, 1))) ** 2).sum(1) / min(gaps)
        return [np.tanh(one) - strength * distance for one in logits]

    def layer_norm(self, prefix, x):
        return normal(x) * self.p[prefix + ".gamma"] + self.p[prefix + ".beta"]

    def published(self, e, r):
        v, number = self.trunk(r, "trunk."), self.config.num_experts
        w1, w2, b1, b2 = (self.dense(f"gate.heads.{i}", v) for i in range(4))
        w1, w2 = w1.reshape(number, -1), w2.reshape(number, number)
        g = relu((e @ w1.T + b1) @ w2.T + b2)
        h = mixture(g, self.experts(e))
        return self.towers([h] * self.tasks)

    def pareto(self, e, r):
        v = self.layer_norm("features.trunk.norm", self.trunk(r, "features.trunk."))
        gates = self.tasks if self.config.head == "per_task" else 1
        outputs = np.stack(self.expert_outputs(e, gates), axis=1)
        logits = getattr(self, self.config.gate + "_gate")(e, outputs, v, gates)
        groups = gates + 1 if self.config.expert_kind == "ple" else 1
        logits = self.anchored(logits, r, groups)
        if self.config.expert_kind == "ple":
            each = self.config.num_experts // 2
            for k in range(gates):
                others = [
                    i for j in range(gates) if j != k for i in range(each * j, each * (j + 1))
                ]
                logits[k][:, others] = -np.inf
        columns = [
            self.pareto_tower(f"towers.{k}.", (softmax(g)[:, :, None] * outputs).sum(1), v)
            for k, g in enumerate(logits)
        ]
        if self.config.head == "shared_score":
            return columns[0][:, None] + self.p["offsets"]
        return np.stack(columns, axis=1)

    def expert_outputs(self, e, gates):
        number = self.config.num_experts
        if self.config.expert_kind == "ple":
            number = number // 2 * (gates + 1)
        if self.config.expert_kind == "cross":
            e = cross_network(e, self.p["cross.weight"][0], self.p["cross.bias"][0])
        return self.experts(e, number)

    def generated(self, name, v, *shape):
        return self.dense(name, v).reshape(shape)

    def linear_gate(self, e, outputs, v, gates):
        number = outputs.shape[1]
        weight = self.generated("gate.weight", v, gates, number, e.shape[1])
        bias = self.generated("gate.bias", v, gates, number)
        return [e @ w.T + b for w, b in zip(weight, bias)]

    def deep_gate(self, e, outputs, v, gates):
        number = outputs.shape[1]
        u = e @ self.p["gate.reduce"] + self.p["gate.reduce_bias"]
        u = relu(self.layer_norm("gate.norm", u))
        hidden = len(self.dense("gate.first_bias", v)) // gates
        w1 = self.generated("gate.first", v, gates, hidden, u.shape[1])
        b1 = self.generated("gate.first_bias", v, gates, hidden)
        w2 = self.generated("gate.second", v, gates, number, hidden)
        b2 = self.generated("gate.second_bias", v, gates, number)
        return [relu(u @ w1[k].T + b1[k]) @ w2[k].T + b2[k] for k in range(gates)]

    def attention_gate(self, e, outputs, v, gates):
        keys = self.dense("gate.keys", outputs)  # (B, X, A)
        common = self.dense("gate.of_preference", v) + e @ self.p["gate.of_instance"]
        queries = [common + z for z in self.p["gate.of_task"]]
        return [(keys * q[:, None]).sum(-1) / np.sqrt(keys.shape[-1]) for q in queries]

    def pareto_tower(self, prefix, x, v):
        layer = 0
        while f"{prefix}norms.{layer}.heads" in self.p or (
            f"{prefix}norms.{layer}.batch.gamma" in self.p
        ):
            x = x @ self.p[f"{prefix}{layer}.weight"] + self.p[f"{prefix}{layer}.bias"].reshape(-1)
            x = relu(self.tower_norm(f"{prefix}norms.{layer}.", x, v))
            layer += 1
        x = x @ self.p[f"{prefix}{layer}.weight"] + self.p[f"{prefix}{layer}.bias"].reshape(-1)
        return x[:, 0]

    def tower_norm(self, prefix, x, v):
        if self.config.tower_norm == "batch":  # evaluation only: training pools the preferences
            gamma, beta, mean, variance = (
                self.p[f"{prefix}batch.{part}"][0] for part in ("gamma", "beta", "mean", "variance")
            )
            return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta
        features = np.ones(1)
        if self.config.tower_norm == "conditional":
            features = np.concatenate([v, features])
        heads = features @ self.p[prefix + "heads"]
        width = x.shape[1]
        return normal(x) * (1.0 + heads[:width]) + heads[width:]


def normal(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def mixture(gates, outputs):
    return sum(gates[:, i : i + 1] * output for i, output in enumerate(outputs))


def logit(p):
    return np.log(p) - np.log1p(-p)


def losses(logits, labels):
    """Mean cross entropy by task, and by preference where there is that axis."""
    labels = labels if logits.ndim == 2 else labels[:, None]
    each = relu(logits) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return each.mean(0)


def published_total(raw, r):
    """r . L - 0.05 cos(L, 1 - r) for one preference."""
    v = 1.0 - r
    return float(r @ raw - 0.05 * raw @ v / (np.linalg.norm(raw) * np.linalg.norm(v)))
