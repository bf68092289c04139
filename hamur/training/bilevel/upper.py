"""The upper level: every `interval` lower steps, phi moves so that theta, trained with the weights
that phi gives, would do better on development rows."""

import time

import numpy as np
from mindspore import Tensor
from scipy.special import entr

from hamur.data.cross_domain.collate import DEV, UPPER, Batch, CrossDomainRows, stream
from hamur.data.cross_domain.dataset import USER
from hamur.layers import importance
from hamur.training.bilevel import hypergradient
from hamur.training.bilevel.conet_problem import CoNetProblem, FirstOrder, ProblemGraphs
from hamur.training.bilevel.dev_head import VectorAdam, adam_fit, head_rate, newton_fit
from hamur.training.bilevel.graphs import BehaviourPerceptron, Features, tensor
from hamur.training.bilevel.options import BilevelOptions
from hamur.training.divergence import require_finite

FEATURE_ROWS = 4096  # rows of a pass for the head's features
CLIP = 10.0
UNDECAYED = tuple(f"phi.{name}" for name in importance.UNDECAYED)
GATED = tuple(f"phi.{name}" for name in importance.OF_GATE)


class UpperLevel:
    """State of the upper level: the optimiser of phi, the head, the spectrum, the count of updates;
    phi and the head themselves are in the model.

    options: fitted, see `BilevelOptions.fitted`.
    """

    def __init__(
        self,
        perceptron: BehaviourPerceptron,
        rows: CrossDomainRows,
        options: BilevelOptions,
        seed: int,
    ):
        model = perceptron.model
        self.model, self.perceptron, self.rows = model, perceptron, rows
        self.options, self.seed = options, seed
        self.cells = ProblemGraphs(model, perceptron, attached=not options.detach_weights)
        self.features = Features(model)
        self.hyper_options = options.hyper_options()
        self.spectrum = hypergradient.Spectrum()
        self.updates = 0
        self.last_weights = np.zeros(0)  # n w of the last update's behaviours, for the log
        self.optimizer, self.head_adam = VectorAdam(), VectorAdam()
        held_out = rows.dev is not rows.train
        self.dev_table = rows.dev
        rate = self.dev_table.labels[:, 0].mean(dtype=np.float64)
        self.dev_entropy = float(entr([rate, 1.0 - rate]).sum())
        self.begun = options.start_gain <= 0.0 or self.dev_entropy == 0.0  # phi may move
        order = np.arange(len(self.dev_table))
        # Training rows are read in order, as in the public code, held-out ones in a permutation.
        self.dev_pool = np.stack(rows.pool(self.dev_table))  # (2, N)
        self.dev_order = stream(seed, DEV).permutation(order) if held_out else order
        self.first_of_user = np.searchsorted(
            rows.train.sparse[:, USER], np.arange(rows.sizes.user + 1)
        )

    @property
    def head(self) -> np.ndarray:
        """(H + 1,) float64: weight and bias of the development head."""
        return self.model.dev_head.asnumpy()

    @head.setter
    def head(self, solution: np.ndarray) -> None:
        self.model.dev_head.set_data(Tensor(np.asarray(solution, np.float64)))

    def cyclic(self, order: np.ndarray, number: int) -> np.ndarray:
        """The next `number` rows (at most all) of a cyclic pass over `order`; successive updates
        start meta_batchsize rows apart."""
        begin = self.updates * self.options.meta_batchsize
        return order[(begin + np.arange(min(number, len(order)))) % len(order)]

    def update(self, lower_loss: float, learning_rate: float) -> dict:
        """One upper update; its line of history.csv.

        lower_loss: L_low of the last lower step; learning_rate: its step, for the head.
        Raises:  DivergenceError: a loss, the head or the weights are not finite; a hypergradient
            that is not finite moves nothing, and is counted.
        """
        options, started = self.options, time.perf_counter()
        rng = stream(self.seed, UPPER, self.updates)
        index = self.cyclic(self.dev_order, options.meta_batchsize)
        dev_rows = self.dev_table.take(index)
        drawn = self.rows.draw(dev_rows, rng, self.dev_pool[:, index])
        dev = self.rows.collate(dev_rows, drawn, options.meta_batchsize, histories=False)
        self.check("lower loss is", lower_loss)
        if options.replace:
            self.fit_head(rng, learning_rate)
            self.check("development head is", self.head)
        fitted = time.perf_counter()
        lower = self.lower_batch(dev_rows, rng)
        # Without second derivatives the weights come with the gradient of phi, at no cost.
        weightless = options.first_order and not self.cells.attached
        problem = CoNetProblem(
            self.cells, dev, lower, None if weightless else self.importance_weights(lower)[1],
            self.head_tensors(), options.hyper_scope, bool(options.row_normalise),
            options.first_order,
        )  # fmt: skip
        second_order = options.estimator != "one_step"
        result = hypergradient.hypergradient(
            problem if second_order else FirstOrder(problem),
            self.hyper_options,
            self.spectrum,
            with_residual=second_order and self.updates % options.residual_every == 0,
        )
        solved = time.perf_counter()
        self.check("development loss is", problem.dev_loss)
        self.check("weights of the source behaviours are", problem.source_weights)
        gradient, norm, factor = hypergradient.clipped(result.gradient, CLIP)
        finite = bool(np.isfinite(norm))
        bound = (1.0 - options.start_gain) * self.dev_entropy
        self.begun = self.begun or problem.dev_loss <= bound
        moves = finite and self.begun  # else phi keeps its values
        if moves:
            self.move(gradient)
        self.updates += 1
        real = lower.has_source * lower.row_mask > 0
        relative = (problem.source_weights / np.maximum(lower.row_weight, 1e-30))[real]  # n w
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
            "weight_min": float(relative.min()) if len(relative) else None,
            "weight_max": float(relative.max()) if len(relative) else None,
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

    def check(self, what: str, values) -> None:
        """Raises DivergenceError: values of this update that are not finite."""
        require_finite(f"the {what}", values, f"in upper update {self.updates + 1}")

    def lower_batch(self, dev_rows, rng) -> Batch:
        """Training rows of the dev rows' users, or (official) of a fresh shuffle."""
        train, options = self.rows.train, self.options
        if options.aligned:
            users = dev_rows.sparse[:, USER]
            users = np.resize(users, options.upper_batchsize)  # again, where they are fewer
            begin, end = self.first_of_user[users], self.first_of_user[users + 1]
            index = begin + (rng.random(len(users)) * (end - begin)).astype(np.int64)
        else:
            index = rng.permutation(len(train))[: options.upper_batchsize]
        rows = train.take(index)
        drawn = self.rows.draw(rows, rng)
        return self.rows.collate(rows, drawn, options.upper_batchsize)

    def importance_weights(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """g (B,) and the weights (2, B) of a batch's losses at the present phi."""
        g, weights = self.perceptron(*self.perceptron.columns(batch))
        return g.asnumpy(), weights.asnumpy()

    def fit_head(self, rng, learning_rate: float) -> None:
        """The development head on the target tower's features, computed in one forward pass."""
        options = self.options
        table, order = self.dev_table, self.dev_order
        if options.head_data == "train":
            table, order = self.rows.train, np.arange(len(self.rows.train))
        if options.head_fit == "newton":
            index = self.cyclic(order, options.head_rows)
        elif options.head_data == "train":  # official: always the first rows
            index = order[: options.descent_step * options.meta_batchsize]
        else:
            index = self.cyclic(order, options.descent_step * options.meta_batchsize)
        rows = table.take(index)
        pool = self.dev_pool[:, index] if table is self.dev_table else None
        features = self.features_of(rows, self.rows.draw(rows, rng, pool))
        self.check("features of the development head are", features)
        labels = rows.labels[:, 0].astype(np.float64)
        if options.head_fit == "newton":
            self.head = newton_fit(features, labels, self.head, options.head_l2)
        else:
            rate, size = head_rate(learning_rate, self.updates), options.meta_batchsize
            # The official fit ends with the data; ours continues from the first row.
            steps = options.descent_step
            if options.head_data == "train":
                steps = min(steps, -(-len(rows) // size))
            self.head = adam_fit(features, labels, self.head, self.head_adam, rate, size, steps)

    def features_of(self, rows, source_row) -> np.ndarray:
        """(N, H) float32 features of the target tower."""
        parts = []
        order = np.arange(len(rows))
        size = min(len(rows), FEATURE_ROWS)  # N is the same in every fit of a run: one shape
        for batch in self.rows.batches(rows, order, source_row, size, histories=False):
            out = self.features(Tensor(batch.ids), tensor(batch.id_mask)).asnumpy()
            parts.append(out[batch.row_mask > 0])
        return np.concatenate(parts)

    def head_tensors(self) -> tuple:
        """Weight (2, H, 1) and bias (2, 1, 1) of the development loss, of which the target part
        counts."""
        if not self.options.replace:
            return self.model.head_weight, self.model.head_bias
        weight = np.zeros(self.model.head_weight.shape, np.float32)
        bias = np.zeros(self.model.head_bias.shape, np.float32)
        head = self.head
        weight[1, :, 0], bias[1] = head[:-1], head[-1]
        return tensor(weight), tensor(bias)

    def move(self, gradient: dict[str, np.ndarray]) -> None:
        """phi <- phi - rate gradient, by Adam or plainly, and the decay by hplr; the rate is hplr,
        and hplr gate_rate for the parameters of gamma_2."""
        options = self.options
        phi = {parameter.name: parameter.asnumpy() for parameter in self.perceptron.phi}
        rates = {name: options.hplr * (options.gate_rate if name in GATED else 1.0) for name in phi}
        if options.hp_optim == "adam":
            moved = self.optimizer(phi, gradient, rates)
            before = moved
        else:
            moved = {name: phi[name] - rates[name] * gradient[name] for name in phi}
            before = phi  # the official decay joins the gradient after clipping
        for parameter in self.perceptron.phi:
            name, value = parameter.name, moved[parameter.name]
            if options.decay_prior or name not in UNDECAYED:
                value = value - options.hplr * options.aux_decay * before[name]
            parameter.set_data(Tensor(value.astype(np.float32)))

    def prior(self) -> float:
        """The common factor of the weights."""
        value = float(self.perceptron.phi[importance.AT.prior].asnumpy()[0])
        mode = self.perceptron.importance.prior
        if mode == "learned":
            return float(np.logaddexp(0.0, value) / np.log(2.0))
        return max(value, 0.0) if mode == "relu" else 1.0

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that moves and is not in the model, for resuming."""
        vector, largest = self.spectrum.vector, self.spectrum.largest
        arrays = {
            "updates": np.array([self.updates, self.spectrum.calls, self.begun]),
            "spectrum": np.zeros(0) if vector is None else vector,
            "largest": np.array([np.nan if largest is None else largest]),
        }
        for prefix, adam in (("phi.", self.optimizer), ("head.", self.head_adam)):
            arrays |= {prefix + name: value for name, value in adam.state().items()}
        return arrays

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave."""
        for prefix, adam in (("phi.", self.optimizer), ("head.", self.head_adam)):
            names = [name for name in arrays if name.startswith(prefix)]
            adam.load({name.removeprefix(prefix): arrays[name] for name in names})
        self.updates, self.spectrum.calls, begun = map(int, arrays["updates"])
        self.begun = bool(begun)
        self.spectrum.vector = arrays["spectrum"] if len(arrays["spectrum"]) else None
        largest = float(arrays["largest"][0])
        self.spectrum.largest = None if np.isnan(largest) else largest


def mean(values: np.ndarray) -> float | None:
    """None of no values."""
    return float(np.mean(values)) if len(values) else None
