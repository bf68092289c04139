"""Presets of cross-domain training, and how a flag is made whose default the preset gives."""

from functools import partial

from hamur.config import flag

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
    eval_draws="1", bootstrap=0, rank_negatives=0, neumann_guard=0, interval=100, gate_rate=1.0,
)  # fmt: skip
CORRECTED = dict(
    aux_decay=0.0, lr=5e-3, epochs=30, patience=3, test_batchsize=512,
    detach_weights=1, dev_mode="holdout", dev_fraction=0.3333, head_fit="newton", head_data="dev",
    head_l2=1e-2, head_rows=4096, aligned=1, upper_batchsize=None, estimator="one_step",
    neumann_scale=1, alpha_mode="power", damping=None, hyper_scope="user", row_normalise=1,
    hp_optim="adam", decay_prior=0, prior_mode="fixed", combine="gated", category_bias=1,
    weight_norm="sigmoid", attn_mask=1, pool_mean="len", pad_row="zero", embed_std=0.3,
    act="leaky", history="causal", source_pool="before_row", vocab="train", missing_source="none",
    eval_draws="8", bootstrap=1000, rank_negatives=99, neumann_guard=1, interval=None,
    gate_rate=0.1,
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
