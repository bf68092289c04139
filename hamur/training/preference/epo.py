"""Exact Pareto optimal search (Mahapatra & Rajan, ICML 2020): weights of the losses of one
preference from the Gram matrix of their gradients.

    l = r L / sum(r L);  m = sum_k l_k ln(T l_k);  a_k = r_k (ln(T l_k) - m);  w = C a

While the losses are far from proportional to 1/r (m > 1e-4) the weights balance them,

    max alpha . w        on the simplex, (C alpha)_j >= beta_j,
    beta_j = w_j where w_j <= 0, none where w_j > 0, 0 for the largest r_j L_j;  all 0 if no w_j > 0

and afterwards they descend together: max 1 . C alpha, C alpha >= 0, alpha . w >= min(0, max w).
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from scipy.optimize import linprog

from hamur import workers
from hamur.layers.collectives import AllSum
from hamur.training.divergence import require_finite
from hamur.training.preference.objective import COLUMNS, task_losses
from hamur.training.supervised import tensors

BALANCED = 1e-4
EVERY = 10  # steps between two Gram matrices


def program(gram, losses, preference):
    """(objective (T,), rows, bounds) of max objective . alpha, rows @ alpha >= bounds, on the
    simplex.  gram (T, T) of the gradients of the normalised losses (T,)."""
    weighted = preference * losses
    share = np.maximum(weighted / weighted.sum(), 1e-12)
    tasks = len(losses)
    unevenness = float((share * np.log(tasks * share)).sum())
    w = gram @ (preference * (np.log(tasks * share) - unevenness))
    if unevenness <= BALANCED:
        rows = np.vstack([gram, w])
        return gram.sum(axis=0), rows, np.append(np.zeros(tasks), min(0.0, w.max()))
    if not (w > 0).any():
        return w, gram, np.zeros(tasks)
    bounds = np.where(w > 0, -np.inf, w)
    bounds[weighted >= weighted.max() * (1 - 1e-12)] = 0.0
    finite = np.isfinite(bounds)
    return w, gram[finite], bounds[finite]


def solve(objective, rows, bounds):
    """alpha (T,) or None if no point satisfies the bounds."""
    if len(objective) == 2:
        return solve_two(objective, rows, bounds)
    solution = linprog(
        -objective,
        A_ub=-rows,
        b_ub=-bounds,
        A_eq=np.ones((1, len(objective))),
        b_eq=[1.0],
        bounds=(0.0, 1.0),
        method="highs",
    )
    return solution.x if solution.status == 0 else None


def solve_two(objective, rows, bounds):
    """Two tasks in closed form: alpha = (t, 1 - t), every bound is p t >= q."""
    low, high = 0.0, 1.0
    for (first, second), bound in zip(rows, bounds):
        p, q = first - second, bound - second
        if abs(p) < 1e-300:
            if q > 0:
                return None
        elif p > 0:
            low = max(low, q / p)
        else:
            high = min(high, q / p)
    if low > high:
        return None
    t = high if objective[0] > objective[1] else low
    return np.array([t, 1.0 - t])


def epo_weights(grams, losses, preferences, ranges):
    """(weights (R, T) that sum to 1, number of preferences without a feasible point, which get
    their preference).  grams (R, T, T) of NE gradients; losses (R, T) normalised by ranges (T,)."""
    weights, infeasible = [], 0
    scale = np.outer(1.0 / ranges, 1.0 / ranges)
    for gram, loss, preference in zip(grams, losses, preferences):
        alpha = solve(*program(gram * scale, loss, preference))
        if alpha is None:
            alpha, infeasible = preference, infeasible + 1
        back = np.maximum(alpha, 0.0) / ranges
        weights.append(back / back.sum())
    return np.array(weights, np.float32), infeasible


class OutputLoss(nn.Cell):
    """The selected loss as a function of the experts' outputs, its first input."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.all_sum = model, AllSum()

    def construct(self, outputs, instance, labels, weight, preference, selected):
        logits = self.model.from_outputs(instance, outputs, preference, weight)
        return (task_losses(logits, labels, weight, self.all_sum) * selected).sum()


class GramMatrix(nn.Cell):
    """C (T, T): inner products of the task gradients of one preference with respect to the experts'
    outputs, the place where preferences part."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model
        self.slope = ops.grad(OutputLoss(model), 0)
        self.tasks = model.num_tasks
        self.selections = Tensor(np.eye(self.tasks, dtype=np.float32))

    def construct(self, sparse, dense, labels, weight, preference):
        instance = self.model.embedding(sparse, dense)
        outputs = self.model.expert_outputs(instance, weight)
        slopes = ()
        for task in range(self.tasks):
            selected = self.selections[task : task + 1]
            slope = self.slope(outputs, instance, labels, weight, preference, selected)
            slopes = slopes + (slope.reshape(1, -1),)
        rows = ops.concat(slopes, 0)
        return ops.matmul(rows, rows.T)


class EpoRule:
    """Keeps the Gram matrices of a run's preferences up to date and turns them into weights."""

    def __init__(self, model, entropy, number):
        workers.refuse("`scalarisation='epo'`")
        self.cell = GramMatrix(model)
        self.model, self.entropy, self.infeasible = model, entropy, 0
        shape = (number, model.num_tasks, model.num_tasks)
        self.grams = np.zeros(shape, np.float32)  # 0 = not yet seen

    def update_gram(self, batch, preferences, number):
        """Compute the matrices on this batch, every tenth step."""
        if number % EVERY and self.grams.any():
            return
        self.model.set_train(False)  # running statistics must not move here
        columns = tensors(batch, *COLUMNS)
        grams = [self.cell(*columns, Tensor(r[None], ms.float32)).asnumpy() for r in preferences]
        self.model.set_train(True)
        require_finite("the gradients of the tasks are", grams, f"before step {number}")
        grams = np.array(grams) / np.outer(self.entropy, self.entropy)
        self.grams = grams.astype(np.float32)

    def weights(self, losses, preferences, ranges):
        """Coefficients (R, T) of the losses (R, T), from the gradients' last inner products; counts
        linear programs without a solution."""
        grams = self.grams.astype(np.float64)
        weights, failed = epo_weights(grams, losses, preferences, ranges)
        self.infeasible += failed
        return weights
