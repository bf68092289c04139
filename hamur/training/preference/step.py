"""The training step of multi-task models: weighted task losses of many preferences, one compiled
update.

    total = 1/R sum_j sum_k c_jk L_k(r_j) / H_k          (preset "pareto", and all baselines)
    total = sum_k r_k L_k - 0.05 cos((L_1..L_T), 1 - r)  (preset "official" of pomoe)

The coefficients c come from smoothed losses of the steps before (see `scalarise`); only the
official rule is differentiated together with its losses.
"""

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor

from hamur.metrics import fronts
from hamur.training.divergence import require_finite
from hamur.training.preference.epo import EpoRule
from hamur.training.preference.objective import COLUMNS, TaskObjective
from hamur.training.preference.samplers import FixedSampler, Sampler
from hamur.training.preference.scalarise import step_weights
from hamur.training.supervised import CompiledStep, draw_masks, tensors

SMOOTHING = 0.98
HYPERVOLUME_WARM_UP = 0.1


@dataclass(frozen=True)
class PreferenceOptions:
    """How preferences weigh the losses."""

    entropy: tuple[float, ...]  # H_k (T,) of the training rows
    total_steps: int  # that annealing spans
    scalarisation: str = "linear"
    loss_norm: str = "entropy"
    sampler: str = "angles"
    number: int = 8  # preferences per step
    anneal_power: float = 2.0
    dirichlet_alpha: tuple[float, ...] | None = None
    ideal: tuple[float, ...] | None = None  # NE (T,) of single-task runs; None = running minimum
    fixed: tuple[float, ...] | None = None  # one preference for all steps (a reference model)

    def make_sampler(self, seed):
        if self.fixed is not None:
            return FixedSampler(self.fixed)
        sizes = len(self.entropy), self.number
        return Sampler(self.sampler, *sizes, seed, self.anneal_power, self.dirichlet_alpha)


