"""What bi-level training does, as values: the variants of learned weights, and the options."""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from hamur.training.bilevel.hypergradient import CONJUGATE, HyperOptions

SCOPES = ("all", "embeddings", "user")
UPDATES_PER_EPOCH, MIN_INTERVAL, MAX_INTERVAL = 10, 10, 100


class Variant(NamedTuple):
    """What a source behaviour weighs.  model: its name in `models.CROSS_DOMAIN`; learns: whether
    there is an upper level, of a number alone, or of the item's part and of the user's gate."""

    model: str
    learns: bool = False
    use_items: bool = False
    use_users: bool = False


VARIANTS = {
    "conet_s": Variant("conet_s"),  # no source tower
    "uniform": Variant("conet"),  # all behaviours weigh the same
    "annealed": Variant("conet"),  # the same, less after every interval: the official decay alone
    "scalar": Variant("conet_biao", learns=True),  # one learned number for all
    "item": Variant("conet_biao", learns=True, use_items=True),
    "perceptron": Variant("conet_biao", learns=True, use_items=True, use_users=True),
    "oracle": Variant("conet"),  # harmful rows of a generated pair weigh 0
}


@dataclass(frozen=True)
class BilevelOptions:
    """Options of `bilevel_step`; the defaults are those of the preset "corrected".

    variant: a key of VARIANTS.  interval: lower steps between two upper updates, None = ten upper
    updates per epoch, 10 to 100 lower steps apart; pre_epoch: upper updates in epochs after this
    one only, from 0; prior_weight: factor of the source loss; detach_weights: weights are constants
    in the lower step.
    hplr, hp_optim ("adam", "sgd"): how phi moves; gate_rate: step of the gate, which has far more
    parameters, in steps of phi; aux_decay: decay of phi, of the common factor too with decay_prior;
    start_gain: share of the development labels' entropy that the development head must explain
    before phi begins to move.
    replace: the development loss has a head of its own, fitted by "newton" or "adam" (head_fit,
    head_l2, head_rows, descent_step) on rows of "dev" or "train" (head_data).
    meta_batchsize development rows and upper_batchsize training rows (None = as many) make an
    upper update; aligned: the training rows belong to the users of the development rows.
    estimator, neumann_*, convlr, alpha_mode, damping, cg_iters: see `HyperOptions`; hyper_scope:
    one of SCOPES; row_normalise: rows of embedding tables in p get length 1; residual_every: upper
    updates between two residuals.
    """

    variant: str = "perceptron"
    interval: int | None = None
    pre_epoch: int = -1
    prior_weight: float = 1.0
    detach_weights: bool = True
    hplr: float = 1e-2
    hp_optim: str = "adam"
    gate_rate: float = 0.1
    aux_decay: float = 0.0
    decay_prior: bool = False
    start_gain: float = 0.0
    replace: bool = True
    head_fit: str = "newton"
    head_data: str = "dev"
    head_l2: float = 1e-2
    head_rows: int = 4096
    descent_step: int | None = None
    meta_batchsize: int = 256
    upper_batchsize: int | None = None
    aligned: bool = True
    estimator: str = "one_step"
    neumann_k: int = 3
    neumann_scale: bool = True
    neumann_guard: bool = True
    convlr: float = 1.0
    alpha_mode: str = "power"
    damping: float | None = None
    cg_iters: int = 10
    hyper_scope: str = "user"
    row_normalise: bool = True
    residual_every: int = 10
    skip_self_test: bool = False

    def fitted(self, train_rows: int, batch_size: int) -> "BilevelOptions":
        """A copy in which no value is None, for this number of target training rows."""
        steps = train_rows // batch_size
        values = dataclasses.asdict(self)
        if values["interval"] is None:
            values["interval"] = min(max(steps // UPDATES_PER_EPOCH, MIN_INTERVAL), MAX_INTERVAL)
        if values["descent_step"] is None:  # one knob of the paper: "interval/descent_step"
            values["descent_step"] = values["interval"]
        if values["upper_batchsize"] is None:
            values["upper_batchsize"] = self.meta_batchsize
        if values["damping"] is None:
            values["damping"] = 0.1 if self.estimator in CONJUGATE else 0.0
        return BilevelOptions(**values)

    @property
    def learns(self) -> bool:
        """Whether there is an upper level."""
        return VARIANTS[self.variant].learns

    @property
    def first_order(self) -> bool:
        """Whether an upper update needs no second derivative at all."""
        return self.estimator == "one_step" and self.hyper_scope == "user"

    def hyper_options(self) -> HyperOptions:
        """How p is computed."""
        return HyperOptions(
            estimator=self.estimator,
            terms=self.neumann_k,
            scaled=bool(self.neumann_scale),
            alpha=self.convlr,
            power_steps=8 if self.alpha_mode == "power" else 0,
            damping=self.damping,
            cg_iters=self.cg_iters,
            guard=bool(self.neumann_guard),
        )
