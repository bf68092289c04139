"""The front that one shared score can reach when the true probabilities of the tasks are known.

Logits are z_k = s(x) + b_k, losses are cross entropies over base entropies H_k, and a preference r
weighs them: for w_k = r_k / H_k the best score of each row has a closed form.  With the
probabilities of a trained model in place of the true ones this is the post-hoc baseline, which
needs no model of its own.
"""

import math

import numpy as np

from hamur.metrics.classification import base_entropy

BISECTIONS = 60


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z))"""
    return 1.0 / (1.0 + np.exp(-logits))


def soft_auc(scores: np.ndarray, probability: np.ndarray) -> float:
    """Expected AUC of scores (N,) over labels drawn from probability (N,); ties count half.

    sum over pairs q_i (1 - q_j) ([s_i > s_j] + [s_i = s_j] / 2) over sum of q_i (1 - q_j), i != j;
    O(N log N).  Of 0/1 probabilities it is the AUC.  NaN: no pair can have two classes.
    """
    order = np.argsort(scores, kind="stable")
    s, q = scores[order], probability[order]
    starts, ends = np.searchsorted(s, s, "left"), np.searchsorted(s, s, "right")
    below = np.concatenate(([0.0], np.cumsum(1.0 - q)))
    tied = below[ends] - below[starts] - (1.0 - q)  # without the row itself
    won = q @ (below[starts] + 0.5 * tied)
    pairs = q.sum() * (1.0 - q).sum() - q @ (1.0 - q)
    return float(won / pairs) if pairs > 0 else math.nan


def soft_entropy(logits: np.ndarray, probability: np.ndarray) -> float:
    """Mean cross entropy of logits (N,) when labels are drawn from probability (N,), in nats."""
    return float(np.mean(np.logaddexp(0.0, logits) - probability * logits))


def best_scores(probability: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) shared score s that minimises sum_k w_k crossentropy(q_k, sigmoid(s + b_k)) in each row:

        sum_k w_k sigmoid(s + b_k) = sum_k w_k q_k

    solved in closed form where all b_k are equal, else by bisection (the left side is monotone).
    probability (N, T); offsets b (T,); weights w (T,) >= 0 with a positive sum.
    """
    weights = np.asarray(weights, np.float64) / np.sum(weights)
    target = np.clip(probability @ weights, 1e-12, 1.0 - 1e-12)
    if np.ptp(offsets) == 0.0:
        return np.log(target / (1.0 - target)) - offsets[0]
    low = np.full(len(target), -60.0) - np.max(np.abs(offsets))
    high = -low
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = sum(w * sigmoid(middle + b) for w, b in zip(weights, offsets)) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def exact_front(
    probability: np.ndarray,
    offsets: np.ndarray,
    preferences: np.ndarray,
    entropy: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """What the best shared score reaches at each preference: NE (R, T) and expected AUC (R, T).

    probability (N, T) true q; offsets b (T,) added to the score; preferences (R, T); entropy H (T,)
    that losses are divided by, by default that of the mean of q.  With w_k = r_k / H_k the loss is
    convex in the score, so that these points are all of the front.
    """
    entropy = base_entropy(probability.mean(axis=0)) if entropy is None else entropy
    normalized, aucs = [], []
    for preference in preferences:
        score = best_scores(probability, offsets, preference / entropy)
        normalized.append(oracle_losses(score[:, None] + offsets, probability) / entropy)
        aucs.append([soft_auc(score, q) for q in probability.T])
    return np.array(normalized), np.array(aucs)


def oracle_losses(logits: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(T,) expected cross entropy of logits (N, T) over the labels that may be drawn."""
    return np.array([soft_entropy(z, q) for z, q in zip(logits.T, probability.T)])