class PreferenceStep:
    """The step of multi-task training: step(batch Table, learning_rate, number) -> scalar total.

    options: PreferenceOptions; bind them with functools.partial.
    Attributes: losses, the (R, T) losses of the last step; counters(), columns of history.csv.
    """

    def __init__(self, model, optimizer, quotas, seed, options):
        self.model, self.optimizer = model, optimizer
        self.seed, self.options = seed, options
        self.official = model.takes_preferences and options.scalarisation == "official"
        objective = TaskObjective(model, self.official)
        self.cell = CompiledStep(objective, optimizer, has_aux=True).set_train()
        self.sampler = options.make_sampler(seed) if model.takes_preferences else None
        number, tasks = self.sampler.number if self.sampler else 1, model.num_tasks
        self.entropy = np.asarray(options.entropy, np.float64)
        if options.loss_norm == "none" or not model.takes_preferences:
            self.entropy = np.ones(tasks)
        self.smoothed = np.zeros((number, tasks), np.float32)  # 0 = not yet seen
        self.last = None
        self.epo = None
        if options.scalarisation == "epo" and model.takes_preferences:
            self.epo = EpoRule(model, self.entropy, number)

    def restart(self, options):
        """Begin another training of the same model without compiling again: the optimiser and the
        smoothed losses start anew; weights are the caller's.

        options: as the first ones but for ``fixed`` and ``total_steps``.
        """
        self.options, self.last = options, None
        self.sampler = options.make_sampler(self.seed)
        self.optimizer.restart()
        self.smoothed = np.zeros_like(self.smoothed)

    def counters(self):
        return {} if self.epo is None else {"infeasible": self.epo.infeasible}

    def state(self):
        """What a resumed run needs besides the model and the optimiser."""
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """What moves: the losses of the last step are smoothed only in the next one."""
        arrays = {"smoothed_losses": self.smoothed}
        if self.last is not None:
            losses, preferences = self.last
            arrays |= {"last_losses": losses.asnumpy(), "last_preferences": preferences}
        if self.epo is not None:
            arrays |= {"grams": self.epo.grams, "infeasible": np.array(self.epo.infeasible)}
        return arrays

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave.  Raises ValueError: they are of other preferences."""
        had = arrays["smoothed_losses"]
        if had.shape != self.smoothed.shape:
            raise ValueError(
                f"the state to resume smooths losses {had.shape}, this step {self.smoothed.shape} "
                "(preferences, tasks)."
            )
        self.smoothed, self.last = had.copy(), None
        if "last_losses" in arrays:
            self.last = Tensor(arrays["last_losses"]), arrays["last_preferences"]
        if self.epo is not None:
            self.epo.grams = arrays["grams"].copy()
            self.epo.infeasible = int(arrays.get("infeasible", 0))  # older states lack it

    def __call__(self, batch, learning_rate, number):
        if self.epo is not None:
            self.epo.update_gram(batch, self.sampler(number, self.options.total_steps), number)
        preferences, coefficients = self.weights(number)
        keep = draw_masks(self.model.dropouts, len(batch), self.seed, number, share=batch.share)
        generated = ()
        if self.model.takes_preferences:
            generated = draw_masks(self.model.generated_dropouts, 1, self.seed, number, stream=1)
        total, losses = self.cell(
            Tensor(learning_rate, ms.float32),
            *tensors(batch, *COLUMNS),
            Tensor(preferences),
            Tensor(coefficients),
            keep,
            generated,
        )
        self.last = losses, preferences
        return total

    def weights(self, number):
        """Preferences (R, T) of a step and the coefficients c_jk / (R H_k) of their raw losses."""
        if self.sampler is None:
            tasks = self.model.num_tasks
            even = np.full((1, tasks), 1.0 / tasks, np.float32)
            return even, even
        preferences = self.sampler(number, self.options.total_steps)
        if self.official:
            return preferences, preferences
        name = self.options.scalarisation
        warm = name == "hypervolume" and number < HYPERVOLUME_WARM_UP * self.options.total_steps
        if name == "linear" or warm:
            weights = step_weights("linear", preferences, preferences)
        else:
            self.update_smoothed_losses()
            weights = self.non_linear(name, preferences)
        scaled = weights / (len(preferences) * self.entropy)
        return preferences, scaled.astype(np.float32)

    def non_linear(self, name, preferences):
        """Weights from the smoothed losses of each preference's slot; linear until one was seen."""
        smoothed = self.smoothed.astype(np.float64)
        slots = self.sampler.slots(preferences)
        seen = smoothed[slots]
        unseen = (seen == 0).any(axis=1)
        if unseen.all():
            return step_weights("linear", preferences, preferences)
        losses, ranges = self.normalised(seen, smoothed)
        if self.epo is not None:
            weights = self.epo.weights(losses, preferences, ranges)
        else:
            weights = step_weights(name, losses, preferences, ranges)
        linear = step_weights("linear", preferences, preferences)
        return np.where(unseen[:, None], linear, weights)

    def normalised(self, seen, smoothed):
        """Losses on the scale between ideal and constant predictor, and that range (T,); with
        loss_norm "none" the raw losses and a range of 1."""
        if self.options.loss_norm == "none":
            return seen, np.ones(seen.shape[1])
        ideal = self.options.ideal
        if ideal is None:
            ideal = np.where(smoothed == 0, np.inf, smoothed).min(axis=0) - fronts.IDEAL_MARGIN
        return fronts.normalised(seen, ideal)

    def update_smoothed_losses(self):
        """Move the smoothed NE of the last step's slots towards its losses."""
        if self.last is None or self.sampler is None:
            return
        losses, preferences = self.last
        self.last = None
        smoothed = self.smoothed
        normal = losses.asnumpy() / self.entropy
        require_finite("the losses of the tasks are", normal, "in a step")
        slots = self.sampler.slots(preferences)
        for slot in np.unique(slots):
            new, old = normal[slots == slot].mean(axis=0), smoothed[slot]
            smoothed[slot] = np.where(old == 0, new, SMOOTHING * old + (1.0 - SMOOTHING) * new)


class RepeatedStep:
    """In place of `preference_step` where one model is trained repeatedly, with another fixed
    preference each time: the compiled step of the first training serves all."""

    def __init__(self):
        self.step = None

    def __call__(self, model, optimizer, quotas, seed, options):
        if self.step is None:
            self.step = PreferenceStep(model, optimizer, quotas, seed, options)
        assert self.step.model is model and self.step.seed == seed
        self.step.restart(options)
        return self.step


preference_step = PreferenceStep
