"""Options of the cross-domain scripts: flags and presets."""

import dataclasses
from dataclasses import dataclass
from functools import partial

from hamur.config import RunOptions, data_flag, flag, model_flag, run_flag, shared, training_flag
from hamur.training.bilevel.hypergradient import ESTIMATORS
from hamur.training.bilevel.options import SCOPES, VARIANTS, BilevelOptions

MODELS = {"conet": "uniform", "conet_s": "conet_s", "conet_biao": "perceptron"}  # their variants

# As the public code computes / ours; keys not named here are the same in both.
OFFICIAL = dict(
    aux_decay=2.0, learning_rate=1e-2, epochs=5, patience=0, test_batchsize=64,
    detach_weights=False, dev_mode="reuse", head_fit="adam", head_data="train",
    head_l2=0.0, aligned=False, upper_batchsize=64, estimator="neumann",
    neumann_scale=False, alpha_mode="fixed", damping=0.0, hyper_scope="all", row_normalise=False,
    hp_optim="sgd", decay_prior=True, prior_mode="relu", combine="product", category_bias=False,
    weight_norm="softmax_batch", attn_mask=False, pool_mean="all", pad_row="random", embed_std=1.0,
    act="relu", history="leaky", source_pool="before_valid", fit_on="all",
    missing_source="item_1", eval_draws="1", bootstrap=0, rank_negatives=0, neumann_guard=False,
    interval=100, embedding_decay=0.0,
)  # fmt: skip
CORRECTED = dict(
    aux_decay=0.0, learning_rate=5e-3, epochs=30, patience=3, test_batchsize=512,
    detach_weights=True, dev_mode="holdout", head_fit="newton", head_data="dev",
    head_l2=1e-2, aligned=True, upper_batchsize=None, estimator="one_step",
    neumann_scale=True, alpha_mode="power", damping=None, hyper_scope="user", row_normalise=True,
    hp_optim="adam", decay_prior=False, prior_mode="fixed", combine="gated", category_bias=True,
    weight_norm="sigmoid", attn_mask=True, pool_mean="len", pad_row="zero", embed_std=0.3,
    act="leaky", history="causal", source_pool="before_row", fit_on="train",
    missing_source="none", eval_draws="8", bootstrap=1000, rank_negatives=99, neumann_guard=True,
    interval=None, embedding_decay=0.0,
)  # fmt: skip
PRESETS = {"official": OFFICIAL, "corrected": CORRECTED}
PRESET_SPELLINGS = {"published": "official"}

# Values without a flag.  gate_rate: step of the gate in steps of phi, lower in "corrected" because
# the gate has far more parameters; start_gain: see BilevelOptions.  The planted study chose another
# for its pairs.
TUNING = {
    "official": dict(gate_rate=1.0, start_gain=0.0, residual_every=10),
    "corrected": dict(gate_rate=0.1, start_gain=0.0, residual_every=10),
}

DEAD_KEYS = (
    "ratio", "ent", "hislen", "dh", "hidden_dims", "s_batchsize", "use_valid", "uncert", "use_gcs",
)  # fmt: skip

lower_flag, upper_flag, evaluation_flag = (
    partial(flag, group=heading) for heading in ("lower level", "upper level", "evaluation")
)


