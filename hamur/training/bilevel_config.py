"""Options of cross-domain training: flags, presets, and a JSON file in between."""

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hamur.config import check_fields, flag
from hamur.training.bilevel import ESTIMATORS

ARMS = ("uniform", "annealed", "scalar", "item", "perceptron", "oracle")
SCOPES = ("all", "embeddings", "user")
MODELS = {"conet": "uniform", "conet_s": "uniform", "conet_biao": "perceptron"}

# As the public code computes / ours; keys not named here are the same in both.
PUBLISHED = dict(
    aux_decay=2.0, lr=1e-2, epochs=5, patience=0, test_batchsize=64,
    detach_weights=0, dev_mode="reuse", dev_fraction=0.3333, head_fit="adam", head_data="train",
    head_l2=0.0, head_rows=4096, aligned=0, upper_batchsize=64, estimator="neumann",
    neumann_scale=0, alpha_mode="fixed", damping=0.0, hyper_scope="all", row_normalise=0,
    hp_optim="sgd", decay_prior=1, prior_mode="relu", combine="product", category_bias=0,
    weight_norm="softmax_batch", attn_mask=0, pool_mean="all", pad_row="random", embed_std=1.0,
    act="relu", history="leaky", source_pool="before_valid", vocab="all", missing_source="item_1",
    eval_draws="1", bootstrap=0, rank_negatives=0, neumann_guard=0,
)  # fmt: skip
CORRECTED = dict(
    aux_decay=0.0, lr=5e-3, epochs=30, patience=3, test_batchsize=512,
    detach_weights=1, dev_mode="holdout", dev_fraction=0.3333, head_fit="newton", head_data="dev",
    head_l2=1e-2, head_rows=4096, aligned=1, upper_batchsize=None, estimator="one_step",
    neumann_scale=1, alpha_mode="power", damping=None, hyper_scope="user", row_normalise=1,
    hp_optim="adam", decay_prior=0, prior_mode="fixed", combine="gated", category_bias=1,
    weight_norm="sigmoid", attn_mask=1, pool_mean="len", pad_row="zero", embed_std=0.3,
    act="leaky", history="causal", source_pool="before_row", vocab="train", missing_source="none",
    eval_draws="8", bootstrap=1000, rank_negatives=99, neumann_guard=1,
)  # fmt: skip
PRESETS = {"published": PUBLISHED, "corrected": CORRECTED}
DEAD_KEYS = (
    "ratio", "ent", "hislen", "dh", "hidden_dims", "s_batchsize", "use_valid", "uncert", "use_gcs",
)  # fmt: skip

data_flag, model_flag, lower_flag, upper_flag, evaluation_flag, run_flag = (
    partial(flag, group=heading)
    for heading in ("data", "model", "lower level", "upper level", "evaluation", "run")
)


def _by_preset(option):
    values = [f"{name} {options[option]}" for name, options in PRESETS.items()]
    return ", ".join(values)


def preset_flag(make, name, help, **rules):
    """A flag whose default the preset gives."""
    return make(None, help, default_text=_by_preset(name), **rules)


SWITCH = dict(at_least=0, below=2)


