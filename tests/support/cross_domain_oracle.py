"""NumPy restatement, in float64, of CoNet, the importance perceptron and the published updates.

Written from the papers' equations row by row and head by head; shares no code with the package.
"""

import numpy as np

from tests.support.oracle import sigmoid
from tests.support.task_oracle import softmax


def conet(tables, layers, heads, user, target, source, slope):
    """Logits (z_s, z_t) and the last target layer.

    tables: user, target item, target category, source item, source category; target, source:
    (item, category) ids; layers: (W_s, W_t, H), each (out, in); heads: (w, b) of source and target.
    """
    u = tables[0][user]
    x_t = np.concatenate([u, tables[1][target[0]], tables[2][target[1]]], axis=1)
    x_s = np.concatenate([u, tables[3][source[0]], tables[4][source[1]]], axis=1)
    for w_s, w_t, h in layers:
        z_s, z_t = x_s @ w_s.T + x_t @ h.T, x_t @ w_t.T + x_s @ h.T
        x_s, x_t = (np.where(z > 0, z, slope * z) for z in (z_s, z_t))
    return x_s @ heads[0][0] + heads[0][1], x_t @ heads[1][0] + heads[1][1], x_t


def attention(x, wq, wkv, wo, num_heads, keys):
    """Self-attention of one sequence x (L, 4E); keys (L,) bool: attended positions."""
    width = x.shape[1]
    dim = width // num_heads
    q, kv = x @ wq, x @ wkv
    k, v = kv[:, :width], kv[:, width:]
    out = np.empty_like(x)
    for head in range(num_heads):
        part = slice(head * dim, (head + 1) * dim)
        logits = q[:, part] @ k[:, part].T / np.sqrt(dim)
        logits = np.where(keys[None, :], logits, -1e4)
        out[:, part] = softmax(logits) @ v[:, part]
    return out @ wo


def perceptron_scores(phi, candidate, category, history, lengths, published):
    """g (B,) for candidates (B, 2E), histories (2, B, L, 2E) of lengths (2, B).

    phi: dict by name as the package stores it (matrices as (in, out), both attentions stacked).
    """
    rows, length = history.shape[1:3]
    g = np.empty(rows)
    for row in range(rows):
        pooled = []
        for side in range(2):
            count = lengths[side, row]
            x = np.hstack([history[side, row], np.tile(candidate[row], (length, 1))])
            real = np.arange(length) < count
            keys = np.full(length, True) if published or not count else real
            matrices = (phi[name][side] for name in ("query", "key_value", "output"))
            out = attention(x, *matrices, 4, keys)
            out = (out * real[:, None]).sum(0)
            pooled.append(out / (length if published else max(count, 1)))
        m = np.concatenate(pooled)
        for layer in range(3):
            m = m @ phi[f"gate_weight_{layer}"] + phi[f"gate_bias_{layer}"]
            if layer < 2:
                m = np.maximum(m, 0)
        gamma_1 = candidate[row] @ phi["item_weight"][:, 0] + phi["item_bias"][0]
        if not published:
            gamma_1 += phi["category_bias"][category[row]]
        g[row] = gamma_1 * (m[0] if published else 2 * sigmoid(m[0]))
    return g


def published_weights(g, prior):
    return max(prior, 0.0) * softmax(g)


def corrected_weights(g, effect, mask):
    return 2 * sigmoid(g) * effect * mask / mask.sum()


def numerical_gradient(function, values, entries, step=1e-6):
    """d function / d values[name][index] by central differences for the entries (name, index)."""
    found = []
    for name, index in entries:
        plus, minus = ({**values, name: values[name].copy()} for _ in range(2))
        plus[name][index] += step
        minus[name][index] -= step
        found.append((function(plus) - function(minus)) / (2 * step))
    return np.array(found)
