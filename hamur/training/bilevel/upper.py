"""The upper level: every `interval` lower steps, phi moves so that theta, trained with the weights
that phi gives, would do better on development rows."""

import time

import numpy as np
from mindspore import Tensor
from scipy.special import entr

from hamur.data.cross_domain.dataset import USER
from hamur.layers.importance import OF_GATE
from hamur.training.bilevel import estimators
from hamur.training.bilevel.batch import Batch
from hamur.training.bilevel.head import VectorAdam, adam_fit, head_rate, newton_fit
from hamur.training.bilevel.problem import (
    CoNetProblem,
    FirstOrder,
    ProblemGraphs,
    perceptron_inputs,
    tensor,
)
from hamur.training.bilevel.reads import Features
from hamur.training.bilevel.rows import DEV, UPPER, PairRows, stream

FEATURE_ROWS = 4096  # rows of a pass for the head's features
CLIP = 10.0
UNDECAYED = ("phi.prior", "phi.category_bias")
GATED = tuple(f"phi.{name}" for name in OF_GATE)


class UpperLevel:
    """State of the upper level: phi and its optimiser, the head, the spectrum, the count.

    model, perceptron: as in `hamur.training.bilevel.session`; rows: PairRows; config: resolved.
    """

    def __init__(self, model, perceptron, rows: PairRows, config):
        self.model, self.perceptron, self.rows, self.config = model, perceptron, rows, config
        self.cells = ProblemGraphs(model, perceptron, attached=not config.detach_weights)
        self.features = Features(model)
        self.options = estimators.HyperOptions(
            estimator=config.estimator,
            terms=config.neumann_k,
            scaled=bool(config.neumann_scale),
            alpha=config.convlr,
            power_steps=8 if config.alpha_mode == "power" else 0,
            damping=config.damping,
            cg_iters=config.cg_iters,
            guard=bool(config.neumann_guard),
        )
        self.spectrum = estimators.Spectrum()
        self.updates = 0
        self.last_weights = np.zeros(0)  # n w of the last update's behaviours, for the log
        self.optimizer, self.head_adam = VectorAdam(), VectorAdam()
        width = model.config.hidden[-1]
        self.head = np.append(
            model.replace_weight.asnumpy().ravel(), model.replace_bias.asnumpy()
        ).astype(np.float64)
        assert len(self.head) == width + 1
        held_out = config.dev_mode == "holdout"
        self.dev_table = rows.dev if held_out else rows.train
        rate = self.dev_table.labels[:, 0].mean(dtype=np.float64)
        self.dev_entropy = float(entr([rate, 1.0 - rate]).sum())
        self.begun = config.start_gain <= 0.0 or self.dev_entropy == 0.0  # phi may move
        order = np.arange(len(self.dev_table))
        # Training rows are read in order, as published; held-out ones in one fixed permutation.
        self.dev_order = stream(config.seed, DEV).permutation(order) if held_out else order
        self.first_of_user = np.searchsorted(
            rows.train.sparse[:, USER], np.arange(rows.sizes.user + 1)
        )

    def cyclic(self, order: np.ndarray, number: int) -> np.ndarray:
        """`number` rows (at most all) from where this update begins; the next begins
        meta_batchsize later, so that the rows rotate over the data."""
        begin = self.updates * self.config.meta_batchsize
        return order[(begin + np.arange(min(number, len(order)))) % len(order)]

    def update(self, lower_loss: float) -> dict:
        """One upper update; its line of history.csv.  lower_loss: L_low of the last lower step."""
        config, started = self.config, time.perf_counter()
        rng = stream(config.seed, UPPER, self.updates)
        chosen = self.cyclic(self.dev_order, config.meta_batchsize)
        dev_rows = self.dev_table.take(chosen)
        dev = self.rows.assemble(
            dev_rows, self.rows.draw(dev_rows, rng), config.meta_batchsize, histories=False
        )
        if config.replace:
            self.fit_head(rng)
        fitted = time.perf_counter()
        lower = self.lower_batch(dev_rows, rng)
        first_order = config.estimator == "one_step" and config.hyper_scope == "user"
        # Without second derivatives the weights come with the gradient of phi, at no cost.
        weightless = first_order and not self.cells.attached
        problem = CoNetProblem(
            self.cells, dev, lower, None if weightless else self.weigh(lower)[1], self.dev_head(),
            config.hyper_scope, bool(config.row_normalise), first_order,
        )  # fmt: skip
        second_order = config.estimator != "one_step"
        result = estimators.hypergradient(
            problem if second_order else FirstOrder(problem),
            self.options,
            self.spectrum,
            with_residual=second_order and self.updates % config.residual_every == 0,
        )
        solved = time.perf_counter()
        gradient, norm, factor = estimators.clipped(result.gradient, CLIP)
        finite = bool(np.isfinite(norm))
        bound = (1.0 - config.start_gain) * self.dev_entropy
        self.begun = self.begun or problem.dev_loss <= bound
        moves = finite and self.begun  # else phi stays where it is
        if moves:
            self.move(gradient)
        self.updates += 1
        real = lower.effect * lower.mask > 0
        relative = (problem.source_weights / np.maximum(lower.share, 1e-30))[real]  # n w
        self.last_weights, c = relative, result.influence[real]
        return {
            "update": self.updates,
            "moved": int(moves),
            "dev_loss": problem.dev_loss,
            "lower_loss": lower_loss,
            "norm_v": float(np.linalg.norm(result.v)),
            "norm_p": float(np.linalg.norm(result.p)),
            "norm_gradient": norm,
            "clip": factor,
            "prior": self.prior(),
            "weight_mean": mean(relative),
            "weight_min": float(relative.min(initial=np.inf)) if len(relative) else None,
            "weight_max": float(relative.max(initial=-np.inf)) if len(relative) else None,
            "influence_mean": mean(c),
            "influence_negative": mean(c < 0),
            "residual": result.residual,
            "alpha": result.alpha,
            "largest_eigenvalue": result.largest_eigenvalue,
            "iterations": result.iterations,
            "diverged": int(result.flags.get("diverged", False) or not finite),
            "negative_curvature": int(result.flags.get("negative_curvature", False)),
            "head_seconds": fitted - started,
            "solve_seconds": solved - fitted,
            "phi_seconds": time.perf_counter() - solved,
        }

    def lower_batch(self, dev_rows, rng) -> Batch:
        """Training rows of the dev rows' users, or, as published, of a fresh shuffle."""
        train, config = self.rows.train, self.config
        if config.aligned:
            users = dev_rows.sparse[:, USER]
            users = np.resize(users, config.upper_batchsize)  # more than once, where they are fewer
            begin, end = self.first_of_user[users], self.first_of_user[users + 1]
            chosen = begin + (rng.random(len(users)) * (end - begin)).astype(np.int64)
        else:
            chosen = rng.permutation(len(train))[: config.upper_batchsize]
        rows = train.take(chosen)
        drawn = self.rows.draw(rows, rng)
        return self.rows.assemble(rows, drawn, config.upper_batchsize)

    def weigh(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """g (B,) and the weights (2, B) of a batch's losses at the present phi."""
        g, weights = self.perceptron(*perceptron_inputs(batch))
        return g.asnumpy(), weights.asnumpy()

    def fit_head(self, rng) -> None:
        """The development head on the target tower's features, computed in one forward pass."""
        config = self.config
        table, order = self.dev_table, self.dev_order
        if config.head_data == "train":
            table, order = self.rows.train, np.arange(len(self.rows.train))
        if config.head_fit == "newton":
            chosen = self.cyclic(order, config.head_rows)
        elif config.head_data == "train":  # published: always the first rows
            chosen = order[: config.descent_step * config.meta_batchsize]
        else:
            chosen = self.cyclic(order, config.descent_step * config.meta_batchsize)
        rows = table.take(chosen)
        features = self.features_of(rows, self.rows.draw(rows, rng))
        labels = rows.labels[:, 0].astype(np.float64)
        if config.head_fit == "newton":
            self.head = newton_fit(features, labels, self.head, config.head_l2)
        else:
            rate, size = head_rate(config.lr, self.updates), config.meta_batchsize
            # The published fit ends with the data; ours goes on from the first row.
            steps = config.descent_step
            if config.head_data == "train":
                steps = min(steps, -(-len(rows) // size))
            self.head = adam_fit(features, labels, self.head, self.head_adam, rate, size, steps)

    def features_of(self, rows, source_row) -> np.ndarray:
        """(N, H) float32 features of the target tower."""
        parts = []
        order = np.arange(len(rows))
        size = min(len(rows), FEATURE_ROWS)  # N is the same in every fit of a run: one shape
        for batch in self.rows.batches(rows, order, source_row, size, histories=False):
            out = self.features(Tensor(batch.ids), tensor(batch.known)).asnumpy()
            parts.append(out[batch.mask > 0])
        return np.concatenate(parts)

    def dev_head(self) -> tuple:
        """Weight (2, H, 1) and bias (2, 1, 1) of the development loss, of which the target part
        counts."""
        if not self.config.replace:
            return self.model.head_weight, self.model.head_bias
        weight = np.zeros(self.model.head_weight.shape, np.float32)
        bias = np.zeros(self.model.head_bias.shape, np.float32)
        weight[1, :, 0], bias[1] = self.head[:-1], self.head[-1]
        return weight, bias

    def move(self, gradient: dict[str, np.ndarray]) -> None:
        """phi <- phi - rate gradient, by Adam or plainly, and the decay by hplr; the rate is hplr,
        and hplr gate_rate for what gamma_2 is made of."""
        config = self.config
        phi = {each.name: each.asnumpy() for each in self.perceptron.phi}
        rates = {name: config.hplr * (config.gate_rate if name in GATED else 1.0) for name in phi}
        if config.hp_optim == "adam":
            moved = self.optimizer(phi, gradient, rates)
            before = moved
        else:
            moved = {name: phi[name] - rates[name] * gradient[name] for name in phi}
            before = phi  # the published decay joins the gradient after clipping
        for parameter in self.perceptron.phi:
            name, value = parameter.name, moved[parameter.name]
            if config.decay_prior or name not in UNDECAYED:
                value = value - config.hplr * config.aux_decay * before[name]
            parameter.set_data(Tensor(value.astype(np.float32)))

    def prior(self) -> float:
        """The common factor of the weights."""
        value = float(self.perceptron.phi[-1].asnumpy()[0])
        mode = self.perceptron.importance.prior
        if mode == "learned":
            return float(np.logaddexp(0.0, value) / np.log(2.0))
        return max(value, 0.0) if mode == "relu" else 1.0

    def state(self) -> dict[str, dict[str, np.ndarray]]:
        """Everything that moves, for resuming."""
        vector = self.spectrum.vector
        largest = self.spectrum.largest
        return {
            "phi": {each.name: each.asnumpy().copy() for each in self.perceptron.phi},
            "phi_adam": self.optimizer.state(),
            "head_adam": self.head_adam.state(),
            "upper": {
                "head": self.head,
                "updates": np.array([self.updates, self.spectrum.calls, self.begun]),
                "spectrum": np.zeros(0) if vector is None else vector,
                "largest": np.array([np.nan if largest is None else largest]),
            },
        }

    def load(self, arrays: dict[str, dict[str, np.ndarray]]) -> None:
        for parameter in self.perceptron.phi:
            parameter.set_data(Tensor(arrays["phi"][parameter.name]))
        self.optimizer.load(arrays["phi_adam"])
        self.head_adam.load(arrays["head_adam"])
        upper = arrays["upper"]
        self.head = upper["head"]
        self.updates, self.spectrum.calls, begun = map(int, upper["updates"])
        self.begun = bool(begun)
        self.spectrum.vector = upper["spectrum"] if len(upper["spectrum"]) else None
        largest = float(upper["largest"][0])
        self.spectrum.largest = None if np.isnan(largest) else largest


def mean(values: np.ndarray) -> float | None:
    """None of no values."""
    return float(np.mean(values)) if len(values) else None