@dataclass(frozen=True)
class CrossDomainConfig:
    """Options of the cross-domain script; None = the preset's value, or resolved later.

    Raises:  ValueError: a value that its flag does not allow, or two that exclude each other.
    """

    in_root: str | None = data_flag(
        None,
        "folder of raw Amazon files (reviews_<Category>_5.json[.gz], meta_<Category>.json[.gz]), "
        "or of MovieLens-1M with --genres",
        default_text="the generated sample that comes with the repository",
    )
    pair: str | None = data_flag(
        None, "source and target category, as Books,Toys_and_Games", default_text="the only pair"
    )
    genres: str | None = data_flag(
        None,
        "MovieLens-1M cut by the first genre of a movie: source and target genre, as Drama,Comedy",
        default_text="an Amazon pair",
    )
    source_table: str | None = data_flag(
        None, "csv, tsv or parquet of source behaviours", default_text="an Amazon pair"
    )
    target_table: str | None = data_flag(
        None, "the same of target behaviours, which names its users alike", default_text="as above"
    )
    columns: str = data_flag(
        "user=user,item=item,rating=rating,timestamp=timestamp",
        "columns of both tables by role, by name or by number from 1; also category=..., and "
        "timestamp=none where there is none",
    )
    sep: str | None = data_flag(
        None, "separator of both tables", default_text="comma, or tab in .tsv and .dat"
    )
    no_header: bool = data_flag(False, "the tables begin with a row of data")
    time_unit: str = data_flag("s", "unit of the timestamps", choices=("s", "ms"))
    rating_max: float = data_flag(5.0, "highest rating of the tables", above=0)
    positive_above: float = data_flag(3.0, "ratings of the tables above this are positive")
    allow_same: bool = data_flag(False, "both tables may be the same file")
    split_seed: int = data_flag(
        2022, "seed of validation and test rows where there is no time", at_least=0
    )
    missing_meta: str = data_flag(
        "unknown",
        "category of an Amazon item without meta data",
        choices=("unknown", "others", "error"),
    )
    strict_meta: bool = data_flag(False, "also check the meta lines of items without review")
    on_bad_rows: str = data_flag(
        "error", "stop at a bad line, or leave it out and count it", choices=("error", "skip")
    )
    max_bad_fraction: float = data_flag(
        0.05, "share of bad lines at which skip stops too", at_least=0
    )
    dataname: str | None = data_flag(
        None, "name of the pair in the folders of the record", default_text="from the pair"
    )
    split: str = data_flag(
        "leave_two_out",
        "leave_two_out: each user's last target row is test, the one before validation",
        choices=("leave_two_out", "global_time"),
    )
    vocab: str | None = preset_flag(
        data_flag, "vocab", "rows that ids are made of", choices=("train", "all")
    )
    truth: str | None = data_flag(
        None,
        "truth.npz of a generated pair, for the report and the arm oracle; never used in training",
        default_text="none",
    )
    source_pool: str | None = preset_flag(
        data_flag,
        "source_pool",
        "source behaviours that may stand beside a row: earlier than it, or than the user's "
        "validation row",
        choices=("before_row", "before_valid"),
    )
    history: str | None = preset_flag(
        data_flag,
        "history",
        "causal: only what is strictly earlier; leaky: as published, where histories tell labels",
        choices=("causal", "leaky"),
    )
    missing_source: str | None = preset_flag(
        data_flag,
        "missing_source",
        "what a user without source behaviours gets: nothing, or source item 1 as published",
        choices=("none", "item_1"),
    )
    preset: str = model_flag(
        "corrected",
        "published: as the public code computes, its defects included; corrected: ours",
        choices=PRESETS,
    )
    config: str | None = model_flag(
        None, "JSON file of options; flags override it", default_text="none"
    )
    model_name: str = model_flag(
        "conet_biao",
        "conet_s: target tower alone; conet: all source behaviours weigh the same; conet_biao: "
        "learned weights",
        choices=MODELS,
    )
    use_meta: int | None = model_flag(
        None, "0 is --model_name conet, 1 conet_biao", default_text="by the model", **SWITCH
    )
    only_target: int | None = model_flag(
        None, "1 is --model_name conet_s", default_text="by the model", **SWITCH
    )
    arm: str | None = model_flag(
        None,
        "what the upper level learns: uniform nothing; annealed nothing, the weight decays as the "
        "published decay makes it; scalar one number; item a weight an item; perceptron all; "
        "oracle nothing, harmful rows of --truth weigh 0",
        choices=ARMS,
        default_text="by the model",
    )
    embed_dim: int = model_flag(10, "width of an embedding", at_least=1)
    s_hislen: int = model_flag(50, "longest history", at_least=1)
    act: str | None = preset_flag(
        model_flag, "act", "activation of the towers", choices=("relu", "leaky")
    )
    embed_std: float | None = preset_flag(
        model_flag, "embed_std", "initial standard deviation of embeddings", at_least=0
    )
    pad_row: str | None = preset_flag(
        model_flag, "pad_row", "vector of padding and unknown ids", choices=("random", "zero")
    )
    combine: str | None = preset_flag(
        model_flag,
        "combine",
        "score of a behaviour: gamma_1 gamma_2, or gamma_1 times a positive gate",
        choices=("product", "gated"),
    )
    category_bias: int | None = preset_flag(
        model_flag, "category_bias", "1: a bias for each source category in gamma_1", **SWITCH
    )
    weight_norm: str | None = preset_flag(
        model_flag,
        "weight_norm",
        "softmax over the batch, or a sigmoid a row",
        choices=("softmax_batch", "sigmoid"),
    )
    prior_mode: str | None = preset_flag(
        model_flag,
        "prior_mode",
        "common factor of the weights: fixed 1, learned through a softplus, or relu as published",
        choices=("fixed", "learned", "relu"),
    )
    attn_mask: int | None = preset_flag(
        model_flag, "attn_mask", "1: padding is not attended", **SWITCH
    )
    pool_mean: str | None = preset_flag(
        model_flag,
        "pool_mean",
        "attention is averaged over all positions or over the real ones",
        choices=("all", "len"),
    )
    epochs: int | None = preset_flag(
        lower_flag, "epochs", "passes over the training rows, at most", at_least=1
    )
    patience: int | None = preset_flag(
        lower_flag,
        "patience",
        "epochs without a better validation AUC before the end, 0 = no early end",
        at_least=0,
    )
    lr: float | None = preset_flag(lower_flag, "lr", "step of Adam on theta", above=0)
    t_batchsize: int = lower_flag(64, "rows of a lower step", at_least=2)
    prior_weight: float = lower_flag(1.0, "factor of the source loss", at_least=0)
    detach_weights: int | None = preset_flag(
        lower_flag,
        "detach_weights",
        "1: weights are constants in the lower step; 0: theta may change them, as published",
        **SWITCH,
    )
    seed: int = lower_flag(8, "seed of initial weights, held-out rows and shuffling", at_least=0)
    on_collapse: str = lower_flag(
        "warn",
        "what to do when the model predicts a constant: warn, restart (3 times at most) or error",
        choices=("warn", "restart", "error"),
    )
    interval: int = upper_flag(100, "lower steps between two upper updates", at_least=1)
    descent_step: int | None = upper_flag(
        None, "steps of the head fit adam", at_least=1, default_text="--interval, or 100"
    )
    hplr: float = upper_flag(1e-2, "step of phi", at_least=0)
    aux_decay: float | None = preset_flag(upper_flag, "aux_decay", "decay of phi", at_least=0)
    decay_prior: int | None = preset_flag(
        upper_flag, "decay_prior", "1: the decay reaches the common factor, as published", **SWITCH
    )
    hp_optim: str | None = preset_flag(
        upper_flag, "hp_optim", "optimiser of phi", choices=("sgd", "adam")
    )
    pre_epoch: int = upper_flag(-1, "upper updates in epochs after this one only, from 0")
    replace: int = upper_flag(
        1, "1: the development loss has a head of its own; 0: that of the target", **SWITCH
    )
    meta_batchsize: int = upper_flag(256, "development rows of an upper update", at_least=1)
    upper_batchsize: int | None = upper_flag(
        None,
        "training rows of an upper update",
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
        upper_flag, "estimator", "how the hypergradient is found", choices=ESTIMATORS
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
        None, "added to the Hessian", at_least=0, default_text="0.1 for cg, else 0"
    )
    cg_iters: int = upper_flag(10, "iterations of cg at most", at_least=1)
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
        "sampled negatives a positive test row in the ranking protocol, 0 = none",
        at_least=0,
    )
    test_batchsize: int | None = preset_flag(
        evaluation_flag, "test_batchsize", "rows of a batch at evaluation", at_least=1
    )
    exp_name: str = run_flag("debug", "name of the run")
    record: str = run_flag("conet_record", "folder of all records")
    arms: str | None = run_flag(
        None, "several arms, as uniform,perceptron; also conet_s", default_text="the one arm"
    )
    seeds: str | None = run_flag(None, "several seeds, as 0,1,2", default_text="the one seed")
    resume: bool = run_flag(False, "go on with the interrupted run of this name")
    overwrite: bool = run_flag(False, "replace an earlier run of this name")
    device: str = run_flag("cpu", "cpu, gpu or ascend, with a card number as in ascend:1")
    quiet: bool = run_flag(False, "print nothing but the table of results")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)
        if not self.pre_epoch >= -1:
            raise ValueError(f"--pre_epoch must be at least -1, got {self.pre_epoch}.")
        draws = self.eval_draws
        if draws is not None and draws != "all" and not (draws.isdigit() and int(draws)):
            raise ValueError(f"--eval_draws is {draws!r}; a number from 1, or all.")

    @property
    def learns(self) -> bool:
        """Whether there is an upper level."""
        return self.arm in ("scalar", "item", "perceptron")

    def resolved(self) -> "CrossDomainConfig":
        """A copy with every value that training uses: preset, then the file, then flags.

        Raises:  ValueError: options that exclude each other, an unknown or dead key in the file.
        """
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        from_file = read_options(self.config) if self.config else {}
        values = {
            name: from_file[name] if value == defaults[name] and name in from_file else value
            for name, value in given.items()
        }
        for name, value in PRESETS[values["preset"]].items():
            if values[name] is None:
                values[name] = value
        if values["descent_step"] is None:  # one knob of the paper: "interval/descent_step"
            values["descent_step"] = values["interval"]
        if values["upper_batchsize"] is None:
            values["upper_batchsize"] = values["meta_batchsize"]
        if values["damping"] is None:
            values["damping"] = 0.1 if values["estimator"] == "cg" else 0.0
        values |= model_of(values)
        return dataclasses.replace(self, **values)


