"""Float64 NumPy restatement of the six multi-domain models: obvious, slow, independent of `hamur`.

Models of others have a module each in `baselines`, whose Pass extends the one here.

Row vectors everywhere, `y = x W + b`. The (H, M) weights of every row are really built, towers are
really looped over, and nothing is shared between the formulas here and those under test. Dropout
multiplies by the factors it is given: `keep` maps "embedding" or the number of a hidden block to an
array (B, width) of 0 and 1/(1-rate).

`params` maps the parameter names of a model to arrays; a leading axis of 1 means shared, of D one
per domain. `config` is anything with the fields of `AdapterConfig`. A *view* is what one tower
sees: its domain and the numbers of its rows.
"""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np

BASELINES = {path.stem for path in (Path(__file__).parent / "baselines").glob("[a-z]*.py")}
EPSILON = 1e-5
MOMENTUM = 0.1  # share of the new batch in a running statistic


@dataclass(frozen=True)
class Network:
    """What the parameter arrays alone do not tell about a model.

    layers: 1-based hidden layers followed by an adapter cell, where config.adapter_layers is None.
    """

    name: str
    vocab_sizes: tuple[int, ...]
    num_domains: int
    config: object
    layers: tuple[int, ...] = ()


@dataclass
class Result:
    """logits (B,), running statistics after the batch by name, inner values of every cell call."""

    logits: np.ndarray
    running: dict[str, np.ndarray]
    cells: list[dict[str, np.ndarray]] = field(default_factory=list)