@dataclass(frozen=True)
class CrossDomainConfig(RunOptions):
    """Options of the cross-domain script; None = the preset's value, or resolved later.

    Raises:  ValueError: a value that its flag does not allow, or two that exclude each other.
    """

    presets = PRESETS
    dead_keys = DEAD_KEYS
    dataset_path: str | None = shared(
        "dataset_path",
        help="folder of raw Amazon files (reviews and meta data, as published in 2014, 2018 or "
        "2023), of a MovieLens release with --genres, or of an ABXI pair with --format abxi",
    )
    format: str = data_flag(
        "amazon",
        "what --dataset_path holds; the sequence files of abxi have no ratings, see "
        "--train_negatives",
        choices=("amazon", "abxi"),
    )
    source_domain: int = data_flag(
        0, "number of the source domain in ABXI files", at_least=0, below=2
    )
    pair: str | None = data_flag(
        None, "source and target category, as Books,Toys_and_Games", default_text="the only pair"
    )
    genres: str | None = data_flag(
        None,
        "MovieLens cut by the first genre of a movie: source and target genre, as Drama,Comedy",
        default_text="an Amazon pair",
    )
    source_table: str | None = data_flag(
        None,
        "csv or tsv, also .gz, or parquet, also a folder of parts, of source behaviours",
        default_text="an Amazon pair",
    )
    target_table: str | None = data_flag(
        None, "the same of target behaviours, which names its users alike", default_text="as above"
    )
    columns: str = data_flag(
        "user=user,item=item,rating=rating,timestamp=timestamp",
        "columns of both tables by role, by name or by number from 1; also category=...; "
        "timestamp=none and rating=none where there is none",
    )
    sep: str | None = data_flag(
        None, "separator of both tables", default_text="comma, or tab in .tsv, .dat and .inter"
    )
    no_header: bool = data_flag(False, "the tables begin with a row of data")
    time_unit: str | None = data_flag(
        None,
        "unit of the timestamps, where they are numbers",
        choices=("s", "ms", "us", "ns"),
        default_text="by their magnitude",
    )
    rating_max: float = data_flag(5.0, "highest rating of the tables", above=0)
    positive_above: float = data_flag(3.0, "ratings of the tables above this are positive")
    train_negatives: int = data_flag(
        0,
        "unobserved items added after each positive row, as negative ones, in both domains; for "
        "tables without ratings, where validation and test get them too",
        at_least=0,
    )
    allow_same: bool = data_flag(False, "both tables may be the same file")
    split_seed: int = shared(
        "split_seed", help="seed of validation and test rows where there is no time"
    )
    missing_meta: str = data_flag(
        "unknown",
        "category of an Amazon item without meta data",
        choices=("unknown", "others", "error"),
    )
    strict_meta: bool = data_flag(False, "also check the meta lines of items without review")
    on_bad_rows: str = shared("on_bad_rows")
    max_bad_fraction: float = shared("max_bad_fraction")
    max_line_mib: int = shared("max_line_mib")
    dataname: str | None = data_flag(
        None, "name of the pair in the folders of --record", default_text="from the pair"
    )
    split: str = data_flag(
        "leave_two_out",
        "leave_two_out: each user's last target row is test, the one before validation",
        choices=("leave_two_out", "global_time"),
    )
    fit_on: str | None = shared("fit_on", None, help="rows that ids are made of")
    truth: str | None = data_flag(
        None,
        "truth.npz of a generated pair, for the report and --arm oracle; never used in training",
    )
    exchange_source: float = data_flag(
        0.0,
        "share of the users who get the source behaviours of another such user: harm on purpose, "
        "whose discovery the report tells as with --truth",
        at_least=0,
        below=1,
    )
    source_pool: str | None = data_flag(
        None,
        "source behaviours that may accompany a row: earlier than it, or than the user's "
        "validation row",
        choices=("before_row", "before_valid"),
    )
    history: str | None = data_flag(
        None,
        "causal: only what is strictly earlier; leaky: as the public code, where histories tell "
        "labels",
        choices=("causal", "leaky"),
    )
    missing_source: str | None = data_flag(
        None,
        "source of a user without behaviours: none, or source item 1 as in the public code",
        choices=("none", "item_1"),
    )

    preset: str = model_flag(
        "corrected",
        "official (also spelled published): as the public code computes, its defects included; "
        "corrected: ours",
        choices=PRESETS,
        synonyms=PRESET_SPELLINGS,
    )
    model_name: str = model_flag(
        "conet_biao",
        "conet_s: target tower alone; conet: all source behaviours weigh the same; conet_biao: "
        "learned weights",
        choices=MODELS,
    )
    use_meta: bool | None = model_flag(
        None, "0 is --model_name conet, 1 conet_biao", default_text="by the model"
    )
    only_target: bool | None = model_flag(
        None, "1 is --model_name conet_s", default_text="by the model"
    )
    arm: str | None = model_flag(
        None,
        "what the upper level learns: uniform nothing; annealed nothing, the weight decays as the "
        "official decay makes it; scalar one number; item a weight per item; perceptron all; "
        "oracle nothing, harmful rows of --truth or --exchange_source weigh 0",
        choices=VARIANTS,
        default_text="by the model",
    )
    embed_dim: int = model_flag(10, "width of an embedding", at_least=1)
    s_hislen: int = model_flag(50, "longest history", at_least=1)
    act: str | None = model_flag(None, "activation of the towers", choices=("relu", "leaky"))
    embed_std: float | None = model_flag(
        None, "initial standard deviation of embeddings", at_least=0
    )
    pad_row: str | None = model_flag(
        None, "vector of padding and unknown ids", choices=("random", "zero")
    )
    combine: str | None = model_flag(
        None,
        "score = item term x user gate; product: the raw gate, gated: a positive gate",
        choices=("product", "gated"),
    )
    category_bias: bool | None = model_flag(
        None, "a bias for each source category in the item term"
    )
    weight_norm: str | None = model_flag(
        None, "softmax over the batch, or a sigmoid per row", choices=("softmax_batch", "sigmoid")
    )
    prior_mode: str | None = model_flag(
        None,
        "common factor of the weights: fixed 1, learned through a softplus, or relu as in the "
        "public code",
        choices=("fixed", "learned", "relu"),
    )
    attn_mask: bool | None = model_flag(None, "padding is not attended")
    pool_mean: str | None = model_flag(
        None,
        "attention is averaged over all positions or over the real ones",
        choices=("all", "len"),
    )

    epochs: int | None = shared("epochs", None)
    patience: int | None = shared(
        "patience",
        None,
        help="epochs without a better validation result before training stops, 0 = never",
        at_least=0,
    )
    learning_rate: float | None = shared("learning_rate", None)
    batch_size: int = shared("batch_size", 64)
    seed: int = shared("seed", 8)
    criterion: str = training_flag(
        "auc",
        "validation figure that picks the best epoch; rows of one class have a log loss only",
        choices=("auc", "logloss"),
    )
    prior_weight: float = lower_flag(1.0, "factor of the source loss", at_least=0)
    embedding_decay: float | None = lower_flag(
        None, "share by which the embedding tables shrink per epoch", at_least=0
    )
    detach_weights: bool | None = lower_flag(
        None,
        "weights are constants in the lower step; 0: theta may change them, as in the public code",
    )
    on_collapse: str = lower_flag(
        "warn",
        "what to do when the model predicts a constant: warn, restart (3 times at most) or error",
        choices=("warn", "restart", "error"),
    )

    interval: int | None = upper_flag(
        None,
        "lower steps between two upper updates",
        at_least=1,
        default_text="official 100, corrected ten updates per epoch, 10 to 100 steps apart",
    )
    descent_step: int | None = upper_flag(
        None, "steps of the head fit adam", at_least=1, default_text="--interval"
    )
    hplr: float = upper_flag(1e-2, "step of phi", at_least=0)
    aux_decay: float | None = upper_flag(None, "decay of phi", at_least=0)
    decay_prior: bool | None = upper_flag(
        None, "the decay reaches the common factor, as in the public code"
    )
    hp_optim: str | None = upper_flag(None, "optimiser of phi", choices=("sgd", "adam"))
    pre_epoch: int = upper_flag(
        -1, "upper updates in epochs after this one only, from 0", at_least=-1
    )
    replace: bool = upper_flag(
        True, "the development loss has a head of its own; 0: that of the target"
    )
    meta_batchsize: int = upper_flag(256, "development rows of an upper update", at_least=1)
    upper_batchsize: int | None = upper_flag(
        None,
        "training rows of an upper update; more than --meta_batchsize: several of each user",
        at_least=1,
        default_text="official 64, corrected --meta_batchsize",
    )
    dev_mode: str | None = upper_flag(
        None,
        "development rows: held out of training, or training rows again",
        choices=("reuse", "holdout"),
    )
    dev_fraction: float = upper_flag(
        0.3333, "share of the users who give a row to development", above=0, below=1
    )
    head_fit: str | None = upper_flag(
        None, "how the upper head is fitted", choices=("adam", "newton")
    )
    head_data: str | None = upper_flag(None, "rows of the head fit", choices=("train", "dev"))
    head_l2: float | None = upper_flag(None, "L2 of the Newton fit", at_least=0)
    head_rows: int = upper_flag(4096, "rows of the Newton fit", at_least=1)
    aligned: bool | None = upper_flag(
        None, "the training rows of an upper update belong to the users of its development rows"
    )
    estimator: str | None = upper_flag(
        None,
        "estimator of the hypergradient; gauss_newton: cg with the positive part of the Hessian",
        choices=ESTIMATORS,
    )
    neumann_k: int = upper_flag(3, "terms of the Neumann series after the first", at_least=0)
    neumann_scale: bool | None = upper_flag(None, "the series has its factor convlr")
    neumann_guard: bool | None = upper_flag(None, "the series stops where it grows")
    convlr: float = upper_flag(1.0, "step of the Neumann series, its limit with power", above=0)
    alpha_mode: str | None = upper_flag(
        None,
        "fixed: convlr; power: below the inverse of the largest eigenvalue",
        choices=("fixed", "power"),
    )
    damping: float | None = upper_flag(
        None, "added to the Hessian", at_least=0, default_text="0.1 for cg and gauss_newton, else 0"
    )
    cg_iters: int = upper_flag(10, "iterations of cg and gauss_newton at most", at_least=1)
    hyper_scope: str | None = upper_flag(
        None,
        "parameters in the hypergradient: all but heads, the embeddings, or the user table",
        choices=SCOPES,
    )
    row_normalise: bool | None = upper_flag(None, "rows of embedding tables in p get length 1")
    skip_self_test: bool = upper_flag(False, "do not check second derivatives at the start")

    eval_draws: str | None = evaluation_flag(
        None, "source candidates per row at evaluation, a number or all"
    )
    eval_seed: int = evaluation_flag(2022, "seed of candidates and negatives", at_least=0)
    bootstrap: int | None = evaluation_flag(
        None, "resamplings of users for intervals, 0 = none", at_least=0
    )
    rank_negatives: int | None = evaluation_flag(
        None,
        "sampled negatives per positive test row in the ranking protocol, 0 = none; more than "
        "there are items = all that the user does not have",
        at_least=0,
    )
    test_batchsize: int | None = evaluation_flag(None, "rows of a batch at evaluation", at_least=1)

    arms: str | None = run_flag(
        None, "several arms, as uniform,perceptron; also conet_s", default_text="the one arm"
    )
    seeds: str | None = run_flag(None, "several seeds, as 0,1,2", default_text="the one seed")
    export: bool = run_flag(
        False, "also write the target scorer as a MindIR file", aliases=("export_mindir",)
    )
    record: str | None = run_flag(
        None,
        "folder of all records: write the tree of the public code, <record>/<pair>/log/<exp_name> "
        "and .../checkpoint/<exp_name>, in place of --save_dir",
        default_text="conet_record with --exp_name, else none",
    )
    exp_name: str | None = run_flag(
        None, "name of the run in --record", default_text="debug with --record, else none"
    )

    def __post_init__(self):
        super().__post_init__()
        draws = self.eval_draws
        if draws is not None and draws != "all" and not (draws.isdigit() and int(draws)):
            raise ValueError(f"--eval_draws is {draws!r}; a number from 1, or all.")

    @property
    def tuning(self) -> dict:
        """Values of the preset that have no flag."""
        return TUNING[self.preset]

    def resolved(self) -> "CrossDomainConfig":
        """A copy with the values that training uses: those of the preset, where no flag says
        otherwise; only what depends on the data is still None.

        Raises:  ValueError: options that exclude each other.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        preset = PRESETS[PRESET_SPELLINGS.get(values["preset"], values["preset"])]
        for name, value in preset.items():
            if values[name] is None:
                values[name] = value
        variant = variant_of(values)
        values["arm"], values["model_name"] = variant, VARIANTS[variant].model
        values["use_meta"], values["only_target"] = VARIANTS[variant].learns, variant == "conet_s"
        return dataclasses.replace(self, **values)

    def bilevel_options(self) -> BilevelOptions:
        """What the step of a resolved configuration does."""
        names = {f.name for f in dataclasses.fields(BilevelOptions)}
        values = {name: value for name, value in vars(self).items() if name in names}
        values |= {name: value for name, value in self.tuning.items() if name in names}
        return BilevelOptions(variant=self.arm, **values)


def variant_of(values: dict) -> str:
    """The key of VARIANTS that --model_name, --arm, --use_meta and --only_target name.

    Raises:  ValueError: two of them exclude each other.
    """
    arm, use_meta = values["arm"], values["use_meta"]
    name = "conet_s" if values["only_target"] else values["model_name"]
    if name == "conet_s":
        if arm not in (None, "conet_s", "uniform"):
            raise ValueError(
                f"--arm {arm} needs the source tower, which --model_name conet_s lacks."
            )
        return "conet_s"
    if use_meta is not None:
        name = "conet_biao" if use_meta else "conet"
    arm = arm or MODELS[name]
    if use_meta is not None and VARIANTS[arm].learns != use_meta:
        verb, does = ("learns", "does not") if use_meta else ("learns no", "does")
        raise ValueError(
            f"--use_meta {int(use_meta)} {verb} weights, but --arm {arm} {does}; leave one out."
        )
    return arm