def model_of(values: dict) -> dict:
    """model_name, use_meta, only_target and arm, made consistent.

    Raises:  ValueError: two of them exclude each other.
    """
    name, arm = values["model_name"], values["arm"]
    if values["only_target"]:
        name = "conet_s"
    elif values["use_meta"] == 0 and name == "conet_biao":
        name = "conet"
    elif values["use_meta"] == 1 and name == "conet":
        name = "conet_biao"
    if name == "conet_s" and arm not in (None, "uniform"):
        raise ValueError(f"--arm {arm} needs the source tower, which --model_name conet_s lacks.")
    if values["use_meta"] == 0 and arm in ("scalar", "item", "perceptron"):
        raise ValueError(f"--use_meta 0 learns no weights, but --arm is {arm}; leave one out.")
    if values["use_meta"] == 1 and arm in ("uniform", "annealed", "oracle"):
        raise ValueError(f"--use_meta 1 learns weights, but --arm {arm} does not; leave one out.")
    arm = arm or MODELS[name]
    learns = int(arm in ("scalar", "item", "perceptron"))
    return dict(
        model_name=name, arm=arm, use_meta=learns, only_target=int(name == "conet_s")
    )  # fmt: skip


def read_options(path: str) -> dict:
    """The options of a JSON file.

    Raises:  ValueError: no JSON object, or a key that is none of ours; FileNotFoundError.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--config {path}: no JSON ({error}).") from None
    if not isinstance(options, dict):
        raise ValueError(f"--config {path} holds no object but {type(options).__name__}.")
    known = [f.name for f in dataclasses.fields(CrossDomainConfig)]
    for name in options:
        if name not in known:
            dead = " It had no effect in the public code; remove it." if name in DEAD_KEYS else ""
            raise ValueError(
                f"--config {path}: unknown key {name!r}.{dead} Known: {', '.join(known)}."
            )
    CrossDomainConfig(**options)  # the rules of the flags hold for the file too
    return options
