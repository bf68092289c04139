"""Flags of cross-domain scripts for the upper level and for evaluation."""

from dataclasses import dataclass

from hamur.training.bilevel.estimators import ESTIMATORS
from hamur.training.bilevel.presets import (
    SCOPES,
    SWITCH,
    evaluation_flag,
    preset_flag,
    upper_flag,
)


@dataclass(frozen=True)
class UpperFlags:
    """The groups "upper level" and "evaluation"; None = the preset's value, or resolved later."""

    interval: int | None = upper_flag(
        None,
        "lower steps between two upper updates",
        at_least=1,
        default_text="published 100, corrected ten updates an epoch, 10 to 100 steps apart",
    )
    descent_step: int | None = upper_flag(
        None, "steps of the head fit adam", at_least=1, default_text="--interval"
    )
    hplr: float = upper_flag(1e-2, "step of phi", at_least=0)
    gate_rate: float | None = preset_flag(
        upper_flag,
        "gate_rate",
        "step of the gate, which has far more parameters, in steps of phi",
        at_least=0,
    )
    aux_decay: float | None = preset_flag(upper_flag, "aux_decay", "decay of phi", at_least=0)
    decay_prior: int | None = preset_flag(
        upper_flag, "decay_prior", "1: the decay reaches the common factor, as published", **SWITCH
    )
    hp_optim: str | None = preset_flag(
        upper_flag, "hp_optim", "optimiser of phi", choices=("sgd", "adam")
    )
    start_gain: float = upper_flag(
        0.0,
        "share of the development labels' entropy that the upper head must explain before phi "
        "begins to move: until then influences are noise; 0: from the first update on",
        below=1,
    )
    pre_epoch: int = upper_flag(-1, "upper updates in epochs after this one only, from 0")
    replace: int = upper_flag(
        1, "1: the development loss has a head of its own; 0: that of the target", **SWITCH
    )
    meta_batchsize: int = upper_flag(256, "development rows of an upper update", at_least=1)
    upper_batchsize: int | None = upper_flag(
        None,
        "training rows of an upper update; more than --meta_batchsize: several of each user",
        at_least=1,
        default_text="published 64, corrected --meta_batchsize",
    )
    dev_mode: str | None = preset_flag(
        upper_flag,
        "dev_mode",
        "development rows: held out of training, or training rows again",
        choices=("reuse", "holdout"),
    )
    dev_fraction: float | None = preset_flag(
        upper_flag,
        "dev_fraction",
        "share of the users who give a row to development",
        above=0,
        below=1,
    )
    head_fit: str | None = preset_flag(
        upper_flag, "head_fit", "how the upper head is fitted", choices=("adam", "newton")
    )
    head_data: str | None = preset_flag(
        upper_flag, "head_data", "rows of the head fit", choices=("train", "dev")
    )
    head_l2: float | None = preset_flag(upper_flag, "head_l2", "L2 of the Newton fit", at_least=0)
    head_rows: int | None = preset_flag(
        upper_flag, "head_rows", "rows of the Newton fit", at_least=1
    )
    aligned: int | None = preset_flag(
        upper_flag,
        "aligned",
        "1: the training rows of an upper update belong to the users of its development rows",
        **SWITCH,
    )
    estimator: str | None = preset_flag(
        upper_flag,
        "estimator",
        "how the hypergradient is found; gauss_newton: cg with the positive part of the Hessian",
        choices=ESTIMATORS,
    )
    neumann_k: int = upper_flag(3, "terms of the Neumann series after the first", at_least=0)
    neumann_scale: int | None = preset_flag(
        upper_flag, "neumann_scale", "1: the series has its factor convlr", **SWITCH
    )
    neumann_guard: int | None = preset_flag(
        upper_flag, "neumann_guard", "1: the series stops where it grows", **SWITCH
    )
    convlr: float = upper_flag(1.0, "step of the Neumann series, its limit with power", above=0)
    alpha_mode: str | None = preset_flag(
        upper_flag,
        "alpha_mode",
        "fixed: convlr; power: below the inverse of the largest eigenvalue",
        choices=("fixed", "power"),
    )
    damping: float | None = upper_flag(
        None, "added to the Hessian", at_least=0, default_text="0.1 for cg and gauss_newton, else 0"
    )
    cg_iters: int = upper_flag(10, "iterations of cg and gauss_newton at most", at_least=1)
    hyper_scope: str | None = preset_flag(
        upper_flag,
        "hyper_scope",
        "parameters in the hypergradient: all but heads, the embeddings, or the user table",
        choices=SCOPES,
    )
    row_normalise: int | None = preset_flag(
        upper_flag, "row_normalise", "1: rows of embedding tables in p get length 1", **SWITCH
    )
    residual_every: int = upper_flag(10, "upper updates between two residuals", at_least=1)
    skip_self_test: bool = upper_flag(False, "do not check second derivatives at the start")
    eval_draws: str | None = preset_flag(
        evaluation_flag, "eval_draws", "source candidates a row at evaluation, a number or all"
    )
    eval_seed: int = evaluation_flag(2022, "seed of candidates and negatives", at_least=0)
    bootstrap: int | None = preset_flag(
        evaluation_flag, "bootstrap", "resamplings of users for intervals, 0 = none", at_least=0
    )
    rank_negatives: int | None = preset_flag(
        evaluation_flag,
        "rank_negatives",
        "sampled negatives a positive test row in the ranking protocol, 0 = none; more than there "
        "are items = all that the user does not have",
        at_least=0,
    )
    test_batchsize: int | None = preset_flag(
        evaluation_flag, "test_batchsize", "rows of a batch at evaluation", at_least=1
    )