def sigmoid(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # the usual fraction, without its overflow


def relu(x):
    return np.where(x > 0, x, 0.0)


def embed(table, vocab_sizes, sparse):
    """One table, the fields stacked: id i of field f is row offset_f + i. (B, F) -> (B, F*E)."""
    offsets = [sum(vocab_sizes[:f]) for f in range(len(vocab_sizes))]
    rows = [[table[o + i] for o, i in zip(offsets, row, strict=True)] for row in sparse]
    return np.array(rows, np.float64).reshape(len(sparse), -1)


def pool(table, lists):
    """sum_j w_j e_j / max(sum_j w_j, 1e-9) of each list of (id, weight): (B, E)."""
    pooled = np.zeros((len(lists), table.shape[1]))
    for row, entries in enumerate(lists):
        for number, weight in entries:
            pooled[row] += weight * table[number]
        pooled[row] /= max(sum(weight for _, weight in entries), 1e-9)
    return pooled


def cross_network(x0, weight, bias):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l for x0 (n, P), weight and bias (L, P)."""
    x = x0
    for w, b in zip(weight, bias, strict=True):
        x = x0 * (x @ w)[:, None] + b + x
    return x


def logit_loss(logits, labels, weight=None):
    """Binary cross entropy of sigmoid(logits), mean over the rows of weight 1."""
    weight = np.ones(len(logits)) if weight is None else weight
    each = relu(logits) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return float((weight * each).sum() / weight.sum())


@dataclass(frozen=True)
class NormRule:
    """How a norm gets its statistics; `repeat` counts the updates of the running ones in a step."""

    min_rows: int = 0
    variance: str = "biased"
    inference: str = "running"
    repeat: int = 1


def norm_statistics(real_rows, mean, variance, rule, training):
    """(centre, spread, mean', variance') for the real rows (n, H) of one group.

    Fewer than `min_rows` rows of a training batch are normalised with the running values as they
    stood, which then become the moments of nine parts old distribution and one part batch.
    """
    count = len(real_rows)
    if count == 0 or not (training or rule.inference == "batch"):
        return mean, variance, mean, variance
    m = sum(real_rows) / count
    v = sum((x - m) ** 2 for x in real_rows) / count
    unbiased = v * count / max(count - 1, 1)
    if count < rule.min_rows:
        later = mean + 0.1 * (m - mean), 0.9 * variance + 0.1 * v + 0.09 * (m - mean) ** 2
        now = mean, variance
    else:
        later = mean, variance
        for _ in range(rule.repeat):
            later = tuple(
                (1 - MOMENTUM) * old + MOMENTUM * new
                for old, new in zip(later, (m, unbiased), strict=True)
            )
        now = m, (unbiased if rule.variance == "unbiased" else v)
    return *now, *(later if training else (mean, variance))


class Pass:
    """One forward pass: the parameters, the running statistics being written, the batch."""

    def __init__(self, network, params, sparse, dense, domain, weight, training, keep):
        self.network, self.config, self.training = network, network.config, training
        self.params = {name: np.asarray(value, np.float64) for name, value in params.items()}
        statistics = (name for name in self.params if name.endswith((".mean", ".variance")))
        self.running = {name: self.params[name].copy() for name in statistics}
        self.domain = np.asarray(domain)
        self.real = np.ones(len(domain), bool) if weight is None else np.asarray(weight) > 0
        self.dense = np.asarray(dense, np.float64)
        self.keep = keep
        self.sparse = np.asarray(sparse)
        self.embedded = self.embed()
        self.embedded = self.embedded * keep.get("embedding", 1.0)
        self.cells: list[dict[str, np.ndarray]] = []
        self.all_rows = np.arange(len(self.domain))
        self.kind = network.name.split("_")[0]
        self.repeat = (
            self.config.bn_repeat or network.num_domains
        )  # 0: as often as there are domains

    def held(self, name):
        """A parameter where the model stops its gradient: a derivative by differences moves
        params[name], not params["held." + name]."""
        return self.params.get(f"held.{name}", self.params[name])

    def embed(self):
        """The embeddings of the batch, (B, F*E)."""
        return embed(self.params["embedding.table"], self.network.vocab_sizes, self.sparse)

    def views(self):
        """(domain, rows seen) of each of the D towers."""
        everything = self.config.tower_rows == "all"
        domains = range(self.network.num_domains)
        return [
            (d, self.all_rows if everything else np.flatnonzero(self.domain == d)) for d in domains
        ]

    def get(self, name, index):
        """Row `index` of a parameter stacked by tower or domain, or its only row."""
        array = self.params[name]
        return array[index if len(array) > 1 else 0]

    def dense_layer(self, name, index, x):
        return x @ self.get(f"{name}.weight", index) + self.get(f"{name}.bias", index)

    def norm(self, name, xs, views, rule, *, pooled=False, own_rows=False):
        """Normalise each x by the rows of its view (own_rows: its domain's) or of all views."""
        used = []
        for x, (d, rows) in zip(xs, views, strict=True):
            mask = self.real[rows] & (self.domain[rows] == d) if own_rows else self.real[rows]
            used.append(x[mask])
        if pooled:
            used = [np.concatenate(used)] * len(xs)
        out, means, variances = [], [], []
        for x, real_rows, (d, _) in zip(xs, used, views, strict=True):
            old = self.get(f"{name}.mean", d), self.get(f"{name}.variance", d)
            centre, spread, mean, variance = norm_statistics(real_rows, *old, rule, self.training)
            gamma, beta = self.get(f"{name}.gamma", d), self.get(f"{name}.beta", d)
            out.append(gamma * (x - centre) / np.sqrt(spread + EPSILON) + beta)
            means.append(mean)
            variances.append(variance)
        for part, values in (("mean", means), ("variance", variances)):
            shared = len(self.params[f"{name}.{part}"]) == 1
            self.running[f"{name}.{part}"] = (
                np.mean(values, 0)[None] if shared else np.array(values)
            )
        return out

    def num_blocks(self, name):
        return sum(
            k.startswith(f"{name}.blocks.") and k.endswith("dense.weight") for k in self.params
        )

    def instance(self):
        """The instance matrix of every row, (B, K, K), from the hyper-network."""
        dense_first = self.kind == "wd"
        parts = [self.dense, self.embedded] if dense_first else [self.embedded, self.dense]
        x, view = np.concatenate(parts, axis=1), [(0, self.all_rows)]
        rule = NormRule(repeat=1 if self.kind == "wd" else self.repeat)
        for number in range(self.num_blocks("adapter.hyper.tower")):
            block = f"adapter.hyper.tower.blocks.{number}"
            x = self.dense_layer(f"{block}.dense", 0, x)
            x = relu(self.norm(f"{block}.norm", [x], view, rule)[0])
        g = self.dense_layer("adapter.hyper", 0, x)
        if self.config.instance_head == "bn_relu":
            g = relu(self.norm("adapter.hyper.norm", [g], view, rule)[0])
        rank = round(g.shape[1] ** 0.5)
        scale = rank**-0.5 if self.config.instance_scale is None else self.config.instance_scale
        return scale * g.reshape(-1, rank, rank)

    def cell(self, number, xs, views, instance):
        """h + norm(sigmoid(h U + b_u) V + b_v), U = W_ul I W_ur and V = W_vl I W_vr of each row."""
        name, config, changes = f"adapter.adapter_cells.{number}", self.config, []
        for x, (d, rows) in zip(xs, views, strict=True):
            w_ul, w_ur, w_vl, w_vr = (
                self.get(f"{name}.w_{side}", d) for side in ("ul", "ur", "vl", "vr")
            )
            b_u = self.get(f"{name}.b_u", d)
            b_v = self.get(f"{name}.b_v", d) if config.up_bias else 0.0
            a, o = np.zeros((len(rows), len(b_u))), np.zeros_like(x)
            for i, row in enumerate(rows):
                down = w_ul @ instance[row] @ w_ur  # (H, M)
                up = w_vl @ instance[row] @ w_vr  # (M, H)
                a[i] = x[i] @ down + b_u
                o[i] = sigmoid(a[i]) @ up + b_v
            changes.append(o)
            self.cells.append({"number": number, "domain": d, "rows": rows, "a": a, "o": o})
        pooled = config.norm_group == "pooled"
        rule = NormRule(config.min_domain_rows, config.norm_variance, config.norm_inference)
        pool = pooled and config.tower_rows == "own"
        changes = self.norm(f"{name}.norm", changes, views, rule, pooled=pool, own_rows=not pooled)
        for seen, change in zip(self.cells[-len(xs) :], changes, strict=True):
            seen["change"] = change
        return [x + change for x, change in zip(xs, changes, strict=True)]

    def merge(self, xs, views):
        """Each row from the tower of its own domain."""
        whole = np.zeros((len(self.domain), xs[0].shape[1]))
        for x, (d, rows) in zip(xs, views, strict=True):
            mine = self.domain[rows] == d
            whole[rows[mine]] = x[mine]
        return whole

    def hidden_layers(self, xs, views, own_towers, instance, gates=None):
        """The hidden blocks, times their gates, with an adapter cell after each of the layers;
        gates: a list per block of the factors of each x, or of functions of it."""
        config = self.config
        domain_norm = own_towers and config.tower_rows == "own"
        rule = NormRule(config.min_domain_rows if domain_norm else 0, repeat=self.repeat)
        if own_towers:
            rule = NormRule(rule.min_rows)  # a tower of one domain is called once a step
        pooled = domain_norm and getattr(config, "tower_norm", "domain") == "pooled"
        layers = tuple(config.adapter_layers or self.network.layers)
        for number in range(self.num_blocks("tower")):
            block = f"tower.blocks.{number}"
            xs = [
                self.dense_layer(f"{block}.dense", d, x)
                for x, (d, _) in zip(xs, views, strict=True)
            ]
            xs = [relu(x) for x in self.norm(f"{block}.norm", xs, views, rule, pooled=pooled)]
            if number in self.keep:
                xs = [x * self.keep[number][rows] for x, (_, rows) in zip(xs, views, strict=True)]
            if gates is not None:
                pairs = zip(xs, gates[number], strict=True)
                xs = [x * (gate(x) if callable(gate) else gate) for x, gate in pairs]
            if instance is None or number + 1 not in layers:
                continue
            if own_towers:
                xs = self.cell(layers.index(number + 1), xs, views, instance)
            else:
                parts = [xs[0][rows] for _, rows in self.views()]
                parts = self.cell(layers.index(number + 1), parts, self.views(), instance)
                xs = [self.merge(parts, self.views())]
        return xs

    def run(self):
        own_towers = self.kind == "mlp" or getattr(self.config, "backbone", "published") == "domain"
        return self.run_towers(own_towers)

    def run_towers(self, own_towers):
        """The six models with towers per domain, or with one shared network."""
        views = self.views() if own_towers else [(0, self.all_rows)]
        instance = self.instance() if "adapter.hyper.weight" in self.params else None
        e = np.concatenate([self.embedded, self.dense], axis=1)
        deep = self.embedded if self.kind == "wd" else e
        xs = self.hidden_layers([deep[rows] for _, rows in views], views, own_towers, instance)
        logits = []
        for x, (d, rows) in zip(xs, views, strict=True):
            if self.kind == "dcn":
                crossed = cross_network(
                    e[rows], self.get("cross.weight", d), self.get("cross.bias", d)
                )
                x = np.concatenate([crossed, x], axis=1)
            logit = self.dense_layer("output", d, x)
            if self.kind == "wd":
                logit = logit + self.dense_layer("wide", d, self.dense[rows])
            logits.append(logit)
        whole = self.merge(logits, views) if own_towers else logits[0]
        return Result(whole[:, 0], self.running, self.cells)


def forward(
    network, params, sparse, dense, domain, weight=None, training=False, keep=None
) -> Result:
    """Logits, new running statistics and the inside of the adapter cells for one batch."""
    name = f"tests.support.baselines.{network.name}"
    kind = import_module(name).Pass if network.name in BASELINES else Pass
    return kind(network, params, sparse, dense, domain, weight, training, keep or {}).run()


def batch_loss(network, params, sparse, dense, domain, labels, weight=None, training=True) -> float:
    logits = forward(network, params, sparse, dense, domain, weight, training).logits
    return logit_loss(logits, labels, weight)


def central_difference(function, params, name, index, step=1e-6) -> float:
    """d function(params) / d params[name][index], by moving that one entry both ways."""
    values = []
    for sign in (1, -1):
        moved = {key: np.array(value, np.float64) for key, value in params.items()}
        moved[name][index] += sign * step
        values.append(function(moved))
    return (values[0] - values[1]) / (2 * step)


@dataclass
class Adam:
    """Adam with L2 in the gradient ("coupled") or beside the step ("decoupled").

    eps stands beside sqrt(v / (1 - beta2^t)), as published; `decayed` names the parameters that
    decoupled decay applies to.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decay: str = "coupled"
    decayed: tuple[str, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    steps: int = 0
    first: dict = field(default_factory=dict)
    second: dict = field(default_factory=dict)

    def update(self, params, gradients):
        """The parameters after one more step."""
        self.steps += 1
        (b1, b2), after = self.betas, {}
        for name, p in params.items():
            g = gradients[name] + (self.weight_decay * p if self.decay == "coupled" else 0.0)
            self.first[name] = b1 * self.first.get(name, 0.0) + (1 - b1) * g
            self.second[name] = b2 * self.second.get(name, 0.0) + (1 - b2) * g * g
            m = self.first[name] / (1 - b1**self.steps)
            correction = np.sqrt(1 - b2**self.steps)
            move = m / (np.sqrt(self.second[name]) / correction + self.eps)
            if self.decay == "decoupled" and name in self.decayed:
                move = move + self.weight_decay * p
            after[name] = p - self.learning_rate * move
        return after
